-- Usage sources: what was really used is the application's to say. A source is a table or view with the columns org_id
-- text, campaign_id text, used_at timestamptz and quantity bigint; several add up. It is kept by name, so a view may be
-- dropped and created again, and a dump can be restored in any order.
--
-- campaign_id names what was authorized: the authorization's campaign_id, or its idempotency_key where it has none.

CREATE TABLE @extschema@.credit_usage_source (
  name            text COLLATE "C" NOT NULL,
  relation_schema text COLLATE "C" NOT NULL,
  relation_name   text COLLATE "C" NOT NULL,
  registered_at   timestamptz NOT NULL,
  PRIMARY KEY (name),
  CONSTRAINT credit_usage_source_name_check CHECK (octet_length(name) BETWEEN 1 AND 256)
);
COMMENT ON TABLE @extschema@.credit_usage_source IS 'the tables and views of applications that say what was really used';
SELECT pg_extension_config_dump('@extschema@.credit_usage_source', '');

CREATE FUNCTION @extschema@.credit_require_usage_columns(source text, relation regclass)
  RETURNS void LANGUAGE plpgsql STABLE PARALLEL SAFE
  SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  missing text;
BEGIN
  SELECT string_agg(format('%s %s', wanted.name, wanted.type), ', ' ORDER BY wanted.position)
  INTO missing
  FROM (VALUES (1, 'org_id', 'text'::regtype), (2, 'campaign_id', 'text'),
               (3, 'used_at', 'timestamptz'), (4, 'quantity', 'bigint')) AS wanted (position, name, type)
  LEFT JOIN pg_attribute a ON a.attrelid = relation AND a.attname = wanted.name AND a.attnum > 0 AND NOT a.attisdropped
  WHERE a.atttypid IS DISTINCT FROM wanted.type;
  IF missing IS NOT NULL THEN
    RAISE invalid_table_definition USING
      MESSAGE = format('relation "%s" cannot be usage source "%s"', relation, source),
      DETAIL = format('Missing, or of another type: %s.', missing),
      HINT = 'Make a view that has these columns, with casts where they are needed.';
  END IF;
END
$$;
COMMENT ON FUNCTION @extschema@.credit_require_usage_columns(text, regclass) IS
  'raises 42P16 unless a relation has the columns of a usage source';

-- The writers of the tables of reconciliation are SECURITY DEFINER, since nobody but the owner may write a table. They
-- execute nothing that a caller or a usage source brings along.
CREATE FUNCTION @extschema@.credit_usage_source_register(name text, relation regclass)
  RETURNS void LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM credit_ledger_internal.require_argument('name', name IS NULL),
          credit_ledger_internal.require_argument('relation', relation IS NULL);
  IF octet_length(name) NOT BETWEEN 1 AND 256 THEN
    RAISE invalid_parameter_value USING MESSAGE = 'argument "name" must be 1 to 256 bytes long';
  END IF;
  PERFORM @extschema@.credit_require_usage_columns(name, relation);
  INSERT INTO @extschema@.credit_usage_source AS s
  SELECT credit_usage_source_register.name, n.nspname, c.relname, clock_timestamp()
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.oid = relation
  ON CONFLICT ON CONSTRAINT credit_usage_source_pkey DO UPDATE
  SET relation_schema = excluded.relation_schema, relation_name = excluded.relation_name;
END
$$;
COMMENT ON FUNCTION @extschema@.credit_usage_source_register(text, regclass) IS
  'has reconciliation count what a table or view says was used: org_id text, campaign_id text, used_at timestamptz, quantity bigint; a name that is registered is given the new relation';

CREATE FUNCTION @extschema@.credit_usage_source_unregister(name text)
  RETURNS boolean LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM credit_ledger_internal.require_argument('name', name IS NULL);
  DELETE FROM @extschema@.credit_usage_source s WHERE s.name = credit_usage_source_unregister.name;
  RETURN FOUND;
END
$$;
COMMENT ON FUNCTION @extschema@.credit_usage_source_unregister(text) IS
  'has reconciliation count a usage source no longer; false: there was none of that name';

-- Whether the planner would look a campaign up for less than a thousandth of what it costs to read everything. EXPLAIN
-- is not allowed in a STABLE function, so this one is VOLATILE.
CREATE FUNCTION @extschema@.credit_require_usage_lookup(relation regclass)
  RETURNS boolean LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
  SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  lookup json;
  everything json;
BEGIN
  EXECUTE format('EXPLAIN (FORMAT JSON) SELECT u.quantity FROM %s u WHERE u.org_id = ''org'' AND u.campaign_id = ''campaign''', relation)
  INTO lookup;
  EXECUTE format('EXPLAIN (FORMAT JSON) SELECT u.quantity FROM %s u', relation) INTO everything;
  RETURN 1000 * (lookup #>> '{0,Plan,Total Cost}')::double precision < (everything #>> '{0,Plan,Total Cost}')::double precision;
END
$$;
COMMENT ON FUNCTION @extschema@.credit_require_usage_lookup(regclass) IS
  'whether a usage source is better asked for campaign after campaign than read whole';

CREATE FUNCTION @extschema@.credit_require_usage(template text)
  RETURNS text LANGUAGE plpgsql STABLE PARALLEL UNSAFE
  SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  source @extschema@.credit_usage_source;
  relation regclass;
  branches text[];
BEGIN
  FOR source IN SELECT s.* FROM @extschema@.credit_usage_source s ORDER BY s.name LOOP
    relation := to_regclass(format('%I.%I', source.relation_schema, source.relation_name));
    IF relation IS NULL THEN
      RAISE undefined_table USING
        MESSAGE = format('usage source "%s" has vanished', source.name),
        DETAIL = format('There is no relation %I.%I.', source.relation_schema, source.relation_name),
        HINT = 'Register another relation with credit_usage_source_register(), or let it go with credit_usage_source_unregister().';
    END IF;
    PERFORM @extschema@.credit_require_usage_columns(source.name, relation);
    branches := branches || (
      SELECT format(template, source.name, source.relation_schema, source.relation_name,
                    max(format('%I.%I', n.nspname, c.collname)) FILTER (WHERE a.attname = 'org_id'),
                    max(format('%I.%I', n.nspname, c.collname)) FILTER (WHERE a.attname = 'campaign_id'),
                    CASE WHEN strpos(template, '%6$s') > 0 AND @extschema@.credit_require_usage_lookup(relation) THEN 'OFFSET 0' END)
      FROM pg_attribute a
      JOIN pg_collation c ON c.oid = a.attcollation
      JOIN pg_namespace n ON n.oid = c.collnamespace
      WHERE a.attrelid = relation AND a.attname IN ('org_id', 'campaign_id'));
  END LOOP;
  IF branches IS NULL THEN
    RAISE object_not_in_prerequisite_state USING
      MESSAGE = 'no usage source is registered',
      HINT = 'Say where actual usage is found, with credit_usage_source_register().';
  END IF;
  RETURN array_to_string(branches, ' UNION ALL ');
END
$$;
COMMENT ON FUNCTION @extschema@.credit_require_usage(text) IS
  'a query over all usage sources: template once for each, joined by UNION ALL, with %1$L its name, %2$I.%3$I its relation, %4$s and %5$s the collations of org_id and campaign_id, %6$s OFFSET 0 where single campaigns are quickly looked up; raises 42P01, 42P16, or 55000 if there is none';
