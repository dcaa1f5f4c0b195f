-- The functions: names and order of their arguments, defaults, what they return, volatility, parallel safety.
--
-- Argument names are part of the contract: they are the names of the runbook's JSON.
BEGIN;
SET LOCAL client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS credit_ledger;

CREATE TEMP TABLE expected (name text, arguments text, returns text, volatility "char", parallel "char");
INSERT INTO expected VALUES
  ('credit_grant', 'org_id text, amount bigint, idempotency_key text, reason text DEFAULT NULL::text, metadata jsonb DEFAULT NULL::jsonb',
   'credit_movement', 'v', 'u'),
  ('credit_adjust', 'org_id text, amount bigint, idempotency_key text, reason text', 'credit_movement', 'v', 'u'),
  ('credit_authorize', 'org_id text, amount bigint, campaign_id text DEFAULT NULL::text, idempotency_key text DEFAULT NULL::text, '
                       'timeout interval DEFAULT NULL::interval, timeout_action credit_timeout_action DEFAULT NULL::credit_timeout_action, '
                       'metadata jsonb DEFAULT NULL::jsonb', 'credit_authorization', 'v', 'u'),
  ('credit_commit', 'authorization_id text, amount_used bigint DEFAULT NULL::bigint', 'credit_authorization', 'v', 'u'),
  ('credit_revert', 'authorization_id text, reason text DEFAULT NULL::text', 'credit_authorization', 'v', 'u'),
  ('credit_extend', 'authorization_id text, timeout interval', 'credit_authorization', 'v', 'u'),
  ('credit_refund', 'authorization_id text, idempotency_key text, amount bigint DEFAULT NULL::bigint, reason text DEFAULT NULL::text',
   'credit_movement', 'v', 'u'),
  ('credit_account_configure', 'org_id text, credit_limit bigint DEFAULT NULL::bigint, overage_limit bigint DEFAULT NULL::bigint, '
                               'low_balance_threshold bigint DEFAULT NULL::bigint, frozen boolean DEFAULT NULL::boolean, '
                               'metadata jsonb DEFAULT NULL::jsonb', 'credit_account', 'v', 'u'),
  ('credit_authorize_many', 'org_ids text[], amounts bigint[], campaign_ids text[] DEFAULT NULL::text[], '
                            'idempotency_keys text[] DEFAULT NULL::text[], timeout interval DEFAULT NULL::interval',
   'SETOF credit_authorization_item', 'v', 'u'),
  ('credit_commit_many', 'authorization_ids text[], amounts_used bigint[] DEFAULT NULL::bigint[]', 'SETOF credit_authorization_item', 'v', 'u'),
  ('credit_revert_many', 'authorization_ids text[], reason text DEFAULT NULL::text', 'SETOF credit_authorization_item', 'v', 'u'),
  ('credit_balance', 'org_id text', 'credit_account_balance', 's', 's'),
  ('credit_balance_at', 'org_id text, at timestamp with time zone', 'bigint', 's', 's'),
  ('credit_statement', 'org_id text, since timestamp with time zone DEFAULT NULL::timestamp with time zone, '
                       'until timestamp with time zone DEFAULT NULL::timestamp with time zone, '
                       'after_entry_no bigint DEFAULT NULL::bigint, max_rows integer DEFAULT NULL::integer',
   'SETOF credit_statement_line', 's', 's'),
  ('credit_verify', 'org_id text DEFAULT NULL::text, since timestamp with time zone DEFAULT NULL::timestamp with time zone', 'SETOF credit_discrepancy', 's', 's'),
  ('credit_sweep', 'as_of timestamp with time zone DEFAULT NULL::timestamp with time zone, max_rows integer DEFAULT 1000', 'integer', 'v', 'u'),
  ('credit_usage_source_register', 'name text, relation regclass', 'void', 'v', 'u'),
  ('credit_usage_source_unregister', 'name text', 'boolean', 'v', 'u'),
  ('credit_reconcile', 'since timestamp with time zone DEFAULT NULL::timestamp with time zone, until timestamp with time zone DEFAULT NULL::timestamp with time zone, '
                       'tolerance bigint DEFAULT 10',
   'TABLE(org_id text, credits_committed bigint, actual_usage bigint, difference bigint)', 's', 'u'),
  ('credit_reconcile_campaigns', 'since timestamp with time zone DEFAULT NULL::timestamp with time zone, until timestamp with time zone DEFAULT NULL::timestamp with time zone, '
                                 'tolerance bigint DEFAULT 10', 'SETOF credit_judgement', 's', 'u'),
  ('credit_campaign_status', 'campaign_id text, org_id text DEFAULT NULL::text', 'SETOF credit_judgement', 's', 'u'),
  ('credit_orphaned_authorizations', 'older_than interval DEFAULT ''01:00:00''::interval',
   'TABLE(authorization_id text, org_id text, campaign_id text, amount bigint, created_at timestamp with time zone, '
   'expires_at timestamp with time zone)', 's', 's'),
  ('credit_run_reconciliation', 'since timestamp with time zone DEFAULT NULL::timestamp with time zone, until timestamp with time zone DEFAULT NULL::timestamp with time zone, '
                                'tolerance bigint DEFAULT 10', 'credit_reconciliation_run', 'v', 'u'),
  ('credit_resolve_finding', 'finding_id bigint, action text, note text DEFAULT NULL::text', 'credit_finding', 'v', 'u'),
  ('credit_schedule_jobs', 'reconcile_schedule text DEFAULT ''0 3 * * *''::text, tolerance bigint DEFAULT 10, '
                           'reconcile_all_schedule text DEFAULT ''0 5 * * 0''::text', 'bigint', 'v', 'u'),
  ('credit_unschedule_jobs', '', 'integer', 'v', 'u'),
  ('credit_recent_failures', 'OUT failed_at timestamp with time zone, OUT operation text, OUT org_id text, OUT authorization_id text, '
                             'OUT sqlstate text, OUT message text', 'SETOF record', 'v', 'r'),
  ('credit_commit_failure_rate', 'period interval DEFAULT ''01:00:00''::interval, OUT attempts bigint, OUT failures bigint, '
                                 'OUT causes jsonb, OUT settled_by_timeout bigint, OUT rate numeric', 'record', 's', 's'),
  ('credit_maintain', '', 'void', 'v', 'u'),
  ('credit_worker_wake', '', 'boolean', 'v', 'u'),
  ('credit_health', 'OUT check_name text, OUT status credit_health_status, OUT detail text, OUT what_to_do text', 'SETOF record', 'v', 'r'),
  ('credit_create_partitions', 'months integer DEFAULT 3', 'SETOF regclass', 'v', 'u'),
  ('credit_create_partition', 'parent regclass, lower_bound timestamp with time zone, upper_bound timestamp with time zone', 'regclass', 'v', 'u'),
  ('credit_grant_privileges', 'role regrole, level text', 'void', 'v', 'u');

CREATE TEMP VIEW actual AS
SELECT p.oid, p.proname::text AS name, pg_get_function_arguments(p.oid) AS arguments, pg_get_function_result(p.oid) AS returns,
       p.provolatile AS volatility, p.proparallel AS parallel, p.proisstrict AS strict, p.prosecdef AS security_definer
FROM pg_proc AS p
JOIN pg_depend AS d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
JOIN pg_extension AS e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND e.extname = 'credit_ledger'
WHERE p.pronamespace <> 'credit_ledger_internal'::regnamespace;

SELECT plan(2 * (SELECT count(*) FROM expected)::integer + 4);

SELECT is((SELECT string_agg(format('(%s) RETURNS %s', arguments, returns), '; ') FROM actual WHERE name = e.name),
          format('(%s) RETURNS %s', arguments, returns), name || ': arguments and result')
FROM expected AS e ORDER BY name;
SELECT is((SELECT format('volatile %s, parallel %s', volatility, parallel) FROM actual WHERE name = e.name),
          format('volatile %s, parallel %s', volatility, parallel), name || ': volatility and parallel safety')
FROM expected AS e ORDER BY name;

SELECT is_empty('SELECT name FROM actual WHERE strict', 'no function is strict: NULLs are refused, not passed over');
SELECT bag_eq(
  'SELECT name FROM actual WHERE security_definer',
  $$VALUES ('credit_usage_source_register'), ('credit_usage_source_unregister'), ('credit_run_reconciliation'),
           ('credit_resolve_finding'), ('credit_create_partition'), ('credit_create_partitions'), ('credit_maintain')$$,
  'only what writes tables by SQL is SECURITY DEFINER: elsewhere EXECUTE is the gate');
SELECT is_empty(
  $$SELECT name FROM actual JOIN pg_proc AS p USING (oid) WHERE security_definer
    AND p.proconfig[1] IS DISTINCT FROM 'search_path=pg_catalog, pg_temp'$$,
  'and those have a search_path of their own');
SELECT is_empty('SELECT name FROM actual GROUP BY name HAVING count(*) > 1', 'no function is overloaded');

SELECT * FROM finish();
ROLLBACK;
