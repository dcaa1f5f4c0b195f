-- True-ups: what the timeout decided, the caller may correct inside credit_ledger.true_up_window.
--
-- Holds are settled by a sweep, then committed and reverted late. To stand outside the window, the settling is moved
-- into the past by the tables' owner, or the window is closed.
\getenv abs_srcdir PG_ABS_SRCDIR
\set include :abs_srcdir '/sql/include/refusal.sql'
\i :include

SELECT balance_after FROM credit_grant('true-up', 1000, 'opening');
SELECT count((credit_authorize('true-up', 100, action || n, timeout_action => action::credit_timeout_action)).available)
FROM string_to_table('commit revert', ' ') AS action, generate_series(1, 4) AS n;
UPDATE credit_ledger SET expires_at = '2000-01-01' WHERE org_id = 'true-up';
SELECT credit_sweep('2000-01-02');
CREATE FUNCTION pg_temp.hold(name text) RETURNS text LANGUAGE sql AS $$
  SELECT authorization_id FROM credit_ledger WHERE org_id = 'true-up' AND campaign_id = name
$$;
SELECT campaign_id, status, amount, settled_by FROM credit_ledger WHERE org_id = 'true-up' ORDER BY campaign_id;
CREATE TEMP TABLE swept AS SELECT * FROM credit_ledger WHERE org_id = 'true-up';

-- Committed by the timeout: confirmed, lowered, taken back.
SELECT status, amount, settled_by, available, replayed FROM credit_commit(pg_temp.hold('commit1'));
SELECT status, amount, settled_by, available, replayed FROM credit_commit(pg_temp.hold('commit2'), 60);
SELECT status, amount, settled_by, reason, available, replayed FROM credit_revert(pg_temp.hold('commit3'), 'never sent');

-- Reverted by the timeout: confirmed, charged after all in full and in part.
SELECT status, amount, settled_by, reason, available, replayed FROM credit_revert(pg_temp.hold('revert1'), 'never sent');
SELECT status, amount, settled_by, available, replayed FROM credit_commit(pg_temp.hold('revert2'));
SELECT status, amount, settled_by, available, replayed FROM credit_commit(pg_temp.hold('revert3'), 60);

-- The row tells the last decision and its instant; the entries tell the way there.
SELECT l.campaign_id, l.status, l.amount, l.authorized_amount, l.settled_by, l.reason, l.settled_at > s.settled_at AS settled_later,
       l.created_at = s.created_at AND l.expires_at = s.expires_at AS otherwise_as_it_was
FROM credit_ledger AS l JOIN swept AS s USING (authorization_id) ORDER BY l.campaign_id;
SELECT e.entry_no, e.kind, e.amount, l.campaign_id, e.balance_after
FROM credit_entry AS e LEFT JOIN credit_ledger AS l USING (authorization_id) WHERE e.org_id = 'true-up' ORDER BY e.entry_no;

-- The caller's word is final: it replays and is not taken back.
SELECT status, amount, replayed FROM credit_commit(pg_temp.hold('commit2'), 60);
SELECT status, amount, replayed FROM credit_revert(pg_temp.hold('commit3'));
SELECT status, amount, replayed FROM credit_revert(pg_temp.hold('revert1'));
SELECT status, amount, replayed FROM credit_commit(pg_temp.hold('revert3'), 60);
\pset tuples_only on
\pset format unaligned
CREATE FUNCTION pg_temp.refused(call text, name text) RETURNS text LANGUAGE sql AS $$
  SELECT pg_temp.named(pg_temp.refusal(format('SELECT ' || call, pg_temp.hold(name))), 'true-up')
$$;
SELECT pg_temp.refused('credit_commit(%L, 61)', 'commit2');
SELECT pg_temp.refused('credit_revert(%L)', 'commit1');
SELECT pg_temp.refused('credit_commit(%L)', 'commit3');
SELECT pg_temp.refused('credit_commit(%L)', 'revert1');
SELECT pg_temp.refused('credit_revert(%L)', 'revert3');

-- Outside the window the timeout's decision stands, whoever asks; a refund is still to be had.
UPDATE credit_ledger SET settled_at = settled_at - interval '7 days 1 second'
WHERE org_id = 'true-up' AND campaign_id IN ('commit4', 'revert4');
SELECT pg_temp.refused(call, name)
FROM (VALUES ('commit4'), ('revert4')) AS h (name),
     (VALUES (1, 'credit_commit(%L)'), (2, 'credit_commit(%L, 60)'), (3, 'credit_commit(%L, 101)'), (4, 'credit_revert(%L)')) AS v (n, call)
ORDER BY name, n;

-- Longer, the window lets the same calls through; shorter again, it does not; closed, it refuses at once.
BEGIN;
SET LOCAL credit_ledger.true_up_window = '8d';
SELECT status, amount, settled_by, replayed FROM credit_commit(pg_temp.hold('commit4'), 60);
SELECT status, amount, settled_by, replayed FROM credit_commit(pg_temp.hold('revert4'), 60);
ROLLBACK;
SELECT amount, available FROM credit_refund(pg_temp.hold('commit4'), 'refund');
SELECT status, amount, refunded_amount, settled_by FROM credit_ledger WHERE authorization_id = pg_temp.hold('commit4');
SELECT campaign_id, status FROM credit_authorize('true-up', 10, 'commit5');
UPDATE credit_ledger SET expires_at = '2000-01-01' WHERE org_id = 'true-up' AND campaign_id = 'commit5';
SELECT credit_sweep('2000-01-02');
BEGIN;
SET LOCAL credit_ledger.true_up_window = 0;
SELECT pg_temp.refused('credit_revert(%L)', 'commit5');
SELECT pg_temp.refused('credit_commit(%L, 1)', 'commit5');
COMMIT;

-- Charging after all needs available credits; topped up, it goes through. Over its hold, within the overage limit too.
SELECT status, amount, available FROM credit_authorize('true-up', 10, 'revert5', timeout_action => 'revert');
UPDATE credit_ledger SET expires_at = '2000-01-01' WHERE org_id = 'true-up' AND campaign_id = 'revert5';
SELECT credit_sweep('2000-01-02');
SELECT a.available FROM credit_balance('true-up') AS b, credit_authorize('true-up', b.available - 9, 'all but nine') AS a;
SELECT pg_temp.refused('credit_commit(%L)', 'revert5');
SELECT status, amount, settled_by FROM credit_ledger WHERE authorization_id = pg_temp.hold('revert5');
SELECT overage_limit FROM credit_account_configure('true-up', overage_limit => 2);
SELECT available FROM credit_grant('true-up', 2, 'top up');
SELECT pg_temp.refused('credit_commit(%L, 13)', 'revert5');
SELECT pg_temp.refused('credit_commit(%L, 12)', 'revert5');
SELECT status, amount, available FROM credit_commit(pg_temp.hold('revert5'), 11);
SELECT pg_temp.refused('credit_commit(%L, 11)', 'commit5');
SELECT available FROM credit_grant('true-up', 1, 'one more');
SELECT status, amount, available FROM credit_commit(pg_temp.hold('commit5'), 11);

-- Nobody but a superuser moves the window.
SELECT context FROM pg_settings WHERE name = 'credit_ledger.true_up_window';

SELECT * FROM credit_verify();
