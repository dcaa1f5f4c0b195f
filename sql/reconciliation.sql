-- Runs of reconciliation: what they find is kept, alerted and resolved. A run is one transaction and takes no lock that
-- a caller of the ledger would wait for; runs and resolutions wait for each other.
--
-- credit_run_reconciliation() and credit_resolve_finding() are SECURITY DEFINER: they judge for themselves what they
-- keep, so nobody can have them keep something else. What usage sources bring along is executed as the session's role
-- all the same (credit_ledger_internal.usage()).

-- All history is verified if no instant is given, or if too much was unsound before to go through it by organisation;
-- else what is new, and the organisations that were unsound before. An hour is verified twice, for transactions that
-- took long.
CREATE FUNCTION credit_ledger_internal.verify_books(since timestamptz)
  RETURNS SETOF @extschema@.credit_discrepancy LANGUAGE plpgsql STABLE PARALLEL UNSAFE
  SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  unsound_before constant text[] := ARRAY(SELECT DISTINCT f.org_id FROM @extschema@.credit_finding f
                                          WHERE f.resolved_at IS NULL AND f.verdict = 'unsound_ledger');
BEGIN
  IF since = '-infinity' OR cardinality(unsound_before) > 100 THEN
    RETURN QUERY SELECT v.* FROM @extschema@.credit_verify() v;
  ELSE
    RETURN QUERY
    SELECT v.* FROM @extschema@.credit_verify(since => since - interval '1 hour') v
    UNION
    SELECT v.* FROM unnest(unsound_before) o, @extschema@.credit_verify(o) v;
  END IF;
END
$$;
COMMENT ON FUNCTION credit_ledger_internal.verify_books(timestamptz) IS
  'finds what is unsound of what is new since an instant (-infinity: of all), and whether what was unsound before '
  'still is';

CREATE FUNCTION credit_ledger_internal.reconciliation_lock()
  RETURNS void LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
  SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM pg_advisory_xact_lock('@extschema@.credit_reconciliation_run'::regclass::oid::bigint);
END
$$;
COMMENT ON FUNCTION credit_ledger_internal.reconciliation_lock() IS
  'waits until no other transaction runs a reconciliation or resolves a finding, and keeps them waiting until this '
  'one ends';

-- A transaction stamps what it settles with the clock and commits later, so a run does not see all that is stamped
-- before its end. What transactions began earlier may still bring is left to the next run: those that can be seen
-- (the owner of the ledger may need pg_read_all_stats for others'), and an hour for those that cannot.
CREATE FUNCTION credit_ledger_internal.reconciliation_horizon(until timestamptz)
  RETURNS timestamptz LANGUAGE sql VOLATILE PARALLEL UNSAFE
BEGIN ATOMIC
  SELECT least(until,
               clock_timestamp(),
               (SELECT min(a.xact_start) FROM pg_stat_activity a WHERE a.datname = current_database()),
               (SELECT min(p.prepared) FROM pg_prepared_xacts p WHERE p.database = current_database()))
         - interval '1 hour';
END;
COMMENT ON FUNCTION credit_ledger_internal.reconciliation_horizon(timestamptz) IS
  'tells the instant up to which a run until an instant sees all that settled';

CREATE FUNCTION credit_ledger_internal.finding_alert(org_id text, open bigint, difference numeric)
  RETURNS boolean LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
  SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF open = 0 THEN
    RETURN credit_ledger_internal.alert_close('reconciliation_mismatch', org_id);
  END IF;
  RETURN credit_ledger_internal.alert_open('reconciliation_mismatch', org_id,
    format('open findings of reconciliation%s: %s', ' of organisation "' || org_id || '"', open),
    jsonb_build_object('findings', open, 'difference', difference));
END
$$;
COMMENT ON FUNCTION credit_ledger_internal.finding_alert(text, bigint, numeric) IS
  'opens or closes the alert reconciliation_mismatch of an organisation, as it has open findings or has none; '
  'difference: their sum';

-- What was found wrong with a source or with the books, and dismissed, stays silent as long as it is the same.
CREATE FUNCTION credit_ledger_internal.keep_mismatches(run @extschema@.credit_reconciliation_run,
    judged @extschema@.credit_judgement[])
  RETURNS void LANGUAGE sql VOLATILE PARALLEL UNSAFE
BEGIN ATOMIC
  INSERT INTO @extschema@.credit_finding AS f
    (run_id, verdict, org_id, campaign_id, used_on, campaigns, charged, refunded, used, difference,
     detail, found_at, seen_at)
  SELECT run.run_id, j.verdict, j.org_id, j.campaign_id, j.used_on, j.campaigns, j.charged, j.refunded, j.used,
         j.difference, j.detail, run.started_at, run.started_at
  FROM unnest(judged) j
  WHERE j.verdict NOT IN ('balanced', 'in_flight', 'detached')
    AND NOT (j.detail IS NOT NULL AND EXISTS (
      SELECT FROM @extschema@.credit_finding d
      WHERE d.resolution = 'dismiss' AND d.org_id IS NOT DISTINCT FROM j.org_id
        AND d.used_on IS NOT DISTINCT FROM j.used_on AND d.detail = j.detail))
  ORDER BY j.org_id, j.campaign_id, j.used_on, j.detail
  ON CONFLICT (org_id, campaign_id, used_on, detail) WHERE resolved_at IS NULL DO UPDATE
  SET verdict = excluded.verdict, campaigns = excluded.campaigns, charged = excluded.charged,
      refunded = excluded.refunded, used = excluded.used, difference = excluded.difference,
      seen_at = excluded.seen_at;

  DELETE FROM @extschema@.credit_finding_part p
  USING @extschema@.credit_finding f
  WHERE f.finding_id = p.finding_id AND f.resolved_at IS NULL AND f.seen_at = run.started_at;
  INSERT INTO @extschema@.credit_finding_part
    (finding_id, org_id, campaign_id, used_on, charged, refunded, used, difference)
  SELECT f.finding_id, j.org_id, j.campaign_id, j.used_on, j.charged, j.refunded, j.used, j.difference
  FROM unnest(judged) j
  JOIN @extschema@.credit_finding f ON f.org_id = j.org_id AND f.campaigns IS NOT NULL AND f.resolved_at IS NULL
  WHERE j.verdict IN ('balanced', 'in_flight') AND j.difference <> 0 AND f.seen_at = run.started_at;
END;
COMMENT ON FUNCTION credit_ledger_internal.keep_mismatches(@extschema@.credit_reconciliation_run,
    @extschema@.credit_judgement[]) IS
  'keeps as findings what a run judged to be mismatches, and the small differences that add up to one';

-- Every run judges the campaigns of open findings again, so what it does not find any more is gone. What is in flight
-- may come back, what is detached cannot be judged any more, and what is wrong with a source is seen for the days of a
-- window.
CREATE FUNCTION credit_ledger_internal.clear_findings(run @extschema@.credit_reconciliation_run,
    judged @extschema@.credit_judgement[])
  RETURNS void LANGUAGE sql VOLATILE PARALLEL UNSAFE
BEGIN ATOMIC
  UPDATE @extschema@.credit_finding f
  SET resolution = 'cleared', resolved_at = clock_timestamp()
  WHERE f.resolved_at IS NULL AND f.seen_at < run.started_at
    AND (f.verdict <> 'invalid_usage' OR run.since < run.until AND (f.used_on IS NULL
         OR credit_ledger_internal.start_of_day(f.used_on) < run.until
           AND credit_ledger_internal.start_of_day(f.used_on + 1) > run.since))
    AND NOT EXISTS (
      SELECT FROM unnest(judged) j
      WHERE j.verdict IN ('in_flight', 'detached') AND j.org_id = f.org_id
        AND j.campaign_id IS NOT DISTINCT FROM f.campaign_id AND j.used_on IS NOT DISTINCT FROM f.used_on);
END;
COMMENT ON FUNCTION credit_ledger_internal.clear_findings(@extschema@.credit_reconciliation_run,
    @extschema@.credit_judgement[]) IS
  'closes the open findings that a run did not find any more';

CREATE FUNCTION @extschema@.credit_run_reconciliation(since timestamptz = NULL, until timestamptz = NULL,
    tolerance bigint = 10, period interval = NULL)
  RETURNS @extschema@.credit_reconciliation_run LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp
  SET row_security = off
AS $$
DECLARE
  run @extschema@.credit_reconciliation_run;
  judged @extschema@.credit_judgement[];
  unsound @extschema@.credit_judgement[];
  covered timestamptz;
BEGIN
  PERFORM credit_ledger_internal.require_argument('tolerance', tolerance IS NULL),
          credit_ledger_internal.require_one_start(since, period),
          credit_ledger_internal.of_every_source('');
  since := credit_ledger_internal.window_start(since, until, period);
  PERFORM credit_ledger_internal.reconciliation_lock();
  covered := (SELECT max(r.covered_until) FROM @extschema@.credit_reconciliation_run r);
  run.started_at := clock_timestamp();
  run.since := coalesce(since, covered - credit_ledger_internal.setting('reconciliation_lookback')::interval,
                        '-infinity');
  run.until := coalesce(until, greatest(run.started_at, run.since));
  run.tolerance := tolerance;
  -- A window that leaves a gap after the runs before leaves covered_until where it was.
  run.covered_until := CASE WHEN run.since <= coalesce(covered, '-infinity')
                            THEN greatest(covered, credit_ledger_internal.reconciliation_horizon(run.until))
                            ELSE covered END;

  -- What the findings need: mismatches, what may explain one that is open, small differences that add up to one.
  WITH judged AS MATERIALIZED (
    SELECT j.* FROM credit_ledger_internal.judge_campaigns(run.since, run.until, run.tolerance, with_findings => true) j
  )
  SELECT max(j.campaigns) FILTER (WHERE j.verdict = 'balanced'),
         count(*) FILTER (WHERE j.verdict = 'in_flight'),
         array_agg(j::@extschema@.credit_judgement) FILTER (
           WHERE j.verdict NOT IN ('balanced', 'in_flight', 'detached')
              OR j.verdict IN ('in_flight', 'detached') AND j.org_id IN (
                   SELECT f.org_id FROM @extschema@.credit_finding f WHERE f.resolved_at IS NULL)
              OR j.difference <> 0 AND j.org_id IN (SELECT s.org_id FROM judged s WHERE s.campaigns IS NOT NULL))
  INTO run.judged, run.in_flight, judged
  FROM judged j;

  -- The books do not come late: of them, what is new is verified.
  PERFORM credit_ledger_internal.tell_step('reconciliation: verifying the books');
  unsound := ARRAY(SELECT ROW(v.org_id, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'unsound_ledger',
                              format('%s: expected %s, actual %s (%s)', v.check_name, v.expected, v.actual, v.detail)
                             )::@extschema@.credit_judgement
                   FROM credit_ledger_internal.verify_books(coalesce(since, covered, '-infinity')) v);

  PERFORM credit_ledger_internal.tell_step('reconciliation: keeping what was found');
  INSERT INTO @extschema@.credit_reconciliation_run
    (since, until, tolerance, judged, in_flight, findings_new, findings_open, covered_until, started_at, finished_at)
  VALUES (run.since, run.until, run.tolerance, run.judged, run.in_flight, 0, 0, run.covered_until, run.started_at,
          clock_timestamp())
  RETURNING run_id INTO run.run_id;
  PERFORM credit_ledger_internal.keep_mismatches(run, judged || unsound);
  PERFORM credit_ledger_internal.clear_findings(run, judged);
  UPDATE @extschema@.credit_reconciliation_run r
  SET findings_new = (SELECT count(*) FROM @extschema@.credit_finding f WHERE f.run_id = r.run_id),
      findings_open = (SELECT count(*) FROM @extschema@.credit_finding f WHERE f.resolved_at IS NULL),
      finished_at = clock_timestamp()
  WHERE r.run_id = run.run_id
  RETURNING r.* INTO run;

  -- In one reading: after a bad night every organisation has findings.
  PERFORM credit_ledger_internal.finding_alert(o.org_id, o.open, o.difference)
  FROM (SELECT f.org_id, count(*) FILTER (WHERE f.resolved_at IS NULL) AS open,
               sum(f.difference) FILTER (WHERE f.resolved_at IS NULL) AS difference
        FROM @extschema@.credit_finding f
        WHERE f.resolved_at IS NULL OR f.resolved_at >= run.started_at
        GROUP BY f.org_id
        ORDER BY f.org_id) o;
  PERFORM @extschema@.credit_check_reconciliation();
  RETURN run;
END
$$;
COMMENT ON FUNCTION @extschema@.credit_run_reconciliation(timestamptz, timestamptz, bigint, interval) IS
  'judges the campaigns of the window (NULL: from credit_ledger.reconciliation_lookback before where the runs before '
  'have come to, until now) and of open findings, verifies the books, and keeps what it finds: new findings are made, '
  'those that are gone are cleared, alerts opened and closed';

CREATE FUNCTION credit_ledger_internal.charge_used(org_id text, amount bigint, campaign_id text, idempotency_key text,
    metadata jsonb)
  RETURNS @extschema@.credit_authorization LANGUAGE C VOLATILE PARALLEL UNSAFE
  AS 'MODULE_PATHNAME', 'credit_charge_used';
COMMENT ON FUNCTION credit_ledger_internal.charge_used(text, bigint, text, text, jsonb) IS
  'charges what was used already, whatever is available, though the account be frozen; LC002, LC004';

-- The authorizations of a campaign that can be corrected, those first that a correction should take.
CREATE FUNCTION credit_ledger_internal.settled_authorizations(org_id text, campaign_id text)
  RETURNS TABLE (authorization_id text, status @extschema@.credit_status, amount bigint, refunded_amount bigint)
  LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
  SELECT l.authorization_id, l.status, l.amount, l.refunded_amount
  FROM @extschema@.credit_ledger_settled l
  WHERE l.authorization_id IN (
    SELECT i.authorization_id
    FROM @extschema@.credit_idempotency i
    WHERE i.idempotency_key = settled_authorizations.campaign_id AND i.org_id = settled_authorizations.org_id
      AND i.operation = 'authorize' AND coalesce(i.campaign_id, i.idempotency_key) = settled_authorizations.campaign_id
    UNION ALL
    SELECT i.authorization_id
    FROM @extschema@.credit_idempotency i
    WHERE i.campaign_id = settled_authorizations.campaign_id AND i.org_id = settled_authorizations.org_id
      AND i.campaign_id <> i.idempotency_key AND i.operation = 'authorize'
    UNION ALL
    -- Its key may have been removed.
    SELECT o.authorization_id
    FROM @extschema@.credit_ledger_settled o
    WHERE o.org_id = settled_authorizations.org_id
      AND o.created_at < (SELECT r.removed_until FROM @extschema@.credit_key_removal r)
      AND coalesce(o.campaign_id, o.idempotency_key) = settled_authorizations.campaign_id)
  ORDER BY l.status, l.settled_at DESC, l.authorization_id DESC;
END;
COMMENT ON FUNCTION credit_ledger_internal.settled_authorizations(text, text) IS
  'lists the settled authorizations of a campaign: committed ones first, then the newest';

CREATE FUNCTION credit_ledger_internal.correct_campaign(org_id text, campaign_id text, difference bigint, key text,
    reason text)
  RETURNS void LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
  SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  settled record;
  to_give bigint := difference;
  given bigint;
BEGIN
  IF difference < 0 THEN
    SELECT l.* INTO settled FROM credit_ledger_internal.settled_authorizations(org_id, campaign_id) l LIMIT 1;
    IF FOUND THEN
      PERFORM @extschema@.credit_correct(settled.authorization_id,
        CASE settled.status WHEN 'committed' THEN settled.amount ELSE 0 END - difference, reason);
    ELSE
      -- An account that was moved here may have brought the key of another finding.
      WHILE EXISTS (SELECT FROM @extschema@.credit_idempotency i
                    WHERE i.idempotency_key = key AND i.org_id = correct_campaign.org_id AND i.operation = 'authorize')
      LOOP
        key := key || ':2';
      END LOOP;
      PERFORM credit_ledger_internal.charge_used(org_id, -difference, campaign_id, key,
        jsonb_build_object('reason', reason));
    END IF;
    RETURN;
  END IF;

  FOR settled IN
    SELECT l.* FROM credit_ledger_internal.settled_authorizations(org_id, campaign_id) l WHERE l.status = 'committed'
  LOOP
    given := least(to_give, settled.amount - settled.refunded_amount);
    CONTINUE WHEN given = 0;
    PERFORM @extschema@.credit_correct(settled.authorization_id, settled.amount - given, reason);
    to_give := to_give - given;
  END LOOP;
  IF to_give > 0 THEN
    RAISE object_not_in_prerequisite_state USING
      MESSAGE = format('campaign "%s" of organisation "%s" was charged in parts of a hold that is open',
                       campaign_id, org_id),
      HINT = 'It can be corrected once that authorization is settled.';
  END IF;
END
$$;
COMMENT ON FUNCTION credit_ledger_internal.correct_campaign(text, text, bigint, text, text) IS
  'has a campaign charged less by difference (less than zero: more), by correcting its authorizations; by a charge '
  'under the key if none of them is settled';

CREATE FUNCTION credit_ledger_internal.require_judged(judgement @extschema@.credit_judgement, campaign text)
  RETURNS void LANGUAGE plpgsql STABLE PARALLEL SAFE
  SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  why text;
  remedy text;
BEGIN
  IF judgement.verdict = 'in_flight' THEN
    why := 'It is in flight again: what it used, its open holds can explain.';
    remedy := 'Its difference is known once all its authorizations are settled.';
  ELSIF judgement.verdict = 'detached' THEN
    why := 'The partition of one of its authorizations has been detached.';
    remedy := 'Attach it again, or dismiss the finding.';
  ELSE
    RETURN;
  END IF;
  RAISE object_not_in_prerequisite_state USING
    MESSAGE = format('campaign "%s" of organisation "%s" cannot be judged', campaign, judgement.org_id),
    DETAIL = why,
    HINT = remedy;
END
$$;
COMMENT ON FUNCTION credit_ledger_internal.require_judged(@extschema@.credit_judgement, text) IS
  'raises 55000 unless what a campaign was charged is known';

CREATE FUNCTION credit_ledger_internal.correct_finding(finding @extschema@.credit_finding, reason text)
  RETURNS bigint LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
  SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  judgement @extschema@.credit_judgement;
  campaign text;
  place integer := 0;
  charged bigint := 0::bigint;
BEGIN
  IF finding.detail IS NOT NULL THEN
    RAISE object_not_in_prerequisite_state USING
      MESSAGE = format('no movement makes finding %s vanish', finding.finding_id),
      DETAIL = format('Its verdict is %s: %s.', finding.verdict, finding.detail),
      HINT = 'Repair what it speaks of, then dismiss it or let the next run clear it.';
  END IF;
  -- The difference may have changed since the run. With the account's row locked, no charge can change it any more.
  PERFORM credit_ledger_internal.require_account(finding.org_id);
  PERFORM FROM @extschema@.credit_account a WHERE a.org_id = finding.org_id FOR NO KEY UPDATE;

  FOR judgement IN
    SELECT j.*
    FROM credit_ledger_internal.judge_campaigns('infinity', 'infinity', 0, of_finding => finding.finding_id) j
    WHERE j.detail IS NULL AND j.org_id IS NOT NULL
    ORDER BY j.campaign_id, j.used_on
  LOOP
    campaign := coalesce(judgement.campaign_id, credit_ledger_internal.campaign_of_day(judgement.used_on));
    IF finding.campaigns IS NULL THEN
      PERFORM credit_ledger_internal.require_judged(judgement, campaign);
    END IF;
    CONTINUE WHEN judgement.difference = 0;
    place := place + 1;
    PERFORM credit_ledger_internal.correct_campaign(finding.org_id, campaign, judgement.difference,
      concat_ws(':', 'credit_finding', finding.finding_id, CASE WHEN finding.campaigns IS NOT NULL THEN place END),
      reason);
    charged := charged - judgement.difference;
  END LOOP;
  RETURN charged;
END
$$;
COMMENT ON FUNCTION credit_ledger_internal.correct_finding(@extschema@.credit_finding, text) IS
  'has the campaigns of a finding charged what they used, and returns how many credits that took';

-- What a colleague has corrected since the run is not accepted, or as much of later usage would be. Nor is what has
-- come on top of what the finding says: the next run finds that.
CREATE FUNCTION credit_ledger_internal.accept_finding(finding @extschema@.credit_finding)
  RETURNS bigint LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
  SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  accepted record;
  still_there numeric := 0::numeric;
BEGIN
  IF finding.detail IS NOT NULL OR NOT EXISTS (SELECT FROM @extschema@.credit_usage_source) THEN
    RETURN finding.difference;
  END IF;
  PERFORM FROM @extschema@.credit_account a WHERE a.org_id = finding.org_id FOR NO KEY UPDATE;
  FOR accepted IN
    SELECT c.campaign_id,
           CASE WHEN j.verdict IN ('in_flight', 'detached') THEN c.difference
                WHEN c.difference < 0 THEN least(greatest(c.difference, coalesce(j.difference, 0)), 0)
                ELSE greatest(least(c.difference, coalesce(j.difference, 0)), 0)
           END AS difference
    FROM (SELECT f.campaign_id, f.difference
          FROM credit_ledger_internal.finding_campaign f WHERE f.finding_id = finding.finding_id) c
    LEFT JOIN credit_ledger_internal.judge_campaigns('infinity', 'infinity', 0, of_finding => finding.finding_id) j
      ON j.org_id = finding.org_id
     AND coalesce(j.campaign_id, credit_ledger_internal.campaign_of_day(j.used_on)) = c.campaign_id
  LOOP
    still_there := still_there + accepted.difference;
    UPDATE @extschema@.credit_finding_part p
    SET difference = accepted.difference
    WHERE p.finding_id = finding.finding_id AND p.difference <> accepted.difference
      AND coalesce(p.campaign_id, credit_ledger_internal.campaign_of_day(p.used_on)) = accepted.campaign_id;
  END LOOP;
  RETURN credit_ledger_internal.as_bigint(still_there);
END
$$;
COMMENT ON FUNCTION credit_ledger_internal.accept_finding(@extschema@.credit_finding) IS
  'takes from the differences of a finding''s campaigns what is not there any more, and returns their sum';

CREATE FUNCTION @extschema@.credit_resolve_finding(finding_id bigint, action text, note text = NULL)
  RETURNS @extschema@.credit_finding LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp
  SET row_security = off
AS $$
DECLARE
  finding @extschema@.credit_finding;
BEGIN
  PERFORM credit_ledger_internal.require_argument('finding_id', finding_id IS NULL),
          credit_ledger_internal.require_argument('action', action IS NULL);
  IF action NOT IN ('adjust', 'dismiss') THEN
    RAISE invalid_parameter_value USING
      MESSAGE = format('unknown action "%s"', action), HINT = 'The actions are adjust and dismiss.';
  END IF;
  PERFORM credit_ledger_internal.require_argument('note', action = 'dismiss' AND coalesce(note, '') = '');
  PERFORM credit_ledger_internal.reconciliation_lock();

  SELECT f.* INTO finding FROM @extschema@.credit_finding f
    WHERE f.finding_id = credit_resolve_finding.finding_id FOR UPDATE;
  IF NOT FOUND THEN
    RAISE invalid_parameter_value USING MESSAGE = format('there is no finding %s', finding_id);
  END IF;
  IF finding.resolution = action THEN
    RETURN finding;
  ELSIF finding.resolution IS NOT NULL THEN
    RAISE object_not_in_prerequisite_state USING
      MESSAGE = format('finding %s is resolved already', finding_id),
      DETAIL = format('Its resolution is %s.', finding.resolution);
  END IF;

  IF action = 'adjust' THEN
    finding.adjusted := credit_ledger_internal.correct_finding(finding,
      coalesce(nullif(note, ''), format('reconciliation: %s', finding.verdict)));
    IF finding.adjusted <> 0 THEN
      finding.entry_no := (SELECT a.last_entry_no FROM @extschema@.credit_account a WHERE a.org_id = finding.org_id);
    END IF;
  ELSE
    finding.difference := credit_ledger_internal.accept_finding(finding);
  END IF;

  UPDATE @extschema@.credit_finding f
  SET resolution = action, resolved_at = clock_timestamp(), note = credit_resolve_finding.note,
      resolved_by = coalesce(nullif(current_setting('role'), 'none'), session_user),
      difference = finding.difference, adjusted = finding.adjusted, entry_no = finding.entry_no
  WHERE f.finding_id = finding.finding_id
  RETURNING f.* INTO finding;
  PERFORM credit_ledger_internal.finding_alert(finding.org_id, count(*), sum(f.difference))
  FROM @extschema@.credit_finding f
  WHERE (f.org_id = finding.org_id OR f.org_id IS NULL AND finding.org_id IS NULL) AND f.resolved_at IS NULL;
  RETURN finding;
END
$$;
COMMENT ON FUNCTION @extschema@.credit_resolve_finding(bigint, text, text) IS
  'resolves a finding, once; the same call again returns it as it is. adjust: has the campaign charged what it used, '
  'by correcting its authorizations, or by a charge with the idempotency key credit_finding:N if it has none that is '
  'settled, whatever is available; dismiss: accepts what is still there of the difference, with a note';
