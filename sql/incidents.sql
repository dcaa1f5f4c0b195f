-- What a person who is called wants to know first: who waits for whom, what the timeout decided and can still be
-- corrected. credit_health() says it in its first rows.

CREATE FUNCTION credit_ledger_internal.written_tables()
  RETURNS SETOF oid LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
  SELECT p.relid::oid FROM pg_partition_tree('@extschema@.credit_ledger'::regclass) p
  UNION ALL
  SELECT p.relid FROM pg_partition_tree('@extschema@.credit_entry'::regclass) p
  UNION ALL
  SELECT t.relid FROM (VALUES ('@extschema@.credit_account'::regclass), ('@extschema@.credit_idempotency'),
                              ('@extschema@.credit_lot')) t (relid);
END;
COMMENT ON FUNCTION credit_ledger_internal.written_tables() IS
  'lists the tables that calls of the ledger write, with their leaves';

-- How many rows a recursion makes nobody can estimate: a query that has it in it would be compiled for seconds.
CREATE FUNCTION credit_ledger_internal.queue_heads()
  RETURNS TABLE (pid integer, head integer) LANGUAGE sql VOLATILE PARALLEL RESTRICTED ROWS 10
  SET jit = off
BEGIN ATOMIC
  WITH RECURSIVE edge AS MATERIALIZED (
    SELECT w.pid, b.pid AS blocker
    FROM (SELECT DISTINCT l.pid FROM pg_locks l WHERE NOT l.granted) w
    CROSS JOIN LATERAL unnest(pg_blocking_pids(w.pid)) b (pid)
  ), chain (pid, blocker) AS (
    SELECT e.pid, e.blocker FROM edge e
  UNION
    SELECT c.pid, e.blocker FROM chain c JOIN edge e ON e.pid = c.blocker
  )
  SELECT c.pid, c.blocker FROM chain c WHERE NOT EXISTS (SELECT FROM edge e WHERE e.pid = c.blocker);
END;
COMMENT ON FUNCTION credit_ledger_internal.queue_heads() IS
  'finds who waits for nobody and keeps a process waiting, for every process that waits for a lock';

-- A call waits for the row of an account behind a lock on that row's place (locktype tuple): the first in the queue has
-- it, all others wait for it. Of a queue, who is told is the one at its head that waits for nobody.
CREATE VIEW @extschema@.credit_waiting_calls AS
WITH here AS (
  SELECT d.oid FROM pg_database d WHERE d.datname = current_database()
), lock AS MATERIALIZED (
  SELECT l.* FROM pg_locks l
), waiting AS MATERIALIZED (
  SELECT DISTINCT ON (w.pid) w.pid, w.waitstart, coalesce(t.relation, w.relation) AS relation, t.page, t.tuple
  FROM lock w
  LEFT JOIN lock t ON t.pid = w.pid AND t.locktype = 'tuple' AND t.database = (SELECT h.oid FROM here h)
    AND t.relation = '@extschema@.credit_account'::regclass
  WHERE NOT w.granted
    AND (t.pid IS NOT NULL
         OR w.database = (SELECT h.oid FROM here h)
            AND w.relation IN (SELECT t.oid FROM credit_ledger_internal.written_tables() t (oid)))
)
SELECT w.pid AS waiting_pid, clock_timestamp() - w.waitstart AS waiting_for,
       (SELECT a.org_id FROM @extschema@.credit_account a
        WHERE a.ctid = format('(%s,%s)', w.page, w.tuple)::tid) AS org_id,
       w.relation::regclass AS locked_table, q.head AS blocking_pid, s.usename AS blocking_user,
       s.application_name AS blocking_application,
       CASE WHEN q.head = 0 THEN 'prepared transaction' ELSE s.state END AS blocking_state,
       s.query AS blocking_query
FROM waiting w
LEFT JOIN credit_ledger_internal.queue_heads() q ON q.pid = w.pid
LEFT JOIN pg_stat_activity s ON s.pid = q.head;
COMMENT ON VIEW @extschema@.credit_waiting_calls IS
  'sessions that wait for an account or a table of the ledger, and who is at the head of the queue; state and query of '
  'others'' sessions need pg_read_all_stats';
COMMENT ON COLUMN @extschema@.credit_waiting_calls.org_id IS
  'the organisation whose account it waits for; NULL: it waits for a whole table, or for an account that is being made';
COMMENT ON COLUMN @extschema@.credit_waiting_calls.blocking_pid IS
  'who waits for nobody and keeps it waiting; 0: a prepared transaction, see pg_prepared_xacts';
COMMENT ON COLUMN @extschema@.credit_waiting_calls.blocking_state IS
  'idle in transaction: it called the ledger and has not ended its transaction';

-- A refund confirms what the timeout charged, as the functions see it.
CREATE VIEW @extschema@.credit_provisional AS
SELECT l.org_id, l.campaign_id, l.authorization_id, l.status, l.authorized_amount,
       CASE l.status WHEN 'committed' THEN l.amount ELSE 0 END AS charged, l.settled_at,
       l.settled_at + credit_ledger_internal.setting('true_up_window')::interval AS correctable_until
FROM @extschema@.credit_ledger_settled l
WHERE l.settled_by = 'timeout'
  AND l.settled_at > statement_timestamp() - credit_ledger_internal.setting('true_up_window')::interval;
COMMENT ON VIEW @extschema@.credit_provisional IS
  'what the timeout decided and credit_commit() or credit_revert() can still correct';
COMMENT ON COLUMN @extschema@.credit_provisional.charged IS 'what the organisation was charged by it';
COMMENT ON COLUMN @extschema@.credit_provisional.correctable_until IS
  'settled_at and credit_ledger.true_up_window; then only credit_correct() may';

CREATE TYPE @extschema@.credit_health_status AS ENUM ('ok', 'warning', 'critical');
COMMENT ON TYPE @extschema@.credit_health_status IS 'how a check of credit_health turned out';

CREATE TYPE credit_ledger_internal.health_row AS (
  check_name text,
  status     @extschema@.credit_health_status,
  detail     text,
  what_to_do text
);
COMMENT ON TYPE credit_ledger_internal.health_row IS 'a row of credit_health()';

-- Low balances and credits that expire are the customers' business: they are named, and leave the check as it is.
CREATE FUNCTION credit_ledger_internal.health_of_alerts()
  RETURNS credit_ledger_internal.health_row LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
  SELECT 'open_alerts',
         CASE WHEN bool_or(a.kind NOT IN ('low_balance', 'credits_expiring')) THEN 'warning'
              ELSE 'ok' END::@extschema@.credit_health_status,
         coalesce(string_agg(CASE WHEN a.place <= 5 THEN format('%s: %s', a.kind, a.message) END, '; '
                             ORDER BY a.place)
                  || CASE WHEN count(*) > 5 THEN format('; and %s more', count(*) - 5) ELSE '' END, 'none'),
         CASE WHEN bool_or(a.kind NOT IN ('low_balance', 'credits_expiring')) THEN
           'SELECT * FROM credit_alert WHERE closed_at IS NULL; the runbook says what to do about each kind.' END
  FROM (SELECT a.kind, a.message,
               row_number() OVER (ORDER BY a.kind IN ('low_balance', 'credits_expiring'), a.opened_at) AS place
        FROM @extschema@.credit_alert a
        WHERE a.closed_at IS NULL) a;
END;
COMMENT ON FUNCTION credit_ledger_internal.health_of_alerts() IS 'makes the row open_alerts of credit_health()';

CREATE FUNCTION credit_ledger_internal.health_of_commits(preloaded boolean)
  RETURNS credit_ledger_internal.health_row LANGUAGE plpgsql VOLATILE PARALLEL RESTRICTED
  SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  this credit_ledger_internal.health_row;
  commits record;
  failure record;
BEGIN
  SELECT * INTO commits FROM credit_ledger_internal.commit_outcomes(interval '1 hour');
  SELECT f.* INTO failure FROM @extschema@.credit_recent_failures() f
  WHERE f.operation = 'commit' AND f.failed_at > now() - interval '1 hour'
  ORDER BY f.failed_at DESC LIMIT 1;
  this.check_name := 'commit_failures';
  this.status := CASE
    WHEN commits.rate <= credit_ledger_internal.setting('commit_failure_threshold')::numeric
      OR commits.rate IS NULL THEN 'ok'
    WHEN commits.attempts + commits.settled_by_timeout
      < credit_ledger_internal.setting('commit_failure_min_sample')::bigint THEN 'warning'
    ELSE 'critical' END::@extschema@.credit_health_status;
  this.detail := CASE WHEN commits.rate IS NULL AND NOT preloaded THEN 'nothing is counted'
    WHEN commits.rate IS NULL AND failure.sqlstate IS NOT NULL THEN 'nothing of the last hour is counted yet'
    WHEN commits.rate IS NULL THEN 'no commits in the last hour'
    ELSE format('%s %% went wrong: %s', round(100 * commits.rate, 1),
                credit_ledger_internal.commit_outcomes_told(commits.attempts, commits.failures,
                  commits.settled_by_timeout)) END
    || CASE WHEN failure.sqlstate IS NULL THEN ''
            ELSE format('; the last that failed:%s%s %s: %s', ' authorization "' || failure.authorization_id || '"',
                        ' of organisation "' || failure.org_id || '",', failure.sqlstate, failure.message) END;
  this.what_to_do := CASE WHEN this.status <> 'ok' THEN
    'SELECT * FROM credit_recent_failures() tells which failed and why, credit_provisional what nobody committed.' END;
  RETURN this;
END
$$;
COMMENT ON FUNCTION credit_ledger_internal.health_of_commits(boolean) IS
  'makes the row commit_failures of credit_health(), whatever the sample';

CREATE FUNCTION credit_ledger_internal.health_of_waiting()
  RETURNS credit_ledger_internal.health_row LANGUAGE plpgsql VOLATILE PARALLEL RESTRICTED
  SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  this credit_ledger_internal.health_row;
  first record;
  waiting bigint;
BEGIN
  SELECT w.* INTO first FROM @extschema@.credit_waiting_calls w WHERE w.waiting_for >= interval '1 second'
  ORDER BY w.waiting_for DESC LIMIT 1;
  this.check_name := 'waiting_calls';
  IF NOT FOUND THEN
    this.status := 'ok';
    this.detail := 'none';
    RETURN this;
  END IF;
  SELECT count(DISTINCT w.waiting_pid) INTO waiting FROM @extschema@.credit_waiting_calls w;
  this.status := CASE WHEN first.waiting_for >= interval '1 minute' THEN 'critical'
                      ELSE 'warning' END::@extschema@.credit_health_status;
  this.detail := format('%s; process %s has waited %s for %s, behind process %s%s', waiting, first.waiting_pid,
    date_trunc('second', first.waiting_for),
    CASE WHEN first.org_id IS NULL THEN 'table ' || first.locked_table
         ELSE format('the account of organisation "%s"', first.org_id) END,
    first.blocking_pid, ' (' || first.blocking_state || ')');
  this.what_to_do := format('SELECT * FROM credit_waiting_calls; who is idle in transaction has to commit. '
    'SELECT pg_terminate_backend(%s) undoes its transaction and frees the account; that needs pg_signal_backend.',
    first.blocking_pid);
  RETURN this;
END
$$;
COMMENT ON FUNCTION credit_ledger_internal.health_of_waiting() IS 'makes the row waiting_calls of credit_health()';

-- Of the last hour, or of as much of it as has enough rows to tell: the busiest ledger answers in a moment, too.
CREATE FUNCTION credit_ledger_internal.health_of_timeouts()
  RETURNS credit_ledger_internal.health_row LANGUAGE plpgsql STABLE PARALLEL SAFE
  SET search_path = pg_catalog, pg_temp
  SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
  this credit_ledger_internal.health_row;
  past text;
  settled bigint;
  late bigint;
  newest record;
  since timestamptz;
BEGIN
  FOREACH past IN ARRAY '{1 minute,5 minutes,20 minutes,1 hour}'::text[] LOOP
    since := statement_timestamp() - past::interval;
    SELECT count(*), count(*) FILTER (WHERE l.settled_by = 'timeout') INTO settled, late
    FROM @extschema@.credit_ledger_settled l
    WHERE l.settled_at > since;
    EXIT WHEN settled >= 50000;
  END LOOP;
  past := replace(past, '1 ', '');
  this.check_name := 'settled_by_timeout';
  -- One is many among few; among many, some processes always die.
  IF late > settled * credit_ledger_internal.setting('commit_failure_threshold')::float8 THEN
    this.status := 'warning';
    this.what_to_do := 'SELECT * FROM credit_provisional; then say what was really used: credit_commit_many(), '
                       'credit_revert_many().';
  ELSE
    this.status := 'ok';
  END IF;
  IF late = 0 THEN
    this.detail := format('none in the last %s', past);
    RETURN this;
  END IF;
  SELECT l.authorization_id, l.org_id INTO newest
  FROM @extschema@.credit_ledger_settled l
  WHERE l.settled_at > since AND l.settled_by = 'timeout'
  ORDER BY l.settled_at DESC LIMIT 1;
  this.detail := format('%s of %s in the last %s, the newest: authorization "%s" of organisation "%s"', late, settled,
                        past, newest.authorization_id, newest.org_id);
  RETURN this;
END
$$;
COMMENT ON FUNCTION credit_ledger_internal.health_of_timeouts() IS
  'makes the row settled_by_timeout of credit_health()';

CREATE FUNCTION credit_ledger_internal.health_of_pg_cron()
  RETURNS credit_ledger_internal.health_row LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
  SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  this credit_ledger_internal.health_row;
BEGIN
  this.check_name := 'pg_cron';
  this.status := 'ok';
  IF NOT EXISTS (SELECT FROM @extschema@.credit_usage_source) THEN
    this.detail := 'no usage source is registered: there is nothing to schedule';
  ELSIF NOT EXISTS (SELECT FROM pg_extension e WHERE e.extname = 'pg_cron') THEN
    this.status := 'warning';
    this.detail := 'pg_cron is not in this database';
    this.what_to_do := 'From the database that has it, schedule the reconciliation with cron.schedule_in_database().';
  ELSIF NOT has_schema_privilege('cron', 'USAGE') THEN
    this.detail := 'this role may not see whether the reconciliation is scheduled';
  ELSIF EXISTS (
    SELECT FROM cron.job j
    WHERE j.active AND j.database = current_database() AND strpos(j.command, 'credit_run_reconciliation') > 0)
  THEN
    this.detail := 'reconciliation is scheduled';
  ELSE
    this.status := 'warning';
    this.detail := 'reconciliation is not scheduled';
    this.what_to_do := 'SELECT credit_schedule_jobs()';
  END IF;
  RETURN this;
END
$$;
COMMENT ON FUNCTION credit_ledger_internal.health_of_pg_cron() IS 'makes the row pg_cron of credit_health()';

CREATE FUNCTION credit_ledger_internal.table_lockers()
  RETURNS text LANGUAGE sql VOLATILE PARALLEL RESTRICTED
BEGIN ATOMIC
  SELECT string_agg(DISTINCT l.pid::text, ', ')
  FROM pg_locks l JOIN pg_database d ON d.oid = l.database AND d.datname = current_database()
  WHERE l.granted AND l.mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
    AND l.relation IN (SELECT t.oid FROM credit_ledger_internal.written_tables() t (oid));
END;
COMMENT ON FUNCTION credit_ledger_internal.table_lockers() IS
  'tells the processes that have tables of the ledger locked against its calls; NULL: none';
