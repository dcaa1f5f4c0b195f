-- Runs, findings and what becomes of them; alerts for mismatches and for a run that does not come.
--
-- One organisation's campaigns go wrong one after the other. After each step a run is made, and what it found, what
-- alerts are open, and what resolving did is looked at. Time enters as a parameter.
\getenv abs_srcdir PG_ABS_SRCDIR
\set include :abs_srcdir '/sql/include/reconciliation.sql'
\i :include
SELECT credit_usage_source_register('usage', 'usage');
SELECT balance_after FROM credit_grant('acme', 100000, 'opening');
CREATE VIEW pg_temp.findings AS
SELECT run_id, verdict, campaign_id, used_on, charged, used, difference, resolution, adjusted, entry_no, note
FROM credit_finding ORDER BY finding_id;
CREATE VIEW pg_temp.alerts AS
SELECT kind, org_id, closed_at IS NULL AS is_open, message, details - 'last_run_at' - 'overdue_at' AS details FROM credit_alert ORDER BY opened_at, kind, org_id;
CREATE FUNCTION pg_temp.run(since timestamptz = NULL, until timestamptz = NULL)
RETURNS TABLE (run_id bigint, judged bigint, in_flight bigint, findings_new bigint, findings_open bigint) LANGUAGE sql AS
$$ SELECT run_id, judged, in_flight, findings_new, findings_open FROM credit_run_reconciliation(since, until) $$;
-- The newest finding about a campaign.
CREATE FUNCTION pg_temp.finding(campaign text) RETURNS bigint LANGUAGE sql AS
$$ SELECT max(finding_id) FROM credit_finding WHERE campaign_id IS NOT DISTINCT FROM campaign $$;

-- A clean ledger: a run without findings, and no alert.
SELECT pg_temp.campaign('acme', 'clean', 100, '2026-01-10 12:00', '2026-01-10 12:05');
INSERT INTO usage VALUES ('acme', 'clean', '2026-01-10 12:01', 100);
SELECT * FROM pg_temp.run();

-- Three mismatches: three findings, one alert. Seen again, they are not found again; the newest figures are kept.
SELECT pg_temp.campaign('acme', 'sent more', 100, '2026-01-10 12:00', '2026-01-10 12:05'),
       pg_temp.campaign('acme', 'sent less', 100, '2026-01-10 12:00', '2026-01-10 12:05');
INSERT INTO usage VALUES ('acme', 'sent more', '2026-01-10 12:01', 160), ('acme', 'sent less', '2026-01-10 12:01', 70),
                         ('acme', NULL, '2026-01-10 12:01', 44), ('nobody', 'gone', '2026-01-10 12:01', 20);
SELECT * FROM pg_temp.run('2026-01-10', '2026-01-11');
SELECT * FROM pg_temp.findings;
SELECT * FROM pg_temp.alerts;
INSERT INTO usage VALUES ('acme', 'sent more', '2026-02-10 12:01', 5);
SELECT * FROM pg_temp.run();
SELECT * FROM pg_temp.findings;
SELECT * FROM pg_temp.alerts;

-- adjust corrects the charge, once. The difference is that of now, not of the run: another 7 were sent meanwhile. What
-- was never authorized is charged, whatever is available; the ledger's own row says what each campaign was charged.
INSERT INTO usage VALUES ('acme', 'sent more', '2026-02-10 12:01', 7);
SELECT resolution, adjusted, entry_no, resolved_by = current_user AS by_me FROM credit_resolve_finding(pg_temp.finding('sent more'), 'adjust');
SELECT resolution, adjusted, entry_no FROM credit_resolve_finding(pg_temp.finding('sent more'), 'adjust');
SELECT resolution, adjusted, note FROM credit_resolve_finding(pg_temp.finding('sent less'), 'adjust', 'thirty bounced');
SELECT resolution, adjusted FROM credit_resolve_finding(pg_temp.finding(NULL), 'adjust');
SELECT entry_no, kind, amount, reason FROM credit_statement('acme') WHERE entry_no > 4;
SELECT campaign_id, idempotency_key, status, amount, settled_by, reason, metadata FROM credit_ledger ORDER BY campaign_id;
SELECT campaign_id, charged, used, difference, verdict FROM credit_campaign_status('sent more');

-- Nobody has an account that could be charged. dismiss wants a note.
SELECT pg_temp.refusal(statement) FROM (VALUES
  ($$SELECT credit_resolve_finding(pg_temp.finding('gone'), 'adjust')$$),
  ($$SELECT credit_resolve_finding(pg_temp.finding('gone'), 'dismiss')$$),
  ($$SELECT credit_resolve_finding(pg_temp.finding('gone'), 'dismiss', '')$$)) AS refused (statement);
SELECT resolution, adjusted, note FROM credit_resolve_finding(pg_temp.finding('gone'), 'dismiss', 'a test account');
SELECT resolution, note FROM credit_resolve_finding(pg_temp.finding('gone'), 'dismiss', 'again');
SELECT * FROM pg_temp.alerts;

-- The next run is clean, over all of history too.
SELECT * FROM pg_temp.run();
SELECT * FROM pg_temp.run('-infinity');

-- What was dismissed stays silent; what comes on top is a new finding, of just that. The same for what was adjusted.
INSERT INTO usage VALUES ('nobody', 'gone', '2026-01-10 12:02', 30), ('acme', 'sent less', '2026-01-10 12:02', 12);
SELECT * FROM pg_temp.run('2026-01-10', '2026-01-11');
SELECT * FROM pg_temp.findings WHERE run_id > 4;
SELECT * FROM pg_temp.alerts WHERE is_open;

-- What is gone by itself is cleared by the next run, and the alert closed.
DELETE FROM usage WHERE used_at = '2026-01-10 12:02';
SELECT * FROM pg_temp.run();
SELECT * FROM pg_temp.findings WHERE run_id > 4;
SELECT count(*) FROM pg_temp.alerts WHERE is_open;
SELECT pg_temp.refusal('SELECT credit_resolve_finding(pg_temp.finding(''gone''), ''dismiss'', ''too late'')');

-- Authorized again, an open finding's campaign is in flight: the finding stays, and cannot be adjusted until it settles.
SELECT pg_temp.campaign('acme', 'second wave', 100, '2026-01-10 12:00', '2026-01-10 12:05');
INSERT INTO usage VALUES ('acme', 'second wave', '2026-01-10 12:01', 150);
SELECT * FROM pg_temp.run('2026-01-10', '2026-01-11');
SELECT (credit_authorize('acme', 50, 'second wave', 'second wave:2')).status;
SELECT * FROM pg_temp.run();
SELECT pg_temp.refusal('SELECT credit_resolve_finding(pg_temp.finding(''second wave''), ''adjust'')');
SELECT c.amount FROM credit_ledger_open l, credit_commit(l.authorization_id) c WHERE l.campaign_id = 'second wave';
SELECT * FROM pg_temp.run();
SELECT * FROM pg_temp.findings WHERE campaign_id = 'second wave';

-- Nothing left to adjust: resolved without a movement.
SELECT pg_temp.campaign('acme', 'refunded meanwhile', 100, '2026-01-10 12:00', '2026-01-10 12:05');
SELECT * FROM pg_temp.run('2026-01-10', '2026-01-11');
SELECT m.amount FROM credit_ledger l, credit_refund(l.authorization_id, 'r') m WHERE l.campaign_id = 'refunded meanwhile';
SELECT resolution, adjusted, entry_no FROM credit_resolve_finding(pg_temp.finding('refunded meanwhile'), 'adjust');

-- Unsound books are a finding, and one that is cleared when they are repaired, though they are old by then.
BEGIN;
SET LOCAL session_replication_role = replica;
UPDATE credit_account SET balance = balance + 1, held = held + 1 WHERE org_id = 'acme';
SELECT * FROM pg_temp.run();
SELECT verdict, org_id, detail FROM credit_finding WHERE detail IS NOT NULL ORDER BY detail;
UPDATE credit_account SET balance = balance - 1, held = held - 1, updated_at = '2020-01-01' WHERE org_id = 'acme';
SELECT * FROM pg_temp.run();
SELECT resolution FROM credit_finding WHERE detail IS NOT NULL;
ROLLBACK;
SELECT * FROM credit_verify(since => '-infinity');

-- The runs follow each other: one begins three days before the ones before have come to, which is an hour earlier than
-- they were made, since they may not have seen what was about to be committed. One that would leave a gap does not count.
SELECT bool_and(r.since = CASE WHEN r.run_id = 1 THEN '-infinity' ELSE p.covered_until - interval '3 days' END) AS follows,
       bool_and(r.covered_until < r.started_at - interval '59 minutes') AS overlaps
FROM credit_reconciliation_run r LEFT JOIN credit_reconciliation_run p ON p.run_id = r.run_id - 1
WHERE r.run_id IN (1, 3);
SELECT r.covered_until = (SELECT max(p.covered_until) FROM credit_reconciliation_run p WHERE p.run_id < r.run_id) AS gap_does_not_count
FROM credit_run_reconciliation(now() + interval '1 day', now() + interval '2 days') r;

-- A bad night: what a run reads of the findings does not grow with the organisations that have some.
BEGIN;
INSERT INTO usage SELECT 'bad-' || o, 'unauthorized', '2026-01-12 12:00', 100 FROM generate_series(1, 200) o;
SET LOCAL client_min_messages = error;
SELECT findings_new FROM pg_temp.run('2026-01-12', '2026-01-13');
SELECT seq_tup_read + idx_tup_fetch < 10000 AS reads_them_together FROM pg_stat_xact_user_tables
WHERE relid = 'credit_finding'::regclass;
SELECT count(*) FROM pg_temp.alerts WHERE is_open AND org_id LIKE 'bad-%';
DELETE FROM usage WHERE org_id LIKE 'bad-%';
SELECT findings_new FROM pg_temp.run('2026-01-12', '2026-01-13');
SELECT count(*) FROM pg_temp.alerts WHERE is_open AND org_id LIKE 'bad-%';
ROLLBACK;

-- Overdue: 26 hours after the last run, or after a usage source was registered. Noticed by whoever asks; the next run closes it.
SELECT overdue, findings_open, detail FROM credit_reconciliation_health();
SELECT overdue, detail FROM credit_reconciliation_health(now() + interval '27 hours');
SELECT credit_check_reconciliation(now() + interval '27 hours'), credit_check_reconciliation(now() + interval '27 hours');
SELECT * FROM pg_temp.alerts WHERE is_open;
SELECT findings_open FROM pg_temp.run();
SELECT * FROM pg_temp.alerts WHERE is_open;

SELECT pg_temp.refusal(statement) FROM (VALUES
  ($$SELECT credit_resolve_finding(9999, 'adjust')$$),
  ($$SELECT credit_resolve_finding(NULL, 'adjust')$$),
  ($$SELECT credit_resolve_finding(1, NULL)$$),
  ($$SELECT credit_resolve_finding(1, 'forget')$$),
  ($$SELECT credit_resolve_finding(pg_temp.finding('sent more'), 'dismiss', 'was adjusted')$$),
  ($$SELECT credit_run_reconciliation(tolerance => NULL)$$)) AS refused (statement);

SELECT * FROM credit_verify();
\c :suite_database
DROP DATABASE credit_ledger_reconciliation;
