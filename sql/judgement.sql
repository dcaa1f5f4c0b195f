-- Judging campaigns: what was charged against what was used, each totalled over the campaign's whole life, both sides
-- in one statement and so in one snapshot. docs/reconciliation.md says what each verdict means and shows the plan.
--
-- A campaign goes by the name that its usage gives: campaign_id, or idempotency_key where an authorization has none.

CREATE TYPE @extschema@.credit_judgement AS (
  org_id         text COLLATE "C",
  campaign_id    text COLLATE "C",
  used_on        date,
  campaigns      bigint,
  authorizations bigint,
  charged        bigint,
  held           bigint,
  refunded       bigint,
  used           bigint,
  difference     bigint,
  verdict        @extschema@.credit_verdict,
  detail         text
);
COMMENT ON TYPE @extschema@.credit_judgement IS
  'a campaign (or, without campaign_id, the usage of the day used_on that names none; or the sum of so many campaigns '
  'that each differ by no more than the tolerance) with its totals and verdict; difference: credits charged beyond '
  'what was used, less than zero: used beyond what was charged, as far as no open hold, refund or dismissed finding '
  'explains it';

-- since and until: the window. with_findings: the campaigns of open findings, too; of_finding: those of this finding.
-- of_campaign, of_org: this campaign, of this organisation or of all.
CREATE FUNCTION credit_ledger_internal.campaign_charges(since timestamptz, until timestamptz, with_findings boolean,
    of_finding bigint, of_campaign text, of_org text)
  RETURNS SETOF credit_ledger_internal.campaign_charge LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
  SELECT l.org_id, coalesce(l.campaign_id, l.idempotency_key), true,
         coalesce(l.campaign_id = l.idempotency_key, true)
           AND l.created_at >= coalesce((SELECT r.removed_until FROM @extschema@.credit_key_removal r), '-infinity'),
         CASE l.status WHEN 'committed' THEN l.amount ELSE 0 END, NULL::bigint, l.refunded_amount
  FROM @extschema@.credit_ledger_settled l
  WHERE l.settled_at >= since AND l.settled_at < until
  UNION ALL
  SELECT o.org_id, coalesce(o.campaign_id, o.idempotency_key), o.created_at >= since AND o.created_at < until,
         coalesce(o.campaign_id = o.idempotency_key, true), coalesce(o.committed_amount, 0), o.amount, 0
  FROM @extschema@.credit_ledger_open o
  UNION ALL
  SELECT f.org_id, f.campaign_id, true, NULL, NULL, NULL, NULL
  FROM credit_ledger_internal.finding_campaign f
  WHERE f.finding_id = of_finding OR with_findings AND f.resolution IS NULL
  UNION ALL
  SELECT k.org_id, of_campaign COLLATE "C", true, NULL, NULL, NULL, NULL
  FROM (SELECT i.org_id FROM @extschema@.credit_idempotency i
        WHERE i.idempotency_key = of_campaign AND i.operation = 'authorize'
        UNION ALL
        SELECT i.org_id FROM @extschema@.credit_idempotency i
        WHERE i.campaign_id = of_campaign AND i.campaign_id <> i.idempotency_key
        UNION ALL
        SELECT f.org_id FROM credit_ledger_internal.finding_campaign f WHERE f.campaign_id = of_campaign
        UNION ALL
        SELECT of_org WHERE of_org IS NOT NULL
        UNION ALL
        -- Whose keys were removed is found by reading what is that old.
        SELECT l.org_id FROM @extschema@.credit_ledger_settled l
        WHERE of_org IS NULL AND (SELECT count(*) FROM @extschema@.credit_key_removal) > 0
          AND l.created_at < (SELECT r.removed_until FROM @extschema@.credit_key_removal r)
          AND coalesce(l.campaign_id, l.idempotency_key) = of_campaign) k
  WHERE of_campaign IS NOT NULL AND (of_org IS NULL OR k.org_id = of_org);
END;
COMMENT ON FUNCTION credit_ledger_internal.campaign_charges(timestamptz, timestamptz, boolean, bigint, text, text) IS
  'lists the authorizations that were settled in a window, which are to be judged; all that are open, to be judged '
  'if they were made in it; and the campaigns of open findings, of one finding, or of one name. A campaign may come '
  'many times';

CREATE FUNCTION credit_ledger_internal.as_bigint(value numeric)
  RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN least(greatest(value, -9223372036854775807), 9223372036854775807)::bigint;
COMMENT ON FUNCTION credit_ledger_internal.as_bigint(numeric) IS
  'makes a sum a bigint, the nearest there is: one source with absurd quantities must not stop a run';

-- This body is planned inside the query of judge_campaigns(), for its arguments; an error quotes that query, not this.
-- Of a run's two million campaigns nearly all are balanced: unless they are wanted, they are only counted.
CREATE FUNCTION credit_ledger_internal.judgements(since timestamptz, until timestamptz, tolerance bigint,
    with_findings boolean, with_balanced boolean, of_finding bigint, of_campaign text, of_org text, is_named boolean,
    keys_removed_until timestamptz, known_since timestamptz)
  RETURNS SETOF @extschema@.credit_judgement LANGUAGE sql STABLE PARALLEL UNSAFE
BEGIN ATOMIC
  -- Usage, with the charges that settled in the window and those that are open.
  WITH usage AS MATERIALIZED (
    SELECT u.* FROM credit_ledger_internal.usage(since, until, with_findings, of_finding, of_campaign, of_org) u

  -- What settled at other times is found by the keys. A key of which the ledger has no authorization was put away with
  -- a partition.
  ), key AS (
    SELECT u.org_id, u.campaign_id, i.authorization_id
    FROM usage u
    CROSS JOIN LATERAL (
      SELECT i.authorization_id
      FROM @extschema@.credit_idempotency i
      WHERE i.idempotency_key = u.campaign_id AND i.org_id = u.org_id AND i.operation = 'authorize'
        AND coalesce(i.campaign_id, i.idempotency_key) = u.campaign_id
      OFFSET 0) i
    WHERE NOT u.has_own_key
    UNION ALL
    SELECT u.org_id, u.campaign_id, i.authorization_id
    FROM usage u
    CROSS JOIN LATERAL (
      SELECT i.authorization_id
      FROM @extschema@.credit_idempotency i
      WHERE i.campaign_id = u.campaign_id AND i.org_id = u.org_id AND i.campaign_id <> i.idempotency_key
        AND i.operation = 'authorize'
      OFFSET 0) i
    WHERE EXISTS (SELECT FROM @extschema@.credit_idempotency i WHERE i.campaign_id <> i.idempotency_key)
  ), elsewhere AS (
    SELECT k.org_id, k.campaign_id, count(*) AS authorizations,
           sum(CASE l.status WHEN 'committed' THEN l.amount ELSE 0 END) AS charged,
           sum(coalesce(l.refunded_amount, 0)) AS refunded, bool_or(l.authorization_id IS NULL) AS is_detached
    FROM key k
    LEFT JOIN LATERAL (
      SELECT l.authorization_id, l.status, l.amount, l.refunded_amount, l.settled_at
      FROM @extschema@.credit_ledger_settled l
      WHERE l.authorization_id = k.authorization_id
      OFFSET 0) l ON true
    WHERE CASE WHEN l.authorization_id IS NULL
               THEN NOT EXISTS (SELECT FROM @extschema@.credit_ledger_open o
                                WHERE o.authorization_id = k.authorization_id)
               ELSE NOT (l.settled_at >= since AND l.settled_at < until) END
    GROUP BY k.org_id, k.campaign_id

  ), dismissed AS (
    SELECT f.org_id, f.campaign_id, coalesce(sum(f.difference) FILTER (WHERE f.difference > 0), 0) AS over,
           coalesce(-sum(f.difference) FILTER (WHERE f.difference < 0), 0) AS under
    FROM credit_ledger_internal.finding_campaign f
    WHERE f.resolution = 'dismiss'
    GROUP BY f.org_id, f.campaign_id

  ), known AS NOT MATERIALIZED (
    SELECT u.org_id, u.campaign_id, u.used_on, u.authorizations + coalesce(e.authorizations, 0) AS authorizations,
           u.charged + coalesce(e.charged, 0) AS charged, u.held, u.refunded + coalesce(e.refunded, 0) AS refunded,
           u.used, u.used_since, coalesce(e.is_detached, false) AS is_detached,
           coalesce(d.over, 0) AS over, coalesce(d.under, 0) AS under
    FROM usage u
    LEFT JOIN elsewhere e ON e.org_id = u.org_id AND e.campaign_id = u.campaign_id
    LEFT JOIN dismissed d ON d.org_id = u.org_id AND d.campaign_id = u.campaign_id
    WHERE u.detail IS NULL

  -- Where more was used than the ledger seems to know of, some may have been charged under keys that were removed. So
  -- what the organisation settled that long ago is read.
  ), keyless AS (
    SELECT k.org_id, k.campaign_id, count(*) AS authorizations,
           sum(CASE l.status WHEN 'committed' THEN l.amount ELSE 0 END) AS charged, sum(l.refunded_amount) AS refunded
    FROM known k
    JOIN @extschema@.credit_ledger_settled l
      ON l.org_id = k.org_id AND coalesce(l.campaign_id, l.idempotency_key) = k.campaign_id
    WHERE l.created_at < keys_removed_until AND NOT k.is_detached
      AND (is_named OR k.used > k.charged + coalesce(k.held, 0))
      AND NOT (l.settled_at >= since AND l.settled_at < until)
      AND NOT EXISTS (SELECT FROM @extschema@.credit_idempotency i
                      WHERE i.idempotency_key = l.idempotency_key AND i.org_id = l.org_id
                        AND i.operation = 'authorize' AND i.authorization_id = l.authorization_id)
    GROUP BY k.org_id, k.campaign_id
  ), total AS (
    SELECT k.org_id, k.campaign_id, k.used_on, k.authorizations + coalesce(o.authorizations, 0) AS authorizations,
           k.charged + coalesce(o.charged, 0) AS charged, k.held, k.refunded + coalesce(o.refunded, 0) AS refunded,
           k.used, k.over, k.under,
           k.is_detached OR coalesce(k.used_since < known_since, false)
                            AND k.used > k.charged + coalesce(o.charged, 0) + coalesce(k.held, 0) AS is_detached
    FROM known k
    LEFT JOIN keyless o ON o.org_id = k.org_id AND o.campaign_id = k.campaign_id

  -- What was used beyond what is charged, less what open holds and somebody's word explain; or what is charged beyond
  -- what was used, less refunds and somebody's word.
  ), compared AS (
    SELECT t.org_id, t.campaign_id, t.used_on, t.authorizations, t.charged, t.held, t.refunded, t.used, t.is_detached,
           CASE WHEN t.is_detached THEN 0
                WHEN t.used > t.charged THEN least(t.charged + coalesce(t.held, 0) + t.under - t.used, 0)
                ELSE greatest(t.charged - t.refunded - t.over - t.used, 0)
           END AS difference
    FROM total t
    WHERE t.authorizations > 0 OR t.used > 0
  ), judged AS MATERIALIZED (
    SELECT c.*,
           CASE WHEN c.is_detached THEN 'detached'
                WHEN abs(c.difference) <= tolerance THEN CASE WHEN c.held IS NULL THEN 'balanced' ELSE 'in_flight' END
                WHEN c.difference < 0 AND c.authorizations = 0 THEN 'unauthorized_usage'
                WHEN c.difference < 0 THEN 'undercharged'
                WHEN c.used = 0 THEN 'charged_without_usage'
                ELSE 'overcharged'
           END::@extschema@.credit_verdict AS verdict
    FROM compared c
    WHERE with_balanced OR c.difference <> 0 OR c.is_detached OR c.held IS NOT NULL
  )
  SELECT j.org_id, CASE WHEN j.used_on IS NULL THEN j.campaign_id END, j.used_on, NULL::bigint, j.authorizations,
         credit_ledger_internal.as_bigint(j.charged), credit_ledger_internal.as_bigint(coalesce(j.held, 0)),
         credit_ledger_internal.as_bigint(j.refunded), credit_ledger_internal.as_bigint(j.used),
         credit_ledger_internal.as_bigint(j.difference), j.verdict, NULL::text
  FROM judged j
  UNION ALL
  SELECT j.org_id, NULL, NULL, count(*), sum(j.authorizations)::bigint,
         credit_ledger_internal.as_bigint(sum(j.charged)), credit_ledger_internal.as_bigint(coalesce(sum(j.held), 0)),
         credit_ledger_internal.as_bigint(sum(j.refunded)), credit_ledger_internal.as_bigint(sum(j.used)),
         credit_ledger_internal.as_bigint(sum(j.difference)),
         CASE WHEN sum(j.difference) < 0 THEN 'undercharged' ELSE 'overcharged' END::@extschema@.credit_verdict, NULL
  FROM judged j
  WHERE j.verdict IN ('balanced', 'in_flight') AND j.difference <> 0
  GROUP BY j.org_id
  HAVING abs(sum(j.difference)) > tolerance
  UNION ALL
  SELECT NULL, NULL, NULL, count(*), NULL, NULL, NULL, NULL, NULL, NULL, 'balanced', NULL
  FROM usage u
  WHERE u.detail IS NULL
  HAVING NOT with_balanced
  UNION ALL
  SELECT u.org_id, NULL, u.used_on, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'invalid_usage', u.detail
  FROM usage u
  WHERE u.detail IS NOT NULL;
END;
COMMENT ON FUNCTION credit_ledger_internal.judgements(timestamptz, timestamptz, bigint, boolean, boolean, bigint, text,
    text, boolean, timestamptz, timestamptz) IS
  'judges as judge_campaigns() says, whose arguments were checked; of campaigns that were used before known_since, '
  'neither key nor authorization may be left';

-- In one process, since the other cores are the callers'; and workers that have to wait for a core hold up the rest.
CREATE FUNCTION credit_ledger_internal.judge_campaigns(since timestamptz, until timestamptz, tolerance bigint,
    with_findings boolean = false, with_balanced boolean = false, of_finding bigint = NULL, of_campaign text = NULL,
    of_org text = NULL)
  RETURNS SETOF @extschema@.credit_judgement LANGUAGE plpgsql STABLE PARALLEL UNSAFE
  SET search_path = pg_catalog, pg_temp
  SET row_security = off
  SET jit = off
  SET max_parallel_workers_per_gather = 0
  SET plan_cache_mode = force_custom_plan
AS $$
#variable_conflict use_column
DECLARE
  is_named constant boolean := of_campaign IS NOT NULL OR of_finding IS NOT NULL;
  keys_removed_until constant timestamptz := (SELECT r.removed_until FROM @extschema@.credit_key_removal r);
  known_since constant timestamptz :=
    (SELECT least(keys_removed_until, p.until)
     FROM credit_ledger_internal.put_away_until('credit_ledger_settled') p (until)
     WHERE keys_removed_until IS NOT NULL AND p.until IS NOT NULL);
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

  -- What is wrong with the sources is said here, before a query that an error would quote.
  PERFORM credit_ledger_internal.of_every_source('');
  RETURN QUERY
  SELECT j.*
  FROM credit_ledger_internal.judgements(since, until, tolerance, with_findings, with_balanced, of_finding,
                                         of_campaign, of_org, is_named, keys_removed_until, known_since) j;
END
$$;
COMMENT ON FUNCTION credit_ledger_internal.judge_campaigns(timestamptz, timestamptz, bigint, boolean, boolean, bigint,
    text, text) IS
  'judges every campaign that the window touches, by an authorization made or settled in it or by usage in it, with '
  'its totals over its whole life and its verdict; with_balanced: those without a difference too, else, without an '
  'organisation, how many were looked at; and of each organisation whose small differences add up to more than the '
  'tolerance, their sum; in no order. Reads the window, not the history; takes no row lock';

CREATE FUNCTION @extschema@.credit_reconcile_campaigns(since timestamptz = NULL, until timestamptz = NULL,
    tolerance bigint = 10, period interval = NULL)
  RETURNS SETOF @extschema@.credit_judgement LANGUAGE sql STABLE PARALLEL UNSAFE
  SET row_security = off
BEGIN ATOMIC
  SELECT credit_ledger_internal.require_one_start(since, period);
  SELECT j.*
  FROM credit_ledger_internal.judge_campaigns(
         credit_ledger_internal.window_start(since, until, period), until, tolerance) j
  WHERE j.verdict <> 'balanced'
  ORDER BY j.org_id, j.campaign_id, j.used_on, j.verdict, j.detail;
END;
COMMENT ON FUNCTION @extschema@.credit_reconcile_campaigns(timestamptz, timestamptz, bigint, interval) IS
  'lists campaigns of the window (since included, until excluded; NULL: without end) whose charges and usage differ '
  'by more than tolerance, those still in flight, and those of partitions that were detached; small differences that '
  'add up to more than tolerance in an organisation are one row';

CREATE FUNCTION @extschema@.credit_reconcile(since timestamptz = NULL, until timestamptz = NULL, tolerance bigint = 10,
    period interval = NULL)
  RETURNS TABLE (org_id text, credits_committed bigint, actual_usage bigint, difference bigint)
  LANGUAGE sql STABLE PARALLEL UNSAFE
  SET row_security = off
BEGIN ATOMIC
  SELECT credit_ledger_internal.require_one_start(since, period);
  SELECT s.org_id,
         credit_ledger_internal.as_bigint(s.credits_committed),
         credit_ledger_internal.as_bigint(s.actual_usage),
         credit_ledger_internal.as_bigint(s.credits_committed - s.actual_usage)
  FROM (SELECT j.org_id, sum(j.charged::numeric - j.refunded) AS credits_committed, sum(j.used) AS actual_usage
        FROM credit_ledger_internal.judge_campaigns(
               credit_ledger_internal.window_start(since, until, period), until, tolerance,
               with_balanced => true) j
        WHERE j.verdict NOT IN ('in_flight', 'detached', 'invalid_usage') AND j.campaigns IS NULL
        GROUP BY j.org_id) s
  WHERE abs(s.credits_committed - s.actual_usage) > tolerance
  ORDER BY s.org_id;
END;
COMMENT ON FUNCTION @extschema@.credit_reconcile(timestamptz, timestamptz, bigint, interval) IS
  'lists organisations whose credits committed, net of refunds, and actual usage differ by more than tolerance, over '
  'the campaigns of the window that are not in flight: the runbook''s reconciliation query';

CREATE FUNCTION @extschema@.credit_campaign_status(campaign_id text, org_id text = NULL)
  RETURNS SETOF @extschema@.credit_judgement LANGUAGE sql STABLE PARALLEL UNSAFE
  SET row_security = off
BEGIN ATOMIC
  SELECT credit_ledger_internal.require_argument('campaign_id', campaign_id IS NULL);
  SELECT j.*
  FROM credit_ledger_internal.judge_campaigns(
         'infinity', 'infinity', 0, with_balanced => true,
         of_campaign => credit_campaign_status.campaign_id, of_org => credit_campaign_status.org_id) j
  ORDER BY j.org_id;
END;
COMMENT ON FUNCTION @extschema@.credit_campaign_status(text, text) IS
  'tells what a campaign was charged and what it used over its whole life, with the verdict (tolerance 0), a row for '
  'each organisation that has a campaign of that name';

CREATE FUNCTION @extschema@.credit_orphaned_authorizations(older_than interval = '1 hour',
    made_before timestamptz = NULL)
  RETURNS TABLE (authorization_id text, org_id text, campaign_id text, amount bigint, created_at timestamptz,
    expires_at timestamptz)
  LANGUAGE sql STABLE PARALLEL SAFE
  SET row_security = off
BEGIN ATOMIC
  SELECT credit_ledger_internal.require_argument('older_than', coalesce(made_before, now() - older_than) IS NULL);
  SELECT l.authorization_id, l.org_id, l.campaign_id, l.amount, l.created_at, l.expires_at
  FROM @extschema@.credit_ledger_open l
  WHERE l.created_at < coalesce(made_before, now() - older_than)
  ORDER BY l.created_at, l.authorization_id;
END;
COMMENT ON FUNCTION @extschema@.credit_orphaned_authorizations(interval, timestamptz) IS
  'lists authorizations neither committed nor reverted that are older than that, or were made before an instant, '
  'oldest first: the runbook''s query';
