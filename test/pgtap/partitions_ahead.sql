-- Partitions a month, made ahead: which ones, what lands in them, and what stops them.
BEGIN;
SET LOCAL client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS credit_ledger;
SELECT plan(17);

-- As many as the parent has partitions of, besides the default.
CREATE FUNCTION pg_temp.ranges(parent regclass) RETURNS bigint LANGUAGE sql AS $$
  SELECT count(*) FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
  WHERE i.inhparent = parent AND pg_get_expr(c.relpartbound, c.oid) <> 'DEFAULT'
$$;
CREATE FUNCTION pg_temp.month(months integer) RETURNS timestamptz LANGUAGE sql AS $$
  SELECT (date_trunc('month', now() AT TIME ZONE 'UTC') + months * interval '1 month') AT TIME ZONE 'UTC'
$$;

SAVEPOINT fresh;
SELECT is((SELECT count(*) FROM credit_create_partitions(2)), 6::bigint, 'this month and two to come, of two tables');
SELECT is(pg_temp.ranges('credit_entry'), 3::bigint, 'three of credit_entry');
SELECT is(pg_temp.ranges('credit_ledger_settled'), 3::bigint, 'three of credit_ledger_settled');
SELECT is((SELECT count(*) FROM credit_create_partitions(2)), 0::bigint, 'all of them are there');
SELECT is((SELECT count(*) FROM credit_create_partitions()), 2::bigint, 'three months ahead, if not told');

SELECT count(credit_grant('partitions', 1000, 'opening')) AS granted \gset
SELECT count(credit_commit((credit_authorize('partitions', 10, 'now')).authorization_id)) AS committed \gset
SELECT is_empty('SELECT FROM credit_entry_default UNION ALL SELECT FROM credit_ledger_settled_default',
                'what happens now is in the partitions of this month');
INSERT INTO credit_entry (org_id, entry_no, kind, amount, balance_after, created_at)
VALUES ('partitions', 3, 'grant', 1, 991, pg_temp.month(4) - interval '1 us'), ('partitions', 4, 'grant', 1, 992, pg_temp.month(4));
SELECT results_eq($$SELECT entry_no, tableoid = 'credit_entry_default'::regclass FROM credit_entry WHERE entry_no > 2 ORDER BY 1$$,
                  'VALUES (3::bigint, false), (4, true)', 'the last one ends where the fourth month begins');
ROLLBACK TO fresh;

SELECT count(credit_grant('partitions', 1000, 'opening')) AS granted \gset
SELECT is((SELECT count(*) FROM credit_create_partitions(1)), 3::bigint, 'none of this month where the default partition has a row of it');
SELECT is(pg_temp.ranges('credit_entry'), 1::bigint, 'the next of credit_entry');
ROLLBACK TO fresh;

-- The clock was ahead.
SELECT count(credit_grant('partitions', 1000, 'opening')) AS granted \gset
INSERT INTO credit_entry (org_id, entry_no, kind, amount, balance_after, created_at)
VALUES ('partitions', 2, 'grant', 1, 1001, pg_temp.month(2));
SELECT is((SELECT count(*) FROM credit_create_partitions(3)), 6::bigint, 'none of a month to come where the default partition has a row of it');
SELECT is(pg_temp.ranges('credit_entry'), 2::bigint, 'the next and the last of credit_entry');
ROLLBACK TO fresh;

SELECT credit_create_partition('credit_entry', pg_temp.month(1), pg_temp.month(13)) AS made \gset
SELECT is((SELECT count(*) FROM credit_create_partitions(2)), 4::bigint, 'none where another one covers the month');
SELECT is(pg_temp.ranges('credit_entry'), 2::bigint, 'this month, and the year to come');
ROLLBACK TO fresh;

SELECT count(*) AS made FROM credit_create_partitions(1) \gset
DO $$ BEGIN
  EXECUTE format('ALTER TABLE credit_entry DETACH PARTITION credit_entry_%s', to_char(pg_temp.month(1) AT TIME ZONE 'UTC', 'YYYYMMDD'));
END $$;
SELECT throws_ok('SELECT credit_create_partitions(1)', '42P07', NULL, 'a table of that name that is no partition is in the way');
ROLLBACK TO fresh;

SELECT throws_ok('SELECT credit_create_partitions(NULL)', '22004', NULL, 'months is needed');
SELECT throws_ok('SELECT credit_create_partitions(0)', '22023', NULL, 'none is no number of months');
SELECT throws_ok('SELECT credit_create_partitions(121)', '22023', NULL, 'ten years at most');

SELECT * FROM finish();
ROLLBACK;
