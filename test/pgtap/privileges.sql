-- Privileges: what PUBLIC may (nothing), and what each level of credit_grant_privileges() may and may not.
--
-- Fresh roles are given a level each, and asked of every function and table of the extension.
BEGIN;
SET LOCAL client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS credit_ledger;
SELECT plan(79);

CREATE ROLE credit_test_nobody;
CREATE ROLE credit_test_reader;
CREATE ROLE credit_test_app;
CREATE ROLE credit_test_operator;
SELECT lives_ok(format('SELECT credit_grant_privileges(%L, %L)', 'credit_test_' || level, level), 'level ' || level || ' is granted')
FROM string_to_table('reader app operator', ' ') AS level;

CREATE TEMP VIEW member AS
SELECT d.classid, d.objid AS oid
FROM pg_depend AS d
JOIN pg_extension AS e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND e.extname = 'credit_ledger'
WHERE d.deptype = 'e';
CREATE TEMP VIEW function AS
SELECT p.oid, p.proname::text COLLATE "default" AS name, p.pronamespace = 'credit_ledger_internal'::regnamespace AS is_helper
FROM pg_proc AS p JOIN member AS m ON m.classid = 'pg_proc'::regclass AND m.oid = p.oid;
CREATE TEMP VIEW relation AS
SELECT c.oid, c.relname::text COLLATE "default" AS name, c.relkind
FROM pg_class AS c JOIN member AS m ON m.classid = 'pg_class'::regclass AND m.oid = c.oid WHERE c.relkind <> 'c';

-- PUBLIC.
SELECT isnt_empty('SELECT name FROM function', 'there are functions to ask for');
SELECT is_empty($$SELECT name FROM function WHERE has_function_privilege('credit_test_nobody', oid, 'EXECUTE')$$,
                'PUBLIC may call no function');
SELECT is_empty($$SELECT name FROM relation WHERE relkind IN ('r', 'p', 'v', 'm')
                  AND has_table_privilege('credit_test_nobody', oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')$$,
                'PUBLIC may do nothing with any table');
SELECT is_empty($$SELECT name FROM relation WHERE relkind IN ('r', 'p', 'v', 'm')
                  AND has_any_column_privilege('credit_test_nobody', oid, 'SELECT, INSERT, UPDATE, REFERENCES')$$,
                'PUBLIC may do nothing with any column');
SELECT is_empty($$SELECT name FROM relation
                  WHERE CASE relkind WHEN 'S' THEN has_sequence_privilege('credit_test_nobody', oid, 'USAGE, SELECT, UPDATE') END$$,
                'PUBLIC may use no sequence');

-- The levels, function by function and table by table.
SELECT results_eq(
  $$SELECT name, has_function_privilege('credit_test_reader', oid, 'EXECUTE'), has_function_privilege('credit_test_app', oid, 'EXECUTE'),
           has_function_privilege('credit_test_operator', oid, 'EXECUTE')
    FROM function
    WHERE name IN ('credit_grant', 'credit_adjust', 'credit_authorize', 'credit_commit', 'credit_revert', 'credit_extend', 'credit_refund',
                   'credit_authorize_many', 'credit_commit_many', 'credit_revert_many', 'credit_account_configure',
                   'credit_balance', 'credit_balance_at', 'credit_statement', 'credit_verify', 'credit_sweep',
                   'credit_lots', 'credit_lot_configure', 'credit_void')
    ORDER BY name$$,
  $$VALUES ('credit_account_configure', false, false, true),
           ('credit_adjust', false, false, true),
           ('credit_authorize', false, true, true),
           ('credit_authorize_many', false, true, true),
           ('credit_balance', true, true, true),
           ('credit_balance_at', true, false, true),
           ('credit_commit', false, true, true),
           ('credit_commit_many', false, true, true),
           ('credit_extend', false, true, true),
           ('credit_grant', false, false, true),
           ('credit_lot_configure', false, false, true),
           ('credit_lots', true, false, true),
           ('credit_refund', false, false, true),
           ('credit_revert', false, true, true),
           ('credit_revert_many', false, true, true),
           ('credit_statement', true, false, true),
           ('credit_sweep', false, false, true),
           ('credit_verify', true, false, true),
           ('credit_void', false, false, true)$$,
  'functions of reader, app, operator');
SELECT bag_eq(
  $$SELECT name FROM function WHERE NOT is_helper AND NOT has_function_privilege('credit_test_operator', oid, 'EXECUTE')$$,
  $$VALUES ('credit_grant_privileges'), ('credit_account_import'), ('credit_entries_import'), ('credit_account_export'),
           ('credit_shard_configure'), ('credit_shard_remove')$$,
  'an operator may call every function but those that the owner alone can call');
SELECT bag_eq(
  format($$SELECT name FROM function WHERE is_helper AND has_function_privilege(%L, oid, 'EXECUTE')$$, 'credit_test_' || level),
  $$VALUES ('require_account'), ('require_argument'), ('require_one_start'), ('window_start'), ('setting'), ('tell_step'), ('verify_in_steps'),
           ('last_entry_before'), ('put_away_until'), ('has_rows_of'), ('checksum'), ('chain_breaks'), ('discrepancies'),
           ('misplaced_rows'), ('leaves'), ('row_count'), ('lots_ended'), ('lots_expiring'), ('lot_discrepancies'), ('expiry_horizon'), ('ownership_repair'),
           ('judge_campaigns'), ('judgements'), ('campaign_charges'), ('as_bigint'),
           ('usage'), ('read_usage'), ('of_every_source'), ('require_usage_columns'), ('campaign_of_day'), ('day_of_campaign'), ('start_of_day'), ('day_of'),
           ('queue_heads'), ('written_tables'), ('table_lockers'), ('commit_outcomes'), ('commit_outcomes_told'), ('health_of_alerts'), ('health_of_commits'),
           ('health_of_waiting'), ('health_of_timeouts'), ('health_of_pg_cron')$$,
  'of the helpers, level ' || level || ' may call those that only look')
FROM string_to_table('reader operator', ' ') AS level;
SELECT ok(NOT has_schema_privilege('credit_test_app', 'credit_ledger_internal', 'USAGE'), 'an application sees no helper');
SELECT is_empty($$SELECT name FROM function WHERE is_helper AND has_function_privilege('credit_test_app', oid, 'EXECUTE')$$,
                'and may call none');
SELECT results_eq(
  $$SELECT name, has_table_privilege('credit_test_reader', oid, 'SELECT'), has_table_privilege('credit_test_app', oid, 'SELECT'),
           has_table_privilege('credit_test_operator', oid, 'SELECT')
    FROM relation
    WHERE name IN ('credit_account', 'credit_ledger', 'credit_ledger_open', 'credit_ledger_settled', 'credit_ledger_settled_default',
                   'credit_entry', 'credit_entry_default', 'credit_idempotency', 'credit_lot', 'credit_lot_movement')
    ORDER BY name$$,
  $$VALUES ('credit_account', true, false, true),
           ('credit_entry', true, false, true),
           ('credit_entry_default', true, false, true),
           ('credit_idempotency', true, false, true),
           ('credit_ledger', true, false, true),
           ('credit_ledger_open', true, false, true),
           ('credit_ledger_settled', true, false, true),
           ('credit_ledger_settled_default', true, false, true),
           ('credit_lot', true, false, true),
           ('credit_lot_movement', true, false, true)$$,
  'tables of reader, app, operator');
SELECT is_empty(format($$SELECT name FROM relation WHERE relkind IN ('r', 'p')
                         AND has_table_privilege(%L, oid, 'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')$$, 'credit_test_' || level),
                level || ' may write no table')
FROM string_to_table('reader app operator', ' ') AS level;

-- The gate is EXECUTE: each level calls what is its own without any right to write a table, nor any right to a partition that
-- was made later. Whatever a call did is undone.
SELECT credit_create_partition(p, '2003-01-01', '2003-02-01') FROM unnest('{credit_ledger_settled,credit_entry}'::regclass[]) p \g /dev/null
SELECT FROM credit_grant('privileges', 1000, 'opening') \g /dev/null
SELECT authorization_id AS live FROM credit_authorize('privileges', 100, 'campaign') \gset
SELECT set_config('privileges.live', :'live', true) \g /dev/null
CREATE FUNCTION pg_temp.may(role_name text, statement text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('role', role_name, true);
  EXECUTE statement;
  RAISE SQLSTATE 'TEST1';
EXCEPTION
  WHEN SQLSTATE 'TEST1' THEN RETURN true;
  WHEN insufficient_privilege THEN RETURN false;
END
$$;
CREATE TEMP TABLE attempt (levels text, statement text);
INSERT INTO attempt VALUES
  ('operator', $$SELECT credit_grant('privileges', 1, 'k')$$),
  ('operator', $$SELECT credit_grant('privileges-new', 1, 'k')$$),
  ('operator', $$SELECT credit_adjust('privileges', 1, 'k', 'r')$$),
  ('app operator', $$SELECT credit_authorize('privileges', 1, 'k')$$),
  ('app operator', $$SELECT credit_charge('privileges', 1, 'k')$$),
  ('app operator', $$SELECT credit_commit(current_setting('privileges.live'))$$),
  ('app operator', $$SELECT credit_revert(current_setting('privileges.live'))$$),
  ('app operator', $$SELECT credit_extend(current_setting('privileges.live'), '1 hour')$$),
  ('operator', $$SELECT credit_refund((credit_commit(current_setting('privileges.live'))).authorization_id, 'k')$$),
  ('app operator', $$SELECT credit_authorize_many('{privileges}', '{1}', '{k}')$$),
  ('app operator', $$SELECT credit_charge_many('{privileges}', '{1}', '{k}')$$),
  ('app operator', $$SELECT credit_commit_many(ARRAY[current_setting('privileges.live')])$$),
  ('app operator', $$SELECT credit_revert_many(ARRAY[current_setting('privileges.live')])$$),
  ('operator', $$SELECT credit_account_configure('privileges', frozen => true)$$),
  ('operator', $$SELECT credit_sweep('2000-01-01')$$),
  ('reader app operator', $$SELECT credit_balance('privileges')$$),
  ('reader operator', $$SELECT credit_balance_at('privileges', 'infinity')$$),
  ('reader operator', $$SELECT * FROM credit_statement('privileges')$$),
  ('reader operator', $$SELECT * FROM credit_verify('privileges')$$),
  ('reader operator', 'SELECT * FROM credit_verify()'),
  ('operator', $$SELECT credit_create_partition('credit_entry', '2001-01-01', '2001-02-01')$$),
  ('reader operator', 'SELECT FROM credit_account'),
  ('reader operator', 'SELECT FROM credit_ledger'),
  ('reader operator', 'SELECT FROM credit_ledger_open'),
  ('reader operator', 'SELECT FROM credit_ledger_settled_default'),
  ('reader operator', 'SELECT FROM credit_entry'),
  ('reader operator', 'SELECT FROM credit_entry_default'),
  ('reader operator', 'SELECT FROM credit_idempotency'),
  ('', 'UPDATE credit_account SET balance = 0'),
  ('', 'DELETE FROM credit_ledger'),
  ('', 'UPDATE credit_ledger_open SET amount = 0'),
  ('', $$INSERT INTO credit_entry VALUES ('privileges', 2, 'grant', 1, NULL, 'k', NULL, 1001, now())$$),
  ('', $$INSERT INTO credit_entry_default VALUES ('privileges', 2, 'grant', 1, NULL, 'k', NULL, 1001, now())$$),
  ('', 'TRUNCATE credit_entry'),
  ('', 'DELETE FROM credit_idempotency'),
  ('', $$CREATE TRIGGER mine BEFORE DELETE ON credit_account
         FOR EACH ROW EXECUTE FUNCTION credit_ledger_internal.entry_append_only()$$),
  ('', 'SET credit_ledger.true_up_window = 0'),
  ('nobody reader app operator', 'SET credit_ledger.commit_timeout = 60'),
  ('nobody reader app operator', $$SET credit_ledger.timeout_action = 'revert'$$);
SELECT results_eq(
  $$SELECT statement, (SELECT coalesce(string_agg(level, ' ' ORDER BY n), '')
                       FROM string_to_table('nobody reader app operator', ' ') WITH ORDINALITY AS l (level, n)
                       WHERE pg_temp.may('credit_test_' || level, statement))
    FROM attempt ORDER BY ctid$$,
  'SELECT statement, levels FROM attempt ORDER BY ctid', 'who may do what');

-- The levels add up; granted twice, nothing changes. A role's name may need quotes.
CREATE ROLE "credit test ""Both""";
SELECT lives_ok(format($$SELECT credit_grant_privileges('"credit test ""Both"""', %L)$$, level), level || ' to a role with quotes')
FROM string_to_table('app reader reader', ' ') AS level;
SELECT ok(pg_temp.may('credit test "Both"', statement), 'both levels: ' || statement)
FROM attempt WHERE levels IN ('app operator', 'reader operator', 'reader app operator') ORDER BY attempt.ctid;

-- A SECURITY DEFINER function of the owner's is a gate of its own.
CREATE FUNCTION small_hold(campaign text) RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = public
AS $$ SELECT available FROM credit_authorize('privileges', 1, campaign) $$;
SELECT ok(pg_temp.may('credit_test_nobody', $$SELECT small_hold('small')$$), 'a gate of the owner''s');

SELECT FROM credit_commit(:'live', 60) \g /dev/null

-- Reconciliation: a reader compares, an operator runs and resolves without a right to write any table, and reads usage
-- with nobody's right but its own.
CREATE TABLE usage (org_id text, campaign_id text, used_at timestamptz, quantity bigint);
INSERT INTO usage VALUES ('privileges', 'campaign', now(), 90);
GRANT SELECT ON usage TO credit_test_reader, credit_test_operator;
GRANT USAGE ON SCHEMA public TO credit_test_reader, credit_test_operator;
SET LOCAL ROLE credit_test_operator;
SELECT lives_ok($$SELECT credit_usage_source_register('usage', 'usage')$$, 'an operator registers a usage source');
SELECT lives_ok($$SELECT credit_run_reconciliation()$$, 'an operator runs a reconciliation');
SELECT is((credit_resolve_finding(finding_id, 'adjust')).resolved_by, 'credit_test_operator', 'an operator resolves a finding')
FROM credit_finding WHERE org_id = 'privileges';
SET LOCAL ROLE credit_test_reader;
SELECT is_empty($$SELECT * FROM credit_reconcile_campaigns() WHERE org_id = 'privileges'$$, 'a reader compares');
SELECT isnt_empty($$SELECT * FROM credit_account_overview, credit_totals$$, 'a reader has the views');
SELECT throws_ok($$SELECT credit_run_reconciliation()$$, '42501', NULL, 'a reader runs nothing');
RESET ROLE;
REVOKE SELECT ON usage FROM credit_test_operator;
SET LOCAL ROLE credit_test_operator;
SELECT throws_ok($$SELECT credit_run_reconciliation()$$, '42501', NULL, 'usage is read with the rights of the session''s role');
RESET ROLE;
-- A judgement from a part of the rows is none.
GRANT SELECT ON usage TO credit_test_operator;
ALTER TABLE usage ENABLE ROW LEVEL SECURITY;
CREATE POLICY only_some ON usage USING (quantity < 50);
SET LOCAL ROLE credit_test_operator;
SELECT throws_ok($$SELECT credit_run_reconciliation()$$, '42501', NULL, 'a source that hides rows from that role is an error');
RESET ROLE;
-- What a source calls is called as that role, can become no other, and its settings end with it.
CREATE FUNCTION source_code() RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
  IF current_user <> 'credit_test_operator' THEN
    RAISE 'called as %', current_user;
  END IF;
  PERFORM set_config('search_path', 'credit_test_evil', false);
  BEGIN
    RESET ROLE;
    RAISE 'is another role now';
  EXCEPTION WHEN insufficient_privilege THEN
    RETURN 90;
  END;
END
$$;
CREATE VIEW usage_by_code AS SELECT 'privileges'::text AS org_id, 'campaign'::text AS campaign_id, now() AS used_at, source_code() AS quantity;
GRANT SELECT ON usage_by_code TO credit_test_operator;
SELECT credit_usage_source_register('usage', 'usage_by_code') \g /dev/null
SET LOCAL ROLE credit_test_operator;
SELECT lives_ok($$SELECT credit_run_reconciliation()$$, 'a source is read as the session''s role, though the run is the owner''s');
SELECT isnt(current_setting('search_path'), 'credit_test_evil', 'a setting that it changes is put back');
RESET ROLE;
SELECT throws_ok(format($$SELECT credit_grant_privileges('credit_test_app', %L)$$, level), '22023', NULL, format('there is no level %L', level))
FROM (VALUES ('owner'), ('')) AS v (level);
SELECT throws_ok($$SELECT credit_grant_privileges('credit_test_unknown', 'app')$$, '42704', NULL, 'an unknown role');
SELECT throws_ok($$SELECT credit_grant_privileges(NULL, 'app')$$, '22004', NULL, 'role must not be NULL');
SELECT throws_ok($$SELECT credit_grant_privileges('credit_test_app', NULL)$$, '22004', NULL, 'level must not be NULL');

-- An operator maintains and makes partitions with the rights of the owner. Where owners have parted, health says what to type.
SET LOCAL ROLE credit_test_operator;
SELECT lives_ok('SELECT ' || call, 'an operator calls ' || call)
FROM string_to_table('credit_maintain() credit_create_partitions(1) credit_check_reconciliation() credit_sweep()', ' ') AS call;
RESET ROLE;
SELECT is(what_to_do, NULL, 'owners are as they should be') FROM credit_health() WHERE check_name = 'owner';
CREATE ROLE credit_test_owner;
ALTER FUNCTION credit_maintain() OWNER TO credit_test_owner;
SELECT throws_ok('SELECT credit_maintain()', '42501', NULL, 'functions that were given away fail');
SELECT ok(status = 'critical' AND detail LIKE '%ALTER ROUTINE public.credit_maintain() OWNER TO%', 'health says what is missing')
FROM credit_health() WHERE check_name = 'owner';
SELECT what_to_do AS repair FROM credit_health() WHERE check_name = 'owner' \gset
:repair;
SELECT lives_ok('SELECT credit_maintain()', 'and what to type');
SELECT is(what_to_do, NULL, 'nothing is left to do') FROM credit_health() WHERE check_name = 'owner';
-- Functions of a superuser may write everybody's tables; but his triggers would have their rights.
ALTER TABLE credit_stat OWNER TO credit_test_owner;
SELECT is(status, 'critical', 'a table that was given away is told, too') FROM credit_health() WHERE check_name = 'owner';
:repair;
SELECT is(what_to_do, NULL, 'it comes back') FROM credit_health() WHERE check_name = 'owner';
-- Whoever is given the accounts is given all.
ALTER TABLE credit_account OWNER TO credit_test_owner;
SELECT matches(detail, 'missing: [0-9]{3}, the first of them ALTER ROUTINE', 'all the rest is told')
FROM credit_health() WHERE check_name = 'owner';
:repair;
SELECT is(what_to_do, NULL, 'and follows') FROM credit_health() WHERE check_name = 'owner';
SET LOCAL ROLE credit_test_owner;
SELECT lives_ok('SELECT ' || call, 'the new owner calls ' || call)
FROM string_to_table('credit_maintain() credit_create_partitions(2) credit_check_reconciliation() credit_sweep() '
                     'credit_ledger_internal.follow_schema() credit_ledger_internal.may_settle()', ' ') AS call;
RESET ROLE;
SELECT is_empty($$SELECT * FROM credit_verify('privileges')$$, 'the ledger is sound');

SELECT * FROM finish();
ROLLBACK;
