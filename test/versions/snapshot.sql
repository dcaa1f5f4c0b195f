-- All that the ledger is, as text: rows, sequences, definitions, privileges, what it says of itself.

\pset format unaligned
SELECT CASE relkind
         WHEN 'S' THEN format('SELECT %L, last_value, is_called FROM %s', oid::regclass, oid::regclass)
         ELSE format('SELECT %L, t::text FROM %s t ORDER BY t::text COLLATE "C"', oid::regclass, oid::regclass)
       END
FROM pg_class
WHERE relnamespace IN ('credits'::regnamespace, 'credit_ledger_internal'::regnamespace) AND relkind IN ('r', 'S')
ORDER BY relname COLLATE "C" \gexec

-- The owner has MAINTAIN from PostgreSQL 17 on; fewer parentheses are shown from 16 on, and from 18 on NOT NULL is among
-- the constraints.
SELECT definition COLLATE "C"
FROM pg_namespace n
JOIN pg_class c ON c.relnamespace = n.oid,
LATERAL (
  SELECT concat_ws(' ', c.relname, c.relkind, c.relowner::regrole, pg_get_expr(c.relpartbound, c.oid),
                   c.reloptions::text, replace(c.relacl::text, 'Dxtm/', 'Dxt/'), obj_description(c.oid, 'pg_class'))
  UNION ALL SELECT concat_ws(' ', c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
                             a.attcollation::regcollation, pg_get_expr(d.adbin, d.adrelid),
                             col_description(c.oid, a.attnum))
            FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
            WHERE a.attrelid = c.oid AND NOT a.attisdropped AND a.attnum > 0
  UNION ALL SELECT translate(pg_get_indexdef(i.indexrelid), '()', '') FROM pg_index i WHERE i.indrelid = c.oid
  UNION ALL SELECT translate(pg_get_triggerdef(t.oid), '()', '')
            FROM pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal
  UNION ALL SELECT c.relname || ': ' || translate(pg_get_constraintdef(k.oid), '()', '')
            FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype <> 'n') AS of_class(definition)
WHERE n.nspname IN ('credits', 'credit_ledger_internal')
ORDER BY 1;

SELECT concat_ws(' ', p.oid::regprocedure, p.proowner::regrole, p.provolatile, p.proparallel, p.prosecdef, p.proconfig,
                 p.proacl, obj_description(p.oid, 'pg_proc'))
FROM pg_proc p WHERE p.pronamespace IN ('credits'::regnamespace, 'credit_ledger_internal'::regnamespace)
ORDER BY concat_ws(' ', p.oid::regprocedure) COLLATE "C";
SELECT nspname, nspacl FROM pg_namespace WHERE nspname IN ('credits', 'credit_ledger_internal') ORDER BY 1;
SELECT extname, extversion, array(SELECT c::regclass::text FROM unnest(extconfig) c) FROM pg_extension
WHERE extname = 'credit_ledger';

SELECT * FROM credit_account_overview ORDER BY org_id;
SELECT org.org_id, l.* FROM credit_account org, credit_lots(org.org_id) l ORDER BY org.org_id, lot_no NULLS FIRST;
SELECT org.org_id, s.* FROM credit_account org, credit_statement(org.org_id) s ORDER BY org.org_id, entry_no;
