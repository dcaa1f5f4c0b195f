-- What the worker counts, judges and tells. All of it works without the worker too: credit_sweep() and
-- credit_maintain() called every minute do what it does, except that nothing is counted unless the library is
-- preloaded.

CREATE TABLE @extschema@.credit_stat (
  minute    timestamptz NOT NULL,
  operation text COLLATE "C" NOT NULL,
  outcome   text COLLATE "C" NOT NULL,
  count     bigint NOT NULL,
  PRIMARY KEY (minute, operation, outcome)
);
COMMENT ON TABLE @extschema@.credit_stat IS 'how often each function was called, and what came of it';
COMMENT ON COLUMN @extschema@.credit_stat.minute IS
  'the minute in which the counts were drained: within credit_ledger.sweep_interval of the calls';
COMMENT ON COLUMN @extschema@.credit_stat.operation IS
  'grant, adjust, authorize, commit, revert, extend, refund, configure; sweep: holds settled by timeout, and '
  'organisations it could not settle';
COMMENT ON COLUMN @extschema@.credit_stat.outcome IS
  'an SQLSTATE, 00000 once the transaction has committed; replayed: it had been done before; rolled_back: it '
  'succeeded, its transaction did not; prepared: left to COMMIT PREPARED';

SELECT pg_extension_config_dump('@extschema@.credit_stat', '');

CREATE FUNCTION @extschema@.credit_recent_failures(OUT failed_at timestamptz, OUT operation text, OUT org_id text,
    OUT campaign_id text, OUT authorization_id text, OUT sqlstate text, OUT message text, OUT detail text)
  RETURNS SETOF record LANGUAGE C VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.credit_recent_failures() IS
  'lists the failed calls of this database among the last 256 of the server, the newest first; of what is not known '
  'yet when a call fails, NULL';

CREATE FUNCTION credit_ledger_internal.take_counters(OUT operation text, OUT outcome text, OUT count bigint)
  RETURNS SETOF record LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'credit_take_counters';
COMMENT ON FUNCTION credit_ledger_internal.take_counters() IS
  'takes what was counted in this database and is not in credit_stat, when the transaction commits; for '
  'credit_maintain()';

CREATE FUNCTION credit_ledger_internal.commit_outcomes(period interval, OUT attempts bigint, OUT failures bigint,
    OUT causes jsonb, OUT settled_by_timeout bigint, OUT rate numeric)
  LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
  WITH counted AS (
    SELECT s.operation, s.outcome, sum(s.count)::bigint AS count
    FROM @extschema@.credit_stat s
    WHERE s.minute > now() - period AND s.operation IN ('commit', 'sweep') AND s.outcome <> 'replayed'
    GROUP BY s.operation, s.outcome
  ), total AS (
    SELECT coalesce(sum(c.count) FILTER (WHERE c.operation = 'commit'), 0)::bigint AS attempts,
           coalesce(sum(c.count) FILTER (WHERE c.operation = 'commit' AND c.outcome NOT IN ('00000', 'prepared')),
             0)::bigint AS failures,
           coalesce(jsonb_object_agg(c.outcome, c.count)
                    FILTER (WHERE c.operation = 'commit' AND c.outcome NOT IN ('00000', 'prepared')), '{}') AS causes,
           coalesce(sum(c.count) FILTER (WHERE c.operation = 'sweep' AND c.outcome = '00000'),
             0)::bigint AS settled_by_timeout
    FROM counted c
  )
  SELECT t.attempts, t.failures, t.causes, t.settled_by_timeout,
         round((t.failures + t.settled_by_timeout)::numeric / nullif(t.attempts + t.settled_by_timeout, 0), 6)
  FROM total t;
END;
COMMENT ON FUNCTION credit_ledger_internal.commit_outcomes(interval) IS
  'adds up credit_stat as credit_commit_failure_rate() tells it';

CREATE FUNCTION credit_ledger_internal.commit_outcomes_told(attempts bigint, failures bigint, settled_by_timeout bigint)
  RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
  SELECT CASE
    WHEN settled_by_timeout = 0 THEN format('%s of %s commits failed in the last hour', failures, attempts)
    WHEN attempts = 0 THEN format('nobody committed %s holds in the last hour: the timeout settled them',
                                 settled_by_timeout)
    ELSE format('%s of %s commits failed in the last hour, and nobody committed %s holds: the timeout settled them',
                failures, attempts, settled_by_timeout) END;
END;
COMMENT ON FUNCTION credit_ledger_internal.commit_outcomes_told(bigint, bigint, bigint) IS
  'says what became of the commits of an hour, and of those that never came';

CREATE FUNCTION @extschema@.credit_commit_failure_rate(period interval = '1 hour', since timestamptz = NULL,
    OUT attempts bigint, OUT failures bigint, OUT causes jsonb, OUT settled_by_timeout bigint, OUT rate numeric)
  LANGUAGE plpgsql VOLATILE PARALLEL RESTRICTED
  SET search_path = pg_catalog, pg_temp
  SET row_security = off
AS $$
BEGIN
  period := coalesce(now() - since, period);
  PERFORM credit_ledger_internal.require_argument('period', period IS NULL);
  SELECT o.* INTO attempts, failures, causes, settled_by_timeout, rate
  FROM credit_ledger_internal.commit_outcomes(period) o;
  IF NOT (SELECT w.preloaded FROM @extschema@.credit_worker_status() w) THEN
    RAISE NOTICE 'credit_ledger is not preloaded: nothing is counted'
      USING HINT = 'Add credit_ledger to shared_preload_libraries and restart the server.';
    IF rate IS NULL THEN
      attempts := NULL;
      failures := NULL;
      causes := NULL;
      settled_by_timeout := NULL;
    END IF;
  END IF;
END
$$;
COMMENT ON FUNCTION @extschema@.credit_commit_failure_rate(interval, timestamptz) IS
  'tells how many commits were attempted in the last period, or since an instant, how many failed '
  'and why, how many holds nobody settled in time, and the share of both together; repeated calls do '
  'not count. From credit_stat; NULL, with a NOTICE, where nothing is counted';

CREATE FUNCTION @extschema@.credit_maintain()
  RETURNS void LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp
  SET datestyle = 'ISO'
  SET intervalstyle = 'postgres'
  SET timezone = 'UTC'
  SET row_security = off
AS $$
DECLARE
  commits record;
  sample bigint;
  threshold numeric;
  lag interval;
BEGIN
  PERFORM credit_ledger_internal.require_argument('', false);  -- loads the library, so that its settings are known

  LOCK TABLE @extschema@.credit_stat IN SHARE ROW EXCLUSIVE MODE;
  PERFORM credit_ledger_internal.lock_own('@extschema@.credit_stat', '@extschema@.credit_alert');
  INSERT INTO @extschema@.credit_stat AS s (minute, operation, outcome, count)
    SELECT date_trunc('minute', now()), t.operation, t.outcome, t.count FROM credit_ledger_internal.take_counters() t
    ON CONFLICT (minute, operation, outcome) DO UPDATE SET count = s.count + excluded.count;

  SELECT * INTO commits FROM credit_ledger_internal.commit_outcomes(interval '1 hour');
  sample := commits.attempts + commits.settled_by_timeout;
  threshold := current_setting('credit_ledger.commit_failure_threshold')::numeric;
  IF commits.rate > threshold AND sample >= current_setting('credit_ledger.commit_failure_min_sample')::bigint THEN
    PERFORM credit_ledger_internal.alert_open('commit_failure_rate', NULL,
      credit_ledger_internal.commit_outcomes_told(commits.attempts, commits.failures, commits.settled_by_timeout),
      to_jsonb(commits));
  ELSIF coalesce(commits.rate, 0) <= threshold / 2 THEN
    PERFORM credit_ledger_internal.alert_close('commit_failure_rate', NULL);
  END IF;

  SELECT clock_timestamp() - min(o.expires_at) INTO lag FROM @extschema@.credit_ledger_open o;
  IF lag > current_setting('credit_ledger.sweep_lag_threshold')::interval THEN
    PERFORM credit_ledger_internal.alert_open('sweep_lag', NULL,
      format('a hold expired %s ago and is not settled', date_trunc('second', lag)), jsonb_build_object('lag', lag));
  ELSIF coalesce(lag, '0') <= current_setting('credit_ledger.sweep_lag_threshold')::interval / 2 THEN
    PERFORM credit_ledger_internal.alert_close('sweep_lag', NULL);
  END IF;

  PERFORM credit_ledger_internal.expiring_follow();
  PERFORM @extschema@.credit_check_reconciliation();

  IF (SELECT s.allowed FROM credit_ledger_internal.may_settle() s) THEN
    PERFORM credit_ledger_internal.remove_rows();
    IF (SELECT w.launcher_pid IS NULL OR NOT w.enabled FROM @extschema@.credit_worker_status() w) THEN
      PERFORM credit_ledger_internal.remove_keys(interval '1 second');
    END IF;
  END IF;
END
$$;
COMMENT ON FUNCTION @extschema@.credit_maintain() IS
  'does what the worker does besides sweeping: drains the counters into credit_stat, opens and closes the alerts of '
  'commit failures, of late settlement and of credits that expire, and removes what is older than the settings '
  'credit_ledger...._retention say; of idempotency keys, where there is no worker, as many as a second allows';

CREATE FUNCTION @extschema@.credit_worker_status(OUT preloaded boolean, OUT enabled boolean, OUT launcher_pid integer,
    OUT launcher_started_at timestamptz, OUT sweeper_pid integer, OUT last_sweep_at timestamptz,
      OUT last_settled bigint,
    OUT total_settled bigint, OUT oldest_expired_at timestamptz, OUT last_error_at timestamptz,
      OUT last_error_sqlstate text,
    OUT last_error text, OUT left_alone_because text)
  LANGUAGE C VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.credit_worker_status() IS
  'tells of the worker, as far as this database goes: is the library preloaded, credit_ledger.worker on, who is at '
  'work, what did the last sweep do and leave, when did one fail and why, and why nothing is settled here, if so. '
  'Counted since the server started';

CREATE FUNCTION @extschema@.credit_worker_wake()
  RETURNS boolean LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.credit_worker_wake() IS
  'has the worker look at this database when the transaction commits, and take its rows to be all there, whatever a '
  'restore has left undone; false, with a NOTICE, if the library is not preloaded';

SELECT @extschema@.credit_worker_wake();
