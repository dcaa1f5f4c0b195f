-- Alerts: what somebody should look at, from the moment it was noticed until it was over. Raised once, when it begins,
-- with a WARNING in the server's log and NOTIFY credit_ledger_alert; the same channel says when it is over.

CREATE TYPE @extschema@.credit_alert_kind AS ENUM
  ('commit_failure_rate', 'low_balance', 'reconciliation_mismatch', 'reconciliation_overdue', 'sweep_lag');
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
COMMENT ON TABLE @extschema@.credit_alert IS 'what somebody should look at; open while closed_at is NULL, one of a kind and organisation';
COMMENT ON COLUMN @extschema@.credit_alert.org_id IS 'the organisation it is about; NULL: all of this database';
COMMENT ON COLUMN @extschema@.credit_alert.message IS 'one line for a person';
COMMENT ON COLUMN @extschema@.credit_alert.details IS 'the figures at the moment it was opened';

-- Not partial: that closed_at is NULL in one row only is what makes the open one unique, and finds it.
CREATE UNIQUE INDEX credit_alert_open_idx ON @extschema@.credit_alert (kind, org_id, closed_at) NULLS NOT DISTINCT;
CREATE INDEX credit_alert_opened_at_idx ON @extschema@.credit_alert (opened_at);

SELECT pg_extension_config_dump('@extschema@.credit_alert', '');

CREATE FUNCTION credit_ledger_internal.alert_open(kind @extschema@.credit_alert_kind, org_id text, message text, details jsonb = NULL)
  RETURNS boolean LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'credit_alert_open';
COMMENT ON FUNCTION credit_ledger_internal.alert_open(@extschema@.credit_alert_kind, text, text, jsonb) IS
  'opens an alert, of one organisation or (NULL) of the database, with a WARNING and NOTIFY credit_ledger_alert; false and nothing else if one is open';

CREATE FUNCTION credit_ledger_internal.alert_close(kind @extschema@.credit_alert_kind, org_id text)
  RETURNS boolean LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'credit_alert_close';
COMMENT ON FUNCTION credit_ledger_internal.alert_close(@extschema@.credit_alert_kind, text) IS
  'closes the open alert of this kind and organisation, with NOTIFY credit_ledger_alert; false if there is none';
