-- Commit in parts: a hold is charged for the total used so far, and stays open for the rest.
--
-- One hold's whole life is shown with its row, entries and balance after each report; then every way it can end.
\getenv abs_srcdir PG_ABS_SRCDIR
\set include :abs_srcdir '/sql/include/refusal.sql'
\i :include

SELECT balance_after FROM credit_grant('parts', 1000, 'opening');
CREATE TEMP TABLE timeout AS
SELECT job, (CASE WHEN job IN ('e', 'g') THEN 'revert' ELSE 'commit' END)::credit_timeout_action AS action
FROM string_to_table('abcdefgh', NULL) AS job;
SELECT count((credit_authorize('parts', 100, 'job-' || job, timeout_action => action)).available) FROM timeout;
CREATE FUNCTION pg_temp.job(name text) RETURNS text LANGUAGE sql AS $$
  SELECT authorization_id FROM credit_ledger WHERE org_id = 'parts' AND campaign_id = 'job-' || name
$$;
CREATE VIEW pg_temp.job AS
SELECT campaign_id, status, amount, authorized_amount, committed_amount, refunded_amount, settled_by
FROM credit_ledger WHERE org_id = 'parts';
CREATE VIEW pg_temp.line AS
SELECT l.campaign_id, e.entry_no, e.kind, e.amount, e.balance_after, e.reason
FROM credit_entry AS e JOIN credit_ledger AS l USING (authorization_id) WHERE e.org_id = 'parts';

-- The total grows: each report charges what was added, and held falls as much. The same total again does nothing.
SELECT status, amount, authorized_amount, settled_at, settled_by, available, replayed
FROM credit_commit(pg_temp.job('a'), 30, final => false);
SELECT * FROM pg_temp.job WHERE campaign_id = 'job-a';
SELECT * FROM credit_balance('parts');
SELECT status, amount, available, replayed FROM credit_commit(pg_temp.job('a'), 30, final => false);
SELECT status, amount, available, replayed FROM credit_commit(pg_temp.job('a'), 70, final => false);
SELECT * FROM pg_temp.job WHERE campaign_id = 'job-a';
SELECT * FROM credit_balance('parts');

-- Nothing used yet is a report, too, and a replay from the first.
SELECT status, amount, available, replayed FROM credit_commit(pg_temp.job('b'), 0, final => false);
SELECT * FROM pg_temp.job WHERE campaign_id = 'job-b';

\pset tuples_only on
\pset format unaligned
-- A total does not fall, nor exceed what is authorized, whatever the overage limit is.
SELECT overage_limit FROM credit_account_configure('parts', overage_limit => 20);
SELECT pg_temp.named(pg_temp.refusal(format('SELECT ' || call, pg_temp.job('a'))), 'parts')
FROM (VALUES
  (1, 'credit_commit(%L, 69, final => false)'),
  (2, 'credit_commit(%L, 0, final => false)'),
  (3, 'credit_commit(%L, 101, final => false)'),
  (4, 'credit_commit(%L, final => false)'),
  (5, 'credit_commit(%L, 80, final => NULL)'),
  (6, 'credit_commit(%L, -1, final => false)'),
  (7, 'credit_commit(%L, 69)'),
  (8, $$credit_refund(%L, 'too early')$$),
  (9, $$credit_correct(%L, 80, 'too early')$$),
  (10, 'credit_extend(%L, amount => 69)')
) AS v (n, call) ORDER BY n;
\pset tuples_only off
\pset format aligned

-- The last word charges the rest of what was used, and releases what is left of the hold. Reports that come late, in
-- whatever order, change nothing; one of more than was charged is told so.
SELECT status, amount, authorized_amount, settled_by, available, replayed FROM credit_commit(pg_temp.job('a'), 90);
SELECT status, amount, available, replayed FROM credit_commit(pg_temp.job('a'), 70, final => false);
SELECT status, amount, available, replayed FROM credit_commit(pg_temp.job('a'), 30, final => false);
SELECT status, amount, available, replayed FROM credit_commit(pg_temp.job('a'), 90, final => false);
SELECT status, amount, available, replayed FROM credit_commit(pg_temp.job('a'), 90);
\pset tuples_only on
\pset format unaligned
SELECT pg_temp.named(pg_temp.refusal(format('SELECT credit_commit(%L, 91, final => false)', pg_temp.job('a'))),
                     'parts');
SELECT pg_temp.named(pg_temp.refusal(format('SELECT credit_revert(%L)', pg_temp.job('a'))), 'parts');
\pset tuples_only off
\pset format aligned
SELECT * FROM pg_temp.line WHERE campaign_id = 'job-a' ORDER BY entry_no;
SELECT kind, amount, balance_after FROM credit_refund(pg_temp.job('a'), 'refund of a', 40);
SELECT * FROM pg_temp.job WHERE campaign_id = 'job-a';

-- All of the hold in parts; it stays open with nothing held, and an excess is taken from what is available at the end.
SELECT status, amount, available FROM credit_commit(pg_temp.job('b'), 100, final => false);
SELECT * FROM pg_temp.job WHERE campaign_id = 'job-b';
SELECT status, amount, authorized_amount, available FROM credit_commit(pg_temp.job('b'), 115);
SELECT * FROM pg_temp.job WHERE campaign_id = 'job-b';

-- Given back: the rest, not what was charged. That again is a replay; a reason is kept.
SELECT status, amount FROM credit_commit(pg_temp.job('c'), 25, final => false);
SELECT status, amount, settled_by, reason, available, replayed FROM credit_revert(pg_temp.job('c'), 'stopped');
SELECT status, amount, settled_by, reason, available, replayed FROM credit_revert(pg_temp.job('c'), 'stopped');
SELECT status, amount, available, replayed FROM credit_commit(pg_temp.job('c'));
SELECT * FROM pg_temp.job WHERE campaign_id = 'job-c';
SELECT * FROM pg_temp.line WHERE campaign_id = 'job-c' ORDER BY entry_no;
SELECT kind, amount, balance_after FROM credit_refund(pg_temp.job('c'), 'refund of c');

-- Timed out: to commit charges all of the hold, to revert what was charged before. Late words correct both, never below
-- what the caller itself had reported.
SELECT count((credit_commit(pg_temp.job(j), 40, final => false)).amount) FROM string_to_table('defg', NULL) AS j;
UPDATE credit_ledger SET expires_at = '2000-01-01'::timestamptz + ascii(right(campaign_id, 1)) * interval '1 second'
WHERE org_id = 'parts' AND campaign_id ~ '[defg]';
SELECT credit_sweep('2000-01-02');
SELECT * FROM pg_temp.job WHERE campaign_id ~ '[defg]' ORDER BY campaign_id;
SELECT * FROM credit_balance('parts');
\pset tuples_only on
\pset format unaligned
SELECT pg_temp.named(pg_temp.refusal(format('SELECT ' || call, pg_temp.job(job))), 'parts')
FROM (VALUES
  (1, 'd', 'credit_commit(%L, 39)'), (2, 'e', 'credit_commit(%L, 39)'),
  (3, 'd', 'credit_commit(%L, 50, final => false)'), (4, 'e', 'credit_commit(%L, 40, final => false)')
) AS v (n, job, call) ORDER BY n;
\pset tuples_only off
\pset format aligned
SELECT status, amount, settled_by, available, replayed FROM credit_commit(pg_temp.job('d'), 55);
SELECT status, amount, settled_by, available, replayed FROM credit_commit(pg_temp.job('e'), 55);
SELECT status, amount, settled_by, available, replayed FROM credit_revert(pg_temp.job('f'));
SELECT status, amount, settled_by, available, replayed FROM credit_revert(pg_temp.job('g'));
SELECT status, amount, settled_by, available, replayed FROM credit_revert(pg_temp.job('f'));
SELECT * FROM pg_temp.line WHERE campaign_id ~ '[defg]' ORDER BY campaign_id, entry_no;

-- Within its amount a hold is charged in parts whatever became of the account.
SELECT available FROM credit_adjust('parts', -5000, 'chargeback', 'stolen card');
SELECT frozen FROM credit_account_configure('parts', frozen => true);
SELECT status, amount FROM credit_commit(pg_temp.job('h'), 60, final => false);
SELECT status, amount FROM credit_commit(pg_temp.job('h'), 100, final => false);
SELECT status, amount, settled_by FROM credit_revert(pg_temp.job('h'));

-- A key names what was asked for, not what is left of it.
SELECT available FROM credit_grant('parts', 6000, 'top-up');
SELECT frozen FROM credit_account_configure('parts', frozen => false);
SELECT status, amount FROM credit_authorize('parts', 100, 'job-i');
SELECT status, amount FROM credit_commit(pg_temp.job('i'), 33, final => false);
SELECT status, amount, authorized_amount, replayed FROM credit_authorize('parts', 100, 'job-i');

-- In many calls in one, where the array says what the total is at the end.
SELECT status, amount, authorized_amount, available FROM credit_commit_many(ARRAY[pg_temp.job('i')], '{44}');
SELECT * FROM pg_temp.line WHERE campaign_id = 'job-i' ORDER BY entry_no;

-- The row itself cannot tell another story, to who is asked by no guard.
BEGIN;
SET LOCAL session_replication_role = replica;
\set VERBOSITY terse
SELECT status, amount FROM credit_authorize('parts', 100, 'job-j');
SELECT status, amount FROM credit_commit(pg_temp.job('j'), 33, final => false);
SAVEPOINT row;
UPDATE credit_ledger SET amount = 68 WHERE campaign_id = 'job-j';
ROLLBACK TO row;
UPDATE credit_ledger SET committed_amount = -1, amount = 101 WHERE campaign_id = 'job-j';
ROLLBACK TO row;
UPDATE credit_ledger SET committed_amount = 43, amount = 57 WHERE campaign_id = 'job-j';
SELECT check_name, expected, actual FROM credit_verify() ORDER BY check_name;
ROLLBACK;
\set VERBOSITY default

SELECT * FROM credit_verify();
