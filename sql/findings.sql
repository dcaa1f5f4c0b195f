-- What reconciliation found: its runs, their findings, and the verdicts that both speak in. Written by
-- sql/reconciliation.sql alone; what was resolved is read again whenever campaigns are judged.

CREATE TYPE @extschema@.credit_verdict AS ENUM ('balanced', 'in_flight', 'detached', 'undercharged', 'overcharged',
  'unauthorized_usage', 'charged_without_usage', 'invalid_usage', 'unsound_ledger');
COMMENT ON TYPE @extschema@.credit_verdict IS
  'what comparing charges with usage came to; the first three are no mismatch: in_flight, what open holds can still '
  'explain; detached, an authorization whose partition was put away';

CREATE TABLE @extschema@.credit_reconciliation_run (
  run_id          bigint GENERATED ALWAYS AS IDENTITY,
  since           timestamptz NOT NULL,
  until           timestamptz NOT NULL,
  tolerance       bigint NOT NULL,
  judged          bigint NOT NULL,
  in_flight       bigint NOT NULL,
  findings_new    bigint NOT NULL,
  findings_open   bigint NOT NULL,
  covered_until   timestamptz,
  started_at      timestamptz NOT NULL,
  finished_at     timestamptz NOT NULL,
  PRIMARY KEY (run_id)
);
COMMENT ON TABLE @extschema@.credit_reconciliation_run IS 'one row a run of reconciliation that came to its end';
COMMENT ON COLUMN @extschema@.credit_reconciliation_run.judged IS
  'campaigns that the window touched, those in flight among them';
COMMENT ON COLUMN @extschema@.credit_reconciliation_run.covered_until IS
  'up to here runs without a gap between them have seen all that settled; the next run begins '
  'credit_ledger.reconciliation_lookback before it. NULL: no run began at the beginning';
COMMENT ON SEQUENCE @extschema@.credit_reconciliation_run_run_id_seq IS 'numbers of runs';

CREATE TABLE @extschema@.credit_finding (
  finding_id  bigint GENERATED ALWAYS AS IDENTITY,
  run_id      bigint NOT NULL,
  verdict     @extschema@.credit_verdict NOT NULL,
  org_id      text COLLATE "C",
  campaign_id text COLLATE "C",
  used_on     date,
  campaigns   bigint,
  charged     bigint,
  refunded    bigint,
  used        bigint,
  difference  bigint,
  detail      text,
  found_at    timestamptz NOT NULL,
  seen_at     timestamptz NOT NULL,
  resolution  text,
  resolved_at timestamptz,
  resolved_by text,
  note        text,
  adjusted    bigint,
  entry_no    bigint,
  PRIMARY KEY (finding_id),
  CONSTRAINT credit_finding_resolution_check CHECK (resolution IN ('adjust', 'dismiss', 'cleared')),
  CONSTRAINT credit_finding_resolved_check CHECK ((resolution IS NULL) = (resolved_at IS NULL))
);
COMMENT ON TABLE @extschema@.credit_finding IS 'the mismatches that runs found; open until resolved_at';
COMMENT ON COLUMN @extschema@.credit_finding.run_id IS 'the run that found it first';
COMMENT ON COLUMN @extschema@.credit_finding.campaigns IS
  'of how many campaigns of the organisation, each within the tolerance, this is the sum; credit_finding_part has '
  'them. NULL: it is about one, or about none';
COMMENT ON COLUMN @extschema@.credit_finding.seen_at IS
  'when a run last saw it; charged, refunded, used and difference are of then. dismiss: of the difference, what was '
  'accepted, which is what of it was still there';
COMMENT ON COLUMN @extschema@.credit_finding.resolution IS
  'adjust: the charge was corrected to what was used; dismiss: somebody accepted it; cleared: a later run found it '
  'gone';
COMMENT ON COLUMN @extschema@.credit_finding.adjusted IS 'adjust: credits charged (less than zero: given back)';
COMMENT ON COLUMN @extschema@.credit_finding.entry_no IS
  'adjust: the entry of the organisation that did so, the last of them if they are several';
COMMENT ON SEQUENCE @extschema@.credit_finding_finding_id_seq IS 'numbers of findings';
CREATE UNIQUE INDEX credit_finding_open_idx ON @extschema@.credit_finding (org_id, campaign_id, used_on, detail)
  NULLS NOT DISTINCT WHERE resolved_at IS NULL;
CREATE INDEX credit_finding_resolved_at_idx ON @extschema@.credit_finding (resolved_at)
  WHERE resolution IN ('adjust', 'cleared');
CREATE INDEX credit_finding_run_id_idx ON @extschema@.credit_finding (run_id);
CREATE INDEX credit_finding_org_id_campaign_id_idx ON @extschema@.credit_finding (org_id, campaign_id);

CREATE TABLE @extschema@.credit_finding_part (
  finding_id  bigint NOT NULL,
  org_id      text COLLATE "C" NOT NULL,
  campaign_id text COLLATE "C",
  used_on     date,
  charged     bigint NOT NULL,
  refunded    bigint NOT NULL,
  used        bigint NOT NULL,
  difference  bigint NOT NULL
);
COMMENT ON TABLE @extschema@.credit_finding_part IS
  'the campaigns whose small differences a finding adds up, as a run last saw them';
CREATE UNIQUE INDEX credit_finding_part_idx ON @extschema@.credit_finding_part (finding_id, campaign_id, used_on)
  NULLS NOT DISTINCT;
CREATE INDEX credit_finding_part_org_id_campaign_id_idx ON @extschema@.credit_finding_part (org_id, campaign_id);

SELECT pg_extension_config_dump('@extschema@.credit_reconciliation_run', '');
SELECT pg_extension_config_dump('@extschema@.credit_reconciliation_run_run_id_seq', '');
SELECT pg_extension_config_dump('@extschema@.credit_finding', '');
SELECT pg_extension_config_dump('@extschema@.credit_finding_finding_id_seq', '');
SELECT pg_extension_config_dump('@extschema@.credit_finding_part', '');

-- Usage that names no campaign is a campaign of its organisation and day. What is charged for it is charged to that
-- name.
CREATE FUNCTION credit_ledger_internal.campaign_of_day(used_on date)
  RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN 'usage without campaign, ' || to_char(extract(year FROM used_on), 'FM999990000')
  || '-' || to_char(extract(month FROM used_on), 'FM00') || '-' || to_char(extract(day FROM used_on), 'FM00');
COMMENT ON FUNCTION credit_ledger_internal.campaign_of_day(date) IS
  'names the campaign that usage without a campaign counts to';

CREATE FUNCTION credit_ledger_internal.day_of_campaign(campaign_id text)
  RETURNS date LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
  SELECT d.day
  FROM (SELECT make_date(m.part[1]::integer, m.part[2]::integer, 1) + m.part[3]::integer - 1 AS day
        FROM regexp_match(campaign_id, '^usage without campaign, '
                                       '(?!-?0+-)(-0[0-9]{3}|[0-9]{4,6})-(0[1-9]|1[0-2])-([0-9]{2})$') m (part)) d
  WHERE credit_ledger_internal.campaign_of_day(d.day) = campaign_id;
END;
COMMENT ON FUNCTION credit_ledger_internal.day_of_campaign(text) IS
  'tells the day whose usage counts to a campaign of this name; NULL: it is no such name';

CREATE VIEW credit_ledger_internal.finding_campaign WITH (security_invoker) AS
SELECT f.finding_id, f.org_id,
       coalesce(f.campaign_id, credit_ledger_internal.campaign_of_day(f.used_on)) COLLATE "C" AS campaign_id,
       f.used_on, f.difference, f.resolution
FROM @extschema@.credit_finding f
WHERE f.detail IS NULL AND f.campaigns IS NULL
UNION ALL
SELECT p.finding_id, p.org_id, coalesce(p.campaign_id, credit_ledger_internal.campaign_of_day(p.used_on)) COLLATE "C",
       p.used_on, p.difference, f.resolution
FROM @extschema@.credit_finding_part p JOIN @extschema@.credit_finding f USING (finding_id);
COMMENT ON VIEW credit_ledger_internal.finding_campaign IS
  'the campaigns that findings are about, those among them whose small differences a finding adds up';
