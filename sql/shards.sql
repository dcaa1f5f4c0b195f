-- A shard's claim. Where several servers share the organisations (docs/scale.md), each has those whose hash is its
-- number modulo how many servers there are. A call for another organisation is LC010, before anything is written.

CREATE TABLE @extschema@.credit_shard (
  shard    integer NOT NULL,
  of       integer NOT NULL,
  only_row boolean NOT NULL DEFAULT true PRIMARY KEY,
  CONSTRAINT credit_shard_only_row_check CHECK (only_row),
  CONSTRAINT credit_shard_of_check CHECK (of BETWEEN 1 AND 65536 AND (of & of - 1) = 0),
  CONSTRAINT credit_shard_shard_check CHECK (shard >= 0 AND shard < of)
);
COMMENT ON TABLE @extschema@.credit_shard IS 'which organisations are this database''s; no row: all of them';
COMMENT ON COLUMN @extschema@.credit_shard.shard IS 'the number of this shard, from 0';
COMMENT ON COLUMN @extschema@.credit_shard.of IS 'how many shards there are, a power of two';
SELECT pg_extension_config_dump('@extschema@.credit_shard', '');

CREATE FUNCTION credit_ledger_internal.shard_changed() RETURNS trigger
  LANGUAGE C AS 'MODULE_PATHNAME', 'credit_shard_changed';
COMMENT ON FUNCTION credit_ledger_internal.shard_changed() IS 'has all sessions read credit_shard again; a trigger';
CREATE TRIGGER credit_shard_changed AFTER INSERT OR UPDATE OR DELETE ON @extschema@.credit_shard
  FOR EACH STATEMENT EXECUTE FUNCTION credit_ledger_internal.shard_changed();
ALTER TABLE @extschema@.credit_shard ENABLE ALWAYS TRIGGER credit_shard_changed;

-- Calls lock these tables in more than one order. Whoever has some of them and waits for another one gives all of them
-- back before anybody's deadlock_timeout, and tries again. What sessions remember, the version among it, belongs to the
-- tables of which they hear that they have changed; a call looks again once it has its lock.
CREATE FUNCTION credit_ledger_internal.begin_update()
  RETURNS void LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
  SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  lock_timeout constant text := current_setting('lock_timeout');
  give_up_at constant timestamptz := clock_timestamp() + coalesce(nullif(lock_timeout::interval, '0'), '1 minute');
BEGIN
  LOOP
    BEGIN
      PERFORM set_config('lock_timeout', '200ms', true);
      LOCK TABLE @extschema@.credit_account, @extschema@.credit_ledger, @extschema@.credit_entry,
        @extschema@.credit_idempotency, @extschema@.credit_lot IN SHARE ROW EXCLUSIVE MODE;
      EXIT;
    EXCEPTION WHEN lock_not_available THEN
      IF clock_timestamp() > give_up_at THEN
        RAISE;
      END IF;
    END;
  END LOOP;
  PERFORM set_config('lock_timeout', lock_timeout, true);
  UPDATE @extschema@.credit_shard SET shard = shard WHERE false;
END
$$;
COMMENT ON FUNCTION credit_ledger_internal.begin_update() IS
  'waits for the transactions that have called the ledger, for lock_timeout or a minute (55P03), has calls wait for '
  'this one, and all sessions look up what they remember again, the extension''s version above all; for scripts that '
  'update the extension';

CREATE TABLE @extschema@.credit_account_moved (
  org_id   text COLLATE "C" NOT NULL PRIMARY KEY,
  place    text,
  moved_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE @extschema@.credit_account_moved IS 'organisations that are not where their hash says';
COMMENT ON COLUMN @extschema@.credit_account_moved.place IS 'where the account went; NULL: it came here';
SELECT pg_extension_config_dump('@extschema@.credit_account_moved', '');

CREATE FUNCTION credit_ledger_internal.organisation_hash(org_id text)
  RETURNS integer LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'credit_organisation_hash';
COMMENT ON FUNCTION credit_ledger_internal.organisation_hash(text) IS
  'makes 16 bits, of which the last say which shard an organisation belongs to';

CREATE FUNCTION credit_ledger_internal.authorization_hash(authorization_id text)
  RETURNS integer LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'credit_authorization_hash';
COMMENT ON FUNCTION credit_ledger_internal.authorization_hash(text) IS
  'tells the hash of the organisation that an authorization belongs to; NULL for identifiers that were imported';

CREATE FUNCTION @extschema@.credit_shard_configure(shard integer, of integer)
  RETURNS void LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM credit_ledger_internal.require_argument('shard', shard IS NULL),
          credit_ledger_internal.require_argument('of', of IS NULL);
  IF of NOT BETWEEN 1 AND 65536 OR (of & of - 1) <> 0 THEN
    RAISE invalid_parameter_value USING
      MESSAGE = '"of" must be a power of two, from 1 to 65536', DETAIL = format('It is %s.', of);
  ELSIF shard NOT BETWEEN 0 AND of - 1 THEN
    RAISE invalid_parameter_value USING
      MESSAGE = format('"shard" must be from 0 to %s', of - 1), DETAIL = format('It is %s.', shard);
  END IF;
  -- Calls that began under the old claim end first; those that come meanwhile wait, and see the new one.
  LOCK TABLE @extschema@.credit_account IN SHARE ROW EXCLUSIVE MODE;
  INSERT INTO @extschema@.credit_shard AS s (shard, of)
  VALUES (credit_shard_configure.shard, credit_shard_configure.of)
  ON CONFLICT (only_row) DO UPDATE SET shard = excluded.shard, of = excluded.of;
END
$$;
COMMENT ON FUNCTION @extschema@.credit_shard_configure(integer, integer) IS
  'makes this database shard number "shard" (from 0) of "of", a power of two: a call for an organisation of another '
  'one is LC010; (0, 1): all are this database''s';

CREATE FUNCTION credit_ledger_internal.is_ours(org_id text)
  RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
  SELECT (coalesce((SELECT credit_ledger_internal.organisation_hash(is_ours.org_id) % s.of = s.shard
                    FROM @extschema@.credit_shard s), true)
          OR EXISTS (SELECT FROM @extschema@.credit_account_moved m
                     WHERE m.org_id = is_ours.org_id COLLATE "C" AND m.place IS NULL))
    AND NOT EXISTS (SELECT FROM @extschema@.credit_account_moved m
                    WHERE m.org_id = is_ours.org_id COLLATE "C" AND m.place IS NOT NULL);
END;
COMMENT ON FUNCTION credit_ledger_internal.is_ours(text) IS
  'tells whether calls for an organisation are for this database';

CREATE FUNCTION credit_ledger_internal.tables_by_organisation()
  RETURNS TABLE (relation regclass) LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
  SELECT c.oid::regclass
  FROM pg_depend d
  JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'credit_ledger'
  JOIN pg_class c ON c.oid = d.objid AND c.relkind IN ('r', 'p') AND NOT c.relispartition
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'org_id'
  WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
    AND c.relnamespace = e.extnamespace AND c.relname <> 'credit_account_moved'
  ORDER BY c.relname <> 'credit_account', c.relname;
END;
COMMENT ON FUNCTION credit_ledger_internal.tables_by_organisation() IS
  'lists the tables whose rows are an organisation''s each, that of accounts first';

CREATE FUNCTION credit_ledger_internal.remove_organisations(org_ids text[])
  RETURNS void LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
  SET search_path = pg_catalog, pg_temp
  SET row_security = off
AS $$
DECLARE
  relation regclass;
BEGIN
  FOR relation IN SELECT t.relation FROM credit_ledger_internal.tables_by_organisation() t LOOP
    EXECUTE format('DELETE FROM %s WHERE org_id COLLATE "C" = ANY ($1)', relation) USING org_ids;
  END LOOP;
END
$$;
COMMENT ON FUNCTION credit_ledger_internal.remove_organisations(text[]) IS
  'removes every row of organisations that are not this database''s any more';

CREATE FUNCTION @extschema@.credit_shard_remove(max_accounts integer = 100)
  RETURNS integer LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp
  SET row_security = off
AS $$
DECLARE
  org_ids text[];
BEGIN
  PERFORM credit_ledger_internal.require_argument('max_accounts', max_accounts IS NULL);
  SELECT array_agg(a.org_id) INTO org_ids
  FROM (SELECT a.org_id FROM @extschema@.credit_account a WHERE NOT credit_ledger_internal.is_ours(a.org_id)
        ORDER BY a.org_id LIMIT max_accounts FOR UPDATE) a;
  PERFORM credit_ledger_internal.remove_organisations(org_ids);
  RETURN coalesce(cardinality(org_ids), 0);
END
$$;
COMMENT ON FUNCTION @extschema@.credit_shard_remove(integer) IS
  'removes at most max_accounts accounts of organisations that are another shard''s, with all that is theirs, and '
  'returns how many; to be called until it returns 0, once the other shard has them';

-- What a router asks.

CREATE FUNCTION @extschema@.credit_shard_number()
  RETURNS integer LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN coalesce((SELECT s.shard FROM @extschema@.credit_shard s), 0);
END
$$;
COMMENT ON FUNCTION @extschema@.credit_shard_number() IS
  'tells the number of this shard, from 0; of one that is alone: 0';

CREATE FUNCTION @extschema@.credit_shard_find(authorization_ids text[])
  RETURNS TABLE (authorization_id text, shard integer) LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp
  SET row_security = off
AS $$
BEGIN
  RETURN QUERY
    SELECT l.authorization_id, @extschema@.credit_shard_number()
    FROM @extschema@.credit_ledger l
    WHERE l.authorization_id = ANY (authorization_ids COLLATE "C") AND credit_ledger_internal.is_ours(l.org_id);
END
$$;
COMMENT ON FUNCTION @extschema@.credit_shard_find(text[]) IS
  'finds which of these authorizations are this shard''s; for a router that cannot tell from the identifiers';
