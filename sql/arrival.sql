-- When the worker leaves a database alone: while its rows are still arriving from elsewhere, and where it would run
-- code of somebody who has less rights than it has.
--
-- A restore makes the extension first, then loads tables in any order and by several jobs, and adds primary keys of
-- partitions last; pg_restore -j empties a partition of its own making before it loads it. What was settled in between
-- would be lost. So nothing is settled before the ledger is known to be whole:
--
-- - Calls of the ledger leave a row in credit_ledger_internal.used_here, which is not dumped. A ledger that nobody
--   called and that has rows got them from elsewhere.
-- - A dump says in credit_ledger_internal.dumped how many rows each of the extension's tables had, and how many indexes
--   and triggers each partition: pg_dump counts them as it reads that table. Once all are there, and live holds add up
--   to what the accounts hold, the ledger is whole.
-- - A partition that is being restored has no primary key until its rows are loaded.

CREATE TABLE credit_ledger_internal.used_here (
  since timestamptz NOT NULL
);
COMMENT ON TABLE credit_ledger_internal.used_here IS
  'has a row once the ledger was called in this database, or its rows are known to be all there; never dumped';

CREATE TABLE credit_ledger_internal.dumped (
  table_name  text COLLATE "C" NOT NULL PRIMARY KEY,
  row_count   bigint NOT NULL,
  addon_count bigint NOT NULL
);
COMMENT ON TABLE credit_ledger_internal.dumped IS
  'how many rows each table, and how many indexes and triggers each partition had when this ledger was dumped; empty '
  'but for the time of a restore';

CREATE FUNCTION credit_ledger_internal.row_count(relation regclass)
  RETURNS bigint LANGUAGE plpgsql STABLE PARALLEL SAFE
  SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  rows bigint;
BEGIN
  EXECUTE format('SELECT count(*) FROM ONLY %s', relation) INTO rows;
  RETURN rows;
END
$$;
COMMENT ON FUNCTION credit_ledger_internal.row_count(regclass) IS
  'counts the rows of a table, with the rights of whoever asks; pg_dump does';

-- In place of its own rows, a dump of this table gets the counts. The extension's schema may have been renamed, and
-- this text does not follow it. Live holds come and go; whether they are all there the accounts tell.
SELECT pg_extension_config_dump('credit_ledger_internal.dumped', $$
  WHERE false
  UNION ALL
  SELECT c.relname, credit_ledger_internal.row_count(c.oid), 0
  FROM pg_extension e JOIN pg_class c ON c.oid = ANY (e.extconfig)
  WHERE e.extname = 'credit_ledger' AND c.relkind = 'r' AND c.relname <> ALL ('{dumped,credit_ledger_open}')
  UNION ALL
  SELECT c.relname, 0, (SELECT count(*) FROM pg_index i WHERE i.indrelid = c.oid)
                       + (SELECT count(*) FROM pg_trigger t WHERE t.tgrelid = c.oid)
  FROM pg_extension e JOIN pg_class c ON c.oid <> ALL (e.extconfig)
  WHERE e.extname = 'credit_ledger' AND c.relkind = 'r' AND c.relispartition
    AND pg_partition_root(c.oid) IN (SELECT pg_partition_root(config) FROM unnest(e.extconfig) config)
$$);

CREATE FUNCTION credit_ledger_internal.ledger_tables()
  RETURNS TABLE (relid oid, owner oid, is_leaf boolean) LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
  WITH RECURSIVE ledger_table AS (
    SELECT d.objid AS relid, false AS is_leaf
    FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'credit_ledger'
    WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
  UNION
    SELECT i.inhrelid, true FROM ledger_table t JOIN pg_inherits i ON i.inhparent = t.relid
  )
  SELECT c.oid, c.relowner, bool_or(t.is_leaf) AND c.relkind = 'r'
  FROM ledger_table t JOIN pg_class c ON c.oid = t.relid
  WHERE c.relkind IN ('r', 'p', 'f')
  GROUP BY c.oid, c.relowner, c.relkind;
END;
COMMENT ON FUNCTION credit_ledger_internal.ledger_tables() IS
  'lists the tables of the extension and all partitions of them; leaves are those that hold rows';

CREATE FUNCTION credit_ledger_internal.subscription()
  RETURNS TABLE (name text, is_ready boolean) LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
  SELECT s.subname, bool_and(r.srsubstate = 'r')
  FROM pg_subscription_rel r
  JOIN pg_subscription s ON s.oid = r.srsubid
  WHERE r.srrelid IN (SELECT t.relid FROM credit_ledger_internal.ledger_tables() t)
  GROUP BY s.subname
  ORDER BY s.subname
  LIMIT 1;
END;
COMMENT ON FUNCTION credit_ledger_internal.subscription() IS
  'finds a subscription that writes the ledger''s tables, and whether it has copied them; no row: there is none';

-- The worker acts as the owner of the tables, and calls functions that act as their own owners. Whoever has the rights
-- of all of them anyway, as their or a superuser's member, may bring along what he likes.
CREATE FUNCTION credit_ledger_internal.foreign_code(relation regclass)
  RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
  SET jit = off -- for the server the recursion may go on and on
BEGIN ATOMIC
  WITH RECURSIVE ledger AS MATERIALIZED (
    SELECT t.relid FROM credit_ledger_internal.ledger_tables() t WHERE relation IS NULL
  UNION ALL
    SELECT relation::oid WHERE relation IS NOT NULL
  ), on_ledger AS (
    SELECT 'pg_trigger'::regclass::oid AS classid, g.oid AS objid FROM pg_trigger g JOIN ledger l ON l.relid = g.tgrelid
  UNION ALL
    SELECT 'pg_constraint'::regclass::oid, k.oid FROM pg_constraint k JOIN ledger l ON l.relid = k.conrelid
  UNION ALL
    SELECT 'pg_attrdef'::regclass::oid, a.oid FROM pg_attrdef a JOIN ledger l ON l.relid = a.adrelid
  UNION ALL
    SELECT 'pg_class'::regclass::oid, i.indexrelid FROM pg_index i JOIN ledger l ON l.relid = i.indrelid
  UNION ALL
    SELECT 'pg_rewrite'::regclass::oid, r.oid FROM pg_rewrite r JOIN ledger l ON l.relid = r.ev_class
  ), type (typid) AS (
    -- Of columns, and of what expressions convert to; then what these are made of: domains, elements, attributes.
    SELECT a.atttypid FROM pg_attribute a JOIN ledger l ON l.relid = a.attrelid
    WHERE a.attnum > 0 AND NOT a.attisdropped
  UNION
    SELECT d.refobjid FROM on_ledger o
    JOIN pg_depend d ON d.classid = o.classid AND d.objid = o.objid AND d.refclassid = 'pg_type'::regclass
  UNION
    SELECT p.typid
    FROM type t
    CROSS JOIN LATERAL (
      SELECT d.refobjid FROM pg_depend d
      WHERE d.classid = 'pg_type'::regclass AND d.objid = t.typid AND d.refclassid = 'pg_type'::regclass
      UNION ALL
      SELECT a.atttypid FROM pg_type c JOIN pg_attribute a ON a.attrelid = c.typrelid
      WHERE c.oid = t.typid AND a.attnum > 0 AND NOT a.attisdropped) p (typid)
  ), code AS (
    SELECT o.classid, o.objid FROM on_ledger o
  UNION ALL
    SELECT 'pg_constraint'::regclass::oid, k.oid FROM pg_constraint k JOIN type t ON t.typid = k.contypid
  ), called AS (
    SELECT c.classid, c.objid, coalesce(o.oprcode, d.refobjid) AS function
    FROM code c
    JOIN pg_depend d ON d.classid = c.classid AND d.objid = c.objid
                    AND d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass)
    LEFT JOIN pg_operator o ON d.refclassid = 'pg_operator'::regclass AND o.oid = d.refobjid
  )
  SELECT coalesce(min(format('%s calls %s, which belongs to %s', pg_describe_object(c.classid, c.objid, 0),
                             p.oid::regprocedure, p.proowner::regrole)), '')
  FROM called c
  JOIN pg_proc p ON p.oid = c.function
  WHERE EXISTS (
    SELECT FROM (SELECT a.relowner FROM pg_class a WHERE a.oid = '@extschema@.credit_account'::regclass
                 UNION ALL
                 SELECT m.proowner
                 FROM pg_proc m
                 JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = m.oid AND d.deptype = 'e'
                 JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'credit_ledger'
                 WHERE d.refclassid = 'pg_extension'::regclass AND m.prosecdef) w (role)
    WHERE NOT pg_has_role(p.proowner, w.role, 'MEMBER'))
    AND NOT EXISTS (SELECT FROM pg_roles s WHERE s.rolsuper AND pg_has_role(p.proowner, s.oid, 'MEMBER'));
END;
COMMENT ON FUNCTION credit_ledger_internal.foreign_code(regclass) IS
  'finds something on one of the ledger''s tables, or with NULL on any, that calls a function of a role with less '
  'rights than those as whom the worker acts; empty: there is none';

-- Once they are locked nobody adds anything to them; may_settle() looked before.
CREATE FUNCTION credit_ledger_internal.lock_own(VARIADIC relations regclass[])
  RETURNS void LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
  SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  relation regclass;
  found_code text;
BEGIN
  FOREACH relation IN ARRAY relations LOOP
    EXECUTE format('LOCK TABLE ONLY %s IN ROW EXCLUSIVE MODE', relation);
    found_code := credit_ledger_internal.foreign_code(relation);
    IF found_code <> '' THEN
      RAISE insufficient_privilege USING MESSAGE = found_code;
    END IF;
  END LOOP;
END
$$;
COMMENT ON FUNCTION credit_ledger_internal.lock_own(regclass[]) IS
  'raises 42501 if something on one of these tables, which are to be written, calls a function of a role with less '
  'rights';

CREATE FUNCTION credit_ledger_internal.look_at_rows(OUT missing text, OUT from_dump boolean)
  LANGUAGE plpgsql STABLE PARALLEL SAFE
  SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  leaf text;
  dumped record;
  restored bigint;
  held numeric;
BEGIN
  SELECT t.relid::regclass::text INTO leaf
  FROM credit_ledger_internal.ledger_tables() t
  WHERE t.is_leaf
    AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = t.relid AND i.indisunique AND i.indisvalid)
  ORDER BY 1 LIMIT 1;
  IF FOUND THEN
    missing := format('partition %s has no primary key yet, as if it was being restored', leaf);
    RETURN;
  END IF;

  -- The small ones first: it is they that a restore with several jobs loads last.
  FOR dumped IN
    SELECT d.table_name, d.row_count, d.addon_count, t.relid
    FROM credit_ledger_internal.dumped d
    LEFT JOIN (pg_class c JOIN credit_ledger_internal.ledger_tables() t ON t.relid = c.oid)
      ON c.relname = d.table_name
    ORDER BY d.addon_count DESC, d.row_count, d.table_name
  LOOP
    IF dumped.addon_count > (SELECT count(*) FROM pg_index i WHERE i.indrelid = dumped.relid)
                            + (SELECT count(*) FROM pg_trigger g WHERE g.tgrelid = dumped.relid) THEN
      missing := format('it is being restored: partition %s has not all its indexes and triggers yet',
                        dumped.table_name);
      RETURN;
    ELSIF dumped.row_count > 0 THEN
      restored := credit_ledger_internal.row_count(dumped.relid);
      IF restored < dumped.row_count THEN
        missing := format('it is being restored: of %s there are %s rows of %s',
                          dumped.table_name, restored, dumped.row_count);
        RETURN;
      END IF;
    END IF;
  END LOOP;
  from_dump := FOUND;
  IF from_dump THEN
    held := (SELECT coalesce(sum(a.held), 0) FROM @extschema@.credit_account a)
            - (SELECT coalesce(sum(o.amount), 0) FROM @extschema@.credit_ledger_open o);
    IF held <> 0 THEN
      missing := format('it is being restored: of live holds, %s credits are missing', held);
    END IF;
  ELSIF NOT EXISTS (SELECT FROM credit_ledger_internal.used_here)
        AND EXISTS (SELECT FROM @extschema@.credit_ledger_open) THEN
    missing := 'its rows came from elsewhere, and nobody has called the ledger here yet';
  END IF;
END
$$;
COMMENT ON FUNCTION credit_ledger_internal.look_at_rows() IS
  'tells what is missing that a restore will bring, NULL if nothing; and whether a dump has said what there must be. '
  'All under one snapshot';

CREATE FUNCTION credit_ledger_internal.declare_whole()
  RETURNS void LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  DELETE FROM credit_ledger_internal.dumped;
  INSERT INTO credit_ledger_internal.used_here
    SELECT now() WHERE NOT EXISTS (SELECT FROM credit_ledger_internal.used_here);
END
$$;
COMMENT ON FUNCTION credit_ledger_internal.declare_whole() IS
  'notes that the ledger''s rows are all there, and that it is used in this database from now on';

CREATE FUNCTION credit_ledger_internal.may_settle(OUT allowed boolean, OUT left_alone_because text)
  LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  -- First: rows that arrive between one statement and the next must not be taken for rows that were looked at.
  used constant boolean := EXISTS (SELECT FROM credit_ledger_internal.used_here);
  subscription record;
  look record;
BEGIN
  SELECT * INTO subscription FROM credit_ledger_internal.subscription();
  IF FOUND THEN
    left_alone_because := format('subscription %I writes its tables', subscription.name);
    IF subscription.is_ready AND NOT used THEN
      PERFORM credit_ledger_internal.declare_whole();
    END IF;
    allowed := false;
    RETURN;
  END IF;

  SELECT * INTO look FROM credit_ledger_internal.look_at_rows();
  left_alone_because := coalesce(nullif(credit_ledger_internal.foreign_code(NULL), ''), look.missing);
  -- Where nobody called there is nothing to settle, and nothing to count or judge either.
  allowed := left_alone_because IS NULL AND (used OR look.from_dump);
  IF allowed AND look.from_dump THEN
    PERFORM credit_ledger_internal.declare_whole();
  END IF;
END
$$;
COMMENT ON FUNCTION credit_ledger_internal.may_settle() IS
  'tells whether the worker may settle holds and write anything in this database, and if not, why; notices that a '
  'restore is complete';
