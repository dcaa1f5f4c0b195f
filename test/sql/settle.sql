-- Commit, revert and extend, while the hold is live and after: what is charged, what is released, how they replay.
--
-- Every way to settle is taken once with its answer, row and entry shown; the whole matrix of states and verbs is
-- state_matrix.sql's.
\getenv abs_srcdir PG_ABS_SRCDIR
\set include :abs_srcdir '/sql/include/refusal.sql'
\i :include

SELECT balance_after FROM credit_grant('settle', 1000, 'opening');

-- Holds a to h of 100 each, by name.
SELECT count((credit_authorize('settle', 100, 'campaign-' || c)).available) FROM string_to_table('abcdefgh', NULL) AS c;
CREATE FUNCTION pg_temp.hold(name text) RETURNS text LANGUAGE sql AS $$
  SELECT authorization_id FROM credit_ledger WHERE org_id = 'settle' AND campaign_id = 'campaign-' || name
$$;

-- All of it, a part, nothing: what is not charged is released.
SELECT campaign_id, status, amount, authorized_amount, settled_at >= created_at AS in_order, settled_by, reason,
       available, replayed
FROM credit_commit(pg_temp.hold('a'));
SELECT campaign_id, status, amount, authorized_amount, settled_at >= created_at AS in_order, settled_by, reason,
       available, replayed
FROM credit_commit(pg_temp.hold('b'), 60);
SELECT campaign_id, status, amount, authorized_amount, settled_at >= created_at AS in_order, settled_by, reason,
       available, replayed
FROM credit_commit(pg_temp.hold('c'), 0);

-- Given back, with a reason and without.
SELECT campaign_id, status, amount, authorized_amount, settled_at >= created_at AS in_order, settled_by, reason,
       available, replayed
FROM credit_revert(pg_temp.hold('d'), 'Campaign send failed');
SELECT campaign_id, status, amount, authorized_amount, settled_at >= created_at AS in_order, settled_by, reason,
       available, replayed
FROM credit_revert(pg_temp.hold('e'));

-- Extended: it expires from now on, not from its old expiry.
SELECT campaign_id, status, amount, expires_at - created_at >= '1 day' AND expires_at - created_at < '2 days' AS later,
       settled_at, settled_by, available, replayed
FROM credit_extend(pg_temp.hold('f'), '1 day');

-- What stands in the books: settled holds have left the open partition, live ones have not.
SELECT tableoid::regclass, campaign_id, status, amount, refunded_amount, settled_by, reason
FROM credit_ledger WHERE org_id = 'settle' ORDER BY campaign_id;
SELECT e.entry_no, e.kind, e.amount, l.campaign_id, e.idempotency_key, e.balance_after, e.created_at = l.settled_at AS when_settled
FROM credit_entry AS e LEFT JOIN credit_ledger AS l USING (authorization_id) WHERE e.org_id = 'settle' ORDER BY e.entry_no;
SELECT * FROM credit_balance('settle');

-- Replays: the same answer, nothing done.
SELECT status, amount, settled_by, available, replayed FROM credit_commit(pg_temp.hold('a'));
SELECT status, amount, settled_by, available, replayed FROM credit_commit(pg_temp.hold('a'), 100);
SELECT status, amount, settled_by, available, replayed FROM credit_commit(pg_temp.hold('b'));
SELECT status, amount, settled_by, available, replayed FROM credit_commit(pg_temp.hold('b'), 60);
SELECT status, amount, settled_by, available, replayed FROM credit_commit(pg_temp.hold('c'), 0);
SELECT status, amount, reason, available, replayed FROM credit_revert(pg_temp.hold('d'), 'another reason');
SELECT status, amount, reason, available, replayed FROM credit_revert(pg_temp.hold('e'), 'a reason at last');

-- Refusals.
\pset tuples_only on
\pset format unaligned
SELECT pg_temp.named(pg_temp.refusal(format(call, pg_temp.hold(name))), 'settle')
FROM (VALUES
  (1, 'b', $$SELECT credit_commit(%L, 61)$$),
  (2, 'b', $$SELECT credit_commit(%L, 100)$$),
  (3, 'b', $$SELECT credit_commit(%L, 101)$$),
  (4, 'b', $$SELECT credit_revert(%L)$$),
  (5, 'b', $$SELECT credit_extend(%L, '1 hour')$$),
  (6, 'd', $$SELECT credit_commit(%L)$$),
  (7, 'd', $$SELECT credit_commit(%L, 0)$$),
  (8, 'd', $$SELECT credit_commit(%L, 101)$$),
  (9, 'd', $$SELECT credit_extend(%L, '1 hour')$$),
  (10, 'f', $$SELECT credit_commit(%L, 101)$$),
  (11, 'f', $$SELECT credit_commit(%L, 9223372036854775807)$$)
) AS v (n, name, call) ORDER BY n;

-- Overage: within the account's limit more than the hold is charged, the excess from what is available.
SELECT overage_limit FROM credit_account_configure('settle', overage_limit => 20);
SELECT pg_temp.named(pg_temp.refusal(format('SELECT credit_commit(%L, 121)', pg_temp.hold('g'))), 'settle');
SELECT status, amount, authorized_amount, available, replayed FROM credit_commit(pg_temp.hold('g'), 120);
SELECT * FROM credit_balance('settle');

-- It replays when the limit is lower than it was.
SELECT overage_limit FROM credit_account_configure('settle', overage_limit => 0);
SELECT status, amount, replayed FROM credit_commit(pg_temp.hold('g'), 120);
SELECT status, amount, replayed FROM credit_commit(pg_temp.hold('g'));
SELECT overage_limit FROM credit_account_configure('settle', overage_limit => 20);

-- With 5 available, 105 can be charged on a hold of 100 and 106 cannot.
SELECT a.available FROM credit_balance('settle') AS b, credit_authorize('settle', b.available - 5, 'campaign-all but five') AS a;
SELECT pg_temp.named(pg_temp.refusal(format('SELECT credit_commit(%L, 106)', pg_temp.hold('h'))), 'settle');
SELECT status, amount, available FROM credit_commit(pg_temp.hold('h'), 105);

-- A hold can be settled within its amount though nothing is available, or less than nothing.
SELECT available FROM credit_adjust('settle', -5000, 'chargeback', 'stolen card');
SELECT status, amount, available FROM credit_commit(pg_temp.hold('f'), 99);
SELECT status, amount = authorized_amount AS in_full, available FROM credit_revert(pg_temp.hold('all but five'));
SELECT * FROM credit_balance('settle');

SELECT * FROM credit_verify();
