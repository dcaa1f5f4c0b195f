-- Runs of reconciliation: what they find is kept, alerted and resolved. A run is one transaction and takes no lock that
-- a caller of the ledger would wait for; runs and resolutions wait for each other.
--
-- Sources and the ledger are read as the caller; only the two functions that write the tables of runs and findings are
-- SECURITY DEFINER. They execute nothing that a caller or a usage source brings along.

CREATE FUNCTION @extschema@.credit_verify_since(since timestamptz)
  RETURNS SETOF @extschema@.credit_discrepancy LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
  WITH newest_entry AS (
    SELECT a.org_id, a.balance, a.last_entry_no, coalesce(e.entry_no, 0) AS entry_no, coalesce(e.balance_after, 0) AS balance_after
    FROM @extschema@.credit_account a
    LEFT JOIN LATERAL (SELECT e.entry_no, e.balance_after FROM @extschema@.credit_entry e WHERE e.org_id = a.org_id
                       ORDER BY e.entry_no DESC LIMIT 1) e ON true
    WHERE a.updated_at >= since
  ), entry AS MATERIALIZED (
    SELECT e.org_id, e.entry_no, e.amount, e.balance_after, e.kind, e.authorization_id,
           lag(e.entry_no) OVER chain AS entry_no_before, lag(e.balance_after) OVER chain AS balance_before
    FROM @extschema@.credit_entry e
    WHERE e.created_at >= since
    WINDOW chain AS (PARTITION BY e.org_id ORDER BY e.entry_no)
  ), chained AS (
    SELECT e.org_id, e.entry_no, e.amount, e.balance_after,
           coalesce(b.entry_no, e.entry_no_before, 0) AS entry_no_before,
           coalesce(b.balance_after, e.balance_before, 0) AS balance_before
    FROM entry e
    LEFT JOIN LATERAL (SELECT b.entry_no, b.balance_after FROM @extschema@.credit_entry b
                       WHERE e.entry_no_before IS DISTINCT FROM e.entry_no - 1 AND b.org_id = e.org_id AND b.entry_no < e.entry_no
                       ORDER BY b.entry_no DESC LIMIT 1) b ON true
  ), ledger AS MATERIALIZED (
    SELECT l.* FROM @extschema@.credit_ledger_settled l WHERE l.settled_at >= since AND l.created_at >= since
  ), entries_of_authorization AS (
    SELECT e.org_id, e.authorization_id, -sum(e.amount) AS charged
    FROM entry e
    WHERE e.kind IN ('commit', 'true_up', 'refund')
    GROUP BY e.org_id, e.authorization_id
  ), open_of_account AS (
    SELECT l.org_id, sum(l.amount) AS held FROM @extschema@.credit_ledger_open l GROUP BY l.org_id
  ), discrepancy (org_id, check_name, expected, actual, detail) AS (
    SELECT n.org_id, 'balance_is_last_balance_after', n.balance_after::text, n.balance::text,
           'credit_account.balance against balance_after of its last entry'
    FROM newest_entry n
    WHERE n.balance <> n.balance_after
  UNION ALL
    SELECT n.org_id, 'last_entry_no', n.entry_no::text, n.last_entry_no::text,
           'credit_account.last_entry_no against the number of its last entry'
    FROM newest_entry n
    WHERE n.last_entry_no <> n.entry_no
  UNION ALL
    SELECT e.org_id, 'entry_no_without_gap', (e.entry_no_before + 1)::text, e.entry_no::text,
           'the entry after entry ' || e.entry_no_before
    FROM chained e
    WHERE e.entry_no <> e.entry_no_before + 1
  UNION ALL
    SELECT e.org_id, 'balance_after_chain', (e.balance_before::numeric + e.amount)::text, e.balance_after::text,
           'balance_after of entry ' || e.entry_no || ' against the one before + amount'
    FROM chained e
    WHERE e.balance_after <> e.balance_before::numeric + e.amount
  UNION ALL
    SELECT a.org_id, 'held_is_sum_of_open', coalesce(o.held, 0)::text, a.held::text,
           'credit_account.held against the sum of the account''s open authorizations'
    FROM @extschema@.credit_account a LEFT JOIN open_of_account o USING (org_id)
    WHERE a.held <> coalesce(o.held, 0)
  UNION ALL
    SELECT l.org_id, 'charged_is_sum_of_entries',
           (CASE l.status WHEN 'committed' THEN l.amount - l.refunded_amount
                          WHEN 'authorized' THEN coalesce(l.committed_amount, 0) ELSE 0 END)::text,
           coalesce(e.charged, 0)::text,
           'authorization ' || l.authorization_id || ' (' || l.status::text || '): charged less refunded, against its entries'
    FROM ledger l LEFT JOIN entries_of_authorization e USING (org_id, authorization_id)
    WHERE coalesce(e.charged, 0) <>
          CASE l.status WHEN 'committed' THEN l.amount - l.refunded_amount
                        WHEN 'authorized' THEN coalesce(l.committed_amount, 0) ELSE 0 END
  UNION ALL
    SELECT r.org_id, 'rows_have_an_account', 'an account', 'none', 'rows in ' || string_agg(r.source, ', ' ORDER BY r.source)
    FROM (SELECT DISTINCT l.org_id, 'credit_ledger' AS source FROM ledger l
          UNION ALL SELECT DISTINCT e.org_id, 'credit_entry' FROM entry e) r
    WHERE NOT EXISTS (SELECT FROM @extschema@.credit_account a WHERE a.org_id = r.org_id)
    GROUP BY r.org_id
  )
  SELECT d.org_id, d.check_name, d.expected, d.actual, d.detail
  FROM discrepancy d
  ORDER BY d.org_id, d.check_name, d.detail;
END;
COMMENT ON FUNCTION @extschema@.credit_verify_since(timestamptz) IS
  'what credit_verify() would say of balances, holds, and the entries and authorizations that were made since an instant: proves the newest part of the books without reading the history';

CREATE FUNCTION @extschema@.credit_run_reconciliation(since timestamptz = NULL, until timestamptz = NULL, tolerance bigint = 10)
  RETURNS @extschema@.credit_reconciliation_run LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
  SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  run @extschema@.credit_reconciliation_run;
  mismatches @extschema@.credit_judgement[];
  unsound_before text[];
  verify_all boolean;
BEGIN
  PERFORM credit_ledger_internal.require_argument('tolerance', tolerance IS NULL);
  PERFORM @extschema@.credit_reconciliation_lock();
  run.started_at := clock_timestamp();
  run.since := coalesce(since, (SELECT max(r.covered_until) FROM @extschema@.credit_reconciliation_run r), '-infinity');
  run.until := coalesce(until, greatest(run.started_at, run.since));
  run.tolerance := tolerance;
  run.covered_until := @extschema@.credit_reconciliation_horizon(run.until);

  -- All history is verified if all history is the window, or if too much was unsound before to go through it by
  -- organisation; else what is new, and the organisations that were unsound before.
  unsound_before := ARRAY(SELECT DISTINCT f.org_id FROM @extschema@.credit_finding f
                          WHERE f.resolved_at IS NULL AND f.verdict = 'unsound_ledger');
  verify_all := run.since = '-infinity' OR cardinality(unsound_before) > 100;

  -- One statement, so one snapshot.
  WITH judged AS MATERIALIZED (
    SELECT j.* FROM @extschema@.credit_judge_campaigns(run.since, run.until, run.tolerance, with_findings => true) j
  ), unsound AS (
    SELECT v.* FROM @extschema@.credit_verify() v WHERE verify_all
    UNION
    SELECT v.* FROM @extschema@.credit_verify_since(run.since - interval '1 hour') v WHERE NOT verify_all
    UNION
    SELECT v.* FROM unnest(unsound_before) o, @extschema@.credit_verify(o) v WHERE NOT verify_all
  ), mismatch AS (
    SELECT j.* FROM judged j WHERE j.verdict <> 'balanced'
    UNION ALL
    SELECT u.org_id, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'unsound_ledger',
           format('%s: expected %s, actual %s (%s)', u.check_name, u.expected, u.actual, u.detail)
    FROM unsound u
  )
  SELECT (SELECT count(*) FROM judged j WHERE j.verdict <> 'invalid_usage'),
         (SELECT count(*) FROM judged j WHERE j.verdict = 'in_flight'),
         (SELECT array_agg(m::@extschema@.credit_judgement) FROM mismatch m)
  INTO run.judged, run.in_flight, mismatches;

  RETURN @extschema@.credit_reconciliation_record(run, mismatches);
END
$$;
COMMENT ON FUNCTION @extschema@.credit_run_reconciliation(timestamptz, timestamptz, bigint) IS
  'judges the campaigns of the window (NULL: from where the runs before have come to, until now) and of open findings, verifies the books, and keeps what it finds: new findings are made, those that are gone are cleared, alerts opened and closed';

CREATE FUNCTION @extschema@.credit_resolve_finding(finding_id bigint, action text, note text = NULL)
  RETURNS @extschema@.credit_finding LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
  SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  finding @extschema@.credit_finding;
  judgement @extschema@.credit_judgement;
  movement @extschema@.credit_movement;
BEGIN
  PERFORM credit_ledger_internal.require_argument('finding_id', finding_id IS NULL),
          credit_ledger_internal.require_argument('action', action IS NULL);
  IF action NOT IN ('adjust', 'dismiss') THEN
    RAISE invalid_parameter_value USING
      MESSAGE = format('unknown action "%s"', action), HINT = 'The actions are adjust and dismiss.';
  END IF;
  PERFORM credit_ledger_internal.require_argument('note', action = 'dismiss' AND coalesce(note, '') = '');
  PERFORM @extschema@.credit_reconciliation_lock();

  SELECT f.* INTO finding FROM @extschema@.credit_finding f WHERE f.finding_id = credit_resolve_finding.finding_id;
  IF NOT FOUND THEN
    RAISE invalid_parameter_value USING MESSAGE = format('there is no finding %s', finding_id);
  END IF;
  IF finding.resolution = action THEN
    RETURN finding;
  ELSIF finding.resolution IS NOT NULL THEN
    RAISE object_not_in_prerequisite_state USING
      MESSAGE = format('finding %s is resolved already', finding_id), DETAIL = format('Its resolution is %s.', finding.resolution);
  END IF;

  IF action = 'adjust' THEN
    IF finding.difference IS NULL THEN
      RAISE object_not_in_prerequisite_state USING
        MESSAGE = format('no movement makes finding %s vanish', finding_id),
        DETAIL = format('Its verdict is %s: %s.', finding.verdict, finding.detail),
        HINT = 'Repair what it speaks of, then dismiss it or let the next run clear it.';
    END IF;
    -- The difference may have changed since the run. With the account's row locked, no charge can change it any more.
    PERFORM credit_ledger_internal.require_account(finding.org_id);
    PERFORM @extschema@.credit_account_configure(finding.org_id);
    SELECT j.* INTO judgement
    FROM @extschema@.credit_judge_campaigns('infinity', 'infinity', 0, with_findings => true) j
    WHERE j.org_id = finding.org_id AND j.campaign_id IS NOT DISTINCT FROM finding.campaign_id
      AND j.used_on IS NOT DISTINCT FROM finding.used_on;
    IF judgement.verdict = 'in_flight' THEN
      RAISE object_not_in_prerequisite_state USING
        MESSAGE = format('campaign "%s" is in flight again', finding.campaign_id),
        HINT = 'Its difference is known once all its authorizations are settled.';
    END IF;
    finding.adjusted := 0;
    IF judgement.difference <> 0 THEN
      movement := @extschema@.credit_adjust(finding.org_id, judgement.difference, format('credit_finding:%s', finding_id),
                                            coalesce(nullif(note, ''), format('reconciliation: %s', finding.verdict)));
      finding.adjusted := -movement.amount;
      finding.entry_no := movement.entry_no;
    END IF;
  END IF;

  finding.resolution := action;
  finding.note := note;
  finding.resolved_by := current_user;
  RETURN @extschema@.credit_finding_close(finding);
END
$$;
COMMENT ON FUNCTION @extschema@.credit_resolve_finding(bigint, text, text) IS
  'adjust: posts the movement that makes the difference of a finding vanish, with the idempotency key credit_finding:N; dismiss: accepts the difference, with a note. Once: the same call again returns the finding as it is';

CREATE FUNCTION @extschema@.credit_reconciliation_lock()
  RETURNS void LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
  SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM pg_advisory_xact_lock('@extschema@.credit_reconciliation_run'::regclass::oid::bigint);
END
$$;
COMMENT ON FUNCTION @extschema@.credit_reconciliation_lock() IS
  'waits until no other transaction runs a reconciliation or resolves a finding, and keeps them waiting until this one ends';

-- A transaction stamps what it settles with the clock and commits later, so a run does not see all that is stamped
-- before its end. What transactions began earlier may still bring is left to the next run: those that can be seen
-- (pg_read_all_stats shows others' too), and an hour for those that cannot.
CREATE FUNCTION @extschema@.credit_reconciliation_horizon(until timestamptz)
  RETURNS timestamptz LANGUAGE sql VOLATILE PARALLEL UNSAFE
BEGIN ATOMIC
  SELECT least(until,
               pg_catalog.clock_timestamp(),
               (SELECT min(a.xact_start) FROM pg_catalog.pg_stat_activity a WHERE a.datname = pg_catalog.current_database()),
               (SELECT min(p.prepared) FROM pg_catalog.pg_prepared_xacts p WHERE p.database = pg_catalog.current_database()))
         - interval '1 hour';
END;
COMMENT ON FUNCTION @extschema@.credit_reconciliation_horizon(timestamptz) IS
  'the instant up to which a run until an instant sees all that settled';

-- In mismatches, what is in flight keeps an open finding open, and no more.
CREATE FUNCTION @extschema@.credit_reconciliation_record(run @extschema@.credit_reconciliation_run, mismatches @extschema@.credit_judgement[])
  RETURNS @extschema@.credit_reconciliation_run LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  covered timestamptz := (SELECT max(r.covered_until) FROM @extschema@.credit_reconciliation_run r);
BEGIN
  -- A window that leaves a gap after the runs before leaves covered_until where it was.
  IF run.since <= coalesce(covered, '-infinity') THEN
    run.covered_until := greatest(covered, run.covered_until);
  ELSE
    run.covered_until := covered;
  END IF;
  INSERT INTO @extschema@.credit_reconciliation_run
    (since, until, tolerance, judged, in_flight, findings_new, findings_open, covered_until, started_at, finished_at)
  VALUES (run.since, run.until, run.tolerance, run.judged, run.in_flight, 0, 0, run.covered_until, run.started_at, clock_timestamp())
  RETURNING run_id INTO run.run_id;

  INSERT INTO @extschema@.credit_finding AS f
    (run_id, verdict, org_id, campaign_id, used_on, charged, refunded, used, difference, detail, found_at, seen_at)
  SELECT run.run_id, m.verdict, m.org_id, m.campaign_id, m.used_on, m.charged, m.refunded, m.used, m.difference, m.detail,
         run.started_at, run.started_at
  FROM unnest(mismatches) m
  WHERE m.verdict <> 'in_flight'
    AND NOT (m.detail IS NOT NULL AND EXISTS (
      SELECT FROM @extschema@.credit_finding d
      WHERE d.resolution = 'dismiss' AND d.org_id IS NOT DISTINCT FROM m.org_id
        AND d.used_on IS NOT DISTINCT FROM m.used_on AND d.detail = m.detail))
  ORDER BY m.org_id, m.campaign_id, m.used_on, m.detail
  ON CONFLICT (org_id, campaign_id, used_on, detail) WHERE resolved_at IS NULL DO UPDATE
  SET verdict = excluded.verdict, charged = excluded.charged, refunded = excluded.refunded, used = excluded.used,
      difference = excluded.difference, seen_at = excluded.seen_at;

  -- Every run judges the campaigns of open findings again; what is wrong with usage it sees for the days of its window.
  UPDATE @extschema@.credit_finding f
  SET resolution = 'cleared', resolved_at = clock_timestamp()
  WHERE f.resolved_at IS NULL AND f.seen_at < run.started_at
    AND (f.verdict <> 'invalid_usage' OR f.used_on IS NULL
         OR f.used_on::timestamp AT TIME ZONE 'UTC' < run.until AND (f.used_on + 1)::timestamp AT TIME ZONE 'UTC' > run.since)
    AND NOT EXISTS (
      SELECT FROM unnest(mismatches) m
      WHERE m.verdict = 'in_flight' AND m.org_id = f.org_id AND m.campaign_id = f.campaign_id);

  UPDATE @extschema@.credit_reconciliation_run r
  SET findings_new = (SELECT count(*) FROM @extschema@.credit_finding f WHERE f.run_id = r.run_id),
      findings_open = (SELECT count(*) FROM @extschema@.credit_finding f WHERE f.resolved_at IS NULL),
      finished_at = clock_timestamp()
  WHERE r.run_id = run.run_id
  RETURNING r.* INTO run;

  PERFORM @extschema@.credit_finding_alert(o.org_id)
  FROM (SELECT DISTINCT f.org_id FROM @extschema@.credit_finding f
        WHERE f.resolved_at IS NULL OR f.resolved_at >= run.started_at
        ORDER BY f.org_id) o;
  PERFORM @extschema@.credit_check_reconciliation();
  RETURN run;
END
$$;
COMMENT ON FUNCTION @extschema@.credit_reconciliation_record(@extschema@.credit_reconciliation_run, @extschema@.credit_judgement[]) IS
  'keeps what a run found; called by credit_run_reconciliation()';

CREATE FUNCTION @extschema@.credit_finding_close(finding @extschema@.credit_finding)
  RETURNS @extschema@.credit_finding LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  UPDATE @extschema@.credit_finding f
  SET resolution = finding.resolution, resolved_at = clock_timestamp(), resolved_by = finding.resolved_by,
      note = finding.note, adjusted = finding.adjusted, entry_no = finding.entry_no
  WHERE f.finding_id = finding.finding_id AND f.resolved_at IS NULL
  RETURNING f.* INTO STRICT finding;
  PERFORM @extschema@.credit_finding_alert(finding.org_id);
  RETURN finding;
END
$$;
COMMENT ON FUNCTION @extschema@.credit_finding_close(@extschema@.credit_finding) IS
  'keeps how a finding was resolved; called by credit_resolve_finding()';

CREATE FUNCTION @extschema@.credit_finding_alert(org_id text)
  RETURNS void LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
  SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  open bigint;
  difference numeric;
BEGIN
  SELECT count(*), sum(f.difference) INTO open, difference
  FROM @extschema@.credit_finding f
  WHERE f.org_id IS NOT DISTINCT FROM credit_finding_alert.org_id AND f.resolved_at IS NULL;
  IF open > 0 THEN
    PERFORM credit_ledger_internal.alert_open('reconciliation_mismatch', org_id,
      format('open findings of reconciliation: %s', open), jsonb_build_object('findings', open, 'difference', difference));
  ELSE
    PERFORM credit_ledger_internal.alert_close('reconciliation_mismatch', org_id);
  END IF;
END
$$;
COMMENT ON FUNCTION @extschema@.credit_finding_alert(text) IS
  'opens or closes the alert reconciliation_mismatch of an organisation, as it has open findings or has none';
