-- What the extension leaves in the catalog: a comment on every object, its tables' data in every dump, no other object.
BEGIN;
SET LOCAL client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS credit_ledger;
SELECT plan(12);

CREATE TEMP VIEW member AS
SELECT d.classid, d.objid
FROM pg_depend AS d
JOIN pg_extension AS e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND e.extname = 'credit_ledger'
WHERE d.deptype = 'e'
  -- From 17 on a table's row type and every type's array type are members, too.
  AND NOT (d.classid = 'pg_type'::regclass AND EXISTS (
    SELECT FROM pg_type AS t LEFT JOIN pg_class AS c ON c.oid = t.typrelid
    WHERE t.oid = d.objid AND (t.typelem <> 0 OR c.relkind <> 'c')));

SELECT is_empty(
  $$SELECT pg_describe_object(classid, objid, 0) FROM member
    WHERE obj_description(objid, classid::regclass::name) IS NULL ORDER BY 1$$,
  'every object has a comment');
-- \df+, \dd and \d+ read as one list, and what is used most fits into a line of 120 columns.
SELECT is_empty(
  $$SELECT pg_describe_object(classid, objid, 0) FROM member
    WHERE classid = 'pg_proc'::regclass AND NOT (split_part(obj_description(objid, 'pg_proc'), ' ', 1) = ANY (
      '{adds,calls,charges,closes,corrects,counts,does,finds,gives,has,holds,judges,keeps,lets,lists,makes,names,notes,opens,raises,'
      'refuses,removes,resolves,says,sends,sets,settles,sums,takes,tells,waits,writes}'::text[])) ORDER BY 1$$,
  'the comment of every function starts with the verb');
SELECT is_empty(
  $$SELECT objid::regprocedure FROM member JOIN pg_proc AS p ON classid = 'pg_proc'::regclass AND objid = p.oid
    WHERE length(obj_description(p.oid)) > 120
      AND proname IN ('credit_authorize', 'credit_charge', 'credit_commit', 'credit_revert', 'credit_extend', 'credit_grant', 'credit_refund',
                      'credit_balance', 'credit_statement', 'credit_verify', 'credit_health') ORDER BY 1$$,
  'what is said of the functions that are used most fits into 120 columns');
SELECT is_empty(
  $$SELECT attrelid::regclass, attname FROM pg_attribute
    WHERE attrelid IN ('credit_account'::regclass, 'credit_ledger'::regclass, 'credit_entry'::regclass) AND attnum > 0
      AND col_description(attrelid, attnum) IS NULL ORDER BY 1, 2$$,
  'every column of accounts, authorizations and entries is explained');
SELECT isnt(obj_description(oid, 'pg_extension'), NULL, 'so has the extension') FROM pg_extension WHERE extname = 'credit_ledger';
SELECT is_empty(
  $$SELECT pg_describe_object(classid, objid, 0) FROM member CROSS JOIN LATERAL pg_identify_object(classid, objid, 0) AS i
    WHERE i.name NOT LIKE 'credit\_%' AND i.schema IS DISTINCT FROM 'credit_ledger_internal' AND classid <> 'pg_proc'::regclass ORDER BY 1$$,
  'every table and type is named credit_something, unless it is a helper''s');
SELECT is_empty(
  $$SELECT p.oid::regprocedure FROM pg_proc AS p JOIN member AS m ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid
    WHERE p.proname LIKE 'credit\_%' = (p.pronamespace = 'credit_ledger_internal'::regnamespace) ORDER BY 1$$,
  'every function is named credit_something, unless it is a helper');
SELECT is_empty(
  $$SELECT pg_describe_object(classid, objid, 0) FROM member, pg_identify_object(classid, objid, 0) AS i
    WHERE i.schema NOT IN ('credit_ledger_internal', (SELECT extnamespace::regnamespace::text FROM pg_extension WHERE extname = 'credit_ledger'))
    ORDER BY 1$$,
  'all of it stands in the extension''s schema and the helpers''');

-- pg_dump takes the data of the tables that are registered: those that hold rows, all of them, whole.
SELECT bag_eq(
  $$SELECT unnest(extconfig)::regclass FROM pg_extension WHERE extname = 'credit_ledger'$$,
  $$SELECT objid::regclass FROM member JOIN pg_class AS c ON classid = 'pg_class'::regclass AND objid = c.oid WHERE c.relkind IN ('r', 'S')
      AND objid <> 'credit_ledger_internal.used_here'::regclass$$,
  'every table that holds rows is registered for dumps, but the note that the ledger is used here');
SELECT bag_has(
  $$SELECT unnest(extconfig)::regclass::text FROM pg_extension WHERE extname = 'credit_ledger'$$,
  $$VALUES ('credit_account'), ('credit_ledger_open'), ('credit_ledger_settled_default'), ('credit_entry_default'), ('credit_idempotency')$$,
  'the tables of the ledger are among them');
SELECT is_empty(
  $$SELECT config::regclass FROM pg_extension, unnest(extconfig, extcondition) AS u (config, condition)
    WHERE extname = 'credit_ledger' AND condition <> '' AND config <> 'credit_ledger_internal.dumped'::regclass$$,
  'their data are dumped without a condition, but for the table that a dump fills');
-- A restore loads tables in any order, in several processes, with the extension's constraints in place.
SELECT is_empty(
  $$SELECT k.conrelid::regclass, k.conname FROM pg_constraint AS k
    JOIN member AS m ON m.classid = 'pg_class'::regclass AND m.objid = k.conrelid WHERE k.contype = 'f'$$,
  'no table needs rows of another one before its own');

SELECT * FROM finish();
ROLLBACK;
