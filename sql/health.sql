-- credit_health: whether what should happen by itself does. A check that is not ok says what to do about it.

-- All belongs to one owner: the worker acts as the owner of the tables, and functions that write them by SQL as their
-- own, whose rights a trigger of the tables' owner has then, too. Somebody of the same rights is as good.
CREATE FUNCTION credit_ledger_internal.ownership_repair()
  RETURNS SETOF text LANGUAGE sql STABLE PARALLEL SAFE
  SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  WITH ledger AS (
    SELECT c.relowner AS owner, c.relnamespace AS schema FROM pg_class c
    WHERE c.oid = '@extschema@.credit_account'::regclass
  ), member AS (
    SELECT d.classid, d.objid
    FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'credit_ledger'
    WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
  UNION
    SELECT 'pg_class'::regclass, t.relid FROM pg_partition_tree('@extschema@.credit_ledger'::regclass) t
  UNION
    SELECT 'pg_class'::regclass, t.relid FROM pg_partition_tree('@extschema@.credit_entry'::regclass) t
  ), owned (owner, kind, name) AS (
    SELECT n.nspowner, 'SCHEMA', quote_ident(n.nspname)
    FROM pg_namespace n JOIN member m ON m.classid = 'pg_namespace'::regclass AND m.objid = n.oid
  UNION ALL
    SELECT c.relowner, CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END,
           c.oid::regclass::text
    FROM pg_class c JOIN member m ON m.classid = 'pg_class'::regclass AND m.objid = c.oid
    WHERE c.relkind IN ('r', 'p', 'v', 'f')
  UNION ALL
    SELECT p.proowner, 'ROUTINE', p.oid::regprocedure::text
    FROM pg_proc p JOIN member m ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid
  UNION ALL
    SELECT t.typowner, 'TYPE', t.oid::regtype::text
    FROM pg_type t JOIN member m ON m.classid = 'pg_type'::regclass AND m.objid = t.oid
    LEFT JOIN pg_class c ON c.oid = t.typrelid
    WHERE t.typelem = 0 AND (t.typrelid = 0 OR c.relkind = 'c')
  )
  SELECT format('ALTER %s %s OWNER TO %I', o.kind, o.name, pg_get_userbyid(l.owner))
  FROM owned o, ledger l
  WHERE NOT (pg_has_role(o.owner, l.owner, 'USAGE') AND pg_has_role(l.owner, o.owner, 'USAGE'))
  UNION ALL
  SELECT format('GRANT USAGE, CREATE ON SCHEMA %I TO %I', n.nspname, pg_get_userbyid(l.owner))
  FROM ledger l JOIN pg_namespace n ON n.oid = l.schema
  WHERE NOT (has_schema_privilege(l.owner, n.oid, 'USAGE') AND has_schema_privilege(l.owner, n.oid, 'CREATE'));
END;
COMMENT ON FUNCTION credit_ledger_internal.ownership_repair() IS
  'tells the statements that give all of the extension to the owner of credit_account; none: it is his';

CREATE FUNCTION credit_ledger_internal.follow_owner()
  RETURNS integer LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
  SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  statement text;
  statements integer := 0;
BEGIN
  -- The owner stays who he is meanwhile; calls go on.
  LOCK TABLE @extschema@.credit_account IN SHARE UPDATE EXCLUSIVE MODE;
  FOR statement IN SELECT r.* FROM credit_ledger_internal.ownership_repair() r LOOP
    EXECUTE statement;
    statements := statements + 1;
  END LOOP;
  RETURN statements;
END
$$;
COMMENT ON FUNCTION credit_ledger_internal.follow_owner() IS
  'gives all of the extension to the owner of credit_account, and returns how many statements that took; for '
  'superusers. Locks credit_account against ALTER and other calls of this function, not against calls of the ledger';

CREATE FUNCTION @extschema@.credit_health(OUT check_name text, OUT status @extschema@.credit_health_status,
    OUT detail text, OUT what_to_do text)
  RETURNS SETOF record LANGUAGE plpgsql VOLATILE PARALLEL RESTRICTED
  SET search_path = pg_catalog, pg_temp
  SET row_security = off
  SET plan_cache_mode = force_custom_plan
  SET jit = off -- what nobody can estimate, the locks of others for one, would be compiled for seconds
AS $$
DECLARE
  worker record;
  reconciliation record;
  future record;
  late record;
  repair record;
  expected boolean;
  sweep_interval interval;
  age interval;
  drained timestamptz;
  soon constant timestamptz := clock_timestamp() + interval '1 minute';
BEGIN
  SELECT * INTO worker FROM @extschema@.credit_worker_status();
  sweep_interval := current_setting('credit_ledger.sweep_interval')::interval;
  expected := worker.preloaded AND worker.enabled AND NOT pg_is_in_recovery();

  RETURN QUERY
  SELECT r.* FROM credit_ledger_internal.health_of_alerts() r
  UNION ALL SELECT r.* FROM credit_ledger_internal.health_of_commits(worker.preloaded) r
  UNION ALL SELECT r.* FROM credit_ledger_internal.health_of_waiting() r
  UNION ALL SELECT r.* FROM credit_ledger_internal.health_of_timeouts() r;

  check_name := 'preloaded';
  status := CASE WHEN worker.preloaded THEN 'ok' ELSE 'warning' END::@extschema@.credit_health_status;
  detail := CASE WHEN worker.preloaded THEN 'the library is preloaded'
    ELSE 'the library is not preloaded: no worker, no counters' END;
  what_to_do := CASE WHEN NOT worker.preloaded THEN
    'Add credit_ledger to shared_preload_libraries and restart the server, '
    'or schedule credit_sweep() and credit_maintain() every minute.' END;
  RETURN NEXT;

  check_name := 'worker';
  CASE
    WHEN worker.launcher_pid IS NOT NULL AND worker.enabled THEN
      status := 'ok';
      detail := format('process %s, since %s', worker.launcher_pid, date_trunc('second', worker.launcher_started_at));
      what_to_do := NULL;
    WHEN pg_is_in_recovery() THEN
      status := 'ok';
      detail := 'starts when this standby is promoted';
      what_to_do := NULL;
    WHEN NOT worker.preloaded THEN
      status := 'warning';
      detail := 'there is none';
      what_to_do := 'See preloaded.';
    WHEN NOT worker.enabled THEN
      status := 'warning';
      detail := 'credit_ledger.worker is off: nothing is settled by itself';
      what_to_do := 'Set credit_ledger.worker = on and reload, or ALTER DATABASE ... RESET credit_ledger.worker, '
                    'unless this is a copy that must not charge anybody.';
    ELSE
      status := 'critical';
      detail := 'it is not running';
      what_to_do := 'It comes back by itself within seconds. If it does not, read the server''s log.';
  END CASE;
  RETURN NEXT;

  check_name := 'last_sweep';
  age := clock_timestamp() - worker.last_sweep_at;
  CASE
    WHEN NOT expected THEN
      status := 'ok';
      detail := 'none is to be expected';
      what_to_do := NULL;
    WHEN worker.left_alone_because IS NOT NULL THEN
      status := 'warning';
      detail := format('this database is left alone: %s', worker.left_alone_because);
      what_to_do := 'Settling begins by itself when that is over. A function may be given to the ledger''s owner '
                    '(ALTER FUNCTION ... OWNER TO). If the rows are all that there will be, say so: '
                    'SELECT credit_worker_wake().';
    WHEN worker.last_error_at >= coalesce(worker.last_sweep_at, '-infinity')
      AND worker.last_error_sqlstate = '55P03' THEN
      status := 'warning';
      detail := format('it ended early: %s', worker.last_error);
      what_to_do := format('Nothing, if that is somebody''s work on the table and ends%s.',
                           '; those who have one locked: process ' || credit_ledger_internal.table_lockers());
    WHEN worker.last_error_at >= coalesce(worker.last_sweep_at, '-infinity') THEN
      status := 'critical';
      detail := format('it failed: %s', worker.last_error);
      what_to_do := 'Read the server''s log.';
    WHEN age <= 3 * sweep_interval + interval '10 seconds' THEN
      status := 'ok';
      detail := format('%s ago; it settled %s', date_trunc('second', age), worker.last_settled);
      what_to_do := NULL;
    ELSE
      status := 'warning';
      detail := coalesce(date_trunc('second', age) || ' ago', 'none yet');
      what_to_do := 'If this stays, look for a shortage of background workers (max_worker_processes) '
                    'in the server''s log.';
  END CASE;
  RETURN NEXT;

  check_name := 'oldest_expired_hold';
  SELECT o.authorization_id, o.org_id, clock_timestamp() - o.expires_at AS age INTO late
  FROM @extschema@.credit_ledger_open o ORDER BY o.expires_at LIMIT 1;
  age := late.age;
  status := CASE WHEN age > current_setting('credit_ledger.sweep_lag_threshold')::interval THEN 'critical'
                 WHEN age > sweep_interval + interval '1 minute' THEN 'warning'
                 ELSE 'ok' END::@extschema@.credit_health_status;
  detail := CASE WHEN age > interval '0'
                 THEN format('expired %s ago: authorization "%s" of organisation "%s"', date_trunc('second', age),
                             late.authorization_id, late.org_id)
                 ELSE 'none' END;
  what_to_do := CASE WHEN status <> 'ok' THEN
    'See whether its account is locked (credit_waiting_calls) or credit_recent_failures() names it. '
    'Without the worker, call credit_sweep().' END;
  RETURN NEXT;

  check_name := 'oldest_ended_lot';
  SELECT l.org_id, l.lot_no, clock_timestamp() - l.expires_at AS age INTO late
  FROM @extschema@.credit_lot l
  WHERE l.closed_at IS NULL AND NOT l.voided AND l.held < l.remaining AND l.expires_at < clock_timestamp()
  ORDER BY l.expires_at LIMIT 1;
  age := late.age;
  status := CASE WHEN age > current_setting('credit_ledger.sweep_lag_threshold')::interval THEN 'critical'
                 WHEN age > sweep_interval + interval '1 minute' THEN 'warning'
                 ELSE 'ok' END::@extschema@.credit_health_status;
  detail := CASE WHEN age IS NULL THEN 'none'
                 ELSE format('ended %s ago, and what is free in it is not posted: lot %s of organisation "%s"',
                             date_trunc('second', age), late.lot_no, late.org_id) END;
  what_to_do := CASE WHEN status <> 'ok' THEN
    'Nobody can spend it. As for oldest_expired_hold: is its account locked, is nobody sweeping?' END;
  RETURN NEXT;

  -- An instant of an account never goes back, so what was written while the clock was ahead dates all that follows. Of
  -- accounts there is no index by instants; they are found by what was written.
  check_name := 'accounts_from_the_future';
  SELECT count(*), max(a.updated_at), (array_agg(a.org_id ORDER BY a.updated_at DESC))[1] AS org_id INTO future
  FROM @extschema@.credit_account a
  WHERE a.updated_at > soon
    AND a.org_id IN (SELECT e.org_id FROM @extschema@.credit_entry e WHERE e.created_at > soon
                     UNION SELECT s.org_id FROM @extschema@.credit_ledger_settled s WHERE s.settled_at > soon
                     UNION SELECT o.org_id FROM @extschema@.credit_ledger_open o WHERE o.created_at > soon);
  status := CASE WHEN future.count > 0 THEN 'warning' ELSE 'ok' END::@extschema@.credit_health_status;
  detail := CASE WHEN future.count > 0
                 THEN format('%s, the farthest of organisation "%s": %s', future.count, future.org_id, future.max)
                 ELSE 'none' END;
  what_to_do := CASE WHEN future.count > 0 THEN
    'Set the server''s clock. Rows of these accounts are dated then until the clock has come there, and nothing else '
    'is wrong: holds expire by the clock on the wall. '
    'SELECT org_id, updated_at FROM credit_account WHERE updated_at > now();' END;
  RETURN NEXT;

  check_name := 'counters';
  SELECT max(s.minute) INTO drained FROM @extschema@.credit_stat s;
  status := CASE WHEN worker.preloaded THEN 'ok' ELSE 'warning' END::@extschema@.credit_health_status;
  detail := CASE WHEN NOT worker.preloaded THEN 'nothing is counted'
    ELSE coalesce('newest of ' || drained, 'nothing counted yet') END;
  what_to_do := CASE WHEN NOT worker.preloaded THEN 'See preloaded.' END;
  RETURN NEXT;

  RETURN QUERY SELECT r.* FROM credit_ledger_internal.health_of_pg_cron() r;

  -- From the runs alone: pg_cron can stop without a word.
  check_name := 'reconciliation';
  SELECT h.* INTO reconciliation FROM @extschema@.credit_reconciliation_health() h;
  status := CASE WHEN reconciliation.overdue THEN 'critical'
                 WHEN reconciliation.findings_open > 0 THEN 'warning'
                 ELSE 'ok' END::@extschema@.credit_health_status;
  detail := format('%s; open findings: %s%s',
                   CASE WHEN reconciliation.overdue THEN 'overdue' ELSE reconciliation.detail END,
                   reconciliation.findings_open,
                   (SELECT format(', the newest%s: %s', ' of organisation "' || f.org_id || '"', f.verdict)
                    FROM @extschema@.credit_finding f
                    WHERE f.resolved_at IS NULL ORDER BY f.found_at DESC, f.finding_id DESC LIMIT 1));
  what_to_do := CASE WHEN reconciliation.overdue THEN
                       'See cron.job_run_details and the server''s log; then SELECT * FROM credit_run_reconciliation().'
                     WHEN reconciliation.findings_open > 0 THEN
                       'SELECT * FROM credit_finding WHERE resolved_at IS NULL; then credit_resolve_finding().' END;
  RETURN NEXT;

  check_name := 'owner';
  SELECT min(r.statement) AS first, count(*) AS count INTO repair
  FROM credit_ledger_internal.ownership_repair() r (statement);
  status := CASE WHEN repair.count > 0 THEN 'critical' ELSE 'ok' END::@extschema@.credit_health_status;
  detail := CASE repair.count
    WHEN 0 THEN 'all belongs to one owner'
    ELSE format('tables, and what writes them, belong to roles of different rights; statements that are missing: %s, '
                'the first of them %s', repair.count, repair.first) END;
  what_to_do := CASE WHEN repair.count > 0 THEN 'SELECT credit_ledger_internal.follow_owner(); -- as a superuser' END;
  RETURN NEXT;
END
$$;
COMMENT ON FUNCTION @extschema@.credit_health() IS
  'tells what is wrong now, in one row a check: ok, warning or critical, what was seen, and what to do about it';
