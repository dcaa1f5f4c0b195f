-- Expired holds in the way: a call that would be refused for want of credits first settles the organisation's own
-- holds that have expired, and looks again.
--
-- Each organisation has 10 credits, all held by a hold that expired long ago and that nobody swept; then a call needs
-- them. What is not in the way is left to the sweep.
\getenv abs_srcdir PG_ABS_SRCDIR
\set include :abs_srcdir '/sql/include/refusal.sql'
\i :include

-- An organisation whose hold 'old' of some credits expired, by which action, and charged for how much in parts before.
CREATE FUNCTION pg_temp.organisation(org text, held bigint, action credit_timeout_action, charged bigint = 0)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  id text;
BEGIN
  PERFORM credit_grant(org, 10, 'opening');
  SELECT authorization_id INTO id FROM credit_authorize(org, held, 'old', timeout_action => action);
  PERFORM credit_commit(id, charged, final => false);
  UPDATE credit_ledger SET expires_at = '2000-01-01' WHERE authorization_id = id;
END
$$;
CREATE FUNCTION pg_temp.hold(org text, name text) RETURNS text LANGUAGE sql AS $$
  SELECT authorization_id FROM credit_ledger WHERE org_id = org AND campaign_id = name
$$;
CREATE VIEW pg_temp.line AS
SELECT org_id, campaign_id, status, amount, committed_amount AS parts, settled_by, settled_at >= created_at AS in_order
FROM credit_ledger WHERE org_id LIKE 'way-%';

-- A new hold.
SELECT pg_temp.organisation('way-1', 10, 'revert');
SELECT status, amount, available FROM credit_authorize('way-1', 10, 'new');
SELECT * FROM pg_temp.line WHERE org_id = 'way-1' ORDER BY campaign_id;
SELECT balance, held FROM credit_balance('way-1');

-- A hold that is not in the way stays: enough is available.
SELECT pg_temp.organisation('way-2', 6, 'revert');
SELECT status, amount, available FROM credit_authorize('way-2', 4, 'new');
SELECT * FROM pg_temp.line WHERE org_id = 'way-2' ORDER BY campaign_id;

-- What expires to be charged gives nothing back: refused all the same, and left as it was.
SELECT pg_temp.organisation('way-3', 10, 'commit');
\pset tuples_only on
\pset format unaligned
SELECT pg_temp.refusal($$SELECT credit_authorize('way-3', 1, 'new')$$);
SELECT * FROM pg_temp.line WHERE org_id = 'way-3' ORDER BY campaign_id;

-- Not all of what is needed.
SELECT pg_temp.organisation('way-4', 6, 'revert');
SELECT pg_temp.refusal($$SELECT credit_authorize('way-4', 11, 'new')$$);
SELECT * FROM pg_temp.line WHERE org_id = 'way-4' ORDER BY campaign_id;
\pset tuples_only off
\pset format aligned

-- Charged in part: the rest is free.
SELECT pg_temp.organisation('way-5', 10, 'revert', 3);
SELECT status, amount, available FROM credit_authorize('way-5', 7, 'new');
SELECT * FROM pg_temp.line WHERE org_id = 'way-5' ORDER BY campaign_id;

-- A charge, a raise, a commit beyond its hold, a late commit of what the timeout gave back.
SELECT pg_temp.organisation('way-6', 10, 'revert');
SELECT status, amount, available FROM credit_charge('way-6', 10, 'new');
SELECT * FROM pg_temp.line WHERE org_id = 'way-6' ORDER BY campaign_id;
SELECT pg_temp.organisation('way-7', 6, 'revert');
SELECT status, amount, available FROM credit_authorize('way-7', 4, 'new');
SELECT status, amount, available FROM credit_extend(pg_temp.hold('way-7', 'new'), amount => 10);
SELECT * FROM pg_temp.line WHERE org_id = 'way-7' ORDER BY campaign_id;
SELECT pg_temp.organisation('way-8', 6, 'revert');
SELECT overage_limit FROM credit_account_configure('way-8', overage_limit => 10);
SELECT status, amount, available FROM credit_authorize('way-8', 4, 'new');
SELECT status, amount, available FROM credit_commit(pg_temp.hold('way-8', 'new'), 10);
SELECT * FROM pg_temp.line WHERE org_id = 'way-8' ORDER BY campaign_id;
SELECT pg_temp.organisation('way-9', 10, 'revert');
SELECT credit_sweep('2000-01-02') > 0 AS swept;
SELECT status, amount FROM credit_authorize('way-9', 10, 'newer', timeout_action => 'revert');
UPDATE credit_ledger SET expires_at = '2000-01-01' WHERE org_id = 'way-9' AND status = 'authorized';
SELECT status, amount, settled_by, available FROM credit_commit(pg_temp.hold('way-9', 'old'));
SELECT * FROM pg_temp.line WHERE org_id = 'way-9' ORDER BY campaign_id;

-- The hold that a call is about is not in its own way: it is its caller's, expired or not.
SELECT pg_temp.organisation('way-10', 10, 'revert');
SELECT overage_limit FROM credit_account_configure('way-10', overage_limit => 10);
\pset tuples_only on
\pset format unaligned
SELECT pg_temp.named(pg_temp.refusal(format('SELECT credit_extend(%L, amount => 11)', pg_temp.hold('way-10', 'old'))),
                     'way-10');
SELECT pg_temp.named(pg_temp.refusal(format('SELECT credit_commit(%L, 11)', pg_temp.hold('way-10', 'old'))),
                     'way-10');
\pset tuples_only off
\pset format aligned
SELECT available FROM credit_grant('way-10', 5, 'top-up');
SELECT available FROM credit_authorize('way-10', 5, 'other', timeout_action => 'revert');
UPDATE credit_ledger SET expires_at = '2000-01-01' WHERE org_id = 'way-10' AND status = 'authorized';
SELECT status, amount, available FROM credit_extend(pg_temp.hold('way-10', 'old'), amount => 15);
SELECT * FROM pg_temp.line WHERE org_id = 'way-10' ORDER BY campaign_id;

-- Many at once: those of any item's organisation, and of no other; several, by both actions.
SELECT pg_temp.organisation('way-11', 10, 'revert'), pg_temp.organisation('way-12', 10, 'revert');
SELECT available FROM credit_grant('way-11', 5, 'top-up');
SELECT available FROM credit_authorize('way-11', 2, 'old to commit', timeout_action => 'commit');
SELECT available FROM credit_authorize('way-11', 3, 'not expired');
UPDATE credit_ledger SET expires_at = '2000-01-01' WHERE org_id = 'way-11' AND campaign_id = 'old to commit';
SELECT ord, status, amount, available FROM credit_authorize_many('{way-11,way-11}', '{4,6}', '{new-1,new-2}');
SELECT * FROM pg_temp.line WHERE org_id IN ('way-11', 'way-12') ORDER BY org_id, campaign_id;
SELECT entry_no, kind, amount, balance_after FROM credit_statement('way-11') ORDER BY entry_no;
SELECT pg_temp.organisation('way-13', 10, 'revert');
SELECT ord, status, amount, available, sqlstate
FROM credit_charge_many('{way-12,way-13,way-12}', '{11,10,4}', '{new-1,new-2,new-3}', skip_refused => true);
SELECT * FROM pg_temp.line WHERE org_id IN ('way-12', 'way-13') ORDER BY org_id, campaign_id;

-- One item needs the credits of a hold that a later item is about: that one finds it settled by timeout, and corrects
-- it.
SELECT pg_temp.organisation('way-14', 6, 'revert');
SELECT overage_limit FROM credit_account_configure('way-14', overage_limit => 10);
SELECT status, amount, available FROM credit_authorize('way-14', 4, 'new');
SELECT ord, campaign_id, status, amount, settled_by, available, replayed, sqlstate
FROM credit_commit_many(ARRAY[pg_temp.hold('way-14', 'new'), pg_temp.hold('way-14', 'old')], '{6,4}');
SELECT * FROM pg_temp.line WHERE org_id = 'way-14' ORDER BY campaign_id;
SELECT entry_no, kind, amount, balance_after FROM credit_statement('way-14') ORDER BY entry_no;

-- A key that is asked for again is answered first, and settles nothing.
SELECT pg_temp.organisation('way-15', 10, 'revert');
SELECT status, amount, available, replayed FROM credit_authorize('way-15', 10, 'old');

-- The sweep finds what is left.
SELECT credit_sweep('2000-01-02');
SELECT * FROM credit_verify();
