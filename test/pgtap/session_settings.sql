-- What is said, made and kept does not depend on how a session has text written and read, nor on the name of the schema, nor on
-- columns that a DBA added to each of our tables.
--
-- The same things are done under settings after settings, each time rolled back: partitions are made, an organisation goes away
-- and comes back, damage is named, a night's run finds what it finds, old partitions go. What came of it is noted in words of
-- its own and must be the same each time. Some names of schemas mean something to whoever puts text together.
BEGIN;
SET LOCAL client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS pgtap;
DROP EXTENSION IF EXISTS credit_ledger CASCADE;
CREATE SCHEMA "100%s (x)";
CREATE EXTENSION credit_ledger SCHEMA "100%s (x)";
SET LOCAL search_path = "100%s (x)", public;
SET LOCAL timezone = 'UTC';
SET LOCAL jit = off; -- where plans cost much because of settings
SELECT plan(10);

CREATE TABLE used (org_id text, campaign_id text, used_at timestamptz, quantity bigint);
SELECT credit_usage_source_register('used', 'used') AS registered \gset
CREATE FUNCTION at(text) RETURNS timestamptz LANGUAGE sql AS 'SELECT $1::timestamptz'
  SET datestyle = 'ISO' SET timezone = 'UTC';

-- An organisation with a history of its own days, a lot, and usage at the edges of days, some without a campaign.
SELECT count(*) FROM credit_grant('o''rg', 1000, 'first') a, credit_grant('o''rg', 50, 'lot', expires_at => at('2100-05-06 07:08:09')) b \g /dev/null
SELECT count(*) FROM credit_charge('o''rg', 30, 'campaign', metadata => '{"at": "1.2.2026"}') \g /dev/null
SELECT count(*) FROM credit_authorize('o''rg', 7, 'open', timeout => '1 day 02:03:04.5') \g /dev/null
SET LOCAL session_replication_role = replica;
UPDATE credit_entry SET created_at = at('2026-02-01 00:00:00') + entry_no * interval '1 hour';
UPDATE credit_ledger SET created_at = at('2026-02-01 12:00:00.5'), settled_at = CASE WHEN status = 'committed' THEN at('2026-02-01 12:00:00.5') END,
  expires_at = at('2026-02-01 12:00:00.5');
UPDATE credit_account SET created_at = at('2026-02-01 00:00:00'), updated_at = at('2026-02-01 23:00:00');
UPDATE credit_idempotency SET created_at = at('2026-02-01 12:00:00.5');
UPDATE credit_lot SET created_at = at('2026-02-01 02:00:00');
RESET session_replication_role;
INSERT INTO used VALUES ('o''rg', 'campaign', at('2026-02-01 12:00'), 90), ('o''rg', NULL, at('2026-02-03 23:59:59.999999'), 40),
                        ('o''rg', NULL, at('2026-02-04 00:00:00'), 50);

CREATE FUNCTION bounds() RETURNS text LANGUAGE sql SET datestyle = 'ISO' SET timezone = 'UTC' SET quote_all_identifiers = off AS $$
  SELECT string_agg(c.relname || ' ' || pg_get_expr(c.relpartbound, c.oid), ', ' ORDER BY c.relname COLLATE "C")
  FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
  WHERE i.inhparent IN ('credit_entry'::regclass, 'credit_ledger_settled'::regclass)
$$;
CREATE FUNCTION facts() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  said text[] := '{}';
BEGIN
  -- Partitions, one of half a day; an entry too many.
  said := said || (SELECT count(*)::text FROM credit_create_partitions(2));
  PERFORM credit_create_partition('credit_entry', at('2020-05-01 12:00:00.5'), at('2020-05-02 00:00:00'));
  said := said || bounds();
  SET LOCAL session_replication_role = replica;
  INSERT INTO credit_entry (org_id, entry_no, kind, amount, balance_after, created_at)
  VALUES ('o''rg', 9, 'grant', 1, 7, at('2026-02-01 12:30:00'));
  SET LOCAL session_replication_role = origin;
  said := said || (SELECT string_agg(format('%s: %s %s %s', v.check_name, v.expected, v.actual, v.detail), '; ' ORDER BY v.check_name, v.detail)
                   FROM credit_verify() v);
  SET LOCAL session_replication_role = replica;
  DELETE FROM credit_entry WHERE entry_no = 9;
  SET LOCAL session_replication_role = origin;

  -- A night.
  PERFORM credit_run_reconciliation('-infinity', tolerance => 5);
  said := said || (SELECT string_agg(format('%s %s %s %s', f.campaign_id, to_char(f.used_on, 'YYYY-MM-DD'), f.verdict, f.difference), '; '
                                     ORDER BY f.used_on, f.campaign_id) FROM credit_finding f);
  said := said || (SELECT string_agg(a.message, '; ' ORDER BY a.message) FROM credit_alert a);
  PERFORM credit_resolve_finding(f.finding_id, 'adjust', 'as used') FROM credit_finding f ORDER BY f.used_on, f.campaign_id;
  said := said || (SELECT string_agg(concat_ws(' ', e.kind, e.amount, l.campaign_id), '; ' ORDER BY e.entry_no) FROM credit_entry e LEFT JOIN credit_ledger l USING (authorization_id));
  said := said || (SELECT count(*)::text FROM credit_reconcile_campaigns(tolerance => 0));
  PERFORM credit_maintain();
  said := said || (SELECT count(*)::text FROM credit_health());

  -- Away, and back.
  CREATE TEMPORARY TABLE line ON COMMIT DROP AS SELECT * FROM credit_account_export('o''rg', 'elsewhere');
  said := said || (SELECT md5(string_agg(l.relation || (l.line - 'line')::text, E'\n' ORDER BY l.relation, l.line::text))
                   FROM line l WHERE l.relation IN ('credit_entry', 'credit_lot') AND l.line->>'created_at' LIKE '2026-02-01T%');
  said := said || credit_account_import('line');

  -- Old ones go.
  said := said || (SELECT count(*)::text FROM credit_detach_partitions('1 year'));
  said := said || bounds();
  said := said || (SELECT string_agg(d.name || extract(epoch FROM d.lower_bound) || ' ' || extract(epoch FROM d.upper_bound), ', ')
                   FROM credit_detached_partition d);
  said := said || (SELECT count(*)::text FROM credit_verify());
  RAISE EXCEPTION USING MESSAGE = array_to_string(said, E'\n', 'nothing');
EXCEPTION WHEN raise_exception THEN
  RETURN SQLERRM;
END
$$;

CREATE TEMP TABLE expected AS SELECT facts();
SELECT matches(facts, ' 2026-02-03 unauthorized_usage -40;  2026-02-04 unauthorized_usage -50; campaign  undercharged -60', 'a night finds what is wrong, by days of UTC') FROM expected;
SELECT matches(facts, 'credit_entry_20200501t120000500000 FOR VALUES FROM \(''2020-05-01 12:00:00.5\+00''\) TO \(''2020-05-02 00:00:00\+00''\)',
               'partitions are where they say') FROM expected;

CREATE FUNCTION facts_under(settings text[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  said text;
BEGIN
  PERFORM set_config(split_part(s, '=', 1), split_part(s, '=', 2), true) FROM unnest(settings) s;
  RETURN facts();
END
$$;
SELECT is(facts_under(settings), facts, array_to_string(settings, ', '))
FROM expected, (VALUES
  (1, ARRAY['datestyle=SQL, DMY', 'timezone=Asia/Kathmandu', 'intervalstyle=sql_standard']),
  (2, ARRAY['datestyle=German', 'timezone=America/St_Johns', 'intervalstyle=iso_8601', 'quote_all_identifiers=on']),
  (3, ARRAY['datestyle=Postgres, MDY', 'timezone=Australia/Lord_Howe', 'intervalstyle=postgres_verbose', 'extra_float_digits=-15']),
  (4, ARRAY['datestyle=ISO, YMD', 'timezone=<+14>-14', 'standard_conforming_strings=off', 'array_nulls=off', 'transform_null_equals=on']),
  (5, ARRAY['plpgsql.variable_conflict=use_column', 'plpgsql.extra_errors=all', 'plan_cache_mode=force_generic_plan',
            'enable_partition_pruning=off', 'constraint_exclusion=on', 'default_tablespace=pg_default']),
  (6, ARRAY['enable_seqscan=off', 'enable_hashagg=off', 'enable_sort=off', 'cursor_tuple_fraction=0', 'xmloption=document',
            'bytea_output=escape', 'row_security=off', 'default_text_search_config=pg_catalog.simple'])) v (n, settings)
ORDER BY n;

CREATE FUNCTION each_table(change text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  relation regclass;
BEGIN
  FOR relation IN
    SELECT c.oid FROM pg_class c JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
    WHERE d.refclassid = 'pg_extension'::regclass AND c.relkind IN ('r', 'p') AND NOT c.relispartition
      AND c.relnamespace = '"100%s (x)"'::regnamespace
  LOOP
    EXECUTE format('ALTER TABLE %s ', relation) || change;
  END LOOP;
END
$$;
SELECT each_table('ADD COLUMN line integer') \g /dev/null
SELECT is(facts(), facts, 'a column in each table') FROM expected;
SELECT each_table('DROP COLUMN line') \g /dev/null
SELECT is(facts(), facts, 'which is gone again') FROM expected;

SELECT * FROM finish();
ROLLBACK;
