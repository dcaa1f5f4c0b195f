-- Judging campaigns: what was charged against what was used, each totalled over the campaign's whole life, both sides
-- in one statement and so in one snapshot. docs/reconciliation.md says what each verdict means and shows the plan.
--
-- A campaign goes by the name that its usage gives: campaign_id, or idempotency_key where an authorization has none.

CREATE TYPE @extschema@.credit_verdict AS ENUM ('balanced', 'in_flight', 'undercharged', 'overcharged', 'unauthorized_usage',
  'charged_without_usage', 'invalid_usage', 'unsound_ledger');
COMMENT ON TYPE @extschema@.credit_verdict IS
  'what comparing charges with usage came to; the first two are no mismatch, and in_flight is judged once nothing is open';

CREATE TYPE @extschema@.credit_judgement AS (
  org_id         text COLLATE "C",
  campaign_id    text COLLATE "C",
  used_on        date,
  authorizations bigint,
  charged        bigint,
  refunded       bigint,
  adjusted       bigint,
  used           bigint,
  difference     bigint,
  verdict        @extschema@.credit_verdict,
  detail         text
);
COMMENT ON TYPE @extschema@.credit_judgement IS
  'a campaign (or, without campaign_id, the usage of the UTC day used_on that names none) with its totals and verdict; difference: credits charged beyond what was used, less than zero: used beyond what was charged, as far as no refund or resolved finding explains it';

-- The findings that runs of reconciliation made; sql/reconciliation.sql writes them.
CREATE TABLE @extschema@.credit_reconciliation_run (
  run_id          bigint GENERATED ALWAYS AS IDENTITY,
  since           timestamptz NOT NULL,
  until           timestamptz NOT NULL,
  tolerance       bigint NOT NULL,
  judged          bigint NOT NULL,
  in_flight       bigint NOT NULL,
  findings_new    bigint NOT NULL,
  findings_open   bigint NOT NULL,
  covered_until   timestamptz,
  started_at      timestamptz NOT NULL,
  finished_at     timestamptz NOT NULL,
  PRIMARY KEY (run_id)
);
COMMENT ON TABLE @extschema@.credit_reconciliation_run IS 'one row a run of reconciliation that came to its end';
COMMENT ON COLUMN @extschema@.credit_reconciliation_run.judged IS 'campaigns that the window touched, those in flight among them';
COMMENT ON COLUMN @extschema@.credit_reconciliation_run.covered_until IS
  'up to here runs without a gap between them have seen all that settled; the next run begins here. NULL: no run began at the beginning';
COMMENT ON SEQUENCE @extschema@.credit_reconciliation_run_run_id_seq IS 'numbers of runs';

CREATE TABLE @extschema@.credit_finding (
  finding_id  bigint GENERATED ALWAYS AS IDENTITY,
  run_id      bigint NOT NULL,
  verdict     @extschema@.credit_verdict NOT NULL,
  org_id      text COLLATE "C",
  campaign_id text COLLATE "C",
  used_on     date,
  charged     bigint,
  refunded    bigint,
  used        bigint,
  difference  bigint,
  detail      text,
  found_at    timestamptz NOT NULL,
  seen_at     timestamptz NOT NULL,
  resolution  text,
  resolved_at timestamptz,
  resolved_by text,
  note        text,
  adjusted    bigint,
  entry_no    bigint,
  PRIMARY KEY (finding_id),
  CONSTRAINT credit_finding_resolution_check CHECK (resolution IN ('adjust', 'dismiss', 'cleared')),
  CONSTRAINT credit_finding_resolved_check CHECK ((resolution IS NULL) = (resolved_at IS NULL))
);
COMMENT ON TABLE @extschema@.credit_finding IS 'the mismatches that runs found; open until resolved_at';
COMMENT ON COLUMN @extschema@.credit_finding.run_id IS 'the run that found it first';
COMMENT ON COLUMN @extschema@.credit_finding.seen_at IS 'when a run last saw it; charged, refunded, used and difference are of then';
COMMENT ON COLUMN @extschema@.credit_finding.resolution IS
  'adjust: a movement made the difference vanish; dismiss: somebody accepted it; cleared: a later run found it gone';
COMMENT ON COLUMN @extschema@.credit_finding.adjusted IS 'adjust: credits taken (less than zero: given back) by the entry entry_no of the organisation';
COMMENT ON SEQUENCE @extschema@.credit_finding_finding_id_seq IS 'numbers of findings';
CREATE UNIQUE INDEX credit_finding_open_idx ON @extschema@.credit_finding (org_id, campaign_id, used_on, detail)
  NULLS NOT DISTINCT WHERE resolved_at IS NULL;
CREATE INDEX credit_finding_run_id_idx ON @extschema@.credit_finding (run_id);
CREATE INDEX credit_finding_org_id_campaign_id_idx ON @extschema@.credit_finding (org_id, campaign_id);

SELECT pg_extension_config_dump('@extschema@.credit_reconciliation_run', '');
SELECT pg_extension_config_dump('@extschema@.credit_reconciliation_run_run_id_seq', '');
SELECT pg_extension_config_dump('@extschema@.credit_finding', '');
SELECT pg_extension_config_dump('@extschema@.credit_finding_finding_id_seq', '');

-- since and until: the window. with_findings: judge the campaigns of open findings, too. of_campaign, of_org: judge this
-- campaign, too, of this organisation or of all.
CREATE FUNCTION @extschema@.credit_judge_campaigns(since timestamptz, until timestamptz, tolerance bigint,
    with_findings boolean = false, of_campaign text = NULL, of_org text = NULL)
  RETURNS SETOF @extschema@.credit_judgement LANGUAGE plpgsql STABLE PARALLEL UNSAFE
  SET search_path = pg_catalog, pg_temp
  SET jit = off
AS $$
BEGIN
  PERFORM credit_ledger_internal.require_argument('tolerance', tolerance IS NULL);
  IF tolerance < 0 THEN
    RAISE invalid_parameter_value USING MESSAGE = format('tolerance must not be negative: %s', tolerance);
  END IF;
  since := coalesce(since, '-infinity');
  until := coalesce(until, 'infinity');
  IF since > until THEN
    RAISE invalid_parameter_value USING
      MESSAGE = 'since must not be after until', DETAIL = format('Window: from %s to %s.', since, until);
  END IF;

  RETURN QUERY EXECUTE
    -- What settled in the window; what is open, ever; what was used in the window. Usage that names no campaign is
    -- totalled by whole days.
    'WITH settled AS MATERIALIZED (
       SELECT l.org_id, coalesce(l.campaign_id, l.idempotency_key) AS campaign_id, l.idempotency_key,
              l.status, l.amount, l.refunded_amount
       FROM @extschema@.credit_ledger_settled l
       WHERE l.settled_at >= $1 AND l.settled_at < $2
     ), open AS MATERIALIZED (
       SELECT l.org_id, coalesce(l.campaign_id, l.idempotency_key) AS campaign_id, l.created_at,
              l.status, l.amount, l.refunded_amount
       FROM @extschema@.credit_ledger_open l
     ), used AS MATERIALIZED (' || @extschema@.credit_require_usage(
      'SELECT u.source, u.org_id, u.campaign_id, u.is_invalid,
              CASE WHEN u.campaign_id IS NULL OR u.is_invalid THEN (u.used_at AT TIME ZONE ''UTC'')::date END AS used_on,
              bool_or(u.used_at >= $1 AND u.used_at < $2) AS in_window, count(*) AS nrows, sum(u.quantity) AS quantity
       FROM (SELECT %1$L::text AS source, u.campaign_id COLLATE "C" AS campaign_id, u.used_at, u.quantity,
                    CASE WHEN octet_length(u.org_id) BETWEEN 1 AND 256 THEN u.org_id COLLATE "C" END AS org_id,
                    coalesce(octet_length(u.org_id), 0) NOT BETWEEN 1 AND 256
                      OR coalesce(octet_length(u.campaign_id), 1) NOT BETWEEN 1 AND 256
                      OR u.used_at IS NULL OR u.quantity IS NULL OR u.quantity < 0 AS is_invalid
             FROM %2$I.%3$I u
             WHERE u.used_at >= $7 AND u.used_at < $8 OR u.used_at IS NULL AND $1 < $2) u
       GROUP BY 1, 2, 3, 4, 5') || '
     ), finding AS MATERIALIZED (
       SELECT f.org_id, f.campaign_id, f.used_on
       FROM @extschema@.credit_finding f
       WHERE $4 AND f.resolved_at IS NULL AND f.detail IS NULL

     -- The campaigns to judge.
     ), touched AS MATERIALIZED (
       SELECT s.org_id, s.campaign_id FROM settled s
       UNION SELECT o.org_id, o.campaign_id FROM open o WHERE o.created_at >= $1 AND o.created_at < $2
       UNION SELECT u.org_id, u.campaign_id FROM used u WHERE u.campaign_id IS NOT NULL AND u.in_window AND NOT u.is_invalid
       UNION SELECT f.org_id, f.campaign_id FROM finding f WHERE f.campaign_id IS NOT NULL
       UNION SELECT c.org_id, $5
             FROM (SELECT i.org_id FROM @extschema@.credit_idempotency i WHERE i.idempotency_key = $5
                   UNION ALL
                   SELECT l.org_id FROM @extschema@.credit_ledger_settled l
                   WHERE l.campaign_id = $5 AND l.campaign_id <> l.idempotency_key
                   UNION ALL
                   SELECT o.org_id FROM open o WHERE o.campaign_id = $5
                   UNION ALL
                   SELECT f.org_id FROM @extschema@.credit_finding f WHERE f.campaign_id = $5) c
             WHERE $6 IS NULL OR c.org_id = $6
       UNION (' || @extschema@.credit_require_usage(
      'SELECT u.org_id COLLATE "C", $5 FROM %2$I.%3$I u
       WHERE u.campaign_id = $5 COLLATE %5$s AND ($6 IS NULL OR u.org_id = $6 COLLATE %4$s)
         AND u.org_id IS NOT NULL') || ')

     -- All their authorizations: those seen above, and those that settled outside the window. The one whose key is the
     -- campaign itself is found through its idempotency row, others through the partial index that has just these.
     ), of_touched AS (
       SELECT s.org_id, s.campaign_id, s.status, s.amount, s.refunded_amount FROM settled s
       UNION ALL
       SELECT o.org_id, o.campaign_id, o.status, o.amount, o.refunded_amount FROM open o
       UNION ALL
       SELECT t.org_id, t.campaign_id, l.status, l.amount, l.refunded_amount
       FROM touched t
       CROSS JOIN LATERAL (
         SELECT i.authorization_id
         FROM @extschema@.credit_idempotency i
         WHERE i.org_id = t.org_id AND i.operation = ''authorize'' AND i.idempotency_key = t.campaign_id
         OFFSET 0) i
       CROSS JOIN LATERAL (
         SELECT l.status, l.amount, l.refunded_amount
         FROM @extschema@.credit_ledger_settled l
         WHERE l.authorization_id = i.authorization_id
           AND coalesce(l.campaign_id, l.idempotency_key) = t.campaign_id AND l.idempotency_key = t.campaign_id
           AND NOT (l.settled_at >= $1 AND l.settled_at < $2)
         OFFSET 0) l
       WHERE NOT EXISTS (SELECT FROM settled s WHERE s.org_id = t.org_id AND s.idempotency_key = t.campaign_id)
       UNION ALL
       SELECT t.org_id, t.campaign_id, l.status, l.amount, l.refunded_amount
       FROM touched t
       CROSS JOIN LATERAL (
         SELECT l.status, l.amount, l.refunded_amount
         FROM @extschema@.credit_ledger_settled l
         WHERE l.org_id = t.org_id AND l.campaign_id = t.campaign_id AND l.campaign_id <> l.idempotency_key
           AND NOT (l.settled_at >= $1 AND l.settled_at < $2)
         OFFSET 0) l
     ), charge AS (
       SELECT a.org_id, a.campaign_id, count(*) AS authorizations,
              count(*) FILTER (WHERE a.status = ''authorized'') AS open,
              coalesce(sum(a.amount) FILTER (WHERE a.status = ''committed''), 0) AS charged,
              sum(a.refunded_amount) AS refunded
       FROM of_touched a
       GROUP BY a.org_id, a.campaign_id

     -- All their usage. A window looks campaigns up if that is quick, rather than read all usage there ever was.
     ), usage AS (
       SELECT b.org_id, b.campaign_id, NULL::date AS used_on, sum(b.quantity) AS used
       FROM (' || @extschema@.credit_require_usage(
      'SELECT t.org_id, t.campaign_id, sum(u.quantity) AS quantity
       FROM touched t
       CROSS JOIN LATERAL (
         SELECT u.quantity
         FROM %2$I.%3$I u
         WHERE u.org_id = t.org_id COLLATE %4$s AND u.campaign_id = t.campaign_id COLLATE %5$s
           AND u.quantity >= 0 AND u.used_at IS NOT NULL
         ' || CASE WHEN since > '-infinity' THEN '%6$s' ELSE '' END || ') u
       GROUP BY t.org_id, t.campaign_id') || ') b
       GROUP BY b.org_id, b.campaign_id
     ), usage_without_campaign AS (
       SELECT d.org_id, d.used_on, sum(d.quantity) AS used
       FROM (
         SELECT u.source, u.org_id, u.used_on, u.quantity FROM used u WHERE u.campaign_id IS NULL AND NOT u.is_invalid
         UNION (' || @extschema@.credit_require_usage(
      'SELECT %1$L::text, f.org_id, f.used_on, sum(u.quantity)
       FROM finding f
       JOIN %2$I.%3$I u ON u.org_id = f.org_id COLLATE %4$s AND u.campaign_id IS NULL
        AND u.used_at >= f.used_on::timestamp AT TIME ZONE ''UTC''
        AND u.used_at < (f.used_on + 1)::timestamp AT TIME ZONE ''UTC''
       WHERE u.quantity >= 0
       GROUP BY f.org_id, f.used_on') || ')
       ) d
       GROUP BY d.org_id, d.used_on

     -- What resolved findings explain.
     ), resolved AS (
       SELECT f.org_id, f.campaign_id, f.used_on, coalesce(sum(f.adjusted), 0) AS adjusted,
              coalesce(sum(f.difference) FILTER (WHERE f.resolution = ''dismiss'' AND f.difference > 0), 0) AS dismissed_over,
              coalesce(sum(f.difference) FILTER (WHERE f.resolution = ''dismiss'' AND f.difference < 0), 0) AS dismissed_under
       FROM @extschema@.credit_finding f
       WHERE f.resolution IN (''adjust'', ''dismiss'') AND f.detail IS NULL
       GROUP BY f.org_id, f.campaign_id, f.used_on

     ), total AS (
       SELECT k.org_id, k.campaign_id, k.used_on, coalesce(c.authorizations, 0) AS authorizations, coalesce(c.open, 0) AS open,
              coalesce(c.charged, 0) AS charged, coalesce(c.refunded, 0) AS refunded, coalesce(r.adjusted, 0) AS adjusted,
              k.used, coalesce(r.dismissed_over, 0) AS dismissed_over, coalesce(r.dismissed_under, 0) AS dismissed_under
       FROM (SELECT t.org_id, t.campaign_id, NULL::date AS used_on, coalesce(u.used, 0) AS used
             FROM touched t LEFT JOIN usage u USING (org_id, campaign_id)
             UNION ALL
             SELECT w.org_id, NULL, w.used_on, w.used FROM usage_without_campaign w) k
       LEFT JOIN charge c ON c.org_id = k.org_id AND c.campaign_id = k.campaign_id
       LEFT JOIN resolved r ON r.org_id = k.org_id AND coalesce(r.campaign_id, '''') = coalesce(k.campaign_id, '''')
        AND coalesce(r.used_on, ''infinity'') = coalesce(k.used_on, ''infinity'')
     ), compared AS (
       SELECT t.*, CASE WHEN t.used > t.charged + t.adjusted - t.dismissed_under
                        THEN t.charged + t.adjusted - t.dismissed_under - t.used
                        ELSE greatest(t.charged + t.adjusted - t.refunded - t.dismissed_over - t.used, 0)
                   END AS difference
       FROM total t
       WHERE t.authorizations > 0 OR t.used > 0 OR t.adjusted <> 0
     )
     SELECT c.org_id, c.campaign_id, c.used_on, c.authorizations, c.charged::bigint, c.refunded::bigint, c.adjusted::bigint,
            c.used::bigint, c.difference::bigint,
            CASE WHEN c.open > 0 THEN ''in_flight''
                 WHEN abs(c.difference) <= $3 THEN ''balanced''
                 WHEN c.authorizations = 0 AND c.difference < 0 THEN ''unauthorized_usage''
                 WHEN c.difference < 0 THEN ''undercharged''
                 WHEN c.used = 0 THEN ''charged_without_usage''
                 ELSE ''overcharged''
            END::@extschema@.credit_verdict,
            NULL::text
     FROM compared c
     UNION ALL
     SELECT u.org_id, NULL, u.used_on, NULL, NULL, NULL, NULL, NULL, NULL, ''invalid_usage'',
            format(''usage source "%s": %s rows without a valid org_id, campaign_id, used_at or quantity'', u.source, sum(u.nrows))
     FROM used u
     WHERE u.is_invalid
     GROUP BY u.source, u.org_id, u.used_on'
  USING since, until, tolerance, with_findings, of_campaign, of_org,
        -- whole days, for usage that names no campaign; nothing, where the window is nothing
        CASE WHEN since < until THEN date_trunc('day', since, 'UTC') ELSE since END,
        CASE WHEN since < until AND date_trunc('day', until, 'UTC') < until THEN date_trunc('day', until, 'UTC') + interval '24 hours' ELSE until END;
END
$$;
COMMENT ON FUNCTION @extschema@.credit_judge_campaigns(timestamptz, timestamptz, bigint, boolean, text, text) IS
  'every campaign that the window touches, by an authorization made or settled in it or by usage in it, with its totals over its whole life and its verdict, the balanced ones too; in no order. Reads the window, not the history; takes no row lock';

CREATE FUNCTION @extschema@.credit_reconcile_campaigns(since timestamptz = NULL, until timestamptz = NULL, tolerance bigint = 10)
  RETURNS SETOF @extschema@.credit_judgement LANGUAGE sql STABLE PARALLEL UNSAFE
BEGIN ATOMIC
  SELECT j.*
  FROM @extschema@.credit_judge_campaigns(since, until, tolerance) j
  WHERE j.verdict <> 'balanced'
  ORDER BY j.org_id, j.campaign_id, j.used_on, j.verdict, j.detail;
END;
COMMENT ON FUNCTION @extschema@.credit_reconcile_campaigns(timestamptz, timestamptz, bigint) IS
  'campaigns of the window (since included, until excluded; NULL: without end) whose charges and usage differ by more than tolerance, and those still in flight';

CREATE FUNCTION @extschema@.credit_reconcile(since timestamptz = NULL, until timestamptz = NULL, tolerance bigint = 10)
  RETURNS TABLE (org_id text, credits_committed bigint, actual_usage bigint, difference bigint)
  LANGUAGE sql STABLE PARALLEL UNSAFE
BEGIN ATOMIC
  SELECT s.org_id, s.credits_committed::bigint, s.actual_usage::bigint, (s.credits_committed - s.actual_usage)::bigint
  FROM (SELECT j.org_id, sum(j.charged::numeric - j.refunded + j.adjusted) AS credits_committed, sum(j.used) AS actual_usage
        FROM @extschema@.credit_judge_campaigns(since, until, tolerance) j
        WHERE j.verdict NOT IN ('in_flight', 'invalid_usage')
        GROUP BY j.org_id) s
  WHERE abs(s.credits_committed - s.actual_usage) > tolerance
  ORDER BY s.org_id;
END;
COMMENT ON FUNCTION @extschema@.credit_reconcile(timestamptz, timestamptz, bigint) IS
  'organisations whose credits committed, net of refunds, and actual usage differ by more than tolerance, over the campaigns of the window that are not in flight: the runbook''s reconciliation query';

CREATE FUNCTION @extschema@.credit_campaign_status(campaign_id text, org_id text = NULL)
  RETURNS SETOF @extschema@.credit_judgement LANGUAGE sql STABLE PARALLEL UNSAFE
BEGIN ATOMIC
  SELECT credit_ledger_internal.require_argument('campaign_id', campaign_id IS NULL);
  SELECT j.*
  FROM @extschema@.credit_judge_campaigns('infinity', 'infinity', 0, false, credit_campaign_status.campaign_id, credit_campaign_status.org_id) j
  ORDER BY j.org_id;
END;
COMMENT ON FUNCTION @extschema@.credit_campaign_status(text, text) IS
  'what a campaign was charged and what it used over its whole life, with the verdict (tolerance 0), a row for each organisation that has a campaign of that name';

CREATE FUNCTION @extschema@.credit_orphaned_authorizations(older_than interval = '1 hour')
  RETURNS TABLE (authorization_id text, org_id text, campaign_id text, amount bigint, created_at timestamptz, expires_at timestamptz)
  LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
  SELECT credit_ledger_internal.require_argument('older_than', older_than IS NULL);
  SELECT l.authorization_id, l.org_id, l.campaign_id, l.amount, l.created_at, l.expires_at
  FROM @extschema@.credit_ledger_open l
  WHERE l.created_at < now() - older_than
  ORDER BY l.created_at, l.authorization_id;
END;
COMMENT ON FUNCTION @extschema@.credit_orphaned_authorizations(interval) IS
  'authorizations neither committed nor reverted that are older than that, oldest first: the runbook''s query';
