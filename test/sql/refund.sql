-- Refunds: credits of a committed authorization given back, at once or by and by, never more than were charged.
--
-- Commits of 100 are refunded in every way; keys are used again; a refund confirms what the timeout committed.
\getenv abs_srcdir PG_ABS_SRCDIR
\set include :abs_srcdir '/sql/include/refusal.sql'
\i :include

SELECT balance_after FROM credit_grant('refund', 1000, 'opening');
CREATE FUNCTION pg_temp.hold(name text) RETURNS text LANGUAGE sql AS $$
  SELECT authorization_id FROM credit_ledger WHERE org_id = 'refund' AND campaign_id = name
$$;
SELECT count((credit_authorize('refund', 100, name)).available)
FROM string_to_table('whole parts live reverted nothing timeout', ' ') AS name;
SELECT name, (credit_commit(pg_temp.hold(name))).status FROM string_to_table('parts whole', ' ') AS name ORDER BY name;
SELECT (credit_revert(pg_temp.hold('reverted'))).status, (credit_commit(pg_temp.hold('nothing'), 0)).status;

-- All of it, with a reason.
SELECT m.entry_no, m.kind, m.amount, m.authorization_id = pg_temp.hold('whole') AS its_id, m.balance_after, m.available, m.replayed
FROM credit_refund(pg_temp.hold('whole'), 'refund-1', reason => 'bounced') AS m;

-- By and by, the last time whatever is left.
SELECT entry_no, kind, amount, balance_after, available, replayed FROM credit_refund(pg_temp.hold('parts'), 'refund-2', 30);
SELECT entry_no, kind, amount, balance_after, available, replayed FROM credit_refund(pg_temp.hold('parts'), 'refund-3', 30);
SELECT entry_no, kind, amount, balance_after, available, replayed FROM credit_refund(pg_temp.hold('parts'), 'refund-4');

-- The authorization stays committed for what was charged and tells what was given back.
SELECT campaign_id, status, amount, refunded_amount, settled_by FROM credit_ledger
WHERE org_id = 'refund' ORDER BY campaign_id;
SELECT entry_no, kind, amount, (SELECT campaign_id FROM credit_ledger WHERE authorization_id = e.authorization_id),
       idempotency_key, reason, balance_after
FROM credit_entry AS e WHERE org_id = 'refund' ORDER BY entry_no;
SELECT idempotency_key, amount, campaign_id, (SELECT campaign_id FROM credit_ledger WHERE authorization_id = i.authorization_id), entry_no
FROM credit_idempotency AS i WHERE org_id = 'refund' AND operation = 'refund' ORDER BY idempotency_key;
SELECT status, amount, refunded_amount, replayed FROM credit_commit(pg_temp.hold('parts'));

-- Replays match the amount as passed: NULL is not the amount it came to.
SELECT entry_no, kind, amount, balance_after, available, replayed FROM credit_refund(pg_temp.hold('whole'), 'refund-1');
SELECT entry_no, kind, amount, balance_after, available, replayed FROM credit_refund(pg_temp.hold('parts'), 'refund-2', 30, 'a reason');
SELECT entry_no, kind, amount, balance_after, available, replayed FROM credit_refund(pg_temp.hold('parts'), 'refund-4');

-- Refusals.
\pset tuples_only on
\pset format unaligned
SELECT pg_temp.named(pg_temp.refusal(format(call, pg_temp.hold(name))), 'refund')
FROM (VALUES
  (1, 'whole', $$SELECT credit_refund(%L, 'refund-1', 100)$$),
  (2, 'parts', $$SELECT credit_refund(%L, 'refund-2', 31)$$),
  (3, 'parts', $$SELECT credit_refund(%L, 'refund-2')$$),
  (4, 'parts', $$SELECT credit_refund(%L, 'refund-4', 40)$$),
  (5, 'whole', $$SELECT credit_refund(%L, 'refund-2', 30)$$),
  (6, 'whole', $$SELECT credit_refund(%L, 'new key')$$),
  (7, 'whole', $$SELECT credit_refund(%L, 'new key', 1)$$),
  (8, 'nothing', $$SELECT credit_refund(%L, 'new key')$$),
  (9, 'live', $$SELECT credit_refund(%L, 'new key')$$),
  (10, 'reverted', $$SELECT credit_refund(%L, 'new key')$$),
  (11, 'whole', $$SELECT credit_revert(%L)$$)
) AS v (n, name, call) ORDER BY n;

-- More than is left is refused and burns no key.
SELECT (credit_commit(pg_temp.hold('live'), 50)).status;
SELECT pg_temp.named(pg_temp.refusal(format($$SELECT credit_refund(%L, 'new key', %s)$$, pg_temp.hold('live'), amount)), 'refund')
FROM (VALUES (51), (9223372036854775807)) AS v (amount) ORDER BY amount;
SELECT amount, replayed FROM credit_refund(pg_temp.hold('live'), 'new key', 50);

-- What the timeout committed, a refund confirms: from then on it is the caller's commit, which cannot be reverted.
UPDATE credit_ledger SET expires_at = '2000-01-01' WHERE authorization_id = pg_temp.hold('timeout');
SELECT credit_sweep('2000-01-02');
SELECT status, settled_by FROM credit_ledger WHERE authorization_id = pg_temp.hold('timeout');
SELECT amount, available, replayed FROM credit_refund(pg_temp.hold('timeout'), 'after timeout', 10);
SELECT status, amount, refunded_amount, settled_by FROM credit_ledger WHERE authorization_id = pg_temp.hold('timeout');
SELECT status, amount, replayed FROM credit_commit(pg_temp.hold('timeout'));
SELECT pg_temp.named(pg_temp.refusal(format('SELECT credit_revert(%L)', pg_temp.hold('timeout'))), 'refund');
SELECT pg_temp.named(pg_temp.refusal(format('SELECT credit_commit(%L, 60)', pg_temp.hold('timeout'))), 'refund');

-- The key is the organisation's: another one may use it for its own.
SELECT balance_after FROM credit_grant('refund-b', 10, 'opening');
SELECT r.amount, r.replayed
FROM credit_authorize('refund-b', 10, 'c') AS a, credit_commit(a.authorization_id) AS c,
     credit_refund(c.authorization_id, 'refund-1') AS r;

SELECT * FROM credit_verify();
