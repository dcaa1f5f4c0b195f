-- Partitions by month of what grows with history: settled authorizations and entries. They are made with the rights of
-- their parents' owner, so that an operator may call these functions, and text made of instants is read as it is meant,
-- whatever the session's settings.

CREATE FUNCTION credit_ledger_internal.partition_name(parent regclass, lower_bound timestamptz)
  RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
  SELECT format('%I.%I', n.nspname, c.relname || to_char(lower_bound AT TIME ZONE 'UTC',
           CASE WHEN lower_bound = date_trunc('day', lower_bound, 'UTC') THEN '_YYYYMMDD'
             ELSE '_YYYYMMDD"t"HH24MISSUS' END))
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.oid = parent;
END;
COMMENT ON FUNCTION credit_ledger_internal.partition_name(regclass, timestamptz) IS
  'the name, with its schema, of the partition that begins at an instant: the parent''s and the day (UTC)';

CREATE FUNCTION @extschema@.credit_create_partition(parent regclass, lower_bound timestamptz, upper_bound timestamptz)
  RETURNS regclass LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp
  SET datestyle = 'ISO'
  SET timezone = 'UTC'
AS $$
DECLARE
  template regclass;
  leaf text;
BEGIN
  PERFORM credit_ledger_internal.require_argument('parent', parent IS NULL),
          credit_ledger_internal.require_argument('lower_bound', lower_bound IS NULL),
          credit_ledger_internal.require_argument('upper_bound', upper_bound IS NULL);
  template := CASE parent
                WHEN '@extschema@.credit_ledger_settled'::regclass
                  THEN '@extschema@.credit_ledger_settled_default'::regclass
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

  leaf := credit_ledger_internal.partition_name(parent, lower_bound);
  EXECUTE format('CREATE TABLE %s (LIKE %s INCLUDING ALL)', leaf, template);
  IF parent = '@extschema@.credit_entry'::regclass THEN
    EXECUTE format('CREATE TRIGGER credit_entry_no_truncate BEFORE TRUNCATE ON %s '
                   'FOR EACH STATEMENT EXECUTE FUNCTION credit_ledger_internal.entry_append_only()', leaf);
  END IF;
  EXECUTE format('ALTER TABLE %s ATTACH PARTITION %s FOR VALUES FROM (%L) TO (%L)', parent, leaf, lower_bound,
    upper_bound);
  PERFORM credit_ledger_internal.revoke_from_others('pg_class', leaf::regclass);
  RETURN leaf::regclass;
END
$$;
COMMENT ON FUNCTION @extschema@.credit_create_partition(regclass, timestamptz, timestamptz) IS
  'makes a partition of credit_ledger_settled or credit_entry for created_at from lower_bound (included) to '
  'upper_bound (excluded), with all indexes; the default partition must hold no row of that range. Locks the '
  'parent''s default partition';

-- The lock that a partition is attached under would have every call wait behind it, if a long query has the default
-- partition: then rather no partition this time.
CREATE FUNCTION @extschema@.credit_create_partitions(months integer = 3)
  RETURNS SETOF regclass LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp
  SET datestyle = 'ISO'
  SET timezone = 'UTC'
  SET lock_timeout = '1s'
AS $$
DECLARE
  parent regclass;
  leaf_of_rest regclass;
  month integer;
  lower_bound timestamptz;
  has_row boolean;
  leaf regclass;
BEGIN
  PERFORM credit_ledger_internal.require_argument('months', months IS NULL);
  IF months NOT BETWEEN 1 AND 120 THEN
    RAISE invalid_parameter_value USING MESSAGE = format('months must be between 1 and 120: %s', months);
  END IF;

  FOR parent, leaf_of_rest, month IN
    SELECT p.partrelid::regclass, p.partdefid::regclass, m
    FROM pg_partitioned_table p, generate_series(0, months) m
    WHERE p.partrelid IN ('@extschema@.credit_ledger_settled'::regclass, '@extschema@.credit_entry'::regclass)
    ORDER BY p.partrelid, m
  LOOP
    lower_bound := date_trunc('month', now()) + month * interval '1 month';
    CONTINUE WHEN EXISTS (
      SELECT FROM pg_inherits i
      WHERE i.inhparent = parent
        AND i.inhrelid = to_regclass(credit_ledger_internal.partition_name(parent, lower_bound)));
    IF month = 0 AND leaf_of_rest <> 0 THEN
      EXECUTE format('SELECT EXISTS (SELECT FROM %s d WHERE d.created_at >= %L)', leaf_of_rest, lower_bound)
        INTO has_row;
      CONTINUE WHEN has_row;
    END IF;
    BEGIN
      leaf := @extschema@.credit_create_partition(parent, lower_bound, lower_bound + interval '1 month');
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
END
$$;
COMMENT ON FUNCTION @extschema@.credit_create_partitions(integer) IS
  'makes the partitions of credit_ledger_settled and credit_entry for this month (UTC), if the default partition has '
  'no row of it, and for so many to come (1 to 120), where there is none yet; returns those it made. To be called '
  'regularly. Locks the default partitions while it reads them, and gives up if it has to wait for a second (55P03)';
