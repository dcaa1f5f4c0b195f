-- Usage sources: what was really used is the application's to say. A source is a table or view with the columns org_id
-- text, campaign_id text, used_at timestamptz and quantity bigint; several add up. It is kept by name, so a view may be
-- dropped and created again, and a dump can be restored in any order.
--
-- campaign_id names what was authorized: the authorization's campaign_id, or its idempotency_key where it has none.

CREATE TABLE @extschema@.credit_usage_source (
  name            text COLLATE "C" NOT NULL,
  relation_schema text COLLATE "C" NOT NULL,
  relation_name   text COLLATE "C" NOT NULL,
  registered_at   timestamptz NOT NULL,
  PRIMARY KEY (name),
  CONSTRAINT credit_usage_source_name_check CHECK (octet_length(name) BETWEEN 1 AND 256)
);
COMMENT ON TABLE @extschema@.credit_usage_source IS
  'the tables and views of applications that say what was really used';
SELECT pg_extension_config_dump('@extschema@.credit_usage_source', '');

-- The ledger tells identifiers apart byte by byte. A collation that takes different ones for equal would have a source
-- add up what the ledger charged apart.
CREATE FUNCTION credit_ledger_internal.require_usage_columns(source text, relation regclass)
  RETURNS void LANGUAGE plpgsql STABLE PARALLEL SAFE
  SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  missing text;
  foreign_collation text;
BEGIN
  SELECT string_agg(format('%s %s', wanted.name, wanted.type), ', ' ORDER BY wanted.position)
  INTO missing
  FROM (VALUES (1, 'org_id', 'text'::regtype), (2, 'campaign_id', 'text'),
               (3, 'used_at', 'timestamptz'), (4, 'quantity', 'bigint')) AS wanted (position, name, type)
  LEFT JOIN pg_attribute a ON a.attrelid = relation AND a.attname = wanted.name AND a.attnum > 0 AND NOT a.attisdropped
  WHERE a.atttypid IS DISTINCT FROM wanted.type;
  IF missing IS NOT NULL THEN
    RAISE invalid_table_definition USING
      MESSAGE = format('relation "%s" cannot be usage source "%s"', relation, source),
      DETAIL = format('Missing, or of another type: %s.', missing),
      HINT = 'Make a view that has these columns, with casts where they are needed.';
  END IF;

  SELECT string_agg(format('%s %s', a.attname, a.attcollation::regcollation), ', ' ORDER BY a.attnum)
  INTO foreign_collation
  FROM pg_attribute a JOIN pg_collation c ON c.oid = a.attcollation
  WHERE a.attrelid = relation AND a.attname IN ('org_id', 'campaign_id') AND NOT c.collisdeterministic;
  IF foreign_collation IS NOT NULL THEN
    RAISE invalid_table_definition USING
      MESSAGE = format('relation "%s" cannot be usage source "%s"', relation, source),
      DETAIL = format('Of a collation that takes different identifiers for equal: %s.', foreign_collation),
      HINT = 'Make a view that has these columns, with COLLATE "C".';
  END IF;
END
$$;
COMMENT ON FUNCTION credit_ledger_internal.require_usage_columns(text, regclass) IS
  'raises 42P16 unless a relation has the columns of a usage source, compared as the ledger compares';

-- SECURITY DEFINER, since nobody but the owner may write a table. They execute nothing that a caller or a source brings
-- along.
CREATE FUNCTION @extschema@.credit_usage_source_register(name text, relation regclass)
  RETURNS void LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  other text;
BEGIN
  PERFORM credit_ledger_internal.require_argument('name', name IS NULL),
          credit_ledger_internal.require_argument('relation', relation IS NULL);
  IF octet_length(name) NOT BETWEEN 1 AND 256 THEN
    RAISE invalid_parameter_value USING MESSAGE = 'argument "name" must be 1 to 256 bytes long';
  END IF;
  PERFORM credit_ledger_internal.require_usage_columns(name, relation);

  -- Under two names, all that it says would count twice.
  SELECT s.name INTO other
  FROM @extschema@.credit_usage_source s
  JOIN pg_namespace n ON n.nspname = s.relation_schema
  JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = s.relation_name
  WHERE c.oid = relation AND s.name <> credit_usage_source_register.name;
  IF FOUND THEN
    RAISE duplicate_object USING
      MESSAGE = format('relation "%s" is usage source "%s" already', relation, other),
      HINT = 'To give it another name, let that one go with credit_usage_source_unregister().';
  END IF;
  INSERT INTO @extschema@.credit_usage_source AS s
  SELECT credit_usage_source_register.name, n.nspname, c.relname, clock_timestamp()
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.oid = relation
  ON CONFLICT ON CONSTRAINT credit_usage_source_pkey DO UPDATE
  SET relation_schema = excluded.relation_schema, relation_name = excluded.relation_name;
END
$$;
COMMENT ON FUNCTION @extschema@.credit_usage_source_register(text, regclass) IS
  'has reconciliation count what a table or view says was used: org_id text, campaign_id text, used_at timestamptz, '
  'quantity bigint; a name that is registered is given the new relation';

CREATE FUNCTION @extschema@.credit_usage_source_unregister(name text)
  RETURNS boolean LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM credit_ledger_internal.require_argument('name', name IS NULL);
  DELETE FROM @extschema@.credit_usage_source s WHERE s.name = credit_usage_source_unregister.name;
  RETURN FOUND;
END
$$;
COMMENT ON FUNCTION @extschema@.credit_usage_source_unregister(text) IS
  'has reconciliation count a usage source no longer; false: there was none of that name';

-- One view over all sources would let the judging be all of one piece, but a campaign is looked up in it by reading it
-- whole: the planner takes no join condition into a branch of UNION ALL that has a WHERE of its own, nor past a COLLATE
-- that the index does not have. Of two sources of a million rows, that is 8,153 pages instead of 8. So the branches
-- stand inside the query, and compare in the collation of their columns. A view would also keep its sources from being
-- dropped and made anew.
CREATE FUNCTION credit_ledger_internal.of_every_source(template text)
  RETURNS text LANGUAGE plpgsql STABLE PARALLEL UNSAFE
  SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  source @extschema@.credit_usage_source;
  relation regclass;
  branches text[];
BEGIN
  FOR source IN SELECT s.* FROM @extschema@.credit_usage_source s ORDER BY s.name LOOP
    relation := to_regclass(format('%I.%I', source.relation_schema, source.relation_name));
    IF relation IS NULL THEN
      RAISE undefined_table USING
        MESSAGE = format('usage source "%s" has vanished', source.name),
        DETAIL = format('There is no relation %I.%I.', source.relation_schema, source.relation_name),
        HINT = 'Register another relation with credit_usage_source_register(), '
               'or let it go with credit_usage_source_unregister().';
    END IF;
    PERFORM credit_ledger_internal.require_usage_columns(source.name, relation);
    branches := branches || (
      SELECT format(template, source.name, source.relation_schema, source.relation_name,
                    max(format('%I.%I', n.nspname, c.collname)) FILTER (WHERE a.attname = 'org_id'),
                    max(format('%I.%I', n.nspname, c.collname)) FILTER (WHERE a.attname = 'campaign_id'))
      FROM pg_attribute a
      JOIN pg_collation c ON c.oid = a.attcollation
      JOIN pg_namespace n ON n.oid = c.collnamespace
      WHERE a.attrelid = relation AND a.attname IN ('org_id', 'campaign_id'));
  END LOOP;
  IF branches IS NULL THEN
    RAISE object_not_in_prerequisite_state USING
      MESSAGE = 'no usage source is registered',
      HINT = 'Say where actual usage is found, with credit_usage_source_register().';
  END IF;
  RETURN array_to_string(branches, ' UNION ALL ');
END
$$;
COMMENT ON FUNCTION credit_ledger_internal.of_every_source(text) IS
  'makes a query over all usage sources: template once for each, joined by UNION ALL, with %1$L its name, %2$I.%3$I '
  'its relation, %4$s and %5$s the collations of org_id and campaign_id; raises 42P01, 42P16, or 55000 if there is '
  'none';

CREATE TYPE credit_ledger_internal.campaign_charge AS (
  org_id      text COLLATE "C",
  campaign_id text COLLATE "C",
  is_touched  boolean,
  has_own_key boolean,
  charged     bigint,
  held        bigint,
  refunded    bigint
);
COMMENT ON TYPE credit_ledger_internal.campaign_charge IS
  'an authorization of a campaign: what it charged, holds (settled: NULL) and had refunded, and whether its key is the '
  'campaign''s name and was not removed; or, without a charge, a campaign to judge. is_touched: the campaign is to be '
  'judged, for this reason';

CREATE TYPE credit_ledger_internal.campaign_usage AS (
  org_id         text COLLATE "C",
  campaign_id    text COLLATE "C",
  used_on        date,
  authorizations bigint,
  has_own_key    boolean,
  charged        numeric,
  held           numeric,
  refunded       numeric,
  used           numeric,
  used_since     timestamptz,
  detail         text
);
COMMENT ON TYPE credit_ledger_internal.campaign_usage IS
  'what a campaign used over its whole life, and since when, beside the sums of its charges that were read with it; '
  'used_on: it is named after that day, and usage of the day that names no campaign counts to it; detail: what is '
  'wrong with rows of a source, which count to no campaign';

CREATE FUNCTION credit_ledger_internal.day_of(at timestamptz)
  RETURNS date LANGUAGE sql STABLE PARALLEL SAFE
RETURN (at AT TIME ZONE credit_ledger_internal.setting('reconciliation_time_zone'))::date;
COMMENT ON FUNCTION credit_ledger_internal.day_of(timestamptz) IS
  'tells the day of reconciliation that an instant falls in';

-- Where clocks are put back at one in the morning, the day begins with the first of two midnights, which is as long
-- after the noon before as the clocks say.
CREATE FUNCTION credit_ledger_internal.start_of_day(day date)
  RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
  SELECT least(z.midnight,
               (SELECT f.midnight
                FROM (SELECT n.noon + (day::timestamp - n.noon AT TIME ZONE z.name) AS midnight
                      FROM (SELECT z.midnight - interval '12 hours' AS noon WHERE isfinite(day)) n) f
                WHERE credit_ledger_internal.day_of(f.midnight) = day))
  FROM (SELECT s.name, day::timestamp AT TIME ZONE s.name AS midnight
        FROM credit_ledger_internal.setting('reconciliation_time_zone') s (name)) z;
END;
COMMENT ON FUNCTION credit_ledger_internal.start_of_day(date) IS 'tells when a day of reconciliation begins';

-- Reads the sources once for what was used in the window, adds up by campaign together with what was charged, and looks
-- up what these campaigns used at other times; or, if all history is wanted or one campaign by name, reads just that.
CREATE FUNCTION credit_ledger_internal.read_usage(since timestamptz, until timestamptz, with_findings boolean,
    of_finding bigint, of_campaign text, of_org text)
  RETURNS SETOF credit_ledger_internal.campaign_usage LANGUAGE plpgsql STABLE PARALLEL UNSAFE
  SET search_path = pg_catalog, pg_temp
  SET jit = off
AS $$
DECLARE
  first_day timestamptz := 'infinity'::timestamptz;
  last_day timestamptz := 'infinity'::timestamptz;
  rows_to_read text;
  is_told constant boolean := of_campaign IS NULL AND of_finding IS NULL;
  campaigns bigint;
  elsewhere text := 'SELECT NULL::text, NULL::text, NULL::bigint, NULL::timestamptz WHERE false';
BEGIN
  PERFORM credit_ledger_internal.tell_step('reconciliation: reading what was used and charged') WHERE is_told;
  IF of_campaign IS NOT NULL THEN
    rows_to_read := 'u.campaign_id = $5 COLLATE %5$s AND ($6 IS NULL OR u.org_id = $6 COLLATE %4$s)';
  ELSIF since = '-infinity' THEN
    rows_to_read := 'true';
    first_day := '-infinity';
  ELSE
    -- Whole days, for usage that names no campaign.
    rows_to_read := '(u.used_at >= $7 AND u.used_at < $8
                      OR (u.used_at IS NULL OR u.used_at IN (''infinity'', ''-infinity'')) AND $1 < $2)';
    IF since < until THEN
      first_day := credit_ledger_internal.start_of_day(credit_ledger_internal.day_of(since));
      last_day := credit_ledger_internal.start_of_day(
        credit_ledger_internal.day_of(until - interval '1 microsecond') + 1);
    END IF;
    elsewhere := credit_ledger_internal.of_every_source(
      'SELECT c.org_id, c.campaign_id, u.quantity, u.used_at
       FROM campaign c
       JOIN %2$I.%3$I u ON u.org_id = c.org_id COLLATE %4$s AND u.campaign_id = c.campaign_id COLLATE %5$s
       WHERE u.quantity >= 0 AND (u.used_at > ''-infinity'' AND u.used_at < $7
                                  OR u.used_at >= $8 AND u.used_at < ''infinity'')');
  END IF;

  RETURN QUERY EXECUTE
    'WITH campaign AS MATERIALIZED (
       SELECT f.invalid_in, f.org_id, f.campaign_id, f.invalid_on,
              CASE WHEN f.campaign_id LIKE ''usage without campaign, %''
                   THEN credit_ledger_internal.day_of_campaign(f.campaign_id) END AS used_on,
              bool_or(f.is_touched) AS is_touched, count(*) AS nrows, count(f.charged) AS authorizations,
              coalesce(bool_or(f.has_own_key), false) AS has_own_key, coalesce(sum(f.charged), 0) AS charged,
              sum(f.held) AS held, coalesce(sum(f.refunded), 0) AS refunded, coalesce(sum(f.quantity), 0) AS used,
              min(f.used_at) AS used_since
       FROM (
         ' || credit_ledger_internal.of_every_source(
      'SELECT CASE WHEN u.is_invalid THEN u.source END AS invalid_in, u.org_id,
              CASE WHEN NOT u.is_invalid THEN coalesce(
                u.campaign_id, credit_ledger_internal.campaign_of_day((u.used_at AT TIME ZONE $9)::date))
              END AS campaign_id,
              CASE WHEN u.is_invalid THEN (u.used_at AT TIME ZONE $9)::date END AS invalid_on,
              $5 IS NOT NULL OR u.used_at IS NULL OR u.used_at >= $1 AND u.used_at < $2 AS is_touched,
              NULL::boolean AS has_own_key, NULL::bigint AS charged, NULL::bigint AS held, NULL::bigint AS refunded,
              u.quantity, u.used_at
       FROM (SELECT %1$L::text AS source, u.campaign_id COLLATE "C" AS campaign_id, u.quantity,
                    CASE WHEN isfinite(u.used_at) THEN u.used_at END AS used_at,
                    CASE WHEN octet_length(u.org_id) BETWEEN 1 AND 256 THEN u.org_id COLLATE "C" END AS org_id,
                    coalesce(octet_length(u.org_id), 0) NOT BETWEEN 1 AND 256
                      OR coalesce(octet_length(u.campaign_id), 1) NOT BETWEEN 1 AND 256
                      OR isfinite(u.used_at) IS NOT TRUE OR u.quantity IS NULL OR u.quantity < 0 AS is_invalid
             FROM %2$I.%3$I u
             WHERE ' || rows_to_read || ') u') || '
         UNION ALL
         SELECT NULL, h.org_id, h.campaign_id, NULL, h.is_touched, h.has_own_key, h.charged, h.held, h.refunded, NULL,
                NULL
         FROM credit_ledger_internal.campaign_charges($1, $2, $3, $4, $5, $6) h
       ) f
       GROUP BY f.invalid_in, f.org_id, f.campaign_id, f.invalid_on
     ), day_elsewhere AS MATERIALIZED (
       SELECT c.org_id, c.campaign_id, credit_ledger_internal.start_of_day(c.used_on) AS since,
              credit_ledger_internal.start_of_day(c.used_on + 1) AS until
       FROM campaign c
       WHERE c.used_on IS NOT NULL AND c.is_touched
         AND (credit_ledger_internal.start_of_day(c.used_on) < $7
              OR credit_ledger_internal.start_of_day(c.used_on) >= $8)
     ), elsewhere AS (
       SELECT e.org_id, e.campaign_id, sum(e.quantity) AS used, min(e.used_at) AS used_since
       FROM (
         ' || elsewhere || '
         UNION ALL
         ' || credit_ledger_internal.of_every_source(
      'SELECT d.org_id, d.campaign_id, u.quantity, u.used_at
       FROM day_elsewhere d
       JOIN %2$I.%3$I u ON u.org_id = d.org_id COLLATE %4$s AND u.campaign_id IS NULL
        AND u.used_at >= d.since AND u.used_at < d.until
       WHERE u.quantity >= 0') || '
       ) e (org_id, campaign_id, quantity, used_at)
       GROUP BY e.org_id, e.campaign_id
     )
     SELECT c.org_id, c.campaign_id, c.used_on, c.authorizations, c.has_own_key, c.charged, c.held, c.refunded,
            CASE WHEN e.used IS NULL THEN c.used ELSE c.used + e.used END, least(c.used_since, e.used_since), NULL::text
     FROM campaign c
     LEFT JOIN elsewhere e ON e.org_id = c.org_id AND e.campaign_id = c.campaign_id
     WHERE c.is_touched AND c.campaign_id IS NOT NULL
     UNION ALL
     SELECT c.org_id, NULL, c.invalid_on, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
            format(''usage source "%s": %s rows without a valid org_id, campaign_id, used_at or quantity'',
                   c.invalid_in, c.nrows)
     FROM campaign c
     WHERE c.invalid_in IS NOT NULL AND $5 IS NULL
       AND coalesce(credit_ledger_internal.start_of_day(c.invalid_on) < $2, true)'
  USING since, until, with_findings, of_finding, of_campaign, of_org, first_day, last_day,
        credit_ledger_internal.setting('reconciliation_time_zone');
  GET DIAGNOSTICS campaigns = ROW_COUNT;
  PERFORM credit_ledger_internal.tell_step(format('reconciliation: judging %s campaigns', campaigns)) WHERE is_told;
END
$$;
COMMENT ON FUNCTION credit_ledger_internal.read_usage(timestamptz, timestamptz, boolean, bigint, text, text) IS
  'finds what every campaign used that campaign_charges() says is to be judged or that was used in the window, those '
  'without usage too, with the sums of these charges; and the rows of sources that say nothing';

CREATE FUNCTION credit_ledger_internal.usage(since timestamptz, until timestamptz, with_findings boolean,
    of_finding bigint, of_campaign text, of_org text)
  RETURNS SETOF credit_ledger_internal.campaign_usage LANGUAGE C STABLE PARALLEL UNSAFE
  AS 'MODULE_PATHNAME', 'credit_usage';
COMMENT ON FUNCTION credit_ledger_internal.usage(timestamptz, timestamptz, boolean, bigint, text, text) IS
  'calls read_usage() with the rights of the session''s role, whoever calls: what a source calls is called as that '
  'role';
