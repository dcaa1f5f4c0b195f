-- The contract: the public functions with the names, order and defaults of their arguments, what they return, their
-- volatility and parallel safety, and the levels that may call them; the public tables, views and types. And no others.
--
-- Argument names are those of the runbook's JSON. What is not named here is a helper and stands in a schema of its own.
-- With --set router=1 it is a router's contract (test/router/run): the same, but for what docs/scale.md says, which is
-- named here.
\if :{?router}
  \set extension credit_ledger_router
  \set helpers credit_router_internal
\else
  \set router 0
  \set extension credit_ledger
  \set helpers credit_ledger_internal
\endif
BEGIN;
SET LOCAL client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS :extension;

CREATE TEMP TABLE expected (name text, arguments text, returns text, volatility "char", parallel "char", levels text);
INSERT INTO expected VALUES
  ('credit_account_configure',
   'org_id text, credit_limit bigint DEFAULT NULL, overage_limit bigint DEFAULT NULL, '
   'low_balance_threshold bigint DEFAULT NULL, frozen boolean DEFAULT NULL, metadata jsonb DEFAULT NULL',
   'credit_account', 'v', 'u', 'operator'),
  ('credit_account_export',
   'org_id text, moves_to text DEFAULT NULL',
   'TABLE(relation text, line jsonb)', 'v', 'u', ''),
  ('credit_account_import',
   'source regclass',
   'text', 'v', 'u', ''),
  ('credit_adjust',
   'org_id text, amount bigint, idempotency_key text, reason text',
   'credit_movement', 'v', 'u', 'operator'),
  ('credit_authorize',
   'org_id text, amount bigint, campaign_id text DEFAULT NULL, idempotency_key text DEFAULT NULL, '
   'timeout interval DEFAULT NULL, timeout_action credit_timeout_action DEFAULT NULL, metadata jsonb DEFAULT NULL',
   'credit_authorization', 'v', 'u', 'app operator'),
  ('credit_authorize_many',
   'org_ids text[], amounts bigint[], campaign_ids text[] DEFAULT NULL, idempotency_keys text[] DEFAULT NULL, '
   'timeout interval DEFAULT NULL, timeout_action credit_timeout_action DEFAULT NULL, '
   'metadata jsonb[] DEFAULT NULL, skip_refused boolean DEFAULT false',
   'SETOF credit_authorization_item', 'v', 'u', 'app operator'),
  ('credit_balance',
   'org_id text',
   'credit_account_balance', 's', 's', 'reader app operator'),
  ('credit_balance_at',
   'org_id text, at timestamptz',
   'bigint', 's', 's', 'reader operator'),
  ('credit_campaign_status',
   'campaign_id text, org_id text DEFAULT NULL',
   'SETOF credit_judgement', 's', 'u', 'reader operator'),
  ('credit_charge',
   'org_id text, amount bigint, campaign_id text DEFAULT NULL, idempotency_key text DEFAULT NULL, '
   'metadata jsonb DEFAULT NULL',
   'credit_authorization', 'v', 'u', 'app operator'),
  ('credit_charge_many',
   'org_ids text[], amounts bigint[], campaign_ids text[] DEFAULT NULL, idempotency_keys text[] DEFAULT NULL, '
   'metadata jsonb[] DEFAULT NULL, skip_refused boolean DEFAULT false',
   'SETOF credit_authorization_item', 'v', 'u', 'app operator'),
  ('credit_check_reconciliation',
   'as_of timestamptz DEFAULT NULL',
   'boolean', 'v', 'u', 'operator'),
  ('credit_commit',
   'authorization_id text, amount_used bigint DEFAULT NULL, final boolean DEFAULT true',
   'credit_authorization', 'v', 'u', 'app operator'),
  ('credit_commit_failure_rate',
   'period interval DEFAULT ''01:00:00''::interval, since timestamptz DEFAULT NULL, OUT attempts bigint, '
   'OUT failures bigint, OUT causes jsonb, OUT settled_by_timeout bigint, OUT rate numeric',
   'record', 'v', 'r', 'reader operator'),
  ('credit_commit_many',
   'authorization_ids text[], amounts_used bigint[] DEFAULT NULL, skip_refused boolean DEFAULT false',
   'SETOF credit_authorization_item', 'v', 'u', 'app operator'),
  ('credit_correct',
   'authorization_id text, amount_used bigint, reason text',
   'credit_authorization', 'v', 'u', 'operator'),
  ('credit_create_partition',
   'parent regclass, lower_bound timestamptz, upper_bound timestamptz',
   'regclass', 'v', 'u', 'operator'),
  ('credit_create_partitions',
   'months integer DEFAULT 3',
   'SETOF regclass', 'v', 'u', 'operator'),
  ('credit_detach_partitions',
   'older_than interval, parent regclass DEFAULT NULL',
   'SETOF regclass', 'v', 'u', 'operator'),
  ('credit_entries_import',
   'source regclass',
   'bigint', 'v', 'u', ''),
  ('credit_extend',
   'authorization_id text, timeout interval DEFAULT NULL, amount bigint DEFAULT NULL',
   'credit_authorization', 'v', 'u', 'app operator'),
  ('credit_grant',
   'org_id text, amount bigint, idempotency_key text, reason text DEFAULT NULL, metadata jsonb DEFAULT NULL, '
   'expires_at timestamptz DEFAULT NULL, priority integer DEFAULT NULL',
   'credit_movement', 'v', 'u', 'operator'),
  ('credit_grant_privileges',
   'role regrole, level text',
   'void', 'v', 'u', ''),
  ('credit_health',
   'OUT check_name text, OUT status credit_health_status, OUT detail text, OUT what_to_do text',
   'SETOF record', 'v', 'r', 'reader operator'),
  ('credit_lot_configure',
   'org_id text, lot_no bigint, expires_at timestamptz DEFAULT NULL, priority integer DEFAULT NULL',
   'credit_lot', 'v', 'u', 'operator'),
  ('credit_lots',
   'org_id text',
   'TABLE(lot_no bigint, priority integer, expires_at timestamptz, amount bigint, remaining bigint, held bigint, free bigint)',
   's', 's', 'reader operator'),
  ('credit_maintain',
   '',
   'void', 'v', 'u', 'operator'),
  ('credit_orphaned_authorizations',
   'older_than interval DEFAULT ''01:00:00''::interval, made_before timestamptz DEFAULT NULL',
   'TABLE(authorization_id text, org_id text, campaign_id text, amount bigint, created_at timestamptz, '
   'expires_at timestamptz)', 's', 's', 'reader operator'),
  ('credit_recent_failures',
   'OUT failed_at timestamptz, OUT operation text, OUT org_id text, OUT campaign_id text, '
   'OUT authorization_id text, OUT sqlstate text, OUT message text, OUT detail text',
   'SETOF record', 'v', 'r', 'reader operator'),
  ('credit_reconcile',
   'since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL, tolerance bigint DEFAULT 10, period interval DEFAULT NULL',
   'TABLE(org_id text, credits_committed bigint, actual_usage bigint, difference bigint)', 's', 'u', 'reader operator'),
  ('credit_reconcile_campaigns',
   'since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL, tolerance bigint DEFAULT 10, period interval DEFAULT NULL',
   'SETOF credit_judgement', 's', 'u', 'reader operator'),
  ('credit_reconciliation_health',
   'as_of timestamptz DEFAULT NULL',
   'TABLE(last_run_at timestamptz, overdue_at timestamptz, overdue boolean, findings_open bigint, detail text)', 's', 's', 'reader operator'),
  ('credit_refund',
   'authorization_id text, idempotency_key text, amount bigint DEFAULT NULL, reason text DEFAULT NULL',
   'credit_movement', 'v', 'u', 'operator'),
  ('credit_resolve_finding',
   'finding_id bigint, action text, note text DEFAULT NULL',
   'credit_finding', 'v', 'u', 'operator'),
  ('credit_revert',
   'authorization_id text, reason text DEFAULT NULL',
   'credit_authorization', 'v', 'u', 'app operator'),
  ('credit_revert_many',
   'authorization_ids text[], reason text DEFAULT NULL, skip_refused boolean DEFAULT false',
   'SETOF credit_authorization_item', 'v', 'u', 'app operator'),
  ('credit_run_reconciliation',
   'since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL, tolerance bigint DEFAULT 10, period interval DEFAULT NULL',
   'credit_reconciliation_run', 'v', 'u', 'operator'),
  ('credit_schedule_jobs',
   'reconcile_schedule text DEFAULT ''0 3 * * *'', tolerance bigint DEFAULT 10, '
   'reconcile_all_schedule text DEFAULT ''0 5 * * 0''',
   'bigint', 'v', 'u', 'operator'),
  ('credit_shard_configure',
   'shard integer, of integer',
   'void', 'v', 'u', ''),
  ('credit_shard_find',
   'authorization_ids text[]',
   'TABLE(authorization_id text, shard integer)', 's', 's', 'reader app operator'),
  ('credit_shard_number',
   '',
   'integer', 's', 's', 'reader app operator'),
  ('credit_shard_remove',
   'max_accounts integer DEFAULT 100',
   'integer', 'v', 'u', ''),
  ('credit_statement',
   'org_id text, since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL, '
   'after_entry_no bigint DEFAULT NULL, max_rows integer DEFAULT NULL, period interval DEFAULT NULL',
   'SETOF credit_statement_line', 's', 's', 'reader operator'),
  ('credit_sweep',
   'as_of timestamptz DEFAULT NULL, max_rows integer DEFAULT 1000, org_id text DEFAULT NULL',
   'integer', 'v', 'u', 'operator'),
  ('credit_unschedule_jobs',
   '',
   'integer', 'v', 'u', 'operator'),
  ('credit_usage_source_register',
   'name text, relation regclass',
   'void', 'v', 'u', 'operator'),
  ('credit_usage_source_unregister',
   'name text',
   'boolean', 'v', 'u', 'operator'),
  ('credit_verify',
   'org_id text DEFAULT NULL, since timestamptz DEFAULT NULL, period interval DEFAULT NULL',
   'SETOF credit_discrepancy', 's', 's', 'reader operator'),
  ('credit_void',
   'org_id text, lot_no bigint, reason text',
   'credit_movement', 'v', 'u', 'operator'),
  ('credit_worker_status',
   'OUT preloaded boolean, OUT enabled boolean, OUT launcher_pid integer, OUT launcher_started_at timestamptz, '
   'OUT sweeper_pid integer, OUT last_sweep_at timestamptz, OUT last_settled bigint, OUT total_settled bigint, '
   'OUT oldest_expired_at timestamptz, OUT last_error_at timestamptz, OUT last_error_sqlstate text, '
   'OUT last_error text, OUT left_alone_because text',
   'record', 'v', 'r', 'reader operator'),
  ('credit_worker_wake',
   '',
   'boolean', 'v', 'u', 'operator');

-- The shards must know the roles, too: test/router/run makes them.
\if :router
\else
CREATE ROLE credit_test_reader;
CREATE ROLE credit_test_app;
CREATE ROLE credit_test_operator;
\endif
SELECT count(credit_grant_privileges(('credit_test_' || level)::regrole, level)) AS granted
FROM string_to_table('reader app operator', ' ') AS level \gset

CREATE TEMP VIEW member AS
SELECT d.classid, d.objid
FROM pg_depend AS d
JOIN pg_extension AS e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND e.extname = :'extension'
WHERE d.deptype = 'e';

\if :router
-- What is a shard's alone is not here; what says which shards there are is.
DELETE FROM expected WHERE name ~ '^credit_(shard_|account_(ex|im)port$)';
INSERT INTO expected VALUES
  ('credit_router_configure', 'partitions text[], timeout interval DEFAULT ''00:00:30''::interval', 'void', 'v', 'u', ''),
  ('credit_router_moved', 'org_id text, shard integer', 'void', 'v', 'u', '');
-- Every call goes to another server.
UPDATE expected SET volatility = 'v', parallel = 'u';
-- Rows of all shards: the same columns, then the shard.
CREATE FUNCTION pg_temp.columns_of(type regtype) RETURNS text LANGUAGE sql AS $$
  SELECT string_agg(format('%s %s', a.attname, replace(format_type(a.atttypid, a.atttypmod), 'timestamp with time zone', 'timestamptz')),
                    ', ' ORDER BY a.attnum)
  FROM pg_type t JOIN pg_attribute a ON a.attrelid = t.typrelid AND a.attnum > 0
  WHERE t.oid = type
$$;
UPDATE expected SET
  returns = format('TABLE(%s, shard integer)', CASE
    WHEN returns ~ '^TABLE' THEN substring(returns FROM 'TABLE\((.*)\)')
    WHEN returns ~ 'record$' THEN replace(substring(arguments FROM 'OUT .*'), 'OUT ', '')
    ELSE pg_temp.columns_of(regexp_replace(returns, '^SETOF ', '')::regtype) END),
  arguments = regexp_replace(arguments, '(, )?OUT .*', '')
WHERE name ~ '^credit_(campaign_status|commit_failure_rate|health|orphaned_authorizations|recent_failures|reconcile(_campaigns)?'
             '|reconciliation_health|run_reconciliation|verify|worker_status)$';
\endif

CREATE TEMP VIEW function AS
SELECT p.oid, p.proname::text AS name,
       regexp_replace(replace(pg_get_function_arguments(p.oid), 'timestamp with time zone', 'timestamptz'),
                      '(DEFAULT [^,:]+)::[a-z_]+(\[\])?', '\1', 'g') AS arguments,
\if :router
       CASE WHEN pg_get_function_result(p.oid) ~ 'credit_router_internal' THEN format('TABLE(%s)', pg_temp.columns_of(p.prorettype))
            ELSE replace(pg_get_function_result(p.oid), 'timestamp with time zone', 'timestamptz') END AS returns,
\else
       replace(pg_get_function_result(p.oid), 'timestamp with time zone', 'timestamptz') AS returns,
\endif
       p.provolatile AS volatility, p.proparallel AS parallel, p.proisstrict AS strict, p.prosecdef AS security_definer,
       p.proconfig AS settings, p.pronamespace = :'helpers'::regnamespace AS is_helper,
       (SELECT coalesce(string_agg(level, ' ' ORDER BY place), '')
        FROM string_to_table('reader app operator', ' ') WITH ORDINALITY AS l (level, place)
        WHERE has_function_privilege('credit_test_' || level, p.oid, 'EXECUTE')) AS levels
FROM pg_proc AS p JOIN member AS m ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid;
CREATE TEMP VIEW relation AS
SELECT c.relname::text AS name, c.relkind::text AS kind
FROM pg_class AS c JOIN member AS m ON m.classid = 'pg_class'::regclass AND m.objid = c.oid
WHERE c.relkind <> 'c' AND c.relnamespace <> :'helpers'::regnamespace;
CREATE TEMP VIEW type AS
SELECT t.typname::text AS name
FROM pg_type AS t JOIN member AS m ON m.classid = 'pg_type'::regclass AND m.objid = t.oid
WHERE t.typelem = 0 AND t.typnamespace <> :'helpers'::regnamespace
  AND (t.typrelid = 0 OR EXISTS (SELECT FROM pg_class AS c WHERE c.oid = t.typrelid AND c.relkind = 'c'));

CREATE TEMP TABLE expected_relation (name text, kind text);
INSERT INTO expected_relation
SELECT name, 'r' FROM string_to_table('credit_account credit_account_moved credit_shard credit_alert credit_detached_partition credit_entry_carry credit_entry_default credit_finding credit_finding_part '
  'credit_idempotency credit_key_removal credit_ledger_open credit_ledger_settled_default credit_lot credit_reconciliation_run credit_stat '
  'credit_usage_source', ' ') AS name
UNION ALL SELECT name, 'p' FROM string_to_table('credit_entry credit_ledger credit_ledger_settled', ' ') AS name
UNION ALL SELECT name, 'v' FROM string_to_table('credit_account_overview credit_lot_movement credit_provisional credit_totals credit_waiting_calls', ' ') AS name
UNION ALL SELECT name, 'S' FROM string_to_table('credit_finding_finding_id_seq credit_reconciliation_run_run_id_seq', ' ') AS name;
CREATE TEMP TABLE expected_definer (name text);
INSERT INTO expected_definer
SELECT name FROM string_to_table('credit_usage_source_register credit_usage_source_unregister credit_run_reconciliation '
  'credit_resolve_finding credit_check_reconciliation credit_create_partition credit_create_partitions '
  'credit_detach_partitions credit_maintain credit_shard_configure credit_shard_remove credit_shard_find credit_account_export '
  'credit_shard_number', ' ') AS name;
\if :router
-- All that is readable is a table, of which the shards' are the parts; nobody's rights but the caller's are used.
DELETE FROM expected_relation
WHERE kind = 'S' OR name ~ '_default$' OR name IN ('credit_ledger_open', 'credit_ledger_settled', 'credit_shard', 'credit_account_moved');
UPDATE expected_relation SET kind = 'r';
DELETE FROM expected_definer;
\endif

SELECT plan(2 * (SELECT count(*) FROM expected)::integer + 8);

SELECT bag_eq('SELECT name FROM function WHERE NOT is_helper', 'SELECT name FROM expected', 'the public functions');
SELECT is((SELECT format('(%s) RETURNS %s', arguments, returns) FROM function WHERE NOT is_helper AND name = e.name),
          format('(%s) RETURNS %s', arguments, returns), name || ': arguments and result')
FROM expected AS e ORDER BY name;
SELECT is((SELECT format('volatile %s, parallel %s, for %s', volatility, parallel, levels)
           FROM function WHERE NOT is_helper AND name = e.name),
          format('volatile %s, parallel %s, for %s', volatility, parallel, levels), name || ': volatility, parallel safety, levels')
FROM expected AS e ORDER BY name;

SELECT is_empty('SELECT name FROM function WHERE strict AND NOT is_helper', 'no function is strict: NULLs are refused, not passed over');
SELECT bag_eq(
  'SELECT name FROM function WHERE security_definer AND NOT is_helper', 'SELECT name FROM expected_definer',
  'only what reads or writes tables by SQL for those who may not is SECURITY DEFINER: elsewhere EXECUTE is the gate');
SELECT is_empty(
  $$SELECT name FROM function WHERE security_definer AND NOT coalesce('search_path=pg_catalog, pg_temp' = ANY (settings), false)$$,
  'and has a search_path of its own');
SELECT ok(:'router' = '1' OR (SELECT 'jit=off' = ANY (settings) FROM function WHERE name = 'credit_health'),
          'health is told at once: no time goes into compiling what looks expensive');
SELECT is_empty('SELECT name FROM function GROUP BY name, is_helper HAVING count(*) > 1', 'no function is overloaded');

SELECT bag_eq('TABLE relation', 'TABLE expected_relation', 'the public tables, views and sequences');
SELECT bag_eq('TABLE type',
  $$SELECT name FROM string_to_table('credit_account_balance credit_actor credit_alert_kind credit_authorization '
      'credit_authorization_item credit_discrepancy credit_entry_kind credit_health_status credit_judgement credit_movement '
      'credit_operation credit_statement_line credit_status credit_timeout_action credit_verdict', ' ') AS name$$,
  'the public types');

SELECT * FROM finish();
ROLLBACK;
