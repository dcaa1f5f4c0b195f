-- What an operator calls beside the ledger's own verbs: partitions and privileges.

CREATE FUNCTION credit_create_partition(parent regclass, lower_bound timestamptz, upper_bound timestamptz)
  RETURNS regclass LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
  SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  template regclass;
  leaf text;
BEGIN
  PERFORM @extschema@.credit_require_argument('parent', parent IS NULL),
          @extschema@.credit_require_argument('lower_bound', lower_bound IS NULL),
          @extschema@.credit_require_argument('upper_bound', upper_bound IS NULL);
  template := CASE parent
                WHEN '@extschema@.credit_ledger_settled'::regclass THEN '@extschema@.credit_ledger_settled_default'::regclass
                WHEN '@extschema@.credit_entry'::regclass THEN '@extschema@.credit_entry_default'::regclass
              END;
  IF template IS NULL THEN
    RAISE invalid_parameter_value USING
      MESSAGE = format('table %s does not take partitions by range of created_at', parent),
      HINT = 'The parents are credit_ledger_settled and credit_entry.';
  END IF;
  IF lower_bound >= upper_bound OR lower_bound < '1970-01-01 00:00:00+00' THEN
    RAISE invalid_parameter_value USING
      MESSAGE = 'lower_bound must be before upper_bound, and not before 1970',
      DETAIL = format('Bounds: from %s to %s.', lower_bound, upper_bound);
  END IF;

  leaf := format('%s_%s', (SELECT c.relname FROM pg_class c WHERE c.oid = parent),
                 to_char(lower_bound AT TIME ZONE 'UTC',
                         CASE WHEN lower_bound AT TIME ZONE 'UTC' = date_trunc('day', lower_bound AT TIME ZONE 'UTC')
                              THEN 'YYYYMMDD' ELSE 'YYYYMMDD"t"HH24MISSUS' END));
  EXECUTE format('CREATE TABLE @extschema@.%I (LIKE %s INCLUDING ALL)', leaf, template);
  IF parent = '@extschema@.credit_entry'::regclass THEN
    EXECUTE format('CREATE TRIGGER credit_entry_no_truncate BEFORE TRUNCATE ON @extschema@.%I '
                   'FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.credit_entry_append_only()', leaf);
  END IF;
  EXECUTE format('ALTER TABLE %s ATTACH PARTITION @extschema@.%I FOR VALUES FROM (%L) TO (%L)',
                 parent, leaf, lower_bound, upper_bound);
  RETURN format('@extschema@.%I', leaf)::regclass;
END
$$;
COMMENT ON FUNCTION credit_create_partition(regclass, timestamptz, timestamptz) IS
  'makes a partition of credit_ledger_settled or credit_entry for created_at from lower_bound (included) to upper_bound (excluded), with all indexes; the default partition must hold no row of that range. Locks the parent''s default partition';

-- The lock that a partition is attached under would have every call wait behind it, if a long query has the default
-- partition: then rather no partition this time.
CREATE FUNCTION credit_create_partitions(months integer = 3)
  RETURNS SETOF regclass LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
  SET search_path = pg_catalog, pg_temp
  SET lock_timeout = '1s'
AS $$
DECLARE
  this_month constant timestamptz := date_trunc('month', now(), 'UTC');
  parent regclass;
  lower_bound timestamptz;
  is_needed boolean;
  leaf regclass;
BEGIN
  PERFORM @extschema@.credit_require_argument('months', months IS NULL);
  IF months NOT BETWEEN 1 AND 120 THEN
    RAISE invalid_parameter_value USING MESSAGE = format('months must be between 1 and 120: %s', months);
  END IF;

  FOREACH parent IN ARRAY ARRAY['@extschema@.credit_ledger_settled', '@extschema@.credit_entry']::regclass[] LOOP
    FOR month IN 0 .. months LOOP
      lower_bound := (this_month AT TIME ZONE 'UTC' + month * interval '1 month') AT TIME ZONE 'UTC';
      CONTINUE WHEN EXISTS (
        SELECT FROM pg_inherits i
        WHERE i.inhparent = parent
          AND i.inhrelid = to_regclass(format('%s_%s', parent, to_char(lower_bound AT TIME ZONE 'UTC', 'YYYYMMDD'))));
      EXECUTE format('SELECT %L::pg_catalog.timestamptz > now() OR NOT EXISTS (SELECT FROM %s_default d WHERE d.created_at >= %L)',
                     lower_bound, parent, lower_bound) INTO is_needed;
      CONTINUE WHEN NOT is_needed;
      BEGIN
        leaf := @extschema@.credit_create_partition(parent, lower_bound,
          (this_month AT TIME ZONE 'UTC' + (month + 1) * interval '1 month') AT TIME ZONE 'UTC');
        RETURN NEXT leaf;
      EXCEPTION
        -- A partition that somebody made, with other bounds, has a part of the month.
        WHEN invalid_object_definition THEN NULL;
        -- This month's first row came in between.
        WHEN check_violation THEN
          IF month > 0 THEN
            RAISE;
          END IF;
      END;
    END LOOP;
  END LOOP;
END
$$;
COMMENT ON FUNCTION credit_create_partitions(integer) IS
  'makes the partitions of credit_ledger_settled and credit_entry for this month (UTC), if the default partition has no row of it, and for so many to come (1 to 120), where there is none yet; returns those it made. To be called regularly. Locks the default partitions while it reads them, and gives up if it has to wait for a second (55P03)';

CREATE FUNCTION credit_grant_privileges(role regrole, level text)
  RETURNS void LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
  SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  app constant text[] := '{credit_authorize,credit_authorize_many,credit_commit,credit_commit_many,'
    'credit_revert,credit_revert_many,credit_extend,credit_balance}';
  reader constant text[] := '{credit_balance,credit_balance_at,credit_statement,credit_verify,credit_require_account,credit_require_argument,'
    'credit_verify_since,credit_commit_failure_rate,credit_judge_campaigns,credit_reconcile,credit_reconcile_campaigns,credit_campaign_status,'
    'credit_orphaned_authorizations,credit_reconciliation_health,credit_require_usage,credit_require_usage_columns,credit_require_usage_lookup}';
  granted regprocedure;
BEGIN
  PERFORM @extschema@.credit_require_argument('role', role IS NULL),
          @extschema@.credit_require_argument('level', level IS NULL);
  IF level NOT IN ('reader', 'app', 'operator') THEN
    RAISE invalid_parameter_value USING
      MESSAGE = format('unknown privilege level "%s"', level),
      HINT = 'The levels are reader, app and operator.';
  END IF;
  IF NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = role) THEN
    RAISE undefined_object USING MESSAGE = format('role "%s" does not exist', role);
  END IF;
  -- A GRANT by somebody who may not is only a warning.
  IF NOT pg_has_role((SELECT c.relowner FROM pg_class c WHERE c.oid = '@extschema@.credit_account'::regclass), 'USAGE') THEN
    RAISE insufficient_privilege USING MESSAGE = 'only the owner of the ledger can grant privileges on it';
  END IF;

  EXECUTE format('GRANT USAGE ON SCHEMA @extschema@ TO %s', role);
  FOR granted IN
    SELECT p.oid
    FROM pg_proc p
    JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
    JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
    WHERE e.extname = 'credit_ledger'
      AND p.prorettype <> 'trigger'::regtype
      AND CASE level
            WHEN 'reader' THEN p.proname = ANY (reader)
            WHEN 'app' THEN p.proname = ANY (app)
            ELSE true
          END
  LOOP
    EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %s', granted, role);
  END LOOP;
  IF level IN ('reader', 'operator') THEN
    EXECUTE format('GRANT SELECT ON @extschema@.credit_account, @extschema@.credit_ledger, @extschema@.credit_ledger_open, '
                   '@extschema@.credit_ledger_settled, @extschema@.credit_ledger_settled_default, @extschema@.credit_entry, '
                   '@extschema@.credit_entry_default, @extschema@.credit_idempotency, @extschema@.credit_alert, @extschema@.credit_stat, '
                   '@extschema@.credit_usage_source, @extschema@.credit_reconciliation_run, @extschema@.credit_finding, '
                   '@extschema@.credit_job, @extschema@.credit_account_overview, @extschema@.credit_totals TO %s', role);
  END IF;
END
$$;
COMMENT ON FUNCTION credit_grant_privileges(regrole, text) IS
  'reader: SELECT and the functions that only read; app: authorize, commit, revert, extend, balance; operator: every function, and SELECT';
