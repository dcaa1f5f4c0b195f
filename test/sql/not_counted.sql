-- Goal: where the library is not preloaded, nobody is told that nothing failed, when nothing is counted. And what is wrong
-- now is one short query away.
-- Method: in a database of its own, ask for the rate and for health; then put counts and alerts there, and ask again.
\set QUIET on
\set home :DBNAME
CREATE DATABASE credit_ledger_not_counted TEMPLATE template0;
\c credit_ledger_not_counted
SET client_min_messages = warning;
CREATE EXTENSION credit_ledger;
RESET client_min_messages;

-- Nothing is counted here.
SELECT * FROM credit_commit_failure_rate();

-- Open alerts, the rate whatever the sample; what needs no schedule does not ask for one.
SELECT check_name, status, detail, what_to_do IS NOT NULL AS advised FROM credit_health()
WHERE check_name IN ('open_alerts', 'commit_failures', 'waiting_calls', 'pg_cron');
BEGIN;
SET LOCAL client_min_messages = error;
INSERT INTO credit_stat SELECT date_trunc('minute', now()), 'commit', outcome, count FROM (VALUES ('00000', 4), ('LC003', 3)) n (outcome, count);
SELECT credit_ledger_internal.alert_open('low_balance', 'told', 'organisation "told" is low');
SELECT check_name, status, detail FROM credit_health() WHERE check_name IN ('open_alerts', 'commit_failures');
INSERT INTO credit_stat VALUES (date_trunc('minute', now()), 'sweep', '00000', 100);
SELECT credit_ledger_internal.alert_open('sweep_lag', NULL, 'late');
CREATE VIEW told_usage AS SELECT NULL::text AS org_id, NULL::text AS campaign_id, now() AS used_at, 0::bigint AS quantity WHERE false;
SELECT credit_usage_source_register('told', 'told_usage');
SELECT check_name, status, detail FROM credit_health() WHERE check_name IN ('open_alerts', 'commit_failures', 'pg_cron');
DELETE FROM credit_stat WHERE operation = 'commit';
SELECT credit_maintain();
SELECT message, details - 'rate' AS details FROM credit_alert WHERE kind = 'commit_failure_rate';
ROLLBACK;
SELECT * FROM credit_verify();
\c :home
DROP DATABASE credit_ledger_not_counted;
