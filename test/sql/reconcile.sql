-- Reconciliation: the verdict on every kind of campaign.
--
-- Each kind is one campaign, in a window of one day, 2026-01-10. Settled rows are given their instants by the owner of
-- the table; usage brings its own. The name of a campaign says what it is, and the comment what is to be said of it.
\getenv abs_srcdir PG_ABS_SRCDIR
\set include :abs_srcdir '/sql/include/reconciliation.sql'
\i :include
SELECT credit_usage_source_register('usage', 'usage');
SELECT balance_after FROM credit_grant('acme', 100000, 'opening');
CREATE VIEW pg_temp.verdicts AS
SELECT org_id, campaign_id, used_on, authorizations, charged, refunded, used, difference, verdict
FROM credit_ledger_internal.judge_campaigns('2026-01-10', '2026-01-11', 10, with_balanced => true) ORDER BY org_id, campaign_id, used_on;

-- Charged what was used: balanced. By at most the tolerance of 10 more or less: balanced, beyond it not.
SELECT pg_temp.campaign('acme', 'a balanced', 90, '2026-01-10 12:00', '2026-01-10 12:05'),
       pg_temp.campaign('acme', 'a 10 less', 80, '2026-01-10 12:00', '2026-01-10 12:05'),
       pg_temp.campaign('acme', 'a 11 less', 79, '2026-01-10 12:00', '2026-01-10 12:05'),
       pg_temp.campaign('acme', 'a 10 more', 100, '2026-01-10 12:00', '2026-01-10 12:05'),
       pg_temp.campaign('acme', 'a 11 more', 101, '2026-01-10 12:00', '2026-01-10 12:05');
INSERT INTO usage SELECT 'acme', name, '2026-01-10 12:01', 90
FROM unnest('{a balanced,a 10 less,a 11 less,a 10 more,a 11 more}'::text[]) AS name;

-- Charged, and nothing was used: charged without usage. Reverted, and used all the same: undercharged. Reverted, not used:
-- balanced. Committed for nothing: balanced.
SELECT pg_temp.campaign('acme', 'b never sent', 100, '2026-01-10 12:00', '2026-01-10 12:05'),
       pg_temp.campaign('acme', 'b reverted', NULL, '2026-01-10 12:00', '2026-01-10 12:05'),
       pg_temp.campaign('acme', 'b reverted and sent', NULL, '2026-01-10 12:00', '2026-01-10 12:05'),
       pg_temp.campaign('acme', 'b zero', 0, '2026-01-10 12:00', '2026-01-10 12:05');
INSERT INTO usage VALUES ('acme', 'b reverted and sent', '2026-01-10 12:01', 100);

-- Used, and nobody authorized it, in an organisation with an account and in one without: unauthorized usage.
INSERT INTO usage VALUES ('acme', 'c unknown', '2026-01-10 12:01', 100), ('nobody', 'c unknown', '2026-01-10 12:01', 100);

-- The window's first instant belongs to it, its last one does not: the one that settles at its end is not seen.
SELECT pg_temp.campaign('acme', 'd at since', 100, '2026-01-09 23:59', '2026-01-10 00:00'),
       pg_temp.campaign('acme', 'd at until', 100, '2026-01-10 23:59', '2026-01-11 00:00'),
       pg_temp.campaign('acme', 'd before since', 100, '2026-01-09 23:59', '2026-01-09 23:59:59.999999');

-- A campaign that straddles an edge of the window is judged whole, in both windows: balanced. And what is wrong with it
-- is found in both.
SELECT pg_temp.campaign('acme', 'e from before', 100, '2026-01-09 23:00', '2026-01-10 01:00'),
       pg_temp.campaign('acme', 'e to after', 100, '2026-01-10 23:00', '2026-01-11 01:00'),
       pg_temp.campaign('acme', 'e to after, undercharged', 100, '2026-01-10 23:00', '2026-01-11 01:00');
INSERT INTO usage VALUES
  ('acme', 'e from before', '2026-01-09 23:30', 60), ('acme', 'e from before', '2026-01-10 00:30', 40),
  ('acme', 'e to after', '2026-01-10 23:30', 60), ('acme', 'e to after', '2026-01-11 00:30', 40),
  ('acme', 'e to after, undercharged', '2026-01-10 23:30', 60), ('acme', 'e to after, undercharged', '2026-01-11 00:30', 60);

-- Still open: in flight, whatever was used so far.
SELECT campaign_id, a.status
FROM unnest('{f in flight,f in flight and of today}'::text[]) AS name, credit_authorize('acme', 100, name) a;
UPDATE credit_ledger SET created_at = '2026-01-10 12:00' WHERE campaign_id = 'f in flight';
INSERT INTO usage VALUES ('acme', 'f in flight', '2026-01-10 12:01', 250);

-- Refunded after the window. As far as a refund goes it explains a difference, as an overcharge that was given back or
-- as a favour for what was used: balanced. What it does not explain is the difference.
SELECT pg_temp.campaign('acme', name, 100, '2026-01-10 12:00', '2026-01-10 12:05')
FROM unnest('{g refunded and all used,g refunded what was not used,g refunded too little,g refunded and used more}'::text[]) AS name;
SELECT campaign_id, m.amount FROM credit_ledger, credit_refund(authorization_id, campaign_id, 30) m
WHERE campaign_id LIKE 'g refunded%' ORDER BY campaign_id;
INSERT INTO usage VALUES
  ('acme', 'g refunded and all used', '2026-01-10 12:01', 100), ('acme', 'g refunded what was not used', '2026-01-10 12:01', 70),
  ('acme', 'g refunded too little', '2026-01-10 12:01', 50), ('acme', 'g refunded and used more', '2026-01-10 12:01', 120);

-- Used without a campaign: unauthorized usage of its day, all of it, though the window ends before the day does.
INSERT INTO usage VALUES ('acme', NULL, '2026-01-10 12:01', 15), ('acme', NULL, '2026-01-10 13:01', 16), ('acme', NULL, '2026-01-11 00:00', 999);
SELECT used_on, used, verdict FROM credit_reconcile_campaigns('2026-01-10 12:00', '2026-01-10 12:30') WHERE campaign_id IS NULL;

-- Two authorizations, their charges add up: balanced, also where one is of another time. One of the two still open: in
-- flight. The first one reverted, as a second attempt leaves it: balanced.
SELECT pg_temp.campaign('acme', 'h two', 100, '2026-01-10 12:00', '2026-01-10 12:05'),
       pg_temp.campaign('acme', 'h two', 50, '2026-01-10 12:10', '2026-01-10 12:15', 'h two:2'),
       pg_temp.campaign('acme', 'h years apart', 100, '2020-01-10 12:00', '2020-01-10 12:05'),
       pg_temp.campaign('acme', 'h years apart', 50, '2026-01-10 12:10', '2026-01-10 12:15', 'h years apart:2'),
       pg_temp.campaign('acme', 'h years apart, second first', 50, '2020-01-10 12:10', '2020-01-10 12:15', 'h second first:2'),
       pg_temp.campaign('acme', 'h years apart, second first', 100, '2026-01-10 12:00', '2026-01-10 12:05'),
       pg_temp.campaign('acme', 'h one open', 100, '2026-01-10 12:00', '2026-01-10 12:05'),
       pg_temp.campaign('acme', 'h second attempt', NULL, '2026-01-10 12:00', '2026-01-10 12:05'),
       pg_temp.campaign('acme', 'h second attempt', 100, '2026-01-10 12:10', '2026-01-10 12:15', 'h second attempt:2');
SELECT status FROM credit_authorize('acme', 50, 'h one open', 'h one open:2');
INSERT INTO usage VALUES
  ('acme', 'h two', '2026-01-10 12:01', 150), ('acme', 'h years apart', '2020-01-10 12:01', 100), ('acme', 'h years apart', '2026-01-10 12:11', 50),
  ('acme', 'h years apart, second first', '2026-01-10 12:01', 150), ('acme', 'h one open', '2026-01-10 12:01', 120),
  ('acme', 'h second attempt', '2026-01-10 12:11', 100);

-- An authorization without a campaign goes by its key. A key that is the name of another campaign is that one's only
-- if it has no campaign itself.
SELECT pg_temp.campaign('acme', NULL, 100, '2026-01-10 12:00', '2026-01-10 12:05', 'i key'),
       pg_temp.campaign('acme', 'i other', 100, '2026-01-10 12:00', '2026-01-10 12:05', 'i key of other');
INSERT INTO usage VALUES ('acme', 'i key', '2026-01-10 12:01', 100), ('acme', 'i key of other', '2026-01-10 12:01', 100);

-- Used again after it settled, in the window: undercharged, though it settled before.
SELECT pg_temp.campaign('acme', 'j sent twice', 100, '2026-01-08 12:00', '2026-01-08 12:05');
INSERT INTO usage VALUES ('acme', 'j sent twice', '2026-01-08 12:01', 100), ('acme', 'j sent twice', '2026-01-10 12:01', 100);

-- The same campaign and the same key in two organisations are two campaigns.
SELECT balance_after FROM credit_grant('globex', 1000, 'opening');
SELECT pg_temp.campaign('globex', 'a 11 more', 90, '2026-01-10 12:00', '2026-01-10 12:05');
INSERT INTO usage VALUES ('globex', 'a 11 more', '2026-01-10 12:01', 90);

SELECT * FROM pg_temp.verdicts;

-- The late true-up: what the timeout charged in full is overcharged until the caller says what was used, whenever that is.
BEGIN;
SELECT status FROM credit_authorize('acme', 100, 'k late');
UPDATE credit_ledger SET expires_at = '2026-01-10 12:00' WHERE campaign_id = 'k late';
SELECT credit_sweep('2026-01-10 12:01');
UPDATE credit_ledger SET settled_at = '2026-01-10 12:01' WHERE campaign_id = 'k late';
INSERT INTO usage VALUES ('acme', 'k late', '2026-01-10 11:59', 87);
SELECT * FROM pg_temp.verdicts WHERE campaign_id = 'k late';
UPDATE credit_ledger SET settled_at = clock_timestamp() WHERE campaign_id = 'k late';
SELECT c.amount FROM credit_ledger l, credit_commit(l.authorization_id, 87) c WHERE l.campaign_id = 'k late';
SELECT * FROM pg_temp.verdicts WHERE campaign_id = 'k late';
SELECT verdict FROM credit_ledger_internal.judge_campaigns(now(), NULL, 10, with_balanced => true) WHERE campaign_id = 'k late';
ROLLBACK;

-- The same by the functions for people. What is balanced is left out, and what is in flight is not added up.
SELECT campaign_id, verdict FROM credit_reconcile_campaigns('2026-01-10', '2026-01-11') WHERE org_id <> 'nobody';
SELECT campaign_id, difference FROM credit_reconcile_campaigns('2026-01-10', '2026-01-11', 80);
SELECT * FROM credit_reconcile('2026-01-10', '2026-01-11');
SELECT * FROM credit_reconcile('2026-01-10', '2026-01-11', 1000);
SELECT campaign_id, difference FROM credit_reconcile_campaigns(NULL, '2026-01-11', 80, period => '1 day');
SELECT * FROM credit_reconcile(NULL, '2026-01-11', period => '1 day');
SELECT org_id, authorizations, charged, used, difference, verdict FROM credit_campaign_status('a 11 more');
SELECT org_id, authorizations, charged, used, difference, verdict FROM credit_campaign_status('a 11 more', 'globex');
SELECT org_id, authorizations, charged, used, difference, verdict FROM credit_campaign_status('c unknown');
SELECT org_id, authorizations, charged, used, difference, verdict FROM credit_campaign_status('h years apart');
SELECT count(*) FROM credit_campaign_status('there is no such campaign');
SELECT o.campaign_id, o.amount FROM credit_orphaned_authorizations() o;

-- Arguments.
SELECT pg_temp.refusal(statement) FROM (VALUES
  ($$SELECT credit_reconcile_campaigns(tolerance => NULL)$$),
  ($$SELECT credit_reconcile(tolerance => -1)$$),
  ($$SELECT credit_reconcile('2026-01-11', '2026-01-10')$$),
  ($$SELECT credit_reconcile('2026-01-10', period => '1 day')$$),
  ($$SELECT credit_reconcile_campaigns('2026-01-10', period => '1 day')$$),
  ($$SELECT credit_run_reconciliation('2026-01-10', period => '1 day')$$),
  ($$SELECT credit_campaign_status(NULL)$$),
  ($$SELECT credit_orphaned_authorizations(NULL)$$)) AS refused (statement);

SELECT * FROM credit_verify();
\c :suite_database
DROP DATABASE credit_ledger_reconciliation;
