-- Privileges. Nobody but the owner has any until credit_grant_privileges() says so, whatever ALTER DEFAULT PRIVILEGES
-- gave when the objects were made. Stands last.

CREATE FUNCTION credit_ledger_internal.revoke_from_others(catalog regclass, object oid)
  RETURNS void LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
  SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  grantees text;
  kind text;
  name text;
BEGIN
  SELECT string_agg(DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END, ', ')
  INTO grantees
  FROM (
    SELECT c.relowner, coalesce(c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's'::"char" ELSE 'r' END, c.relowner))
    FROM pg_class c WHERE catalog = 'pg_class'::regclass AND c.oid = object
  UNION ALL
    SELECT p.proowner, coalesce(p.proacl, acldefault('f', p.proowner))
    FROM pg_proc p WHERE catalog = 'pg_proc'::regclass AND p.oid = object
  UNION ALL
    SELECT t.typowner, coalesce(t.typacl, acldefault('T', t.typowner))
    FROM pg_type t WHERE catalog = 'pg_type'::regclass AND t.oid = object
  UNION ALL
    SELECT n.nspowner, coalesce(n.nspacl, acldefault('n', n.nspowner))
    FROM pg_namespace n WHERE catalog = 'pg_namespace'::regclass AND n.oid = object
  ) o (owner, acl), aclexplode(o.acl) a
  WHERE a.grantee <> o.owner;
  IF grantees IS NOT NULL THEN
    SELECT CASE i.type WHEN 'view' THEN 'table' WHEN 'aggregate' THEN 'function' ELSE i.type END, i.identity
    INTO kind, name
    FROM pg_identify_object(catalog, object, 0) i;
    EXECUTE format('REVOKE ALL ON %s %s FROM %s CASCADE', kind, name, grantees);
  END IF;
END
$$;
COMMENT ON FUNCTION credit_ledger_internal.revoke_from_others(regclass, oid) IS
  'takes all privileges on a relation, function, type or schema from everybody but its owner';

CREATE FUNCTION @extschema@.credit_grant_privileges(role regrole, level text)
  RETURNS void LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
  SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  app constant text[] := '{credit_authorize,credit_authorize_many,credit_charge,credit_charge_many,credit_commit,'
    'credit_commit_many,credit_revert,credit_revert_many,credit_extend,credit_balance,'
    'credit_shard_number,credit_shard_find}'::text[];
  reader constant text[] := '{credit_balance,credit_balance_at,credit_lots,credit_statement,credit_verify,'
    'credit_commit_failure_rate,credit_reconcile,credit_reconcile_campaigns,credit_campaign_status,'
    'credit_orphaned_authorizations,credit_reconciliation_health,credit_health,credit_recent_failures,'
    'credit_shard_number,credit_shard_find,'
    'credit_worker_status}'::text[];
  -- What functions call with the rights of whoever called them. None of it writes.
  helpers constant text[] := '{require_account,require_argument,require_one_start,window_start,setting,'
    'tell_step,last_entry_before,discrepancies,verify_in_steps,misplaced_rows,put_away_until,has_rows_of,leaves,'
    'lots_ended,lots_expiring,lot_discrepancies,expiry_horizon,ownership_repair,judge_campaigns,judgements,'
    'campaign_charges,as_bigint,usage,read_usage,of_every_source,require_usage_columns,campaign_of_day,day_of_campaign,'
    'start_of_day,day_of,row_count,checksum,chain_breaks,written_tables,queue_heads,table_lockers,'
    'commit_outcomes,commit_outcomes_told,health_of_alerts,health_of_commits,health_of_waiting,'
    'health_of_timeouts,health_of_pg_cron}'::text[];
  -- They read what is named to them, with the rights of whoever calls, or have organisations leave with all their rows.
  owners constant text[] := '{credit_grant_privileges,credit_account_import,credit_entries_import,'
    'credit_account_export,credit_shard_configure,credit_shard_remove}'::text[];
  statement text;
BEGIN
  PERFORM credit_ledger_internal.require_argument('role', role IS NULL),
          credit_ledger_internal.require_argument('level', level IS NULL);
  IF level NOT IN ('reader', 'app', 'operator') THEN
    RAISE invalid_parameter_value USING
      MESSAGE = format('unknown privilege level "%s"', level),
      HINT = 'The levels are reader, app and operator.';
  END IF;
  IF NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = role) THEN
    RAISE undefined_object USING MESSAGE = format('role "%s" does not exist', role);
  END IF;
  -- A GRANT by somebody who may not is only a warning.
  IF NOT pg_has_role((SELECT c.relowner FROM pg_class c WHERE c.oid = '@extschema@.credit_account'::regclass),
    'USAGE') THEN
    RAISE insufficient_privilege USING MESSAGE = 'only the owner of the ledger can grant privileges on it';
  END IF;
  -- Of two that grant on one object at once, the server lets one fail (XX000); a lock that no call waits for.
  LOCK TABLE credit_ledger_internal.used_here IN SHARE UPDATE EXCLUSIVE MODE;

  EXECUTE 'GRANT USAGE ON SCHEMA @extschema@ TO ' || role;
  IF level <> 'app' THEN
    EXECUTE 'GRANT USAGE ON SCHEMA credit_ledger_internal TO ' || role;
  END IF;
  FOR statement IN
    WITH member AS (
      SELECT d.classid, d.objid
      FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'credit_ledger'
      WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
    )
    SELECT format('GRANT EXECUTE ON FUNCTION %s TO %s', p.oid::regprocedure, role)
    FROM pg_proc p JOIN member m ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid
    WHERE CASE
            WHEN p.pronamespace = 'credit_ledger_internal'::regnamespace
              THEN level <> 'app' AND p.proname = ANY (helpers)
            WHEN level = 'app' THEN p.proname = ANY (app)
            WHEN level = 'reader' THEN p.proname = ANY (reader)
            ELSE p.proname <> ALL (owners)
          END
  UNION ALL
    SELECT format('GRANT USAGE ON TYPE %s TO %s', t.oid::regtype, role)
    FROM pg_type t JOIN member m ON m.classid = 'pg_type'::regclass AND m.objid = t.oid
    WHERE t.typelem = 0
      AND (t.typrelid = 0 OR EXISTS (SELECT FROM pg_class c WHERE c.oid = t.typrelid AND c.relkind = 'c'))
  UNION ALL
    SELECT format('GRANT SELECT ON TABLE %s TO %s', c.oid::regclass, role)
    FROM pg_class c JOIN member m ON m.classid = 'pg_class'::regclass AND m.objid = c.oid
    WHERE level <> 'app' AND c.relkind IN ('r', 'p', 'v')
  LOOP
    EXECUTE statement;
  END LOOP;
END
$$;
COMMENT ON FUNCTION @extschema@.credit_grant_privileges(regrole, text) IS
  'gives a role what a level needs. reader: SELECT and the functions that only read; app: authorize, commit, revert, '
  'extend, balance; operator: SELECT, and every function that is not the owner''s: this one, and those that move '
  'organisations between databases';

SELECT credit_ledger_internal.revoke_from_others(d.classid, d.objid)
FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'credit_ledger'
WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
  -- The privileges of an array's type are those of its elements; a table's row type has none of its own.
  AND NOT (d.classid = 'pg_type'::regclass AND EXISTS (
    SELECT FROM pg_type t LEFT JOIN pg_class c ON c.oid = t.typrelid
    WHERE t.oid = d.objid AND (t.typelem <> 0 OR c.relkind <> 'c')));

-- Whoever may read everything may dump it, too.
GRANT EXECUTE ON FUNCTION credit_ledger_internal.row_count(regclass) TO pg_read_all_data;
