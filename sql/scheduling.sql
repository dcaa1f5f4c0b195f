-- The nightly run, with pg_cron; and whether it came. pg_cron can stop without a word, so that a run is overdue is seen
-- from the runs alone.

CREATE TABLE @extschema@.credit_job (
  name          text COLLATE "C" NOT NULL,
  schedule      text NOT NULL,
  overdue_after interval NOT NULL,
  scheduled_at  timestamptz NOT NULL,
  PRIMARY KEY (name)
);
COMMENT ON TABLE @extschema@.credit_job IS 'jobs that credit_schedule_jobs() gave to pg_cron, and when their runs are overdue';
SELECT pg_extension_config_dump('@extschema@.credit_job', '');

CREATE FUNCTION @extschema@.credit_schedule_jobs(reconcile_schedule text = '0 3 * * *', overdue_after interval = '26 hours')
  RETURNS bigint LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
  SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  job constant text := format('credit_ledger_reconcile@%s', current_database());
  command constant text := 'SELECT @extschema@.credit_run_reconciliation()';
  job_id bigint;
BEGIN
  PERFORM credit_ledger_internal.require_argument('reconcile_schedule', reconcile_schedule IS NULL),
          credit_ledger_internal.require_argument('overdue_after', overdue_after IS NULL);
  IF overdue_after <= interval '0' THEN
    RAISE invalid_parameter_value USING MESSAGE = format('overdue_after must be positive: %s', overdue_after);
  END IF;
  IF NOT EXISTS (SELECT FROM pg_extension e WHERE e.extname = 'pg_cron') THEN
    RAISE object_not_in_prerequisite_state USING
      MESSAGE = format('pg_cron is not installed in database "%s"', current_database()),
      DETAIL = 'pg_cron keeps its jobs in the one database that its setting cron.database_name names'
               || coalesce(': ' || current_setting('cron.database_name', true), '') || '.',
      HINT = format('In the database that has it, call: SELECT cron.schedule_in_database(%L, %L, %L, %L);',
                    job, reconcile_schedule, command, current_database());
  END IF;
  -- The names of jobs are unique for each user; two users would have it run twice.
  PERFORM @extschema@.credit_unschedule_jobs();
  EXECUTE 'SELECT cron.schedule($1, $2, $3)' INTO job_id USING job, reconcile_schedule, command;
  PERFORM @extschema@.credit_job_record('reconcile', reconcile_schedule, overdue_after);
  RETURN job_id;
END
$$;
COMMENT ON FUNCTION @extschema@.credit_schedule_jobs(text, interval) IS
  'has pg_cron call credit_run_reconciliation() as the caller on a schedule, in the place of what was scheduled before; without a run for overdue_after it is overdue. Returns the number of the job';

CREATE FUNCTION @extschema@.credit_unschedule_jobs()
  RETURNS integer LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
  SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  job_id bigint;
  removed integer := 0;
BEGIN
  PERFORM @extschema@.credit_job_record('reconcile', NULL, NULL);
  IF EXISTS (SELECT FROM pg_extension e WHERE e.extname = 'pg_cron') THEN
    FOR job_id IN EXECUTE 'SELECT j.jobid FROM cron.job j WHERE j.jobname = $1 ORDER BY j.jobid'
                  USING format('credit_ledger_reconcile@%s', current_database()) LOOP
      EXECUTE 'SELECT cron.unschedule($1)' USING job_id;
      removed := removed + 1;
    END LOOP;
  END IF;
  RETURN removed;
END
$$;
COMMENT ON FUNCTION @extschema@.credit_unschedule_jobs() IS
  'takes the jobs of credit_schedule_jobs() from pg_cron, those of other users too where the caller may see them, and returns how many';

CREATE FUNCTION @extschema@.credit_job_record(name text, schedule text, overdue_after interval)
  RETURNS void LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  DELETE FROM @extschema@.credit_job j WHERE j.name = credit_job_record.name;
  IF schedule IS NOT NULL THEN
    INSERT INTO @extschema@.credit_job VALUES (name, schedule, overdue_after, clock_timestamp());
  END IF;
END
$$;
COMMENT ON FUNCTION @extschema@.credit_job_record(text, text, interval) IS
  'keeps what was scheduled, nothing if schedule is NULL; called by credit_schedule_jobs() and credit_unschedule_jobs()';

-- When the run is due that did not come yet: some time after the last run, or after somebody began to wait for one.
CREATE FUNCTION @extschema@.credit_reconciliation_health(as_of timestamptz = NULL)
  RETURNS TABLE (last_run_at timestamptz, overdue_at timestamptz, overdue boolean, findings_open bigint, detail text)
  LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
  SELECT d.last_run_at, d.overdue_at, coalesce(d.overdue_at < coalesce(as_of, now()), false), d.findings_open,
         CASE WHEN d.overdue_at IS NULL THEN 'nothing is scheduled and no usage source is registered'
              WHEN d.overdue_at < coalesce(as_of, now()) THEN 'no run came to its end in time; see cron.job_run_details and the server log'
              ELSE 'in time'
         END
  FROM (
    SELECT r.last_run_at,
           coalesce(greatest(r.last_run_at, j.scheduled_at), s.registered_at) + coalesce(j.overdue_after, interval '26 hours') AS overdue_at,
           f.findings_open
    FROM (SELECT max(r.finished_at) AS last_run_at FROM @extschema@.credit_reconciliation_run r) r,
      (SELECT max(j.scheduled_at) AS scheduled_at, max(j.overdue_after) AS overdue_after FROM @extschema@.credit_job j) j,
      (SELECT min(s.registered_at) AS registered_at FROM @extschema@.credit_usage_source s) s,
      (SELECT count(*) AS findings_open FROM @extschema@.credit_finding f WHERE f.resolved_at IS NULL) f
  ) d;
END;
COMMENT ON FUNCTION @extschema@.credit_reconciliation_health(timestamptz) IS
  'whether reconciliation is overdue at an instant (NULL: now): a run came to its end longer ago than credit_schedule_jobs() allows, 26 hours where it was not asked';

CREATE FUNCTION @extschema@.credit_check_reconciliation(as_of timestamptz = NULL)
  RETURNS boolean LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
  SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  health record;
BEGIN
  SELECT h.* INTO health FROM @extschema@.credit_reconciliation_health(as_of) h;
  IF health.overdue THEN
    PERFORM credit_ledger_internal.alert_open('reconciliation_overdue', NULL,
      'reconciliation is overdue', jsonb_build_object('last_run_at', health.last_run_at, 'overdue_at', health.overdue_at));
  ELSE
    PERFORM credit_ledger_internal.alert_close('reconciliation_overdue', NULL);
  END IF;
  RETURN health.overdue;
END
$$;
COMMENT ON FUNCTION @extschema@.credit_check_reconciliation(timestamptz) IS
  'opens or closes the alert reconciliation_overdue, as credit_reconciliation_health() says, and returns whether it is overdue';
