-- Lots: bad input is refused, each with its code, and nothing is written.
\getenv abs_srcdir PG_ABS_SRCDIR
\set include :abs_srcdir '/sql/include/refusal.sql'
\i :include

SELECT entry_no FROM credit_grant('lot-arguments', 100, 'main pool');
SELECT entry_no FROM credit_grant('lot-arguments', 100, 'lot', priority => 7);
SELECT entry_no FROM credit_grant('lot-arguments-b', 100, 'lot', expires_at => '2999-01-01Z');
SELECT entry_no FROM credit_grant('lot-arguments', 10, 'used up', priority => 0);
SELECT entry_no FROM credit_grant('lot-arguments', 20, 'voided', priority => 0);
SELECT amount FROM credit_charge('lot-arguments', 10, 'campaign');
SELECT amount FROM credit_authorize('lot-arguments', 5, 'held');
SELECT amount FROM credit_void('lot-arguments', 4, 'charged back');
CREATE TEMP TABLE before AS
SELECT (SELECT jsonb_agg(to_jsonb(a) ORDER BY org_id) FROM credit_account a) AS accounts,
       (SELECT jsonb_agg(to_jsonb(l) ORDER BY org_id, lot_no) FROM credit_lot l) AS lots,
       (SELECT count(*) FROM credit_entry) AS entries, (SELECT count(*) FROM credit_idempotency) AS keys;

\pset tuples_only on
\pset format unaligned
SELECT regexp_replace(pg_temp.refusal('SELECT ' || call), 'It is [0-9]{4}-.*', 'It is (an instant).')
FROM (VALUES
  -- Ends.
  (1, $$credit_grant('lot-arguments', 1, 'k', expires_at => '2000-01-01Z')$$),
  (2, $$credit_grant('lot-arguments', 1, 'k', expires_at => now())$$),
  (3, $$credit_grant('lot-arguments', 1, 'k', expires_at => 'infinity')$$),
  (4, $$credit_grant('lot-arguments', 1, 'k', expires_at => '-infinity')$$),
  (5, $$credit_grant('lot-arguments-c', 1, 'k', expires_at => '2000-01-01Z')$$),
  (6, $$credit_grant('lot-arguments', 1, 'k', expires_at => '294277-01-01Z')$$),
  (7, $$credit_lot_configure('lot-arguments', 2, expires_at => 'infinity')$$),
  (8, $$credit_lot_configure('lot-arguments', 2, expires_at => '-infinity')$$),
  -- Priorities.
  (11, $$credit_grant('lot-arguments', 1, 'k', priority => -1)$$),
  (12, $$credit_grant('lot-arguments', 1, 'k', priority => 1001)$$),
  (13, $$credit_grant('lot-arguments', 1, 'k', priority => 2147483647)$$),
  (14, $$credit_lot_configure('lot-arguments', 2, priority => -1)$$),
  (15, $$credit_lot_configure('lot-arguments', 2, priority => 1001)$$),
  (16, $$credit_grant('lot-arguments', 0, 'k', priority => 7)$$),
  (17, $$credit_grant('lot-arguments', -1, 'k', priority => 7)$$),
  (18, $$credit_grant('lot-arguments', NULL, 'k', priority => 7)$$),
  (19, $$credit_grant('lot-arguments', 9223372036854775807, 'k', priority => 7)$$),
  -- Lots that are none: other organisations', the main pool's grants, entries that are no grants, numbers to come.
  (21, $$credit_lot_configure('lot-arguments', 1, priority => 1)$$),
  (22, $$credit_lot_configure('lot-arguments-b', 2, priority => 1)$$),
  (23, $$credit_lot_configure('lot-arguments', 99, priority => 1)$$),
  (24, $$credit_lot_configure('lot-arguments', 5, priority => 1)$$),
  (25, $$credit_lot_configure('lot-arguments', 0, priority => 1)$$),
  (26, $$credit_lot_configure('lot-arguments', -1, priority => 1)$$),
  (27, $$credit_lot_configure('lot-arguments', NULL, priority => 1)$$),
  (29, $$credit_lot_configure('lot-arguments-c', 1, priority => 1)$$),
  (30, $$credit_lot_configure(NULL, 1, priority => 1)$$),
  -- Lots that are not open: used up, voided.
  (31, $$credit_lot_configure('lot-arguments', 3, priority => 1)$$),
  (32, $$credit_lot_configure('lot-arguments', 4, priority => 1)$$),
  (33, $$credit_void('lot-arguments', 3, 'r')$$),
  (34, $$credit_void('lot-arguments', 1, 'r')$$),
  (35, $$credit_void('lot-arguments-b', 2, 'r')$$),
  (36, $$credit_void('lot-arguments', 99, 'r')$$),
  (37, $$credit_void('lot-arguments', NULL, 'r')$$),
  (38, $$credit_void('lot-arguments', 2, NULL)$$),
  (39, $$credit_void('lot-arguments-c', 1, 'r')$$),
  (40, $$credit_void('', 1, 'r')$$),
  -- Not those of reading either.
  (41, $$credit_lots('lot-arguments-c')$$),
  (42, $$credit_lots('')$$),
  (43, $$credit_lots(NULL)$$)
) AS v (n, call) ORDER BY n;

-- Nothing was written.
SELECT before.accounts = (SELECT jsonb_agg(to_jsonb(a) ORDER BY org_id) FROM credit_account a),
       before.lots = (SELECT jsonb_agg(to_jsonb(l) ORDER BY org_id, lot_no) FROM credit_lot l),
       before.entries = (SELECT count(*) FROM credit_entry), before.keys = (SELECT count(*) FROM credit_idempotency)
FROM before;

-- The edges of what may be.
\pset tuples_only off
\pset format aligned
SELECT entry_no FROM credit_grant('lot-arguments', 1, 'first', priority => 0);
SELECT entry_no FROM credit_grant('lot-arguments', 1, 'last', priority => 1000);
SELECT entry_no FROM credit_grant('lot-arguments', 1, 'far', expires_at => '294276-12-31 23:59:59.999999Z');
SELECT lot_no, priority, expires_at AT TIME ZONE 'UTC' AS expires_at, free FROM credit_lots('lot-arguments');
SELECT priority FROM credit_lot_configure('lot-arguments', 2, priority => 1000);
SELECT priority, expires_at FROM credit_lot_configure('lot-arguments', 2);
SELECT expires_at AT TIME ZONE 'UTC' AS expires_at FROM credit_lot_configure('lot-arguments', 2, expires_at => '294276-12-31 23:59:59.999999Z');
SELECT lot_no, priority, remaining FROM credit_lots('lot-arguments');

-- Those who may not. (privileges.sql has the levels.)
CREATE ROLE lot_arguments_app;
SELECT credit_grant_privileges('lot_arguments_app', 'app');
SET ROLE lot_arguments_app;
SELECT split_part(pg_temp.refusal('SELECT ' || call), E'\n', 2)
FROM (VALUES (1, $$credit_lot_configure('lot-arguments', 2, priority => 1)$$), (2, $$credit_void('lot-arguments', 2, 'r')$$),
             (3, $$credit_lots('lot-arguments')$$)) AS v (n, call) ORDER BY n;
RESET ROLE;
DROP OWNED BY lot_arguments_app;
DROP ROLE lot_arguments_app;
SELECT * FROM credit_verify();
