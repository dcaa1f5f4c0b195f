-- Alerts: what somebody should look at, from the moment it was noticed until it was over. Raised once, when it begins,
-- with a WARNING in the server's log and NOTIFY credit_ledger_alert; the same channel says when it is over.

CREATE TYPE @extschema@.credit_alert_kind AS ENUM
  ('commit_failure_rate', 'low_balance', 'reconciliation_mismatch', 'reconciliation_overdue', 'sweep_lag',
   'credits_expiring');
COMMENT ON TYPE @extschema@.credit_alert_kind IS 'what an alert is about';

CREATE TABLE @extschema@.credit_alert (
  alert_id  uuid NOT NULL DEFAULT gen_random_uuid(),
  kind      @extschema@.credit_alert_kind NOT NULL,
  org_id    text COLLATE "C",
  opened_at timestamptz NOT NULL,
  closed_at timestamptz,
  message   text NOT NULL,
  details   jsonb,
  PRIMARY KEY (alert_id)
);
COMMENT ON TABLE @extschema@.credit_alert IS
  'what somebody should look at; open while closed_at is NULL, one of a kind and organisation';
COMMENT ON COLUMN @extschema@.credit_alert.org_id IS 'the organisation it is about; NULL: all of this database';
COMMENT ON COLUMN @extschema@.credit_alert.message IS 'one line for a person';
COMMENT ON COLUMN @extschema@.credit_alert.details IS 'the figures at the moment it was opened';

CREATE UNIQUE INDEX credit_alert_open_idx ON @extschema@.credit_alert (kind, org_id) NULLS NOT DISTINCT
  WHERE closed_at IS NULL;
CREATE INDEX credit_alert_opened_at_idx ON @extschema@.credit_alert (opened_at);

SELECT pg_extension_config_dump('@extschema@.credit_alert', '');

-- A payload has less than 8000 bytes. What does not fit is in the table.
CREATE FUNCTION credit_ledger_internal.alert_tell(event text, at timestamptz, alert @extschema@.credit_alert)
  RETURNS void LANGUAGE sql VOLATILE PARALLEL UNSAFE
BEGIN ATOMIC
  WITH told AS (
    SELECT jsonb_build_object('event', event, 'at', at, 'kind', (alert).kind, 'org_id', (alert).org_id,
                              'message', (alert).message, 'details', (alert).details) AS whole
  )
  SELECT pg_notify('credit_ledger_alert', payload)
  FROM (
    SELECT p.payload
    FROM told t
    CROSS JOIN LATERAL (VALUES
      (1, t.whole::text),
      (2, (t.whole - 'details')::text),
      (3, (t.whole - 'details' || jsonb_build_object('message', left((alert).message, 1000)))::text)) p (place, payload)
    WHERE octet_length(p.payload) < 8000
    ORDER BY p.place
    LIMIT 1) fitting;
END;
COMMENT ON FUNCTION credit_ledger_internal.alert_tell(text, timestamptz, @extschema@.credit_alert) IS
  'sends NOTIFY credit_ledger_alert: JSON of an alert that was opened or closed';

CREATE FUNCTION credit_ledger_internal.alert_open(kind @extschema@.credit_alert_kind, org_id text, message text,
    details jsonb = NULL)
  RETURNS boolean LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
  SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  alert @extschema@.credit_alert;
BEGIN
  INSERT INTO @extschema@.credit_alert AS a (kind, org_id, opened_at, message, details)
  VALUES (alert_open.kind, alert_open.org_id, clock_timestamp(), alert_open.message, alert_open.details)
  ON CONFLICT DO NOTHING
  RETURNING a.* INTO alert;
  IF FOUND THEN
    RAISE WARNING 'credit alert "%": %', alert.kind, alert.message;
    PERFORM credit_ledger_internal.alert_tell('opened', alert.opened_at, alert);
  END IF;
  RETURN FOUND;
END
$$;
COMMENT ON FUNCTION credit_ledger_internal.alert_open(@extschema@.credit_alert_kind, text, text, jsonb) IS
  'opens an alert, of one organisation or (NULL) of the database, with a WARNING and NOTIFY; false and nothing else '
  'if one is open';

CREATE FUNCTION credit_ledger_internal.alert_close(kind @extschema@.credit_alert_kind, org_id text)
  RETURNS boolean LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
  SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  alert @extschema@.credit_alert;
BEGIN
  UPDATE @extschema@.credit_alert a
  SET closed_at = clock_timestamp()
  -- Not IS NOT DISTINCT FROM, for which no index is used.
  WHERE a.kind = alert_close.kind AND a.closed_at IS NULL
    AND (a.org_id = alert_close.org_id OR a.org_id IS NULL AND alert_close.org_id IS NULL)
  RETURNING a.* INTO alert;
  IF FOUND THEN
    RAISE LOG 'credit alert "%" is over: %', alert.kind, alert.message;
    PERFORM credit_ledger_internal.alert_tell('closed', alert.closed_at, alert);
  END IF;
  RETURN FOUND;
END
$$;
COMMENT ON FUNCTION credit_ledger_internal.alert_close(@extschema@.credit_alert_kind, text) IS
  'closes the open alert of this kind and organisation, with a line in the log and NOTIFY; false if there is none';

-- Called by src/ledger/low_balance.c for whoever moves credits, with the account locked.
CREATE FUNCTION credit_ledger_internal.low_balance_follow(org_id text, is_low boolean, available bigint,
    threshold bigint, balance bigint, held bigint)
  RETURNS boolean LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF NOT is_low THEN
    RETURN credit_ledger_internal.alert_close('low_balance', org_id);
  END IF;
  RETURN credit_ledger_internal.alert_open('low_balance', org_id,
    format('organisation "%s" has %s credits available, less than %s', org_id, available, threshold),
    jsonb_build_object('available', available, 'threshold', threshold, 'balance', balance, 'held', held));
END
$$;
COMMENT ON FUNCTION credit_ledger_internal.low_balance_follow(text, boolean, bigint, bigint, bigint, bigint) IS
  'opens or closes the alert low_balance of an organisation';
