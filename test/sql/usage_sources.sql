-- Usage sources: several add up; one that cannot be read is a clear error and leaves nothing half-written; rows that say
-- nothing are findings.
--
-- The same campaign is reported by different sources, by tables of other collations, views and partitioned tables; then
-- each source is broken in turn, and nothing may be stored meanwhile.
\getenv abs_srcdir PG_ABS_SRCDIR
\set include :abs_srcdir '/sql/include/reconciliation.sql'
\i :include
SELECT balance_after FROM credit_grant('acme', 1000, 'opening');
SELECT pg_temp.campaign('acme', 'campaign', 100, '2026-01-10 12:00', '2026-01-10 12:05');

-- Without a source there is nothing to compare with.
SELECT pg_temp.refusal(statement) FROM (VALUES
  ($$SELECT credit_reconcile()$$),
  ($$SELECT credit_run_reconciliation()$$)) AS refused (statement);

-- Sources add up, whatever they are and whatever their collation.
INSERT INTO usage VALUES ('acme', 'campaign', '2026-01-10 12:01', 20);
CREATE SCHEMA "Other Place";
CREATE TABLE "Other Place"."a table" (quantity bigint, used_at timestamptz, campaign_id text COLLATE "POSIX", org_id text COLLATE "C", more text)
  PARTITION BY RANGE (used_at);
CREATE TABLE "Other Place".part PARTITION OF "Other Place"."a table" DEFAULT;
INSERT INTO "Other Place"."a table" VALUES (30, '2026-01-10 12:02', 'campaign', 'acme', 'x');
CREATE TABLE sends (org_id varchar(20), campaign_id varchar(20), sent_at timestamp, status text);
INSERT INTO sends SELECT 'acme', 'campaign', '2026-01-10 12:03', CASE WHEN n <= 50 THEN 'sent' ELSE 'bounced' END FROM generate_series(1, 60) AS n;
CREATE VIEW sent AS
SELECT org_id::text, campaign_id::text, sent_at AT TIME ZONE 'UTC' AS used_at, 1::bigint AS quantity FROM sends WHERE status = 'sent';
SELECT credit_usage_source_register('table', 'usage'),
       credit_usage_source_register('partitioned', '"Other Place"."a table"'),
       credit_usage_source_register('view', 'sent');
SELECT name, relation_schema, relation_name FROM credit_usage_source ORDER BY name;
SELECT campaign_id, charged, used, verdict FROM credit_ledger_internal.judge_campaigns(NULL, NULL, 0, with_balanced => true);

-- A name that is registered again is given the new relation; one is let go.
CREATE VIEW sent_again AS SELECT * FROM sent;
SELECT credit_usage_source_register('table', 'sent_again');
SELECT campaign_id, charged, used, verdict FROM credit_ledger_internal.judge_campaigns(NULL, NULL, 0, with_balanced => true);
SELECT credit_usage_source_unregister('table'), credit_usage_source_unregister('table');
SELECT credit_usage_source_register('table', 'usage');
SELECT credit_usage_source_register('table', 'usage');
DROP VIEW sent_again;

-- What cannot be a source.
CREATE VIEW ill AS SELECT org_id, campaign_id, sent_at AS used_at, 1 AS quantity FROM sends;
SELECT pg_temp.refusal(statement) FROM (VALUES
  ($$SELECT credit_usage_source_register('ill', 'ill')$$),
  ($$SELECT credit_usage_source_register('ill', 'pg_class')$$),
  ($$SELECT credit_usage_source_register(NULL, 'sent')$$),
  ($$SELECT credit_usage_source_register('ill', NULL)$$),
  ($$SELECT credit_usage_source_register('', 'sent')$$),
  ($$SELECT credit_usage_source_register('mails', '"Other Place"."a table"')$$),
  ($$SELECT credit_usage_source_unregister(NULL)$$)) AS refused (statement);

-- A source that was made anew is read; one that vanished, lost a column, or fails is an error.
DROP VIEW sent;
SELECT pg_temp.refusal(statement) FROM (VALUES
  ($$SELECT credit_reconcile()$$),
  ($$SELECT credit_run_reconciliation()$$),
  ($$SELECT credit_campaign_status('campaign')$$)) AS refused (statement);
CREATE VIEW sent AS SELECT org_id::text, campaign_id::text, sent_at AS used_at, 1::bigint AS quantity FROM sends;
SELECT pg_temp.refusal('SELECT credit_run_reconciliation()');
DROP VIEW sent;
CREATE VIEW sent AS
SELECT org_id::text, campaign_id::text, sent_at AT TIME ZONE 'UTC' AS used_at, (1 / (status <> 'bounced')::integer)::bigint AS quantity FROM sends;
SELECT pg_temp.refusal('SELECT credit_run_reconciliation()');
-- The error does not go under in queries that it quotes.
\unset SHOW_CONTEXT
SELECT * FROM credit_reconcile();
\set SHOW_CONTEXT never
SELECT (SELECT count(*) FROM credit_reconciliation_run) AS runs, (SELECT count(*) FROM credit_finding) AS findings,
       (SELECT count(*) FROM credit_alert) AS alerts;
CREATE OR REPLACE VIEW sent AS
SELECT org_id::text, campaign_id::text, sent_at AT TIME ZONE 'UTC' AS used_at, 1::bigint AS quantity FROM sends WHERE status = 'sent';
SELECT campaign_id, charged, used, verdict FROM credit_ledger_internal.judge_campaigns(NULL, NULL, 0, with_balanced => true);

-- Rows that say nothing are left out of every total, and are findings: by source, organisation and day. They are found
-- once; what is added later is found anew.
INSERT INTO usage VALUES
  (NULL, 'campaign', '2026-01-10 12:01', 20), ('acme', 'campaign', NULL, 20), ('acme', 'campaign', '2026-01-10 12:01', NULL),
  ('acme', 'campaign', '2026-01-10 12:01', -5), ('', 'campaign', '2026-01-10 12:01', 20), ('acme', '', '2026-01-10 12:01', 20),
  (repeat('x', 257), 'campaign', '2026-01-10 12:01', 20), ('acme', 'campaign', '2026-01-12 12:01', -5);
CREATE VIEW pg_temp.findings AS
SELECT verdict, org_id, used_on, detail, resolution FROM credit_finding ORDER BY finding_id;
SET client_min_messages = error;
SELECT judged, findings_new, findings_open FROM credit_run_reconciliation('2026-01-10', '2026-01-11');
SELECT * FROM pg_temp.findings;
SELECT judged, findings_new, findings_open FROM credit_run_reconciliation('2026-01-10 13:00', '2026-01-10 14:00');
SELECT r.resolution FROM credit_finding f, credit_resolve_finding(f.finding_id, 'dismiss', 'lost in an import') r WHERE f.org_id = 'acme';
SELECT pg_temp.refusal(format('SELECT credit_resolve_finding(%s, %L)', finding_id, 'adjust')) FROM credit_finding WHERE org_id IS NULL;
SELECT judged, findings_new, findings_open FROM credit_run_reconciliation('2026-01-10', '2026-01-11');
INSERT INTO usage VALUES ('acme', 'campaign', '2026-01-10 12:01', -5);
DELETE FROM usage WHERE org_id IS NULL OR length(org_id) NOT BETWEEN 1 AND 256;
SELECT judged, findings_new, findings_open FROM credit_run_reconciliation('2026-01-10', '2026-01-11');
SELECT * FROM pg_temp.findings;

SELECT * FROM credit_verify();
\c :suite_database
DROP DATABASE credit_ledger_reconciliation;
