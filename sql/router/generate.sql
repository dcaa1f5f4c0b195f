-- Prints sql/router/ledger.sql: the types, tables and functions of credit_ledger as a router has them, made from the
-- catalog of a database with the ledger, by sql/router/generate.
--
-- Where a function goes is told by its first argument: org_id, authorization_id, arrays of these (many.sql), or
-- neither: to all shards. PL/Proxy sends instants and intervals as text, in a style that says the same everywhere.
\set ON_ERROR_STOP on
BEGIN;
SET LOCAL client_min_messages = warning;
SET LOCAL search_path = pg_catalog;
SET LOCAL quote_all_identifiers = off;
CREATE ROLE credit_generate_reader;
CREATE ROLE credit_generate_app;
CREATE ROLE credit_generate_operator;
SELECT extnamespace::regnamespace AS home FROM pg_extension WHERE extname = 'credit_ledger' \gset
SELECT count(:home.credit_grant_privileges(('credit_generate_' || level)::regrole, level)) AS ignored
FROM string_to_table('reader app operator', ' ') AS level \gset

CREATE FUNCTION pg_temp.of_router(definition text) RETURNS text LANGUAGE sql
  RETURN regexp_replace(definition, '(?<![\w.])public\.', '@extschema@.', 'g');

CREATE TEMP VIEW member AS
SELECT d.classid, d.objid
FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'credit_ledger'
WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e';

CREATE TEMP VIEW public_type AS
SELECT t.*
FROM pg_type t JOIN member m ON m.classid = 'pg_type'::regclass AND m.objid = t.oid
WHERE t.typelem = 0 AND t.typnamespace = (SELECT extnamespace FROM pg_extension WHERE extname = 'credit_ledger');

-- Tables, views and composite types.
CREATE TEMP VIEW relation AS
SELECT c.*
FROM pg_class c
WHERE NOT c.relispartition AND c.relname NOT IN ('credit_shard', 'credit_account_moved')
  AND c.relnamespace = (SELECT extnamespace FROM pg_extension WHERE extname = 'credit_ledger')
  AND (c.relkind IN ('r', 'p', 'v')
       AND EXISTS (SELECT FROM member m WHERE m.classid = 'pg_class'::regclass AND m.objid = c.oid)
       OR c.relkind = 'c' AND EXISTS (SELECT FROM public_type t WHERE t.typrelid = c.oid));

CREATE TEMP VIEW columns AS
SELECT a.attrelid AS relid,
       string_agg(format(E'  %I %s%s', a.attname, pg_temp.of_router(format_type(a.atttypid, a.atttypmod)),
                         CASE WHEN a.attcollation = 'pg_catalog."C"'::regcollation THEN ' COLLATE "C"' ELSE '' END),
                  E',\n' ORDER BY a.attnum) AS list
FROM pg_attribute a
WHERE a.attnum > 0 AND NOT a.attisdropped
GROUP BY a.attrelid;

-- What a function returns, column by column; NULL for a scalar.
CREATE TEMP VIEW function AS
SELECT p.oid, p.proname, p.prorettype, p.proretset, p.provolatile, p.proargnames[1] AS route,
       (SELECT string_agg(format('%I %s', p.proargnames[n], pg_temp.of_router(format_type(p.proargtypes[n - 1], NULL)))
                          || coalesce(' = ' || pg_temp.of_router(pg_get_function_arg_default(p.oid, n)), ''),
                          E',\n    ' ORDER BY n)
        FROM generate_series(1, p.pronargs) AS n) AS arguments,
       (SELECT string_agg(pg_temp.of_router(format_type(p.proargtypes[n - 1], NULL)), ', ' ORDER BY n)
        FROM generate_series(1, p.pronargs) AS n) AS argument_types,
       (SELECT coalesce(string_agg(quote_ident(p.proargnames[n]), ', ' ORDER BY n), '')
        FROM generate_series(1, p.pronargs) AS n) AS names,
       coalesce((SELECT c.list FROM columns c WHERE c.relid = t.typrelid AND t.typrelid <> 0),
                (SELECT string_agg(format(E'  %I %s', a.name, pg_temp.of_router(format_type(a.type, NULL))),
                                   E',\n' ORDER BY a.n)
                 FROM unnest(p.proargnames, p.proallargtypes, p.proargmodes) WITH ORDINALITY AS a (name, type, mode, n)
                 WHERE a.mode IN ('o', 't'))) AS result_columns,
       pg_temp.of_router(pg_get_function_result(p.oid)) AS result,
       obj_description(p.oid, 'pg_proc') AS comment,
       EXISTS (SELECT FROM unnest(p.proargtypes::oid[] || p.prorettype) AS t
               WHERE t = 'regclass'::regtype) AS names_tables,
       (SELECT string_agg(level, ',' ORDER BY level) FROM string_to_table('reader app operator', ' ') AS level
        WHERE has_function_privilege('credit_generate_' || level, p.oid, 'EXECUTE')) AS levels
FROM pg_proc p
JOIN member m ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid
JOIN pg_type t ON t.oid = p.prorettype
WHERE p.pronamespace = (SELECT extnamespace FROM pg_extension WHERE extname = 'credit_ledger')
  AND p.proname NOT LIKE 'credit\_shard\_%' AND p.proname NOT LIKE 'credit\_account\_%port'
  AND p.proname <> 'credit_grant_privileges';

CREATE TEMP VIEW routed AS
SELECT f.*,
       CASE WHEN f.names_tables THEN 'none'
            WHEN f.route IN ('org_ids', 'authorization_ids') THEN 'split'
            WHEN f.route = 'org_id' AND f.arguments !~ '^org_id text =' THEN 'organisation'
            WHEN f.route = 'authorization_id' AND f.arguments ~ '^authorization_id text' THEN 'authorization'
            WHEN f.route = 'finding_id' THEN 'finding'
            ELSE 'all'
       END AS way,
       CASE WHEN ', ' || f.names || ',' LIKE '%, org_id,%' THEN 'partitions_of(org_id)' ELSE 'partitions()'
       END AS partitions,
       format(E'COMMENT ON FUNCTION @extschema@.%I(%s) IS\n  %L;\n', f.proname, coalesce(f.argument_types, ''),
              f.comment) AS comment_on,
       format('VOLATILE PARALLEL UNSAFE') AS marks
FROM function f;

\echo '-- Made by sql/router/generate.sql from the catalog of the ledger. Not to be edited.'
\echo
SELECT format(E'CREATE TYPE @extschema@.%I AS ENUM (%s);\nCOMMENT ON TYPE @extschema@.%1$I IS %3$L;\n', t.typname,
              (SELECT string_agg(quote_literal(e.enumlabel), ', ' ORDER BY e.enumsortorder)
               FROM pg_enum e WHERE e.enumtypid = t.oid),
              obj_description(t.oid, 'pg_type'))
FROM public_type t WHERE t.typtype = 'e' ORDER BY t.typname COLLATE "C";

SELECT format(E'CREATE TYPE @extschema@.%I AS (\n%s\n);\nCOMMENT ON TYPE @extschema@.%1$I IS %3$L;\n',
              r.relname, c.list, obj_description(r.reltype, 'pg_type'))
FROM relation r JOIN columns c ON c.relid = r.oid WHERE r.relkind = 'c' ORDER BY r.relname COLLATE "C";

\echo '-- Tables and views: foreign tables of the shards inherit from these, which have no rows of their own.'
\echo
SELECT format(E'CREATE TABLE @extschema@.%I (\n%s\n);\nCOMMENT ON TABLE @extschema@.%1$I IS %3$L;\n',
              r.relname, c.list, obj_description(r.oid, 'pg_class'))
FROM relation r JOIN columns c ON c.relid = r.oid WHERE r.relkind <> 'c' ORDER BY r.relname COLLATE "C";

\echo '-- What goes to one shard.'
\echo
SELECT format(E'CREATE FUNCTION @extschema@.%I(%s)\n  RETURNS %s LANGUAGE plproxy %s\n'
              '  SET DateStyle = ''ISO''\n  SET IntervalStyle = ''postgres''\nAS $$\n'
              '  CLUSTER ''credit_router'';\n  RUN ON credit_router_internal.%s(%s);\n$$;\n%s',
              f.proname, f.arguments, f.result, f.marks,
              CASE f.way WHEN 'organisation' THEN 'partition_of' ELSE 'partition_of_' || f.way END, f.route,
              f.comment_on)
FROM routed f WHERE f.way IN ('organisation', 'authorization', 'finding') ORDER BY f.way DESC, f.proname COLLATE "C";

\echo '-- What all shards are asked, or an organisation''s if it is given: rows name the shard, numbers are added up.'
\echo
SELECT CASE
  WHEN f.prorettype = 'void'::regtype
       OR f.result_columns IS NULL AND f.prorettype IN ('int4'::regtype, 'int8'::regtype, 'bool'::regtype) THEN
    format(E'CREATE FUNCTION credit_router_internal.%I(%s)\n  RETURNS SETOF %s LANGUAGE plproxy %s\n'
           '  SET DateStyle = ''ISO''\n  SET IntervalStyle = ''postgres''\nAS $$\n'
           '  CLUSTER ''credit_router'';\n  RUN ON credit_router_internal.%s;\n'
           '  SELECT * FROM @extschema@.%1$I(%9$s);\n$$;\n\n'
           'CREATE FUNCTION @extschema@.%1$I(%2$s)\n  RETURNS %3$s LANGUAGE sql %4$s\nBEGIN ATOMIC\n'
           '  SELECT %6$s FROM credit_router_internal.%1$I(%7$s) AS r (n);\nEND;\n%8$s',
           f.proname, f.arguments, f.result, f.marks, f.partitions,
           CASE f.prorettype WHEN 'void'::regtype THEN 'NULL::void' WHEN 'bool'::regtype THEN 'bool_or(r.n)'
                ELSE format('sum(r.n)::%s', f.result) END,
           (SELECT coalesce(string_agg(format('%I.%I', f.proname, name), ', ' ORDER BY n), '')
            FROM string_to_table(nullif(f.names, ''), ', ') WITH ORDINALITY AS a (name, n)), f.comment_on, f.names)
  ELSE
    format(E'CREATE TYPE credit_router_internal.%I AS (\n%s,\n  shard integer\n);\n\n'
           'CREATE FUNCTION @extschema@.%1$I(%3$s)\n  RETURNS SETOF credit_router_internal.%1$I LANGUAGE plproxy %4$s\n'
           '  SET DateStyle = ''ISO''\n  SET IntervalStyle = ''postgres''\nAS $$\n'
           '  CLUSTER ''credit_router'';\n  RUN ON credit_router_internal.%5$s;\n'
           '  SELECT r.*, @extschema@.credit_shard_number() AS shard FROM @extschema@.%1$I(%6$s) r;\n$$;\n%7$s',
           f.proname, f.result_columns, f.arguments, f.marks, f.partitions, f.names, f.comment_on)
  END
FROM routed f WHERE f.way = 'all' ORDER BY f.proname COLLATE "C";

\echo '-- What is about tables of one database.'
\echo
SELECT format(E'CREATE FUNCTION @extschema@.%I(%s)\n  RETURNS %s LANGUAGE plpgsql %s\n'
              '  SET search_path = pg_catalog, pg_temp\nAS $$\nBEGIN\n'
              '  PERFORM credit_router_internal.refuse(%L);\nEND\n$$;\n%s',
              f.proname, f.arguments, f.result, f.marks, f.proname || '()', f.comment_on)
FROM routed f WHERE f.way = 'none' ORDER BY f.proname COLLATE "C";

\echo '-- Which function which level may call.'
\echo
SELECT format(E'CREATE FUNCTION credit_router_internal.functions_of(level text)\n'
              '  RETURNS text[] LANGUAGE sql IMMUTABLE PARALLEL SAFE\nRETURN CASE level\n%sEND;\n'
              'COMMENT ON FUNCTION credit_router_internal.functions_of(text) IS\n'
              '  ''the public functions that a level of credit_grant_privileges may call'';\n',
              string_agg(format(E'  WHEN %L THEN ''{%s}''::text[]\n', l.level, l.functions), '' ORDER BY l.level))
FROM (SELECT level, string_agg(f.proname, E',\n' ORDER BY f.proname COLLATE "C") AS functions
      FROM function f, string_to_table(f.levels, ',') AS level GROUP BY level) l;
ROLLBACK;
