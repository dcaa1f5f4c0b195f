-- Where things stand. What callers use is made in the extension's schema, what they never type in a schema of its own.
--
-- Others may create objects in the extension's schema, and in every other schema but pg_catalog and ours. So nothing
-- here is found through them: while this script runs, names without a schema are those of pg_catalog, and everything of
-- our own is written with its schema.

SET LOCAL search_path = pg_catalog, pg_temp;

CREATE SCHEMA credit_ledger_internal;
COMMENT ON SCHEMA credit_ledger_internal IS
  'helpers of the functions of credit_ledger; they change without notice, and nobody but those functions calls them';

-- Functions in PL/pgSQL find tables by name when they run, and so by the name that the extension's schema had when it
-- was installed. ALTER SCHEMA ... RENAME is none of our business, and tells nobody; the worker looks, and
-- whoever has none calls follow_schema() himself.
CREATE FUNCTION credit_ledger_internal.schema_in_functions()
  RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$SELECT '@extschema@'::text$$;
COMMENT ON FUNCTION credit_ledger_internal.schema_in_functions() IS
  'tells what the extension''s schema is called in the texts of its functions, quoted if need be';

CREATE FUNCTION credit_ledger_internal.follow_schema()
  RETURNS boolean LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
  SET search_path = pg_catalog, pg_temp
  SET quote_all_identifiers = off
  SET check_function_bodies = off
  SET standard_conforming_strings = on
AS $$
DECLARE
  former constant text := credit_ledger_internal.schema_in_functions();
  present text;
  members text;
  definition text;
BEGIN
  SELECT quote_ident(n.nspname) INTO present
  FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
  WHERE e.extname = 'credit_ledger';
  IF present = former THEN
    RETURN false;
  END IF;
  LOCK TABLE credit_ledger_internal.used_here IN SHARE UPDATE EXCLUSIVE MODE;
  -- An alias or a variable may have the schema's former name.
  SELECT string_agg(DISTINCT coalesce(p.proname, t.typname, c.relname), '|') INTO members
  FROM pg_depend d
  JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'credit_ledger'
  LEFT JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
  LEFT JOIN pg_type t ON d.classid = 'pg_type'::regclass AND t.oid = d.objid
  LEFT JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
  WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e';
  FOR definition IN
    SELECT pg_get_functiondef(p.oid)
    FROM pg_depend d
    JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'credit_ledger'
    JOIN pg_proc p ON p.oid = d.objid
    JOIN pg_language l ON l.oid = p.prolang
    WHERE d.classid = 'pg_proc'::regclass AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
      AND l.lanname = 'plpgsql'
  LOOP
    EXECUTE regexp_replace(definition,
      format('(?<![\w."$])%s\.(?=(%s)\M)', regexp_replace(former, '(\W)', '\\\1', 'g'), members),
      replace(present, '\', '\\') || '.', 'g');
  END LOOP;
  EXECUTE format('CREATE OR REPLACE FUNCTION credit_ledger_internal.schema_in_functions() RETURNS text '
                 'LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $f$SELECT %L::text$f$', present);
  RETURN true;
END
$$;
COMMENT ON FUNCTION credit_ledger_internal.follow_schema() IS
  'writes the present name of the extension''s schema into its functions, if it was renamed; false: it was not. To be '
  'called by the owner';
