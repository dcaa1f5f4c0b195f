-- credit_extend: a hold that shall live longer, or hold more or less.
--
-- What a hold is before and after is shown; a refusal leaves it as it was, in time and in amount.
\getenv abs_srcdir PG_ABS_SRCDIR
\set include :abs_srcdir '/sql/include/refusal.sql'
\i :include

SELECT balance_after FROM credit_grant('extend', 100, 'opening');
SELECT status, amount, available FROM credit_authorize('extend', 40, 'job-a', timeout => '10 minutes');
CREATE FUNCTION pg_temp.job(name text) RETURNS text LANGUAGE sql AS $$
  SELECT authorization_id FROM credit_ledger WHERE org_id = 'extend' AND campaign_id = 'job-' || name
$$;
CREATE VIEW pg_temp.job AS
SELECT campaign_id, status, amount, authorized_amount, committed_amount,
       date_trunc('hour', expires_at - created_at) AS hours
FROM credit_ledger WHERE org_id = 'extend';

-- Longer: counted from now, not from the old expiry.
SELECT status, amount, expires_at - created_at BETWEEN '24:00' AND '25:00' AS a_day, settled_at, available, replayed
FROM credit_extend(pg_temp.job('a'), '1 day');

-- Never shorter: a repetition that comes late, or one that says less, leaves the later instant.
SELECT status, expires_at - created_at BETWEEN '24:00' AND '25:00' AS a_day, replayed
FROM credit_extend(pg_temp.job('a'), '1 second');
SELECT status, expires_at - created_at BETWEEN '24:00' AND '25:00' AS a_day
FROM credit_extend(pg_temp.job('a'), '1 day');

-- More and less: the new total; the instant stays.
SELECT status, amount, authorized_amount, expires_at - created_at BETWEEN '24:00' AND '25:00' AS a_day, available,
       replayed
FROM credit_extend(pg_temp.job('a'), amount => 90);
SELECT * FROM credit_balance('extend');
SELECT status, amount, authorized_amount, available, replayed FROM credit_extend(pg_temp.job('a'), amount => 90);
SELECT status, amount, authorized_amount, available, replayed FROM credit_extend(pg_temp.job('a'), amount => 25);
SELECT * FROM credit_balance('extend');

-- Both in one.
SELECT status, amount, authorized_amount, expires_at - created_at BETWEEN '48:00' AND '49:00' AS two_days, available
FROM credit_extend(pg_temp.job('a'), '2 days', 100);
SELECT * FROM pg_temp.job;
-- No entry: a hold moves no balance.
SELECT entry_no, kind, amount FROM credit_statement('extend') ORDER BY entry_no;

\pset tuples_only on
\pset format unaligned
-- Refused, for want of credits or whatever else: neither time nor amount changes.
SELECT pg_temp.named(pg_temp.refusal(format('SELECT ' || call, pg_temp.job('a'))), 'extend')
FROM (VALUES
  (1, 'credit_extend(%L, amount => 101)'),
  (2, $$credit_extend(%L, '30 days', 101)$$),
  (3, 'credit_extend(%L, amount => 9223372036854775807)'),
  (4, 'credit_extend(%L, amount => 0)'),
  (5, 'credit_extend(%L, amount => -1)'),
  (6, 'credit_extend(%L)'),
  (7, 'credit_extend(%L, NULL, NULL)'),
  (8, $$credit_extend(%L, '0', 50)$$),
  (9, $$credit_extend('auth-abc123', amount => 5)$$)
) AS v (n, call) ORDER BY n;
SELECT * FROM pg_temp.job;
SELECT * FROM credit_balance('extend');

-- A frozen account: not more, but less, and longer; and the same again.
SELECT frozen FROM credit_account_configure('extend', frozen => true);
SELECT amount FROM credit_extend(pg_temp.job('a'), amount => 60);
SELECT pg_temp.named(pg_temp.refusal(format('SELECT credit_extend(%L, amount => 61)', pg_temp.job('a'))), 'extend');
SELECT amount FROM credit_extend(pg_temp.job('a'), amount => 60);
SELECT expires_at - created_at > '71:00' AS longer FROM credit_extend(pg_temp.job('a'), '3 days');
SELECT frozen FROM credit_account_configure('extend', frozen => false);

-- Of a hold that was charged in part, the total counts what was charged; below that it cannot be.
SELECT status, amount FROM credit_commit(pg_temp.job('a'), 45, final => false);
SELECT status, amount, authorized_amount, available FROM credit_extend(pg_temp.job('a'), amount => 80);
SELECT status, amount, authorized_amount, available FROM credit_extend(pg_temp.job('a'), amount => 50);
SELECT pg_temp.named(pg_temp.refusal(format('SELECT credit_extend(%L, amount => 44)', pg_temp.job('a'))), 'extend');
SELECT status, amount, authorized_amount, available FROM credit_extend(pg_temp.job('a'), amount => 45);
SELECT * FROM pg_temp.job;
-- What is raised can be charged, and what is settled cannot be raised.
SELECT status, amount, authorized_amount, available FROM credit_extend(pg_temp.job('a'), amount => 70);
SELECT status, amount, authorized_amount, available FROM credit_commit(pg_temp.job('a'));
SELECT pg_temp.named(pg_temp.refusal(format('SELECT credit_extend(%L, amount => 80)', pg_temp.job('a'))), 'extend');
SELECT pg_temp.named(pg_temp.refusal(format('SELECT credit_extend(%L, amount => 70)', pg_temp.job('a'))), 'extend');

-- The key stands for what was asked for first: the application that asks again knows no more.
SELECT status, amount, authorized_amount, replayed FROM credit_authorize('extend', 40, 'job-a');
SELECT pg_temp.named(pg_temp.refusal($$SELECT credit_authorize('extend', 70, 'job-a')$$), 'extend');

-- Given back, timed out: all that is authorized by then.
SELECT amount FROM credit_authorize('extend', 10, 'job-b');
SELECT amount FROM credit_extend(pg_temp.job('b'), amount => 15);
SELECT status, amount, authorized_amount, available FROM credit_revert(pg_temp.job('b'));
SELECT amount FROM credit_authorize('extend', 10, 'job-c', timeout_action => 'commit');
SELECT amount FROM credit_extend(pg_temp.job('c'), amount => 15);
UPDATE credit_ledger SET expires_at = '2000-01-01' WHERE org_id = 'extend' AND campaign_id = 'job-c';
SELECT credit_sweep('2000-01-02');
SELECT status, amount, settled_by FROM credit_ledger WHERE org_id = 'extend' AND campaign_id = 'job-c';
-- The overage limit counts from the total as raised.
SELECT (credit_account_configure('extend', overage_limit => 2)).overage_limit;
SELECT status, amount, available FROM credit_commit(pg_temp.job('c'), 17);

SELECT * FROM credit_verify();
