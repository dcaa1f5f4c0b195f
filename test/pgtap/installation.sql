-- An installation owes nothing to what others made or set before it: operators, functions, casts and types planted in
-- the schema that it is installed in are not captured; default privileges give nobody anything; and row level security
-- that would hide a part of what is proved or judged is an error.
--
-- For each operator, function, type and relation that our SQL uses, some are planted that fit better; afterwards the
-- catalog must not know any object of ours that depends on it, nor any that is not pg_catalog's or ours.
BEGIN;
SET LOCAL client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
DROP EXTENSION IF EXISTS credit_ledger CASCADE;
CREATE SCHEMA hosted;
SELECT plan(14);

CREATE ROLE credit_test_web;
ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO credit_test_web;
ALTER DEFAULT PRIVILEGES GRANT ALL ON SEQUENCES TO credit_test_web;
ALTER DEFAULT PRIVILEGES GRANT ALL ON FUNCTIONS TO credit_test_web WITH GRANT OPTION;
ALTER DEFAULT PRIVILEGES GRANT ALL ON TYPES TO credit_test_web;
ALTER DEFAULT PRIVILEGES GRANT ALL ON SCHEMAS TO credit_test_web;

-- Whatever of pg_catalog our script names is planted: each operator between all of these types, each function with one argument of
-- another of them, where pg_catalog has none of its own; types and relations of the same names. A cast between types of
-- pg_catalog is a superuser's to make.
CREATE TEMP TABLE type AS
SELECT t FROM unnest('{bigint,integer,numeric,text,timestamptz,interval,name,jsonb,oid,date}'::regtype[]) AS t;
CREATE TEMP TABLE named AS
SELECT DISTINCT m[1]::name AS name
FROM pg_config AS c, pg_available_extensions AS e,
     pg_read_file(format('%s/extension/credit_ledger--%s.sql', c.setting, e.default_version)) AS script,
     regexp_matches(script, '[a-z_0-9]+|[-+*/<>=~!@#%^&|`?]+', 'g') AS m
WHERE c.name = 'SHAREDIR' AND e.name = 'credit_ledger';
CREATE TEMP TABLE plant AS
SELECT format('CREATE OPERATOR hosted.%s (FUNCTION = hosted.planted, LEFTARG = %s, RIGHTARG = %s)', o.oprname, l.t, r.t) AS statement
FROM (SELECT DISTINCT o.oprname FROM pg_operator AS o JOIN named AS n ON n.name = o.oprname) AS o, type AS l, type AS r
WHERE to_regoperator(format('pg_catalog.%s(%s, %s)', o.oprname, l.t, r.t)) IS NULL
UNION
SELECT format('CREATE FUNCTION hosted.%I(%s) RETURNS text LANGUAGE sql AS ''SELECT NULL::text''', p.proname, a.list)
FROM pg_proc AS p
JOIN named AS n ON n.name = p.proname
JOIN type ON true
CROSS JOIN generate_series(0, p.pronargs - 1) AS i
CROSS JOIN LATERAL (SELECT string_agg(CASE v.n WHEN i + 1 THEN type.t ELSE v.t END::regtype::text, ', ' ORDER BY v.n) AS list,
                           bool_or(v.n <> i + 1 AND b.typtype = 'p') AS is_pseudo
                    FROM unnest(p.proargtypes) WITH ORDINALITY AS v (t, n) JOIN pg_type AS b ON b.oid = v.t) AS a
WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.prokind <> 'p' AND NOT a.is_pseudo
  AND to_regprocedure(format('pg_catalog.%I(%s)', p.proname, a.list)) IS NULL
UNION
SELECT format('CREATE TYPE hosted.%I AS (harmless integer)', t.typname)
FROM pg_type AS t JOIN named AS n ON n.name = t.typname
WHERE t.typnamespace = 'pg_catalog'::regnamespace AND t.typrelid = 0
UNION
SELECT format('CREATE TABLE hosted.%I (harmless integer)', c.relname)
FROM pg_class AS c JOIN named AS n ON n.name = c.relname
WHERE c.relnamespace = 'pg_catalog'::regnamespace AND c.relkind IN ('r', 'v');
DO $$
DECLARE
  statement text;
BEGIN
  FOR statement IN SELECT format('CREATE FUNCTION hosted.planted(%s, %s) RETURNS boolean LANGUAGE sql AS ''SELECT true''', l.t, r.t)
                   FROM type AS l, type AS r LOOP
    EXECUTE statement;
  END LOOP;
  FOR statement IN SELECT p.statement FROM plant AS p LOOP
    EXECUTE statement;
  END LOOP;
END
$$;

CREATE EXTENSION credit_ledger SCHEMA hosted;

CREATE TEMP VIEW member AS
SELECT d.classid, d.objid
FROM pg_depend AS d
JOIN pg_extension AS e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND e.extname = 'credit_ledger'
WHERE d.deptype = 'e';

SELECT ok(operators > 1000 AND functions > 1000 AND relations > 20, 'much is planted')
FROM (SELECT count(*) AS operators FROM pg_operator WHERE oprnamespace = 'hosted'::regnamespace) AS o,
     (SELECT count(*) AS functions FROM pg_proc WHERE pronamespace = 'hosted'::regnamespace AND proname NOT LIKE 'credit\_%') AS f,
     (SELECT count(*) AS relations FROM pg_class WHERE relnamespace = 'hosted'::regnamespace AND relname LIKE 'pg\_%') AS r;
SELECT is_empty(
  $$SELECT pg_describe_object(d.classid, d.objid, d.objsubid), pg_describe_object(d.refclassid, d.refobjid, d.refobjsubid)
    FROM pg_depend AS d
    WHERE d.refclassid IN ('pg_operator'::regclass, 'pg_proc'::regclass, 'pg_type'::regclass, 'pg_cast'::regclass)
      AND d.refobjid >= 16384 AND d.deptype = 'n'
      AND (EXISTS (SELECT FROM member AS m WHERE m.classid = d.classid AND m.objid = d.objid)
           OR d.classid IN ('pg_rewrite'::regclass, 'pg_constraint'::regclass, 'pg_attrdef'::regclass))
      AND NOT EXISTS (SELECT FROM member AS m WHERE m.classid = d.refclassid AND m.objid = d.refobjid)
      AND (pg_identify_object(d.refclassid, d.refobjid, 0)).schema = 'hosted'
      AND NOT EXISTS (SELECT FROM pg_type AS t JOIN member AS m ON m.classid = 'pg_class'::regclass AND m.objid = t.typrelid
                      WHERE d.refclassid = 'pg_type'::regclass AND d.refobjid IN (t.oid, t.typarray))
      AND NOT EXISTS (SELECT FROM pg_type AS t JOIN member AS m ON m.classid = 'pg_type'::regclass AND m.objid = t.oid
                      WHERE d.refclassid = 'pg_type'::regclass AND d.refobjid = t.typarray)$$,
  'nothing of ours depends on what was planted');
SELECT is_empty(
  $$SELECT p.oid::regprocedure FROM pg_proc AS p JOIN member AS m ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid
    WHERE p.prosqlbody IS NOT NULL AND pg_get_functiondef(p.oid) ~ 'OPERATOR\(hosted|planted'$$,
  'no body names it');
SELECT is_empty(
  $$SELECT p.oid::regprocedure FROM pg_proc AS p JOIN member AS m ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid
    JOIN pg_language AS l ON l.oid = p.prolang
    WHERE l.lanname = 'plpgsql' AND NOT coalesce('search_path=pg_catalog, pg_temp' = ANY (p.proconfig), false)$$,
  'what finds names when it runs finds those of pg_catalog');
SELECT lives_ok($$SELECT hosted.credit_grant('planted', 1000, 'k'), hosted.credit_commit((hosted.credit_authorize('planted', 100, 'c')).authorization_id)$$,
                'calls work');
SELECT is_empty('SELECT * FROM hosted.credit_verify()', 'the ledger is sound');
SELECT lives_ok('SELECT * FROM hosted.credit_health(), hosted.credit_totals, hosted.credit_account_overview', 'so does what watches it');
SELECT lives_ok('SELECT hosted.credit_maintain()', 'and what the worker does');
SELECT lives_ok('SELECT count(*) FROM hosted.credit_create_partitions(1)', 'partitions are made');

-- Default privileges.
SELECT is_empty(
  $$SELECT p.oid::regprocedure FROM pg_proc AS p JOIN member AS m ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid
    WHERE has_function_privilege('credit_test_web', p.oid, 'EXECUTE')$$, 'default privileges let nobody call a function');
SELECT is_empty(
  $$SELECT c.oid::regclass FROM pg_class AS c
    WHERE (c.relname LIKE 'credit\_%' OR c.relnamespace = 'credit_ledger_internal'::regnamespace) AND c.relkind IN ('r', 'p', 'v', 'S')
      AND EXISTS (SELECT FROM aclexplode(c.relacl) AS a WHERE a.grantee <> c.relowner)$$,
  'nor touch a table, a view or a sequence, one of the partitions made later included');
SELECT is_empty(
  $$SELECT t.oid::regtype FROM pg_type AS t JOIN member AS m ON m.classid = 'pg_type'::regclass AND m.objid = t.oid
    WHERE has_type_privilege('credit_test_web', t.oid, 'USAGE') AND t.typelem = 0
      AND (t.typrelid = 0 OR EXISTS (SELECT FROM pg_class AS c WHERE c.oid = t.typrelid AND c.relkind = 'c'))
    UNION ALL SELECT 'void' WHERE has_schema_privilege('credit_test_web', 'credit_ledger_internal', 'USAGE, CREATE')$$,
  'nor use a type, or the schema of the helpers');

-- Row level security, which a host switches on for every table.
CREATE ROLE credit_test_reader;
SELECT hosted.credit_grant_privileges('credit_test_reader', 'reader') AS granted \gset
GRANT USAGE ON SCHEMA hosted, public TO credit_test_reader;
DO $$
DECLARE
  relation regclass;
BEGIN
  FOR relation IN SELECT c.oid FROM pg_class AS c WHERE c.relnamespace = 'hosted'::regnamespace AND c.relkind IN ('r', 'p') LOOP
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', relation);
  END LOOP;
END
$$;
CREATE FUNCTION hosted.told(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE statement;
  RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
  RETURN SQLERRM;
END
$$;
SET LOCAL ROLE credit_test_reader;
SELECT is((SELECT count(*) FROM hosted.credit_account), 0::bigint, 'with row level security a reader sees no account');
SELECT bag_eq(
  $$SELECT statement FROM unnest(ARRAY['verify()', 'verify(since => now())', 'balance_at(''planted'', now())',
      'statement(''planted'')', 'reconcile()', 'reconcile_campaigns()', 'campaign_status(''c'')',
      'orphaned_authorizations()', 'reconciliation_health()', 'commit_failure_rate()', 'health()']) AS statement
    WHERE hosted.told('SELECT count(*) FROM hosted.credit_' || statement) NOT LIKE 'query would be affected by row-level security policy%'$$,
  $$SELECT NULL::text WHERE false$$,
  'and what proves or judges refuses to see half');
RESET ROLE;

SELECT * FROM finish();
ROLLBACK;
