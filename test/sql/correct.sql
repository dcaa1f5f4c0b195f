-- credit_correct: an operator's word on what a settled authorization was really worth.
--
-- Settled in every way, corrected up and down; row, entries and the runbook's query agree afterwards.
\getenv abs_srcdir PG_ABS_SRCDIR
\set include :abs_srcdir '/sql/include/refusal.sql'
\i :include

SELECT balance_after FROM credit_grant('correct', 1000, 'opening');
CREATE TEMP TABLE timeout AS
SELECT job, (CASE job WHEN 'd' THEN 'revert' ELSE 'commit' END)::credit_timeout_action AS action
FROM string_to_table('abcdef', NULL) AS job;
SELECT count((credit_authorize('correct', 100, 'job-' || job, timeout_action => action)).available) FROM timeout;
CREATE FUNCTION pg_temp.job(name text) RETURNS text LANGUAGE sql AS $$
  SELECT authorization_id FROM credit_ledger WHERE org_id = 'correct' AND campaign_id = 'job-' || name
$$;
CREATE VIEW pg_temp.job AS
SELECT campaign_id, status, amount, authorized_amount, committed_amount, refunded_amount, settled_by, reason
FROM credit_ledger WHERE org_id = 'correct';
SELECT (credit_commit(pg_temp.job('a'), 80)).status, (credit_revert(pg_temp.job('b'), 'not sent')).status;
SELECT (credit_commit(pg_temp.job('e'), 30, final => false)).status, (credit_revert(pg_temp.job('e'))).status;
UPDATE credit_ledger SET expires_at = '2000-01-01' WHERE org_id = 'correct' AND campaign_id IN ('job-c', 'job-d');
SELECT credit_sweep('2000-01-02');
-- Long ago, outside the window in which callers may correct.
UPDATE credit_ledger SET settled_at = settled_at - interval '1 year'
WHERE org_id = 'correct' AND campaign_id IN ('job-c', 'job-d');
SELECT * FROM pg_temp.job ORDER BY campaign_id;

-- More than was charged, more even than was authorized; less; what was given back charged after all; below what was
-- charged in parts.
SELECT campaign_id, status, amount, authorized_amount, settled_by, reason, available, replayed
FROM credit_correct(pg_temp.job('a'), 115, 'counted late');
SELECT status, amount, authorized_amount, settled_by, reason, available, replayed
FROM credit_correct(pg_temp.job('b'), 40, 'it was sent');
SELECT status, amount, authorized_amount, settled_by, reason, available, replayed
FROM credit_correct(pg_temp.job('c'), 10, 'most was not sent');
SELECT status, amount, authorized_amount, settled_by, reason, available, replayed
FROM credit_correct(pg_temp.job('d'), 100, 'it was sent');
SELECT status, amount, authorized_amount, settled_by, reason, available, replayed
FROM credit_correct(pg_temp.job('e'), 0, 'nothing of it arrived');
SELECT * FROM pg_temp.job ORDER BY campaign_id;
SELECT l.campaign_id, e.kind, e.amount, e.balance_after, e.reason
FROM credit_entry AS e JOIN credit_ledger AS l USING (authorization_id)
WHERE e.org_id = 'correct' ORDER BY l.campaign_id, e.entry_no;
SELECT * FROM credit_balance('correct');
-- The runbook's query.
SELECT org_id, sum(amount) FROM credit_ledger WHERE org_id = 'correct' AND status = 'committed' GROUP BY org_id;

-- Again is a replay. Another word replaces the first; the caller's own repetition is told what is stored.
SELECT status, amount, available, replayed FROM credit_correct(pg_temp.job('a'), 115, 'counted late');
SELECT status, amount, available, replayed FROM credit_correct(pg_temp.job('a'), 60, 'counted once more');
SELECT status, amount, available, replayed FROM credit_commit(pg_temp.job('a'));
SELECT status, amount, available, replayed FROM credit_commit(pg_temp.job('a'), 60);
\pset tuples_only on
\pset format unaligned
SELECT pg_temp.named(pg_temp.refusal(format('SELECT credit_commit(%L, 80)', pg_temp.job('a'))), 'correct');
SELECT pg_temp.named(pg_temp.refusal(format('SELECT credit_revert(%L)', pg_temp.job('a'))), 'correct');

-- Never below what was refunded, and what was refunded stays so.
SELECT amount FROM credit_refund(pg_temp.job('a'), 'favour', 25);
SELECT pg_temp.named(pg_temp.refusal(format($$SELECT credit_correct(%L, 24, 'no')$$, pg_temp.job('a'))), 'correct');
SELECT status, amount, refunded_amount FROM credit_correct(pg_temp.job('a'), 25, 'only that');
SELECT pg_temp.named(pg_temp.refusal(format($$SELECT credit_refund(%L, 'more')$$, pg_temp.job('a'))), 'correct');
SELECT status, amount, refunded_amount FROM credit_correct(pg_temp.job('a'), 30, 'and a little');
SELECT amount FROM credit_refund(pg_temp.job('a'), 'more');

-- Refused otherwise: what is not settled, what is not there, what is no amount and no reason.
SELECT pg_temp.named(pg_temp.refusal(format('SELECT ' || call, pg_temp.job('f'))), 'correct')
FROM (VALUES
  (1, $$credit_correct(%L, 50, 'too early')$$),
  (2, $$credit_correct('auth-abc123', 50, 'nobody')$$),
  (3, $$credit_correct(NULL, 50, 'nobody')$$),
  (4, $$credit_correct(%L, NULL, 'nothing')$$),
  (5, $$credit_correct(%L, -1, 'less')$$),
  (6, $$credit_correct(%L, 50, NULL)$$),
  (7, $$credit_correct(%L, 50, '')$$)
) AS v (n, call) ORDER BY n;
SELECT status, amount FROM credit_commit(pg_temp.job('f'));

-- Whatever is available, frozen or not.
SELECT available FROM credit_adjust('correct', -5000, 'chargeback', 'stolen card');
SELECT frozen FROM credit_account_configure('correct', frozen => true);
SELECT status, amount, available FROM credit_correct(pg_temp.job('f'), 300, 'three times as much');
SELECT pg_temp.named(pg_temp.refusal(format($$SELECT credit_correct(%L, 9223372036854775807, 'all there is')$$,
                                            pg_temp.job('f'))), 'correct');
SELECT frozen FROM credit_account_configure('correct', frozen => false);

-- Not for applications.
CREATE ROLE regress_correct_app;
SELECT credit_grant_privileges('regress_correct_app', 'app');
SELECT has_function_privilege('regress_correct_app', oid, 'EXECUTE') FROM pg_proc WHERE proname = 'credit_correct';
SELECT credit_grant_privileges('regress_correct_app', 'operator');
SELECT has_function_privilege('regress_correct_app', oid, 'EXECUTE') FROM pg_proc WHERE proname = 'credit_correct';
DROP OWNED BY regress_correct_app;
DROP ROLE regress_correct_app;

SELECT * FROM credit_verify();
