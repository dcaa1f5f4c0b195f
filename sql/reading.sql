-- Functions that only read. They are SQL, bound to this schema when they are created.

CREATE FUNCTION credit_ledger_internal.require_account(org_id text)
  RETURNS void LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'credit_require_account';
COMMENT ON FUNCTION credit_ledger_internal.require_account(text) IS
  'raises 22004, 22023 or LC002 unless org_id is the id of an account; for functions that read';

CREATE FUNCTION credit_ledger_internal.require_argument(argument_name text, is_null boolean)
  RETURNS void LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'credit_require_argument';
COMMENT ON FUNCTION credit_ledger_internal.require_argument(text, boolean) IS
  'raises 22004 naming the argument if is_null; for functions that read';

CREATE FUNCTION credit_ledger_internal.setting(name text)
  RETURNS text LANGUAGE C STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'credit_setting';
COMMENT ON FUNCTION credit_ledger_internal.setting(text) IS
  'what credit_ledger.name is set to, also where the library was not loaded before';

CREATE FUNCTION @extschema@.credit_balance_at(org_id text, at timestamptz)
  RETURNS bigint LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
  SELECT credit_ledger_internal.require_account(org_id), credit_ledger_internal.require_argument('at', at IS NULL);
  SELECT coalesce((SELECT e.balance_after
                   FROM @extschema@.credit_entry e
                   WHERE e.org_id = credit_balance_at.org_id AND e.created_at <= at
                   ORDER BY e.entry_no DESC
                   LIMIT 1), 0);
END;
COMMENT ON FUNCTION @extschema@.credit_balance_at(text, timestamptz) IS
  'the balance that an organisation had at an instant (0 before its first entry), from its entries; LC002';

CREATE FUNCTION @extschema@.credit_statement(org_id text, since timestamptz = NULL, until timestamptz = NULL)
  RETURNS SETOF @extschema@.credit_entry LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
  SELECT credit_ledger_internal.require_account(org_id);
  SELECT e.*
  FROM @extschema@.credit_entry e
  WHERE e.org_id = credit_statement.org_id
    AND (since IS NULL OR e.created_at >= since)
    AND (until IS NULL OR e.created_at < until)
  ORDER BY e.entry_no;
END;
COMMENT ON FUNCTION @extschema@.credit_statement(text, timestamptz, timestamptz) IS
  'the entries of an organisation from since (included) until until (excluded), oldest first; LC002';
