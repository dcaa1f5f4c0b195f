-- Kept small: what old rows go, and when. Nothing is removed in a database that the worker would leave alone
-- (sql/arrival.sql).
--
-- Idempotency keys are removed by walking through their table in the order in which it lies on disk, since no index is
-- worth its price on every call. A walk begins once the oldest key is a tenth older than credit_ledger.
-- idempotency_retention, and proceeds in steps of a few pages; so the whole table is read some ten times in that time.

CREATE TABLE @extschema@.credit_key_removal (
  only_row      boolean NOT NULL DEFAULT true PRIMARY KEY,
  removed_until timestamptz NOT NULL,
  oldest_key    timestamptz NOT NULL,
  next_page     bigint,
  CONSTRAINT credit_key_removal_only_row_check CHECK (only_row)
);
COMMENT ON TABLE @extschema@.credit_key_removal IS
  'how far old idempotency keys were removed; no row: none ever were';
COMMENT ON COLUMN @extschema@.credit_key_removal.removed_until IS
  'of authorizations and movements made before this, keys may be gone';
COMMENT ON COLUMN @extschema@.credit_key_removal.oldest_key IS
  'no key that may be removed one day is older than this, as far as the last walk came';
COMMENT ON COLUMN @extschema@.credit_key_removal.next_page IS
  'the page of credit_idempotency with which the walk goes on; NULL: none is under way';
SELECT pg_extension_config_dump('@extschema@.credit_key_removal', '');

CREATE FUNCTION credit_ledger_internal.is_final(authorization_id text, at timestamptz)
  RETURNS boolean LANGUAGE C STABLE STRICT PARALLEL SAFE COST 1000 AS 'MODULE_PATHNAME', 'credit_is_final';
COMMENT ON FUNCTION credit_ledger_internal.is_final(text, timestamptz) IS
  'tells whether an authorization was settled before an instant, and no caller can settle it otherwise any more; '
  'true of one that stands nowhere: its partition was put away';

-- One walker at a time. What stands in the way of a removal, a foreign key or somebody's lock, stops neither the sweeps
-- nor the rest of the maintenance.
CREATE FUNCTION credit_ledger_internal.remove_keys(time_limit interval)
  RETURNS boolean LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
  SET search_path = pg_catalog, pg_temp
  SET row_security = off
  SET lock_timeout = '50ms'
AS $$
DECLARE
  pages_a_step constant bigint := 32::bigint;
  retention constant interval := credit_ledger_internal.setting('idempotency_retention')::interval;
  made_before constant timestamptz := now() - retention;
  step_until constant timestamptz := clock_timestamp() + time_limit;
  walk @extschema@.credit_key_removal;
  first_row tid;
  row_after tid;
BEGIN
  IF retention = '0' THEN
    RETURN false;
  END IF;
  SELECT r.* INTO walk FROM @extschema@.credit_key_removal r;
  IF walk.next_page IS NULL AND coalesce(walk.oldest_key, '-infinity') >= made_before - retention / 10
    OR NOT (SELECT s.allowed FROM credit_ledger_internal.may_settle() s) THEN
    RETURN false;
  END IF;

  PERFORM credit_ledger_internal.lock_own('@extschema@.credit_key_removal', '@extschema@.credit_idempotency');
  INSERT INTO @extschema@.credit_key_removal (removed_until, oldest_key) VALUES (made_before, '-infinity')
  ON CONFLICT DO NOTHING;
  SELECT r.* INTO walk FROM @extschema@.credit_key_removal r FOR UPDATE SKIP LOCKED;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  IF walk.next_page IS NULL THEN
    walk.next_page := 0;
    walk.oldest_key := now();
  END IF;
  walk.removed_until := greatest(walk.removed_until, made_before);

  WHILE walk.next_page IS NOT NULL LOOP
    first_row := format('(%s,0)', walk.next_page)::tid;
    row_after := format('(%s,0)', walk.next_page + pages_a_step)::tid;
    DELETE FROM @extschema@.credit_idempotency i
    WHERE i.ctid >= first_row AND i.ctid < row_after AND i.created_at < made_before
      AND (i.operation <> 'authorize' OR credit_ledger_internal.is_final(i.authorization_id, made_before));
    SELECT least(walk.oldest_key, min(i.created_at)) INTO walk.oldest_key
    FROM @extschema@.credit_idempotency i
    WHERE i.ctid >= first_row AND i.ctid < row_after AND i.created_at >= made_before;

    walk.next_page := walk.next_page + pages_a_step;
    IF walk.next_page >= pg_relation_size('@extschema@.credit_idempotency')
                         / current_setting('block_size')::bigint THEN
      walk.next_page := NULL;
    END IF;
    EXIT WHEN clock_timestamp() >= step_until;
  END LOOP;
  UPDATE @extschema@.credit_key_removal r
  SET removed_until = walk.removed_until, oldest_key = walk.oldest_key, next_page = walk.next_page;
  RETURN walk.next_page IS NOT NULL;
EXCEPTION WHEN OTHERS THEN
  RAISE WARNING USING ERRCODE = sqlstate, MESSAGE = format('could not remove old idempotency keys: %s', sqlerrm);
  RETURN false;
END
$$;
COMMENT ON FUNCTION credit_ledger_internal.remove_keys(interval) IS
  'removes idempotency keys that are older than credit_ledger.idempotency_retention, but for those of authorizations '
  'that are open, were settled since, or can still be settled otherwise; for about so long, and returns whether to '
  'go on; for the worker, and for credit_maintain() where there is none';

-- Somebody's word that a difference is right is kept as long as campaigns are judged.
CREATE FUNCTION credit_ledger_internal.remove_rows()
  RETURNS void LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
  SET search_path = pg_catalog, pg_temp
  SET row_security = off
AS $$
BEGIN
  PERFORM credit_ledger_internal.lock_own('@extschema@.credit_finding', '@extschema@.credit_finding_part',
                                          '@extschema@.credit_reconciliation_run');
  DELETE FROM @extschema@.credit_stat WHERE minute < now() - current_setting('credit_ledger.stat_retention')::interval;
  DELETE FROM @extschema@.credit_alert
    WHERE closed_at < now() - current_setting('credit_ledger.alert_retention')::interval;

  WITH removed AS (
    DELETE FROM @extschema@.credit_finding
    WHERE finding_id IN (
      SELECT f.finding_id FROM @extschema@.credit_finding f
      WHERE f.resolution IN ('adjust', 'cleared')
        AND f.resolved_at < now() - current_setting('credit_ledger.finding_retention')::interval
      LIMIT 1000)
    RETURNING finding_id
  )
  DELETE FROM @extschema@.credit_finding_part p USING removed r WHERE p.finding_id = r.finding_id;

  -- Where the last run came to is where the next one begins.
  DELETE FROM @extschema@.credit_reconciliation_run r
  WHERE r.finished_at < now() - current_setting('credit_ledger.run_retention')::interval
    AND NOT EXISTS (SELECT FROM @extschema@.credit_finding f WHERE f.run_id = r.run_id)
    AND EXISTS (SELECT FROM @extschema@.credit_reconciliation_run n
                WHERE n.run_id > r.run_id AND n.finished_at >= r.finished_at
                  AND coalesce(n.covered_until >= r.covered_until, r.covered_until IS NULL));
END
$$;
COMMENT ON FUNCTION credit_ledger_internal.remove_rows() IS
  'removes counts, closed alerts, findings that were adjusted or are gone, and runs that none of those left names, '
  'each when it is older than its setting says; for credit_maintain()';
