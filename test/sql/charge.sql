-- credit_charge: authorize and commit in one call, for work whose price is known.
--
-- The row is born committed: it is looked at, and so is what it shares with an authorization (keys, replays, refusals)
-- and what can be done with it afterwards.
\getenv abs_srcdir PG_ABS_SRCDIR
\set include :abs_srcdir '/sql/include/refusal.sql'
\i :include

SELECT balance_after FROM credit_grant('charge', 100, 'opening');
CREATE FUNCTION pg_temp.charge(name text) RETURNS text LANGUAGE sql AS $$
  SELECT authorization_id FROM credit_ledger WHERE org_id = 'charge' AND campaign_id = name
$$;

-- The answer, the row, the entry, the balance.
SELECT org_id, campaign_id, status, amount, authorized_amount, refunded_amount, expires_at = created_at AS no_timeout,
       settled_at = created_at AS at_once, settled_by, reason, available, replayed
FROM credit_charge('charge', 30, 'sms-1', metadata => '{"to": "+49"}');
SELECT tableoid::regclass, campaign_id, idempotency_key, status, amount, authorized_amount, committed_amount,
       expires_at = created_at AS no_timeout, settled_at = created_at AS at_once, settled_by, metadata
FROM credit_ledger WHERE org_id = 'charge';
SELECT e.entry_no, e.kind, e.amount, l.campaign_id, e.idempotency_key, e.balance_after,
       e.created_at = l.created_at AS at_once
FROM credit_entry AS e LEFT JOIN credit_ledger AS l USING (authorization_id)
WHERE e.org_id = 'charge' ORDER BY e.entry_no;
SELECT operation, idempotency_key, amount, campaign_id, authorization_id = pg_temp.charge('sms-1') AS of_the_row,
       entry_no
FROM credit_idempotency WHERE org_id = 'charge' AND operation = 'authorize';
SELECT * FROM credit_balance('charge');

-- By a key instead of a campaign, and beside one.
SELECT campaign_id, amount, available FROM credit_charge('charge', 5, idempotency_key => 'no campaign');
SELECT campaign_id, amount, available FROM credit_charge('charge', 5, 'sms-2', 'sms-2:1');

-- Replays: as a charge, as an authorization, with the row as it stands. An authorization is charged by credit_commit,
-- never by a charge that comes again.
SELECT status, amount, settled_by, available, replayed FROM credit_charge('charge', 30, 'sms-1');
SELECT status, amount, settled_by, available, replayed
FROM credit_charge('charge', 5, idempotency_key => 'no campaign');
SELECT status, amount, settled_by, available, replayed FROM credit_authorize('charge', 30, 'sms-1');
SELECT status, amount, available, replayed FROM credit_authorize('charge', 20, 'held first');
SELECT status, amount, settled_by, available, replayed FROM credit_charge('charge', 20, 'held first');

\pset tuples_only on
\pset format unaligned
-- Refusals. Whatever the overage limit is, a charge takes what is available.
SELECT overage_limit FROM credit_account_configure('charge', overage_limit => 1000);
SELECT pg_temp.named(pg_temp.refusal('SELECT ' || call), 'charge')
FROM (VALUES
  (1, $$credit_charge('charge', 41, 'too much')$$),
  (2, $$credit_charge('charge nobody', 1, 'sms-1')$$),
  (3, $$credit_charge('charge', 31, 'sms-1')$$),
  (4, $$credit_charge('charge', 30, 'sms-1', 'sms-1: 2')$$),
  (5, $$credit_charge('charge', 5, 'sms-3', 'sms-2:1')$$),
  (6, $$credit_authorize('charge', 31, 'sms-1')$$),
  (7, $$credit_charge('charge', 21, 'held first')$$),
  (8, $$credit_charge(NULL, 1, 'c')$$),
  (9, $$credit_charge('charge', NULL, 'c')$$),
  (10, $$credit_charge('charge', 1)$$),
  (11, $$credit_charge('charge', 0, 'c')$$),
  (12, $$credit_charge('charge', -1, 'c')$$),
  (13, $$credit_charge('', 1, 'c')$$),
  (14, $$credit_charge('charge', 1, '')$$),
  (15, $$credit_charge('charge', 1, 'c', '')$$)
) AS v (n, call) ORDER BY n;
\pset tuples_only off
\pset format aligned

-- Failing for want of credits burns no key. A credit limit is available, too.
SELECT credit_limit FROM credit_account_configure('charge', credit_limit => 50);
SELECT status, amount, available, replayed FROM credit_charge('charge', 41, 'too much');
SELECT * FROM credit_balance('charge');

-- A frozen account is charged for nothing new; replays are answered.
SELECT frozen FROM credit_account_configure('charge', frozen => true);
\pset tuples_only on
\pset format unaligned
SELECT pg_temp.refusal($$SELECT credit_charge('charge', 1, 'frozen')$$);
\pset tuples_only off
\pset format aligned
SELECT status, amount, available, replayed FROM credit_charge('charge', 30, 'sms-1');
SELECT frozen FROM credit_account_configure('charge', frozen => false);

-- Afterwards it is an authorization that its caller committed.
SELECT status, amount, available, replayed FROM credit_commit(pg_temp.charge('sms-2'));
SELECT status, amount, available, replayed FROM credit_commit(pg_temp.charge('sms-2'), 5);
SELECT status, amount, available, replayed FROM credit_commit(pg_temp.charge('sms-2'), 3, final => false);
\pset tuples_only on
\pset format unaligned
SELECT pg_temp.named(pg_temp.refusal(format('SELECT ' || call, pg_temp.charge('sms-2'))), 'charge')
FROM (VALUES
  (1, 'credit_commit(%L, 4)'), (2, 'credit_commit(%L, 6, final => false)'), (3, 'credit_revert(%L)'),
  (4, $$credit_extend(%L, '1 hour')$$)
) AS v (n, call) ORDER BY n;
\pset tuples_only off
\pset format aligned
SELECT kind, amount, balance_after FROM credit_refund(pg_temp.charge('sms-2'), 'r-1', 2);
SELECT status, amount, refunded_amount, available
FROM credit_correct(pg_temp.charge('sms-2'), 4, 'one was not delivered');
SELECT status, amount, refunded_amount, available, replayed FROM credit_charge('charge', 5, 'sms-2', 'sms-2:1');
SELECT entry_no, kind, amount, balance_after, reason FROM credit_statement('charge') ORDER BY entry_no;

-- It passes through no open hold, in one call or in many, and is in the partition of its instant.
BEGIN;
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'an open hold'; END $$;
CREATE TRIGGER refuse BEFORE INSERT ON credit_ledger_open FOR EACH ROW EXECUTE FUNCTION refuse();
SELECT status FROM credit_charge('charge', 1, 'not held');
SELECT status FROM credit_charge_many('{charge,charge}', '{1,1}', '{not held-1,not held-2}');
SELECT tableoid::regclass, campaign_id, status FROM credit_ledger
WHERE org_id = 'charge' AND campaign_id LIKE 'not held%' ORDER BY campaign_id;
SELECT * FROM credit_verify();
ROLLBACK;

-- With its transaction or savepoint it is gone.
BEGIN;
SAVEPOINT charge;
SELECT status, available FROM credit_charge('charge', 10, 'undone');
ROLLBACK TO charge;
SELECT * FROM credit_balance('charge');
SELECT status, available, replayed FROM credit_charge('charge', 9, 'undone');
ROLLBACK;
SELECT count(*) FROM credit_ledger WHERE campaign_id = 'undone';

SELECT * FROM credit_verify();
