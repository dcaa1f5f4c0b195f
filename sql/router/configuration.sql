-- Which shards there are.

CREATE FUNCTION credit_router_internal.claims(i_shards integer[], i_partitions integer[])
  RETURNS TABLE (shards integer[], shard integer, of integer) LANGUAGE plproxy VOLATILE PARALLEL UNSAFE AS $$
  CLUSTER 'credit_router_ask';
  SPLIT i_shards, i_partitions;
  RUN ON i_partitions;
  SELECT i_shards AS shards, coalesce(max(c.shard), 0) AS shard, coalesce(max(c.of), 1) AS of
  FROM @extschema@.credit_shard c;
$$;
COMMENT ON FUNCTION credit_router_internal.claims(integer[], integer[]) IS
  'what each database says which shard it is, beside the numbers that it was given as';

CREATE FUNCTION credit_router_internal.options_of(connection text)
  RETURNS TABLE (key text, value text) LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
  SELECT m[1],
         CASE WHEN m[2] LIKE '''%' THEN regexp_replace(substr(m[2], 2, length(m[2]) - 2), '\\(.)', '\1', 'g')
              ELSE m[2] END
  FROM regexp_matches(connection, '(\w+)\s*=\s*(''(?:[^''\\]|\\.)*''|\S+)', 'g') m;
END;
COMMENT ON FUNCTION credit_router_internal.options_of(text) IS 'the key words of a connection string';

-- A server that is there already gets new options, so that what somebody else made of it stays: user mappings, say.
CREATE FUNCTION credit_router_internal.set_server(server text, wrapper text, options text)
  RETURNS void LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
  SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  old_options constant text := (
    SELECT string_agg(format('DROP %I', o.option_name), ', ')
    FROM pg_foreign_server s, pg_options_to_table(s.srvoptions) o WHERE s.srvname = server);
BEGIN
  IF NOT EXISTS (SELECT FROM pg_foreign_server s WHERE s.srvname = server) THEN
    EXECUTE format('CREATE SERVER %I FOREIGN DATA WRAPPER %I', server, wrapper)
            || coalesce(' OPTIONS (' || options || ')', '');
  ELSIF concat(old_options, options) <> '' THEN
    EXECUTE format('ALTER SERVER %I OPTIONS (%s)', server, concat_ws(', ', old_options, options));
  END IF;
END
$$;
COMMENT ON FUNCTION credit_router_internal.set_server(text, text, text) IS
  'makes a foreign server, or gives it these options instead of those it has';

-- The tables of a shard, as children of the router's: what reads them is passed on with its conditions.
CREATE FUNCTION credit_router_internal.attach_tables(shard integer, connection text)
  RETURNS void LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
  SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  server constant text := 'credit_router_' || shard;
  home constant text := '@extschema@';
  name text;
BEGIN
  PERFORM credit_router_internal.set_server(server, 'postgres_fdw',
    (SELECT string_agg(format('%I %L', o.key, o.value), ', ') FROM credit_router_internal.options_of(connection) o
     WHERE o.key <> 'user'));
  EXECUTE format('DROP USER MAPPING IF EXISTS FOR PUBLIC SERVER %I', server);
  EXECUTE format('CREATE USER MAPPING FOR PUBLIC SERVER %I OPTIONS (password_required ''false''%s)', server,
    (SELECT format(', user %L', o.value) FROM credit_router_internal.options_of(connection) o WHERE o.key = 'user'));
  FOR name IN
    SELECT c.relname::text
    FROM pg_class c JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
    JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
      AND e.extname = 'credit_ledger_router'
    WHERE c.relkind = 'r' AND c.relnamespace = e.extnamespace ORDER BY c.relname
  LOOP
    EXECUTE format('CREATE FOREIGN TABLE IF NOT EXISTS credit_router_internal.%I () INHERITS (@extschema@.%I) '
                   'SERVER %I OPTIONS (schema_name %L, table_name %L)', name || '_' || shard, name, server,
                   (parse_ident(home))[1], name);
  END LOOP;
END
$$;
COMMENT ON FUNCTION credit_router_internal.attach_tables(integer, text) IS 'makes the tables of a shard readable here';

CREATE FUNCTION credit_router_internal.detach_tables(server text)
  RETURNS void LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
  SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  child regclass;
BEGIN
  FOR child IN
    SELECT t.ftrelid::regclass
    FROM pg_foreign_table t
    JOIN pg_foreign_server s ON s.oid = t.ftserver AND s.srvname = server
    JOIN pg_class c ON c.oid = t.ftrelid AND c.relnamespace = 'credit_router_internal'::regnamespace
  LOOP
    EXECUTE format('DROP FOREIGN TABLE %s', child);
  END LOOP;
  EXECUTE format('DROP USER MAPPING IF EXISTS FOR PUBLIC SERVER %I', server);
  EXECUTE format('DROP SERVER %I', server);
END
$$;
COMMENT ON FUNCTION credit_router_internal.detach_tables(text) IS
  'removes the tables of a database that is no shard''s any more, unless somebody else uses its server';

-- The databases, each under the first number that it is given as.
CREATE VIEW credit_router_internal.database AS
SELECT min(p.shard) AS shard, p.connection FROM credit_router_internal.partition p GROUP BY p.connection;
COMMENT ON VIEW credit_router_internal.database IS 'the databases of the shards, each once';

CREATE FUNCTION @extschema@.credit_router_configure(partitions text[], timeout interval = '30 seconds')
  RETURNS void LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
  SET search_path = pg_catalog, pg_temp
  SET client_min_messages = warning
AS $$
DECLARE
  n constant integer := coalesce(cardinality(partitions), 0);
  seconds constant integer := ceil(extract(epoch FROM timeout))::integer;
  before constant text[] :=
    ARRAY(SELECT format('credit_router_%s %s', d.shard, d.connection) FROM credit_router_internal.database d);
  options text;
  wrong text;
BEGIN
  IF n = 0 OR (n & n - 1) <> 0 OR n > 65536 OR array_position(partitions, NULL) IS NOT NULL THEN
    RAISE invalid_parameter_value USING
      MESSAGE = '"partitions" must be connection strings, and as many as a power of two',
      DETAIL = format('There are %s.', n);
  ELSIF array_to_string(partitions, ' ') ~ '\mpassword\s*=' THEN
    RAISE invalid_parameter_value USING
      MESSAGE = 'a connection string must not have a password, which every user could read',
      HINT = 'Keep it in the file .pgpass of the server''s user.';
  ELSIF seconds IS NULL OR seconds < 1 THEN
    RAISE invalid_parameter_value USING MESSAGE = '"timeout" must be at least a second';
  END IF;
  DELETE FROM credit_router_internal.partition;
  INSERT INTO credit_router_internal.partition (shard, connection)
  SELECT p.ord - 1, p.connection FROM unnest(partitions) WITH ORDINALITY p (connection, ord);

  -- Text comes back in the style that the router's functions expect.
  -- A call that takes too long is ended by the shard itself. Where that does not answer, by PL/Proxy, which looks only
  -- when another shard has answered, or else by this server.
  SELECT format('query_timeout %L, ', seconds)
         || string_agg(format('%I %L', 'p' || p.shard, concat_ws(' ', p.connection,
              CASE WHEN p.connection !~ '\mtcp_user_timeout\M' THEN format('tcp_user_timeout=%s000', seconds) END,
              CASE WHEN p.connection !~ '\moptions\M'
                   THEN format('options=''-c statement_timeout=%ss -c datestyle=ISO -c intervalstyle=postgres''',
                               seconds) END)),
              ', ' ORDER BY p.shard) INTO options
  FROM credit_router_internal.partition p;
  EXECUTE format('ALTER DATABASE %I SET statement_timeout = %L', current_database(), seconds + 2 || 's');
  PERFORM credit_router_internal.set_server('credit_router', 'plproxy', options);
  PERFORM credit_router_internal.set_server('credit_router_ask', 'plproxy', options);
  CREATE USER MAPPING IF NOT EXISTS FOR PUBLIC SERVER credit_router;
  CREATE USER MAPPING IF NOT EXISTS FOR PUBLIC SERVER credit_router_ask;
  GRANT USAGE ON FOREIGN SERVER credit_router, credit_router_ask TO PUBLIC;

  -- A database that is given twice has the organisations of both numbers.
  SELECT string_agg(format('Given as shard %s, it says that it is %s of %s.',
                           array_to_string(c.shards, ' and '), c.shard, c.of), ' ' ORDER BY c.shards) INTO wrong
  FROM credit_router_internal.claims(credit_router_internal.numbers(n, 0), credit_router_internal.numbers(n, 0)) c
  WHERE cardinality(c.shards) * c.of <> n OR c.shard <> ANY (SELECT s % c.of FROM unnest(c.shards) s);
  IF wrong IS NOT NULL THEN
    RAISE object_not_in_prerequisite_state USING
      MESSAGE = format('the databases are not the shards 0 to %s of %s', n - 1, n),
      DETAIL = wrong,
      HINT = 'Call credit_shard_configure() in each of them before.';
  END IF;

  -- Tables that are attached already stay: with many shards all would take their time.
  PERFORM credit_router_internal.detach_tables(s.srvname)
  FROM pg_foreign_server s
  WHERE s.srvname ~ '^credit_router_[0-9]+$'
    AND NOT EXISTS (SELECT FROM credit_router_internal.database d WHERE s.srvname = 'credit_router_' || d.shard);
  PERFORM credit_router_internal.attach_tables(d.shard, d.connection)
  FROM credit_router_internal.database d
  WHERE NOT EXISTS (SELECT FROM pg_foreign_server s WHERE s.srvname = 'credit_router_' || d.shard)
     OR format('credit_router_%s %s', d.shard, d.connection) <> ALL (before);
END
$$;
COMMENT ON FUNCTION @extschema@.credit_router_configure(text[], interval) IS
  'says which databases the shards are, by connection strings in the order of their numbers, one twice if it has the '
  'organisations of two; and after which time a call that a shard does not answer fails';

CREATE FUNCTION @extschema@.credit_router_moved(org_id text, shard integer)
  RETURNS void LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
  SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM credit_router_internal.partition p WHERE p.shard = credit_router_moved.shard) THEN
    RAISE invalid_parameter_value USING MESSAGE = format('there is no shard %s', shard);
  END IF;
  DELETE FROM credit_router_internal.moved m WHERE m.org_id = credit_router_moved.org_id COLLATE "C";
  INSERT INTO credit_router_internal.moved (org_id, hash, shard)
  SELECT credit_router_moved.org_id, h.hash, credit_router_moved.shard
  FROM credit_router_internal.organisation_hash(credit_router_moved.org_id) h (hash)
  WHERE h.hash % (SELECT count(*) FROM credit_router_internal.partition) <> credit_router_moved.shard;
END
$$;
COMMENT ON FUNCTION @extschema@.credit_router_moved(text, integer) IS
  'sends calls for an organisation to the shard that it moved to; to be called on every router';

CREATE FUNCTION credit_router_internal.grant_on_shards(i_role text, i_level text)
  RETURNS SETOF text LANGUAGE plproxy VOLATILE PARALLEL UNSAFE AS $$
  CLUSTER 'credit_router';
  RUN ON ALL;
  SELECT @extschema@.credit_grant_privileges(i_role::regrole, i_level)::text;
$$;
COMMENT ON FUNCTION credit_router_internal.grant_on_shards(text, text) IS 'credit_grant_privileges on every shard';

CREATE FUNCTION @extschema@.credit_grant_privileges(role regrole, level text)
  RETURNS void LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
  SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  functions text[];
  statement text;
BEGIN
  -- The shards know which levels there are, and refuse what is none.
  PERFORM credit_router_internal.grant_on_shards(role::text, level);
  functions := credit_router_internal.functions_of(level);
  EXECUTE format('GRANT USAGE ON SCHEMA @extschema@, credit_router_internal TO %s', role);
  FOR statement IN
    SELECT format('GRANT EXECUTE ON FUNCTION %s TO %s', p.oid::regprocedure, role)
    FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
    JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
      AND e.extname = 'credit_ledger_router'
    WHERE CASE WHEN p.pronamespace = 'credit_router_internal'::regnamespace
               THEN p.proname NOT LIKE 'credit\_%'
                 AND p.proname NOT IN ('grant_on_shards', 'set_server', 'attach_tables', 'detach_tables', 'claims')
                 OR regexp_replace(p.proname, '_whole$', '') = ANY (functions)
               ELSE p.proname = ANY (functions) END
  UNION ALL
    SELECT format('GRANT SELECT ON TABLE %s TO %s', c.oid::regclass, role)
    FROM pg_class c JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
    JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
      AND e.extname = 'credit_ledger_router'
    WHERE level <> 'app' AND c.relkind = 'r' AND c.relnamespace = e.extnamespace
  LOOP
    EXECUTE statement;
  END LOOP;
END
$$;
COMMENT ON FUNCTION @extschema@.credit_grant_privileges(regrole, text) IS
  'gives a role of this name what a level needs, here and on every shard';

-- Nobody but the owner has any privilege until credit_grant_privileges() says so.
DO $$
DECLARE
  statement text;
BEGIN
  FOR statement IN
    SELECT format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', d.objid::regprocedure)
    FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'credit_ledger_router'
    WHERE d.classid = 'pg_proc'::regclass AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
  LOOP
    EXECUTE statement;
  END LOOP;
END
$$;
