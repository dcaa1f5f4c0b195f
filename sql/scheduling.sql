-- The nightly and the weekly run, with pg_cron; and whether they came. pg_cron can stop without a word, so that a run
-- is overdue is seen from the runs alone.

CREATE FUNCTION @extschema@.credit_schedule_jobs(reconcile_schedule text = '0 3 * * *', tolerance bigint = 10,
    reconcile_all_schedule text = '0 5 * * 0')
  RETURNS bigint LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
  SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  job record;
  hints text[];
  job_id bigint;
  nightly_id bigint;
  has_cron constant boolean := EXISTS (SELECT FROM pg_extension e WHERE e.extname = 'pg_cron');
BEGIN
  PERFORM credit_ledger_internal.require_argument('reconcile_schedule', reconcile_schedule IS NULL),
          credit_ledger_internal.require_argument('tolerance', tolerance IS NULL),
          credit_ledger_internal.require_argument('reconcile_all_schedule', reconcile_all_schedule IS NULL);
  IF tolerance < 0 THEN
    RAISE invalid_parameter_value USING MESSAGE = format('tolerance must not be negative: %s', tolerance);
  END IF;
  -- The names of jobs are unique for each user; two users would have it run twice.
  IF has_cron THEN
    PERFORM @extschema@.credit_unschedule_jobs();
  END IF;

  FOR job IN
    SELECT format('credit_ledger_%s@%s', j.name, current_database()) AS name, j.schedule,
           format('SELECT %s(%stolerance => %s)', '@extschema@.credit_run_reconciliation', j.since, tolerance)
             AS command
    FROM (VALUES (1, 'reconcile', reconcile_schedule, ''),
                 (2, 'reconcile_all', reconcile_all_schedule, 'since => ''-infinity'', ')
         ) j (place, name, schedule, since)
    ORDER BY j.place
  LOOP
    IF has_cron THEN
      EXECUTE 'SELECT cron.schedule($1, $2, $3)' INTO job_id USING job.name, job.schedule, job.command;
      nightly_id := coalesce(nightly_id, job_id);
    ELSE
      hints := hints || format('SELECT cron.schedule_in_database(%L, %L, %L, %L);', job.name, job.schedule, job.command,
        current_database());
    END IF;
  END LOOP;
  IF NOT has_cron THEN
    RAISE object_not_in_prerequisite_state USING
      MESSAGE = format('pg_cron is not installed in database "%s"', current_database()),
      DETAIL = 'pg_cron keeps its jobs in the one database that its setting cron.database_name names'
               || coalesce(': ' || current_setting('cron.database_name', true), '') || '.',
      HINT = 'In the database that has it, call: ' || array_to_string(hints, ' ');
  END IF;
  RETURN nightly_id;
END
$$;
COMMENT ON FUNCTION @extschema@.credit_schedule_jobs(text, bigint, text) IS
  'has pg_cron call credit_run_reconciliation() as the caller on a schedule, and over all history on another, in the '
  'place of what was scheduled before. Returns the number of the first job';

CREATE FUNCTION @extschema@.credit_unschedule_jobs()
  RETURNS integer LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
  SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  job_id bigint;
  removed integer := 0;
BEGIN
  IF EXISTS (SELECT FROM pg_extension e WHERE e.extname = 'pg_cron') THEN
    FOR job_id IN EXECUTE 'SELECT j.jobid FROM cron.job j
                           WHERE j.jobname IN ($1, $2)
                              OR starts_with(j.jobname, ''credit_ledger_reconcile'')
                                 AND NOT EXISTS (SELECT FROM pg_database d WHERE d.datname = j.database)
                           ORDER BY j.jobid'
                  USING format('credit_ledger_reconcile@%s', current_database()),
                        format('credit_ledger_reconcile_all@%s', current_database()) LOOP
      EXECUTE 'SELECT cron.unschedule($1)' USING job_id;
      removed := removed + 1;
    END LOOP;
  END IF;
  RETURN removed;
END
$$;
COMMENT ON FUNCTION @extschema@.credit_unschedule_jobs() IS
  'takes the jobs of credit_schedule_jobs() from pg_cron, those of other users too where the caller may see them, and '
  'those of databases that are gone or have another name by now; returns how many';

-- When the run is due that did not come yet: some time after the last run, or after somebody began to wait for one.
CREATE FUNCTION @extschema@.credit_reconciliation_health(as_of timestamptz = NULL)
  RETURNS TABLE (last_run_at timestamptz, overdue_at timestamptz, overdue boolean, findings_open bigint, detail text)
  LANGUAGE sql STABLE PARALLEL SAFE
  SET row_security = off
BEGIN ATOMIC
  SELECT d.last_run_at, d.overdue_at, coalesce(d.overdue_at < coalesce(as_of, now()), false), d.findings_open,
         CASE WHEN d.overdue_at IS NULL THEN 'no run was made and no usage source is registered'
              WHEN d.overdue_at < coalesce(as_of, now())
                THEN 'no run came to its end in time; see cron.job_run_details and the server log'
              ELSE 'in time'
         END
  FROM (
    SELECT r.last_run_at,
           coalesce(r.last_run_at, s.registered_at)
             + credit_ledger_internal.setting('reconciliation_overdue_after')::interval AS overdue_at,
           f.findings_open
    FROM (SELECT max(r.finished_at) AS last_run_at FROM @extschema@.credit_reconciliation_run r) r,
      (SELECT min(s.registered_at) AS registered_at FROM @extschema@.credit_usage_source s) s,
      (SELECT count(*) AS findings_open FROM @extschema@.credit_finding f WHERE f.resolved_at IS NULL) f
  ) d;
END;
COMMENT ON FUNCTION @extschema@.credit_reconciliation_health(timestamptz) IS
  'tells whether reconciliation is overdue at an instant (NULL: now): the last run came to its end longer ago than '
  'credit_ledger.reconciliation_overdue_after';

CREATE FUNCTION @extschema@.credit_check_reconciliation(as_of timestamptz = NULL)
  RETURNS boolean LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp
  SET row_security = off
AS $$
DECLARE
  health record;
BEGIN
  SELECT h.* INTO health FROM @extschema@.credit_reconciliation_health(as_of) h;
  IF health.overdue THEN
    PERFORM credit_ledger_internal.alert_open('reconciliation_overdue', NULL,
      'reconciliation is overdue',
        jsonb_build_object('last_run_at', health.last_run_at, 'overdue_at', health.overdue_at));
  ELSE
    PERFORM credit_ledger_internal.alert_close('reconciliation_overdue', NULL);
  END IF;
  RETURN health.overdue;
END
$$;
COMMENT ON FUNCTION @extschema@.credit_check_reconciliation(timestamptz) IS
  'opens or closes the alert reconciliation_overdue, as credit_reconciliation_health() says, and returns whether it '
  'is overdue';
