-- Goal: an alert is opened once and closed once; the alert of a low balance follows what is available, whichever verb
-- changes it, does not come and go around the threshold, and comes and goes with its transaction.
--
-- Method: open, open again, close, close again; then one account with a threshold of 500, through every verb.
\pset null '(null)'
SELECT now() AS start \gset

CREATE VIEW alert AS
  SELECT kind, org_id, CASE WHEN closed_at IS NULL THEN 'open' ELSE 'closed' END AS state, message, details
  FROM credit_alert WHERE opened_at >= :'start'
  ORDER BY opened_at, closed_at;

-- Opened and closed once each; of the database and of an organisation apart.
SELECT credit_ledger_internal.alert_open('sweep_lag', NULL, 'holds are late', '{"seconds": 400}');
SELECT credit_ledger_internal.alert_open('sweep_lag', NULL, 'holds are very late');
SELECT credit_ledger_internal.alert_open('sweep_lag', 'alerts-a', 'holds of one are late');
SELECT credit_ledger_internal.alert_close('sweep_lag', NULL);
SELECT credit_ledger_internal.alert_close('sweep_lag', NULL);
SELECT credit_ledger_internal.alert_close('commit_failure_rate', NULL);
SELECT credit_ledger_internal.alert_open('sweep_lag', NULL, 'holds are late again');
TABLE alert;

-- With its transaction, or its savepoint.
BEGIN;
SELECT credit_ledger_internal.alert_open('reconciliation_overdue', NULL, 'never mind');
ROLLBACK;
BEGIN;
SAVEPOINT s;
SELECT credit_ledger_internal.alert_close('sweep_lag', 'alerts-a');
ROLLBACK TO s;
SELECT credit_ledger_internal.alert_open('sweep_lag', 'alerts-a', 'it is still open');
COMMIT;

-- What a notification cannot carry stays in the table.
SELECT credit_ledger_internal.alert_open('reconciliation_mismatch', NULL, 'long', jsonb_build_object('list', repeat('x', 9000)));
SELECT kind, length(details->>'list') FROM alert WHERE kind = 'reconciliation_mismatch';
DELETE FROM credit_alert;

-- Low balance: at the moment of crossing, by each verb that can cross.
SELECT available FROM credit_grant('alerts-b', 1000, 'g-1');
SELECT low_balance_threshold FROM credit_account_configure('alerts-b', low_balance_threshold => 500);
SELECT available FROM credit_authorize('alerts-b', 500, 'c-1');
SELECT available FROM credit_authorize('alerts-b', 1, 'c-2');
SELECT available FROM credit_authorize('alerts-b', 99, 'c-3');
SELECT state, message, details FROM alert;

-- Around the threshold it stays as it is; it is over at 550.
SELECT available FROM credit_grant('alerts-b', 149, 'g-2');
SELECT available FROM credit_adjust('alerts-b', -100, 'a-1', 'down again');
SELECT available FROM credit_grant('alerts-b', 100, 'g-3');
SELECT state FROM alert;
SELECT available FROM credit_revert((SELECT authorization_id FROM credit_ledger WHERE org_id = 'alerts-b' AND campaign_id = 'c-2'));
SELECT state FROM alert;

-- Crossed by adjustment and over by refund; by commits beyond the hold; by timeout.
SELECT available FROM credit_adjust('alerts-b', -51, 'a-2', 'one too many');
SELECT available FROM credit_commit((SELECT authorization_id FROM credit_ledger WHERE org_id = 'alerts-b' AND campaign_id = 'c-1'), 400);
SELECT overage_limit FROM credit_account_configure('alerts-b', overage_limit => 200);
SELECT available FROM credit_commit((SELECT authorization_id FROM credit_ledger WHERE org_id = 'alerts-b' AND campaign_id = 'c-3'), 199);
SELECT available FROM credit_refund((SELECT authorization_id FROM credit_ledger WHERE org_id = 'alerts-b' AND campaign_id = 'c-3'), 'r-1', 60);
SELECT available FROM credit_authorize('alerts-b', 100, 'c-4', timeout => '1 hour', timeout_action => 'revert');
UPDATE credit_ledger SET expires_at = '2001-01-02' WHERE campaign_id = 'c-4' AND org_id = 'alerts-b';
SELECT credit_sweep('2001-02-01');
SELECT state, message FROM alert;

-- What decides is what is available against the threshold, whichever of both changes.
SELECT credit_limit FROM credit_account_configure('alerts-b', low_balance_threshold => 1000);
SELECT credit_limit FROM credit_account_configure('alerts-b', credit_limit => 1000);
SELECT low_balance_threshold FROM credit_account_configure('alerts-b', low_balance_threshold => -5);
SELECT low_balance_threshold FROM credit_account_configure('alerts-b', low_balance_threshold => 9223372036854775807);
SELECT state, message FROM alert;

-- A crossing that is rolled back did not happen.
BEGIN;
SELECT low_balance_threshold FROM credit_account_configure('alerts-b', low_balance_threshold => 0);
ROLLBACK;
SELECT count(*) FILTER (WHERE state = 'open') AS open FROM alert;

-- In one call, one organisation's alert ends and others' begin.
SELECT org_id, available FROM unnest('{alerts-c,alerts-d,alerts-e}'::text[]) AS o, credit_grant(o, 100, 'g');
SELECT org_id FROM unnest('{alerts-c,alerts-d,alerts-e}'::text[]) AS o,
  credit_account_configure(o, low_balance_threshold => 50, overage_limit => 100);
CREATE TEMP TABLE hold AS
  SELECT a.org_id, a.authorization_id
  FROM (VALUES ('alerts-c', 90), ('alerts-d', 40), ('alerts-e', 45)) AS v (o, amount), credit_authorize(o, amount, 'c') AS a;
SELECT m.org_id, m.available
FROM credit_commit_many(ARRAY(SELECT authorization_id FROM hold ORDER BY org_id), '{0,60,70}') AS m;
SELECT org_id, state FROM alert WHERE org_id > 'alerts-b' ORDER BY org_id;

DROP VIEW alert;
SELECT * FROM credit_verify();
