-- The views of a dashboard.
--
-- Two organisations that spend at known rates: authorizations are given their instants by the owner of the table, as
-- distances from now, so the figures are the same at any moment but for midnight, which only spent_today knows of.
\getenv abs_srcdir PG_ABS_SRCDIR
\set include :abs_srcdir '/sql/include/reconciliation.sql'
\i :include
BEGIN;
SELECT count(credit_grant(org, 2000, 'opening')), count(credit_account_configure(org, credit_limit => 100, low_balance_threshold => 1000))
FROM unnest('{fast,slow,idle}'::text[]) AS org;
UPDATE credit_account SET created_at = now() - interval '30 days' WHERE org_id <> 'slow';

-- Fast: 700 in the last seven days, more before. Slow: 50 in the two days that it exists. Idle: a hold, and a refund of all.
SELECT count(pg_temp.campaign('fast', 'c' || n, 100, now() - n * interval '23 hours', now() - n * interval '23 hours')) FROM generate_series(1, 12) AS n;
UPDATE credit_account SET created_at = now() - interval '2 days' WHERE org_id = 'slow';
SELECT pg_temp.campaign('slow', 'c', 50, now() - interval '26 hours', now() - interval '25 hours');
SELECT pg_temp.campaign('idle', 'c', 50, now() - interval '26 hours', now() - interval '25 hours');
SELECT m.amount FROM credit_ledger l, credit_refund(l.authorization_id, 'r') m WHERE l.org_id = 'idle';
SELECT a.status FROM credit_authorize('idle', 70, 'open') a;
SELECT org_id, balance, held, available, credit_limit, low_balance_threshold, is_low, frozen, burn_rate, days_left
FROM credit_account_overview ORDER BY org_id;

-- What was authorized since midnight UTC is today's.
UPDATE credit_ledger SET created_at = date_trunc('day', now(), 'UTC') WHERE org_id = 'slow';
UPDATE credit_ledger SET created_at = date_trunc('day', now(), 'UTC') - interval '1 microsecond' WHERE org_id = 'fast';
SELECT org_id, spent_today FROM credit_account_overview ORDER BY org_id;

-- The ledger in one row.
UPDATE credit_ledger SET created_at = now() - interval '90 minutes', expires_at = now() - interval '80 minutes' WHERE status = 'authorized';
SELECT accounts, balance, held, available, low_accounts, frozen_accounts, open_authorizations, overdue_authorizations,
       orphaned_authorizations, sweep_lag_seconds::integer, open_findings, last_run_at, overdue_at
FROM credit_totals;
SELECT * FROM credit_verify();
ROLLBACK;
SELECT accounts, balance, sweep_lag_seconds FROM credit_totals;
\c :suite_database
DROP DATABASE credit_ledger_reconciliation;
