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
  'names the partition that begins at an instant, with its schema: the parent''s name and the day (UTC)';

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
    PERFORM credit_ledger_internal.tell_step(
      format('partition of %s from %s: reading %s for rows of it', parent, lower_bound, leaf_of_rest::regclass));
    BEGIN
      leaf := @extschema@.credit_create_partition(parent, lower_bound, lower_bound + interval '1 month');
      RETURN NEXT leaf;
    EXCEPTION
      -- A partition that somebody made, with other bounds, has a part of the month.
      WHEN invalid_object_definition THEN NULL;
      -- This month's first row came in between.
      WHEN check_violation THEN
        IF month > 0 THEN
          RAISE WARNING 'no partition of % from %: % has rows of it', parent, lower_bound, leaf_of_rest::regclass
            USING HINT = 'The clock was ahead when they were written. They may stay there.';
        END IF;
    END;
  END LOOP;
END
$$;
COMMENT ON FUNCTION @extschema@.credit_create_partitions(integer) IS
  'makes the partitions of credit_ledger_settled and credit_entry for this month (UTC) and for so many to come (1 to '
  '120), where there is none yet and the default partition has no row of it; returns those it made. To be called '
  'regularly. Locks the default partitions while it reads them, and gives up if it has to wait for a second (55P03)';

-- What the entries of a partition come to, for each account; nothing if they are no chain, which must not be put away.
CREATE FUNCTION credit_ledger_internal.carry_entries(leaf regclass)
  RETURNS boolean LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
  SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  leaf_name constant text := (SELECT c.relname::text FROM pg_class c WHERE c.oid = leaf);
  is_chain boolean;
BEGIN
  DELETE FROM @extschema@.credit_entry_carry c WHERE c.partition_name = leaf_name;
  EXECUTE format($query$
    WITH part AS MATERIALIZED (
      SELECT e.org_id, min(e.entry_no) AS first_no, max(e.entry_no) AS last_no, count(*) AS n, sum(e.amount) AS amount
      FROM %1$s e
      GROUP BY e.org_id
    ), carried AS (
      INSERT INTO %2$s
      SELECT $1, p.org_id, p.first_no, p.last_no, p.amount, l.balance_after, coalesce(f.effective_at, f.created_at),
             coalesce(l.effective_at, l.created_at)
      FROM part p
      JOIN %1$s f ON f.org_id = p.org_id AND f.entry_no = p.first_no
      JOIN %1$s l ON l.org_id = p.org_id AND l.entry_no = p.last_no
      WHERE p.n = p.last_no - p.first_no + 1 AND f.balance_after - f.amount::numeric + p.amount = l.balance_after
      RETURNING 1
    )
    SELECT (SELECT count(*) FROM part) = (SELECT count(*) FROM carried)
    $query$, leaf, '@extschema@.credit_entry_carry'::regclass) USING leaf_name INTO is_chain;
  RETURN is_chain;
END
$$;
COMMENT ON FUNCTION credit_ledger_internal.carry_entries(regclass) IS
  'keeps what the entries of a partition come to, for each account; false: they do not follow from each other; for '
  'credit_detach_partitions()';

-- Whatever takes long is done before anything is locked that a call needs. Of settled authorizations, it cannot be
-- undone meanwhile: no hold is made in the past, and what is final stays so.
CREATE FUNCTION @extschema@.credit_detach_partitions(older_than interval, parent regclass = NULL)
  RETURNS SETOF regclass LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp
  SET datestyle = 'ISO'
  SET timezone = 'UTC'
  SET row_security = off
  SET lock_timeout = '500ms'
AS $$
DECLARE
  made_before timestamptz;
  leaf record;
  leaves regclass[] := '{}'::regclass[];
  may_go boolean;
BEGIN
  PERFORM credit_ledger_internal.require_argument('older_than', older_than IS NULL);
  IF older_than < '0' THEN
    RAISE invalid_parameter_value USING MESSAGE = format('older_than must not be negative: %s', older_than);
  END IF;
  IF parent NOT IN ('@extschema@.credit_ledger_settled'::regclass, '@extschema@.credit_entry'::regclass) THEN
    RAISE invalid_parameter_value USING
      MESSAGE = format('table %s has no partitions by range of created_at', parent),
      HINT = 'The parents are credit_ledger_settled and credit_entry.';
  END IF;
  -- What an older snapshot does not show would be missing from what stands for the entries.
  IF current_setting('transaction_isolation') IN ('repeatable read', 'serializable') THEN
    RAISE invalid_transaction_state USING
      MESSAGE = 'partitions are put away in READ COMMITTED transactions alone',
      HINT = 'BEGIN ISOLATION LEVEL READ COMMITTED, or SET default_transaction_isolation.';
  END IF;
  made_before := now() - greatest(older_than, credit_ledger_internal.setting('true_up_window')::interval);

  -- In the order in which calls lock the parents.
  FOR leaf IN
    SELECT l.* FROM (
      SELECT i.inhparent::regclass AS parent, i.inhparent = '@extschema@.credit_entry'::regclass AS has_entries,
             c.oid::regclass AS relation, c.relname AS name, p.relname AS parent_name,
             (regexp_match(b.bound, 'FROM [(]''([^'']+)''[)]'))[1]::timestamptz AS lower_bound,
             (regexp_match(b.bound, 'TO [(]''([^'']+)''[)]'))[1]::timestamptz AS upper_bound
      FROM pg_inherits i
      JOIN pg_class c ON c.oid = i.inhrelid AND c.relkind = 'r'
      JOIN pg_class p ON p.oid = i.inhparent
      CROSS JOIN LATERAL pg_get_expr(c.relpartbound, c.oid) b (bound)
      WHERE i.inhparent IN ('@extschema@.credit_ledger_settled'::regclass, '@extschema@.credit_entry'::regclass)
        AND (credit_detach_partitions.parent IS NULL OR i.inhparent = credit_detach_partitions.parent)) l
    WHERE l.upper_bound <= made_before
    ORDER BY l.has_entries, l.upper_bound
  LOOP
    -- What was put away is known by its name.
    IF (SELECT count(*) > 1 FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid AND c.relname = leaf.name
        WHERE i.inhparent IN ('@extschema@.credit_ledger_settled'::regclass, '@extschema@.credit_entry'::regclass))
    THEN
      RAISE WARNING 'partition % is not put away: another partition has its name', leaf.relation
        USING HINT = 'ALTER TABLE ... RENAME one of them.';
      may_go := false;
    ELSIF EXISTS (SELECT FROM credit_ledger_internal.partition_away p
                  WHERE p.name = leaf.name AND (leaf.has_entries OR p.parent <> leaf.parent_name)) THEN
      RAISE WARNING 'partition % is not put away: another one was, under its name', leaf.relation
        USING HINT = 'ALTER TABLE ... RENAME it.';
      may_go := false;
    ELSIF leaf.has_entries THEN
      -- Old as they are, a transaction that is still open may have stamped some.
      EXECUTE format('LOCK TABLE %s IN SHARE MODE', leaf.relation);
      PERFORM credit_ledger_internal.tell_step(format('partition %s: adding up its entries', leaf.relation));
      may_go := credit_ledger_internal.carry_entries(leaf.relation);
      IF NOT may_go THEN
        RAISE WARNING 'partition % is not put away: its entries do not follow from each other', leaf.relation
          USING HINT = 'SELECT * FROM credit_verify() tells which.';
        DELETE FROM @extschema@.credit_entry_carry c WHERE c.partition_name = leaf.name;
      END IF;
    ELSE
      EXECUTE format('SELECT NOT EXISTS (SELECT FROM %s o WHERE o.created_at < $1) '
                     'AND NOT EXISTS (SELECT FROM %s s WHERE s.settled_at >= $2)',
                     '@extschema@.credit_ledger_open'::regclass, leaf.relation)
        USING leaf.upper_bound, made_before INTO may_go;
    END IF;
    CONTINUE WHEN NOT may_go;
    leaves := leaves || leaf.relation;
    INSERT INTO @extschema@.credit_detached_partition AS d
    VALUES (leaf.name, leaf.parent_name, leaf.lower_bound, leaf.upper_bound, clock_timestamp())
    ON CONFLICT (name) DO UPDATE SET parent = excluded.parent, lower_bound = excluded.lower_bound,
      upper_bound = excluded.upper_bound, detached_at = excluded.detached_at;
  END LOOP;

  -- A transaction that waits for one of them while it has the other waits for less than its deadlock_timeout.
  IF cardinality(leaves) > 0 THEN
    LOCK TABLE ONLY @extschema@.credit_ledger_settled, ONLY @extschema@.credit_entry IN ACCESS EXCLUSIVE MODE;
  END IF;
  FOR leaf IN
    SELECT l.relation, i.inhparent::regclass AS parent
    FROM unnest(leaves) WITH ORDINALITY l (relation, place) JOIN pg_inherits i ON i.inhrelid = l.relation
    ORDER BY l.place
  LOOP
    EXECUTE format('ALTER TABLE %s DETACH PARTITION %s', leaf.parent, leaf.relation);
    RETURN NEXT leaf.relation;
  END LOOP;
END
$$;
COMMENT ON FUNCTION @extschema@.credit_detach_partitions(interval, regclass) IS
  'takes partitions whose rows are all older than that out of credit_ledger_settled and credit_entry (or one of them), '
  'but none that a live hold belongs to or with what was settled since or can still be settled otherwise, and leaves '
  'them behind as tables of their own; returns those. Balances do not change. Repeated calls: an authorization that '
  'was put away is LC003 while its key is kept, and made again when it is not; a movement is answered without its '
  'balance_after. Commits, reverts, refunds and corrections of what was put away are LC003. credit_verify() goes on '
  'from what the entries put away came to for each account, and holds authorizations and lots that are older than '
  'them against no entries; reconciliation says detached. ALTER TABLE ... ATTACH PARTITION under the same name undoes '
  'it. Reads entries before it locks what calls need; locks the parents for a moment, and gives up if it has to wait '
  'for half a second (55P03), for a transaction that is older than the partition''s end, for example. READ COMMITTED '
  'transactions alone (25000)';
