-- credit_sweep: settles what expired, by its action, and nothing else.
--
-- Time enters as the parameter as_of. The holds of this file expire in the year 2000, where no other hold does, so each
-- sweep meets these alone.
\getenv abs_srcdir PG_ABS_SRCDIR
\set include :abs_srcdir '/sql/include/refusal.sql'
\i :include

SELECT org, (credit_grant(org, 1000, 'opening')).balance_after FROM string_to_table('sweep-a sweep-b', ' ') AS org;

-- Hold number n of an organisation expires n hours into the year; odd ones commit, even ones revert.
SELECT count((credit_authorize(org, 10 * n, 'campaign-' || n,
                               timeout_action => CASE n % 2 WHEN 1 THEN 'commit' ELSE 'revert' END::credit_timeout_action)).available)
FROM string_to_table('sweep-a sweep-b', ' ') AS org, generate_series(1, 6) AS n;
UPDATE credit_ledger SET expires_at = '2000-01-01 00:00Z'::timestamptz + authorized_amount / 10 * interval '1 hour'
WHERE org_id IN ('sweep-a', 'sweep-b');
CREATE VIEW pg_temp.holds AS
SELECT org_id, campaign_id, status, amount, settled_by, settled_at >= created_at AS in_order, reason, refunded_amount
FROM credit_ledger WHERE org_id IN ('sweep-a', 'sweep-b') ORDER BY org_id, campaign_id;

-- Nothing expired before the year began, nor in its first hour.
SELECT credit_sweep('1999-12-31 23:00Z'), credit_sweep('2000-01-01 00:59:59.999999Z');
SELECT count(*) FROM pg_temp.holds WHERE status <> 'authorized';

-- What expired by two o'clock, two of each organisation: one is committed for all of the hold, one reverted.
SELECT credit_sweep('2000-01-01 02:30Z');
SELECT * FROM pg_temp.holds WHERE status <> 'authorized';
SELECT b.* FROM string_to_table('sweep-a sweep-b', ' ') AS org, credit_balance(org) AS b ORDER BY b.org_id;
SELECT entry_no, kind, amount, balance_after, idempotency_key, reason FROM credit_statement('sweep-a');
SELECT tableoid::regclass, count(*) FROM credit_ledger WHERE org_id IN ('sweep-a', 'sweep-b') GROUP BY 1 ORDER BY 1;

-- Once more, and there is nothing more to settle.
SELECT credit_sweep('2000-01-01 02:30Z');

-- At most so many rows, the oldest first.
SELECT credit_sweep('2000-01-01 05:30Z', 1) + credit_sweep('2000-01-01 05:30Z', 1);
SELECT campaign_id, count(*) FILTER (WHERE status <> 'authorized') AS settled
FROM pg_temp.holds GROUP BY campaign_id ORDER BY campaign_id;
SELECT credit_sweep('2000-01-01 05:30Z', max_rows => 3), credit_sweep('2000-01-01 05:30Z', max_rows => 3);
SELECT campaign_id, count(*) FILTER (WHERE status <> 'authorized') AS settled
FROM pg_temp.holds GROUP BY campaign_id ORDER BY campaign_id;

-- An expired hold that nobody swept yet is still its caller's; the sweep then finds it settled. Extended, it lives on.
SELECT (credit_commit(authorization_id, 30)).settled_by FROM credit_ledger
WHERE org_id = 'sweep-a' AND campaign_id = 'campaign-6';
SELECT (credit_extend(authorization_id, '1 hour')).status FROM credit_ledger
WHERE org_id = 'sweep-b' AND campaign_id = 'campaign-6';
SELECT credit_sweep('2000-01-02');
SELECT * FROM pg_temp.holds;

-- Frozen accounts and overdrawn ones are settled as well: a hold can always be settled within its amount.
SELECT count((credit_authorize('sweep-a', 10, 'campaign-' || n)).available) FROM generate_series(7, 8) AS n;
UPDATE credit_ledger SET expires_at = '2000-01-01' WHERE org_id = 'sweep-a' AND status = 'authorized';
SELECT frozen FROM credit_account_configure('sweep-a', frozen => true);
SELECT available FROM credit_adjust('sweep-a', -100000, 'chargeback', 'stolen card');
SELECT credit_sweep('2000-01-02');
SELECT * FROM credit_balance('sweep-a');

-- One that fails is passed over with a warning and stays; the others are settled.
BEGIN;
SELECT org, (credit_authorize(org, 10, 'campaign-9')).available FROM string_to_table('sweep-b', ' ') AS org;
SELECT (credit_account_configure('sweep-a', frozen => false, credit_limit => 200000)).frozen;
SELECT available FROM credit_authorize('sweep-a', 10, 'campaign-9');
UPDATE credit_ledger SET expires_at = '2000-01-01' WHERE campaign_id = 'campaign-9' AND org_id IN ('sweep-a', 'sweep-b');
ALTER TABLE credit_account ADD CONSTRAINT keep_sweep_a CHECK (org_id <> 'sweep-a' OR held > 0) NOT VALID;
SELECT credit_sweep('2000-01-02');
SELECT * FROM pg_temp.holds WHERE campaign_id = 'campaign-9';
SELECT * FROM credit_verify();
ROLLBACK;

-- An instant without end settles what will ever expire; done in a transaction that is rolled back.
BEGIN;
SELECT credit_sweep('-infinity');
SELECT credit_sweep('infinity', 2147483647) > 0;
SELECT count(*) FROM credit_ledger_open;
SELECT * FROM credit_verify();
ROLLBACK;

-- Without as_of it is now.
SELECT (credit_authorize('sweep-b', 10, 'campaign-10', timeout => '1 microsecond')).status,
       (credit_authorize('sweep-b', 10, 'campaign-11', timeout => '1 hour')).status;
SELECT credit_sweep() > 0;
SELECT * FROM pg_temp.holds WHERE campaign_id IN ('campaign-10', 'campaign-11');

SELECT * FROM credit_verify();
