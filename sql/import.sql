-- Accounts that come and go: one organisation with all that is its own, to another database; and the lines of a ledger
-- that was kept elsewhere.

-- What is being imported, for the length of a transaction: nobody else ever sees rows in them.
CREATE TABLE credit_ledger_internal.arriving (
  relation text,
  line     jsonb
);
COMMENT ON TABLE credit_ledger_internal.arriving IS 'what credit_account_import() works on; empty between transactions';
SELECT pg_extension_config_dump('credit_ledger_internal.arriving', '');

CREATE TABLE credit_ledger_internal.arriving_line (
  org_id     text COLLATE "C",
  amount     bigint,
  created_at timestamptz,
  reason     text
);
COMMENT ON TABLE credit_ledger_internal.arriving_line IS
  'what credit_entries_import() works on; empty between transactions';
SELECT pg_extension_config_dump('credit_ledger_internal.arriving_line', '');

CREATE FUNCTION credit_ledger_internal.lines_of(of_org text)
  RETURNS TABLE (relation text, line jsonb) LANGUAGE plpgsql STABLE PARALLEL UNSAFE
  SET search_path = pg_catalog, pg_temp
  SET row_security = off
  SET DateStyle = 'ISO'
  SET TimeZone = 'UTC'
  SET IntervalStyle = 'postgres'
  SET extra_float_digits = 1
  SET bytea_output = 'hex'
AS $$
DECLARE
  member regclass;
BEGIN
  -- What stands for entries that were put away, and are attached again, stands for nothing.
  FOR member IN
    SELECT t.relation FROM credit_ledger_internal.tables_by_organisation() t
    WHERE t.relation <> '@extschema@.credit_entry_carry'::regclass
  LOOP
    FOR relation, line IN
      EXECUTE format('SELECT %L::text, to_jsonb(t) FROM %s t WHERE t.org_id COLLATE "C" = $1',
        (SELECT c.relname FROM pg_class c WHERE c.oid = member), member) USING of_org
    LOOP
      RETURN NEXT;
    END LOOP;
  END LOOP;
END
$$;
COMMENT ON FUNCTION credit_ledger_internal.lines_of(text) IS
  'lists every row of an organisation, with the name of its table';

CREATE FUNCTION credit_ledger_internal.is_put_away(of_org text)
  RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE
RETURN
  EXISTS (SELECT FROM credit_ledger_internal.entry_carry c WHERE c.org_id = of_org COLLATE "C")
  OR credit_ledger_internal.put_away_until('credit_ledger_settled') IS NOT NULL
    AND EXISTS (
      SELECT FROM (SELECT i.authorization_id FROM @extschema@.credit_idempotency i WHERE i.org_id = of_org COLLATE "C"
                   UNION ALL
                   SELECT e.authorization_id FROM @extschema@.credit_entry e WHERE e.org_id = of_org COLLATE "C") n
      WHERE n.authorization_id IS NOT NULL
        AND NOT EXISTS (SELECT FROM @extschema@.credit_ledger l
                        WHERE l.org_id = of_org COLLATE "C" AND l.authorization_id = n.authorization_id));
COMMENT ON FUNCTION credit_ledger_internal.is_put_away(text) IS
  'tells whether entries of an organisation, or authorizations that a key or an entry of it names, were put away with '
  'a partition';

CREATE FUNCTION @extschema@.credit_account_export(org_id text, moves_to text = NULL)
  RETURNS TABLE (relation text, line jsonb) LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp
  SET row_security = off
AS $$
#variable_conflict use_variable
BEGIN
  PERFORM credit_ledger_internal.require_account(org_id);
  PERFORM FROM @extschema@.credit_account a WHERE a.org_id = credit_account_export.org_id COLLATE "C" FOR UPDATE;
  -- It would be missing there, where nothing says why.
  IF credit_ledger_internal.is_put_away(org_id) THEN
    RAISE object_not_in_prerequisite_state USING
      MESSAGE = format('entries or authorizations of organisation "%s" were put away with a partition', org_id),
      DETAIL = format('Put away are %s.', (SELECT string_agg(p.name, ', ' ORDER BY p.name)
                                           FROM credit_ledger_internal.partition_away p)),
      HINT = 'ALTER TABLE ... ATTACH PARTITION before.';
  END IF;
  RETURN QUERY
    SELECT l.* FROM credit_ledger_internal.lines_of(org_id) l
  UNION ALL
    -- Keys that were removed are not missing there either.
    SELECT 'credit_key_removal', jsonb_build_object('org_id', org_id, 'removed_until', r.removed_until)
    FROM @extschema@.credit_key_removal r
    WHERE EXISTS (SELECT FROM @extschema@.credit_ledger l
                  WHERE l.org_id = credit_account_export.org_id COLLATE "C" AND l.created_at < r.removed_until);
  IF moves_to IS NOT NULL THEN
    INSERT INTO @extschema@.credit_account_moved AS m (org_id, place) VALUES (org_id, moves_to)
    ON CONFLICT ON CONSTRAINT credit_account_moved_pkey DO UPDATE SET place = excluded.place, moved_at = now();
    PERFORM credit_ledger_internal.remove_organisations(ARRAY[org_id]);
  END IF;
END
$$;
COMMENT ON FUNCTION @extschema@.credit_account_export(text, text) IS
  'lists every row of an organisation, for credit_account_import() in another database, locked until the transaction '
  'ends; with moves_to, which says where it goes, it is gone from here then, and calls for it are LC010; LC002';

CREATE FUNCTION @extschema@.credit_account_import(source regclass)
  RETURNS text LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
  SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  of_org text;
  accounts bigint;
  member regclass;
  wrong text;
BEGIN
  PERFORM credit_ledger_internal.require_argument('source', source IS NULL);
  -- One row each, and a number of this database for each finding.
  EXECUTE format('INSERT INTO credit_ledger_internal.arriving SELECT s.relation, s.line FROM %s s', source);
  SELECT min(i.line->>'org_id'), count(*) FILTER (WHERE i.relation = 'credit_account') INTO of_org, accounts
  FROM credit_ledger_internal.arriving i;
  IF accounts <> 1 OR EXISTS (SELECT FROM credit_ledger_internal.arriving i
                              WHERE i.line->>'org_id' IS DISTINCT FROM of_org) THEN
    RAISE invalid_parameter_value USING
      MESSAGE = format('relation %s does not have the lines of one account', source),
      DETAIL = format('It has %s.', accounts);
  END IF;
  IF EXISTS (SELECT FROM @extschema@.credit_account a WHERE a.org_id = of_org COLLATE "C") THEN
    RAISE unique_violation USING MESSAGE = format('organisation "%s" has an account already', of_org);
  END IF;
  WITH number AS MATERIALIZED (
    SELECT i.line->'finding_id' AS old,
           to_jsonb(nextval('@extschema@.credit_finding_finding_id_seq')) AS new
    FROM credit_ledger_internal.arriving i WHERE i.relation = 'credit_finding'
  )
  UPDATE credit_ledger_internal.arriving i SET line = jsonb_set(i.line, '{finding_id}', n.new)
  FROM number n WHERE i.line->'finding_id' = n.old;

  DELETE FROM @extschema@.credit_account_moved m WHERE m.org_id = of_org COLLATE "C";
  IF NOT credit_ledger_internal.is_ours(of_org) THEN
    INSERT INTO @extschema@.credit_account_moved (org_id) VALUES (of_org);
  END IF;
  INSERT INTO @extschema@.credit_key_removal AS r (removed_until, oldest_key)
  SELECT least((i.line->>'removed_until')::timestamptz, clock_timestamp()), '-infinity'
  FROM credit_ledger_internal.arriving i WHERE i.relation = 'credit_key_removal'
  ON CONFLICT (only_row) DO UPDATE SET removed_until = greatest(r.removed_until, excluded.removed_until);
  DELETE FROM credit_ledger_internal.arriving i WHERE i.relation = 'credit_key_removal';
  FOR member IN SELECT t.relation FROM credit_ledger_internal.tables_by_organisation() t LOOP
    EXECUTE format('INSERT INTO %1$s (%2$s) OVERRIDING SYSTEM VALUE '
                   'SELECT %2$s '
                   'FROM (SELECT r.* '
                   'FROM credit_ledger_internal.arriving i, jsonb_populate_record(NULL::%1$s, i.line) r '
                   'WHERE i.relation = $1) r', member,
                   (SELECT string_agg(format('%I', a.attname), ', ') FROM pg_attribute a
                    WHERE a.attrelid = member AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''))
    USING (SELECT c.relname FROM pg_class c WHERE c.oid = member);
  END LOOP;

  -- As it was there, byte for byte (1.10 and 1.1 are equal as jsonb), and sound.
  WITH sent AS (
    SELECT i.relation, i.line::text FROM credit_ledger_internal.arriving i
  ), arrived AS (
    SELECT l.relation, l.line::text FROM credit_ledger_internal.lines_of(of_org) l
  )
  SELECT format('%s: %s', d.relation, d.line) INTO wrong
  FROM ((TABLE sent EXCEPT ALL TABLE arrived) UNION ALL (TABLE arrived EXCEPT ALL TABLE sent)) d LIMIT 1;
  IF wrong IS NULL THEN
    SELECT format('%s: expected %s, actual %s', v.check_name, v.expected, v.actual) INTO wrong
    FROM @extschema@.credit_verify(of_org) v LIMIT 1;
  END IF;
  DELETE FROM credit_ledger_internal.arriving;
  IF wrong IS NOT NULL THEN
    RAISE data_exception USING
      MESSAGE = format('organisation "%s" did not arrive as it was, or was not sound', of_org), DETAIL = wrong;
  END IF;
  RETURN of_org;
END
$$;
COMMENT ON FUNCTION @extschema@.credit_account_import(regclass) IS
  'takes an organisation from a table or view (relation text, line jsonb) with the rows of credit_account_export(), '
  'compares and verifies what arrived, and returns its org_id; its findings get numbers of this '
  'database; for the owner';

CREATE FUNCTION credit_ledger_internal.account_take_over(org_id text, balance bigint, last_entry_no bigint,
    first_at timestamptz)
  RETURNS void LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'credit_account_take_over';
COMMENT ON FUNCTION credit_ledger_internal.account_take_over(text, bigint, bigint, timestamptz) IS
  'writes into an account what the entries come to that credit_entries_import() gave it';

CREATE FUNCTION @extschema@.credit_entries_import(source regclass)
  RETURNS bigint LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
  SET search_path = pg_catalog, pg_temp
  SET client_min_messages = warning -- new accounts are what is wanted here
AS $$
DECLARE
  made bigint;
  wrong text;
BEGIN
  PERFORM credit_ledger_internal.require_argument('source', source IS NULL);
  EXECUTE format('INSERT INTO credit_ledger_internal.arriving_line '
                 'SELECT s.org_id, s.amount, s.created_at, s.reason FROM %s s '
                 'WHERE s.amount <> 0', source);
  SELECT format('amount %s of organisation "%s" at %s', i.amount, i.org_id, i.created_at) INTO wrong
  FROM credit_ledger_internal.arriving_line i
  WHERE num_nulls(i.org_id, i.amount, i.created_at) > 0 OR i.created_at > now() OR NOT isfinite(i.created_at) LIMIT 1;
  IF wrong IS NOT NULL THEN
    RAISE invalid_parameter_value USING
      MESSAGE = 'a line must have an org_id, an amount, and an instant that is past',
      DETAIL = format('There is %s.', wrong);
  END IF;
  -- The account's lock, as every call takes it; refused where an organisation is another shard's.
  PERFORM @extschema@.credit_account_configure(o.org_id)
  FROM (SELECT DISTINCT i.org_id FROM credit_ledger_internal.arriving_line i ORDER BY i.org_id) o;
  SELECT min(a.org_id) INTO wrong FROM @extschema@.credit_account a
  WHERE a.last_entry_no <> 0 AND a.org_id IN (SELECT i.org_id FROM credit_ledger_internal.arriving_line i);
  IF wrong IS NOT NULL THEN
    RAISE object_not_in_prerequisite_state USING MESSAGE = format('organisation "%s" has entries already', wrong);
  END IF;

  INSERT INTO @extschema@.credit_entry (org_id, entry_no, kind, amount, reason, balance_after, created_at)
  SELECT i.org_id, row_number() OVER w, 'adjustment', i.amount, i.reason, sum(i.amount) OVER w, i.created_at
  FROM credit_ledger_internal.arriving_line i
  WINDOW w AS (PARTITION BY i.org_id ORDER BY i.created_at, i.amount DESC, i.reason ROWS UNBOUNDED PRECEDING);
  GET DIAGNOSTICS made = ROW_COUNT;
  PERFORM credit_ledger_internal.account_take_over(i.org_id, i.balance, i.lines, i.first_at)
  FROM (SELECT i.org_id, sum(i.amount)::bigint AS balance, count(*) AS lines, min(i.created_at) AS first_at
        FROM credit_ledger_internal.arriving_line i GROUP BY i.org_id) i;
  SELECT format('%s of organisation "%s": expected %s, actual %s', v.check_name, v.org_id, v.expected, v.actual)
  INTO wrong
  FROM (SELECT DISTINCT i.org_id FROM credit_ledger_internal.arriving_line i) o,
       @extschema@.credit_verify(o.org_id) v LIMIT 1;
  DELETE FROM credit_ledger_internal.arriving_line;
  IF wrong IS NOT NULL THEN
    RAISE data_exception USING MESSAGE = 'the lines are not sound', DETAIL = wrong;
  END IF;
  RETURN made;
END
$$;
COMMENT ON FUNCTION @extschema@.credit_entries_import(regclass) IS
  'takes the lines of another ledger from a table or view (org_id text, amount bigint, created_at timestamptz, reason '
  'text) as adjustments with their own instants, into accounts that have no entries yet; numbers and balances are made '
  'here and verified; returns how many; for the owner';
