-- The router of several shards: a database without data that gives the public functions of credit_ledger, and passes
-- each call by PL/Proxy to the shard that it is about. See docs/scale.md.

SET LOCAL search_path = pg_catalog, pg_temp;

CREATE SCHEMA credit_router_internal;
COMMENT ON SCHEMA credit_router_internal IS
  'what the functions of credit_ledger_router are made of; it changes without notice';

CREATE TABLE credit_router_internal.partition (
  shard      integer NOT NULL PRIMARY KEY,
  connection text NOT NULL
);
COMMENT ON TABLE credit_router_internal.partition IS 'the shards, by their numbers from 0, and how to connect to them';
SELECT pg_extension_config_dump('credit_router_internal.partition', '');

CREATE TABLE credit_router_internal.moved (
  org_id text COLLATE "C" NOT NULL PRIMARY KEY,
  hash   integer NOT NULL,
  shard  integer NOT NULL
);
COMMENT ON TABLE credit_router_internal.moved IS 'organisations that are not where their hash says';
SELECT pg_extension_config_dump('credit_router_internal.moved', '');
CREATE INDEX moved_hash_idx ON credit_router_internal.moved (hash);

CREATE FUNCTION credit_router_internal.organisation_hash(org_id text)
  RETURNS integer LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'credit_organisation_hash';
COMMENT ON FUNCTION credit_router_internal.organisation_hash(text) IS
  '16 bits, of which the last say which shard an organisation belongs to';

CREATE FUNCTION credit_router_internal.authorization_hash(authorization_id text)
  RETURNS integer LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'credit_authorization_hash';
COMMENT ON FUNCTION credit_router_internal.authorization_hash(text) IS
  'the hash of the organisation that an authorization belongs to; NULL for identifiers that were imported';

-- PL/Proxy takes the last bits of what these answer. What is NULL or nowhere goes to the first shard, which refuses it
-- in the ledger's words. They are in PL/pgSQL, which keeps their plans for the next call.

CREATE FUNCTION credit_router_internal.partitions_of_organisations(org_ids text[])
  RETURNS integer[] LANGUAGE plpgsql STABLE PARALLEL UNSAFE SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN ARRAY(SELECT coalesce(m.shard, credit_router_internal.organisation_hash(o.org_id), 0)
               FROM unnest(org_ids) WITH ORDINALITY o (org_id, ord)
               LEFT JOIN credit_router_internal.moved m ON m.org_id = o.org_id COLLATE "C"
               ORDER BY o.ord);
END
$$;
COMMENT ON FUNCTION credit_router_internal.partitions_of_organisations(text[]) IS
  'tells where calls for organisations go';

CREATE FUNCTION credit_router_internal.partition_of(org_id text)
  RETURNS integer LANGUAGE plpgsql STABLE PARALLEL UNSAFE SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN coalesce((SELECT m.shard FROM credit_router_internal.moved m
                   WHERE m.org_id = partition_of.org_id COLLATE "C"),
                  credit_router_internal.organisation_hash(partition_of.org_id), 0);
END
$$;
COMMENT ON FUNCTION credit_router_internal.partition_of(text) IS 'tells where calls for an organisation go';

CREATE FUNCTION credit_router_internal.partitions()
  RETURNS SETOF integer LANGUAGE sql STABLE PARALLEL UNSAFE SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  SELECT p.shard FROM credit_router_internal.partition p ORDER BY p.shard;
END;
COMMENT ON FUNCTION credit_router_internal.partitions() IS 'where calls go that are about no organisation: everywhere';

CREATE FUNCTION credit_router_internal.partitions_of(org_id text)
  RETURNS SETOF integer LANGUAGE sql STABLE PARALLEL UNSAFE SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  SELECT p.shard FROM credit_router_internal.partition p WHERE partitions_of.org_id IS NULL
  UNION ALL
  SELECT credit_router_internal.partition_of(partitions_of.org_id) WHERE partitions_of.org_id IS NOT NULL;
END;
COMMENT ON FUNCTION credit_router_internal.partitions_of(text) IS
  'where calls go that may be about one organisation, or about all';

-- PL/Proxy does not nest calls to one cluster, so what finds a partition asks another one, of the same databases.
CREATE FUNCTION credit_router_internal.find(i_authorization_ids text[])
  RETURNS TABLE (authorization_id text, shard integer) LANGUAGE plproxy VOLATILE PARALLEL UNSAFE AS $$
  CLUSTER 'credit_router_ask';
  RUN ON ALL;
  SELECT r.authorization_id, r.shard FROM @extschema@.credit_shard_find(i_authorization_ids) r;
$$;
COMMENT ON FUNCTION credit_router_internal.find(text[]) IS 'on which shard authorizations are, found by asking all';

CREATE FUNCTION credit_router_internal.any_moved(of_hash integer)
  RETURNS boolean LANGUAGE plpgsql STABLE PARALLEL UNSAFE SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN EXISTS (SELECT FROM credit_router_internal.moved m WHERE m.hash = of_hash);
END
$$;
COMMENT ON FUNCTION credit_router_internal.any_moved(integer) IS
  'tells whether an organisation of that hash is not where the hash says';

CREATE FUNCTION credit_router_internal.unclear(authorization_ids text[])
  RETURNS text[] LANGUAGE plpgsql STABLE PARALLEL UNSAFE SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN ARRAY(SELECT a.id FROM unnest(authorization_ids) a (id)
               WHERE credit_router_internal.authorization_hash(a.id) IS NULL
                  OR EXISTS (SELECT FROM credit_router_internal.moved m
                             WHERE m.hash = credit_router_internal.authorization_hash(a.id)));
END
$$;
COMMENT ON FUNCTION credit_router_internal.unclear(text[]) IS
  'tells which identifiers do not say where their authorizations are: imported ones, and those of a hash of which an '
  'organisation moved';

CREATE FUNCTION credit_router_internal.partitions_of_authorizations(authorization_ids text[])
  RETURNS integer[] LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
  SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  unclear constant text[] := credit_router_internal.unclear(authorization_ids);
  found jsonb := '{}'::jsonb;
BEGIN
  IF cardinality(unclear) > 0 THEN
    SELECT coalesce(jsonb_object_agg(f.authorization_id, f.shard), '{}') INTO found
    FROM credit_router_internal.find(unclear) f;
  END IF;
  RETURN ARRAY(SELECT coalesce((found->>a.id)::integer, credit_router_internal.authorization_hash(a.id), 0)
               FROM unnest(authorization_ids) WITH ORDINALITY a (id, ord) ORDER BY a.ord);
END
$$;
COMMENT ON FUNCTION credit_router_internal.partitions_of_authorizations(text[]) IS
  'tells where calls for authorizations go: their identifiers say it, or all shards are asked, once';

CREATE FUNCTION credit_router_internal.partition_of_authorization(authorization_id text)
  RETURNS integer LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
  SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  hash constant integer := credit_router_internal.authorization_hash(authorization_id);
BEGIN
  IF hash IS NOT NULL AND NOT credit_router_internal.any_moved(hash) THEN
    RETURN hash;
  END IF;
  RETURN (credit_router_internal.partitions_of_authorizations(ARRAY[authorization_id]))[1];
END
$$;
COMMENT ON FUNCTION credit_router_internal.partition_of_authorization(text) IS
  'tells where calls for an authorization go';

CREATE FUNCTION credit_router_internal.find_finding(i_finding_id bigint)
  RETURNS TABLE (shard integer) LANGUAGE plproxy VOLATILE PARALLEL UNSAFE AS $$
  CLUSTER 'credit_router_ask';
  RUN ON ALL;
  SELECT @extschema@.credit_shard_number() AS shard FROM @extschema@.credit_finding f WHERE f.finding_id = i_finding_id;
$$;
COMMENT ON FUNCTION credit_router_internal.find_finding(bigint) IS 'on which shards a finding of that number is';

CREATE FUNCTION credit_router_internal.partition_of_finding(finding_id bigint)
  RETURNS integer LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
  SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  shards constant integer[] := ARRAY(SELECT f.shard FROM credit_router_internal.find_finding(finding_id) f);
BEGIN
  IF cardinality(shards) > 1 THEN
    RAISE ambiguous_alias USING
      MESSAGE = format('more than one shard has a finding %s', finding_id),
      DETAIL = format('They are %s.', array_to_string(shards, ', ')),
      HINT = 'Call credit_resolve_finding() in the database of the shard that it is about.';
  END IF;
  RETURN coalesce(shards[1], 0);
END
$$;
COMMENT ON FUNCTION credit_router_internal.partition_of_finding(bigint) IS 'where calls for a finding go';

CREATE FUNCTION credit_router_internal.refuse(function text)
  RETURNS void LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
  SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RAISE feature_not_supported USING
    MESSAGE = format('%s is about tables of one database, and a router has none', function),
    HINT = 'Call it in the database of each shard.';
END
$$;
COMMENT ON FUNCTION credit_router_internal.refuse(text) IS 'raises 0A000';
