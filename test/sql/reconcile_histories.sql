-- Reconciliation of histories as they really happen: corrected by hand, used late, always busy, thousand small things,
-- months put away, refunded where a correction was meant, named by a foreign collation, and by days of another zone.
--
-- Each history is an organisation of its own. After each, all findings are resolved: then a run over all of history finds
-- nothing, and the runbook's comparison shows no difference but what a refund or somebody's word explains.
\getenv abs_srcdir PG_ABS_SRCDIR
\set include :abs_srcdir '/sql/include/reconciliation.sql'
\i :include
SET client_min_messages = error;
SELECT credit_usage_source_register('usage', 'usage');
CREATE VIEW pg_temp.open AS
SELECT org_id, campaign_id, used_on, campaigns, verdict, charged, used, difference
FROM credit_finding WHERE resolved_at IS NULL ORDER BY org_id, campaign_id, used_on;
CREATE FUNCTION pg_temp.resolve() RETURNS TABLE (org_id text, campaign_id text, used_on date, adjusted bigint) LANGUAGE sql AS
$$ SELECT f.org_id, f.campaign_id, f.used_on, r.adjusted
   FROM credit_finding f, credit_resolve_finding(f.finding_id, 'adjust', 'as used') r
   WHERE f.resolved_at IS NULL ORDER BY f.org_id, f.campaign_id, f.used_on $$;
-- The runbook's query, by campaign: charged against used.
CREATE VIEW pg_temp.runbook AS
SELECT l.org_id, l.campaign_id, sum(l.amount) FILTER (WHERE l.status = 'committed') AS charged,
       (SELECT sum(u.quantity) FROM usage u WHERE u.org_id = l.org_id AND u.campaign_id = l.campaign_id) AS used
FROM credit_ledger l GROUP BY 1, 2 ORDER BY 1, 2;

-- Counted late, and corrected by the operator before the night: charged once. The night has nothing to find.
SELECT balance_after FROM credit_grant('corrected', 1000, 'opening');
SELECT c.amount FROM credit_authorize('corrected', 100, 'campaign') a, credit_commit(a.authorization_id) c;
INSERT INTO usage VALUES ('corrected', 'campaign', now(), 115);
SELECT c.amount, c.replayed FROM credit_ledger l, credit_correct(l.authorization_id, 115, '15 were counted late') c WHERE l.org_id = 'corrected';
SELECT c.amount, c.replayed FROM credit_ledger l, credit_correct(l.authorization_id, 115, '15 were counted late') c WHERE l.org_id = 'corrected';
SELECT findings_new FROM credit_run_reconciliation();
SELECT balance FROM credit_balance('corrected');

-- Late: usage of two days ago that arrives after the run is judged by the next one. What comes later still, by a run over
-- all of history. What was given back for want of usage is charged when the usage comes after all.
SELECT balance_after FROM credit_grant('late', 10000, 'opening');
SELECT c.amount FROM credit_authorize('late', 300, 'never sent') a, credit_commit(a.authorization_id) c;
SELECT findings_new FROM credit_run_reconciliation();
SELECT * FROM pg_temp.open;
SELECT * FROM pg_temp.resolve();
INSERT INTO usage VALUES ('late', 'sunday', now() - interval '2 days', 4000), ('late', 'last month', now() - interval '30 days', 500),
                         ('late', 'never sent', now() - interval '3 hours', 300), ('late', NULL, now() - interval '30 days', 77);
SELECT findings_new FROM credit_run_reconciliation();
SELECT * FROM pg_temp.open;
SELECT findings_new FROM credit_run_reconciliation('-infinity');
SELECT campaign_id, used_on = (now() - interval '30 days')::date AS of_that_day, verdict, used, difference FROM pg_temp.open;
SELECT campaign_id, adjusted FROM pg_temp.resolve();
SELECT balance FROM credit_balance('late');
-- What was resolved is not raised again, what comes on top of it is. For a day without campaign, too.
SELECT findings_new FROM credit_run_reconciliation('-infinity');
INSERT INTO usage SELECT org_id, campaign_id, used_at, 11 FROM usage WHERE org_id = 'late' AND used_at < now() - interval '1 day';
SELECT findings_new FROM credit_run_reconciliation('-infinity');
SELECT campaign_id, verdict, charged, used, difference FROM pg_temp.open;
SELECT campaign_id, adjusted FROM pg_temp.resolve();

-- The lookback is a setting.
INSERT INTO usage VALUES ('late', 'forty hours ago', now() - interval '40 hours', 60);
SET credit_ledger.reconciliation_lookback = '1d';
SELECT findings_new FROM credit_run_reconciliation();
RESET credit_ledger.reconciliation_lookback;
SELECT findings_new FROM credit_run_reconciliation();
SELECT campaign_id, adjusted FROM pg_temp.resolve();

-- Always busy: one open hold explains what it holds, and no more. Nor does it explain what was charged and not used.
SELECT balance_after FROM credit_grant('busy', 100000, 'opening');
SELECT pg_temp.campaign('busy', 'a label', 1000, now(), now()), pg_temp.campaign('busy', 'explained', 1000, now(), now()),
       pg_temp.campaign('busy', 'too dear', 1000, now(), now());
SELECT a.status FROM unnest('{a label,explained,too dear,new}'::text[]) AS label, credit_authorize('busy', 10, label, label || ':open') a;
INSERT INTO usage VALUES ('busy', 'a label', now(), 50000), ('busy', 'explained', now(), 1010), ('busy', 'too dear', now(), 100),
                         ('busy', 'new', now(), 25);
SELECT judged, in_flight, findings_new FROM credit_run_reconciliation();
SELECT * FROM pg_temp.open;
SELECT * FROM pg_temp.resolve();
SELECT campaign_id, charged, held, used, difference, verdict FROM credit_reconcile_campaigns() WHERE org_id = 'busy';
SELECT c.amount FROM credit_ledger_open l, credit_commit(l.authorization_id, 10) c WHERE l.campaign_id <> 'too dear' ORDER BY l.campaign_id;
SELECT c.amount FROM credit_ledger_open l, credit_commit(l.authorization_id, 0) c;
SELECT findings_new FROM credit_run_reconciliation('-infinity');
SELECT * FROM pg_temp.runbook WHERE org_id = 'busy';

-- Charged in parts while open. An overcharge that stands in the open hold waits for its end.
SELECT c.amount FROM credit_authorize('busy', 100, 'parts') a, credit_commit(a.authorization_id, 60, final => false) c;
INSERT INTO usage VALUES ('busy', 'parts', now(), 20);
SELECT findings_new FROM credit_run_reconciliation();
SELECT * FROM pg_temp.open;
SELECT pg_temp.refusal('SELECT pg_temp.resolve()');
SELECT c.amount FROM credit_ledger_open l, credit_revert(l.authorization_id) c;
SELECT * FROM pg_temp.resolve();

-- A thousand small things that nobody authorized are one finding of their organisation, which says how many they are.
SELECT balance_after FROM credit_grant('small', 1000, 'opening');
INSERT INTO usage SELECT 'small', 'request ' || n, now(), 8 FROM generate_series(1, 1000) n;
INSERT INTO usage VALUES ('small', NULL, '2026-01-10 12:00', 5);
-- Some more and some less: these add up to nothing.
SELECT balance_after FROM credit_grant('even', 1000, 'opening');
SELECT pg_temp.campaign('even', 'more', 108, now(), now()), pg_temp.campaign('even', 'less', 92, now(), now());
INSERT INTO usage VALUES ('even', 'more', now(), 100), ('even', 'less', now(), 100);
SELECT findings_new FROM credit_run_reconciliation();
SELECT * FROM pg_temp.open;
SELECT findings_new FROM credit_run_reconciliation('-infinity');
SELECT * FROM pg_temp.open;
SELECT count(*), sum(p.difference) FROM credit_finding_part p;
SELECT findings_new, findings_open FROM credit_run_reconciliation();
SELECT campaign_id, used_on, campaigns, verdict, difference FROM credit_reconcile_campaigns() WHERE org_id IN ('small', 'even');
SELECT adjusted FROM pg_temp.resolve();
SELECT balance FROM credit_balance('small');
SELECT findings_new FROM credit_run_reconciliation('-infinity');
-- Accepted ones stay accepted, one by one: what comes on top counts, what does not suffice waits.
INSERT INTO usage SELECT 'small', 'request ' || n, now(), 6 FROM generate_series(1, 3) n;
SELECT findings_new FROM credit_run_reconciliation();
SELECT r.campaigns, r.difference, r.resolution FROM credit_finding f, credit_resolve_finding(f.finding_id, 'dismiss', 'a gift') r WHERE f.resolved_at IS NULL;
SELECT findings_new FROM credit_run_reconciliation('-infinity');
INSERT INTO usage SELECT 'small', 'request ' || n, now(), 5 FROM generate_series(3, 4) n;
SELECT findings_new FROM credit_run_reconciliation();
INSERT INTO usage VALUES ('small', 'request 5', now(), 1);
SELECT findings_new FROM credit_run_reconciliation();
SELECT * FROM pg_temp.open;
-- A part that grows beyond the tolerance is a finding of its own, and what is left of the sum is none.
INSERT INTO usage VALUES ('small', 'request 5', now(), 19);
SELECT findings_new, findings_open FROM credit_run_reconciliation();
SELECT * FROM pg_temp.open;
SELECT count(*) FROM pg_temp.resolve();

-- Months that were put away: nobody knows what they charged, so their usage is no mismatch, whatever comes on top. The
-- keys say so, of campaigns and of what has another key. An authorization that is there does not change it.
SELECT balance_after FROM credit_grant('archive', 1000, 'opening');
SELECT credit_create_partition('credit_ledger_settled', '2026-03-01', '2026-04-01') IS NOT NULL AS made;
SELECT pg_temp.campaign('archive', 'c', 100, '2026-03-10 12:00', '2026-03-10 12:05'),
       pg_temp.campaign('archive', NULL, 100, '2026-03-10 12:00', '2026-03-10 12:05', 'key'),
       pg_temp.campaign('archive', 'partly', 100, '2026-03-10 12:00', '2026-03-10 12:05', 'partly:1'),
       pg_temp.campaign('archive', 'partly', 50, '2026-04-01 00:00', '2026-04-01 00:05', 'partly:2');
INSERT INTO usage VALUES ('archive', 'c', '2026-03-10 12:01', 100), ('archive', 'key', '2026-03-10 12:01', 100),
                         ('archive', 'partly', '2026-03-10 12:01', 150), ('archive', 'other', '2026-03-10 12:01', 30);
SELECT findings_new FROM credit_run_reconciliation('-infinity');
SELECT format('ALTER TABLE credit_ledger_settled DETACH PARTITION %s', inhrelid::regclass) FROM pg_inherits
WHERE inhparent = 'credit_ledger_settled'::regclass AND inhrelid <> 'credit_ledger_settled_default'::regclass \gexec
INSERT INTO usage VALUES ('archive', 'partly', now(), 1000);
SELECT findings_new, findings_open FROM credit_run_reconciliation('-infinity');
SELECT campaign_id, charged, used, difference, verdict FROM credit_reconcile_campaigns() WHERE org_id = 'archive';
SELECT campaign_id, verdict FROM credit_campaign_status('key');
SELECT campaign_id, adjusted FROM pg_temp.resolve();
SELECT balance FROM credit_balance('archive');

-- Refunded. It explains an overcharge as far as it goes, and never usage: adjust moves what is left of the difference.
SELECT balance_after FROM credit_grant('refunded', 1000, 'opening');
SELECT pg_temp.campaign('refunded', name, 100, now(), now()) FROM unnest('{explained,a part of it,a favour,used later}'::text[]) name;
INSERT INTO usage VALUES ('refunded', 'explained', now(), 70), ('refunded', 'a part of it', now(), 50), ('refunded', 'a favour', now(), 120),
                         ('refunded', 'used later', now(), 70);
SELECT m.amount FROM credit_ledger l, credit_refund(l.authorization_id, l.campaign_id, 30) m WHERE l.org_id = 'refunded';
SELECT findings_new FROM credit_run_reconciliation();
SELECT * FROM pg_temp.open;
SELECT * FROM pg_temp.resolve();
INSERT INTO usage VALUES ('refunded', 'used later', now(), 50);
SELECT findings_new FROM credit_run_reconciliation();
SELECT * FROM pg_temp.resolve();
SELECT r.*, l.refunded_amount FROM pg_temp.runbook r JOIN credit_ledger l USING (org_id, campaign_id) WHERE r.org_id = 'refunded';
SELECT balance FROM credit_balance('refunded');

-- Several authorizations: what was charged too much is given back from all of them, but never below what was refunded.
SELECT balance_after FROM credit_grant('several', 1000, 'opening');
SELECT pg_temp.campaign('several', 'much', 100, now(), now() - interval '1 hour'), pg_temp.campaign('several', 'much', 100, now(), now(), 'much:2'),
       pg_temp.campaign('several', 'much', NULL, now(), now(), 'much:3');
SELECT m.amount FROM credit_ledger l, credit_refund(l.authorization_id, 'refund', 40) m WHERE l.idempotency_key = 'much:2';
INSERT INTO usage VALUES ('several', 'much', now(), 15);
SELECT findings_new FROM credit_run_reconciliation();
SELECT * FROM pg_temp.resolve();
SELECT idempotency_key, status, amount, refunded_amount FROM credit_ledger WHERE org_id = 'several' ORDER BY 1;
SELECT balance FROM credit_balance('several');

-- Identifiers are compared as the ledger compares them. A source that cannot is refused.
CREATE COLLATION without_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TABLE foreign_usage (org_id text, campaign_id text COLLATE without_case, used_at timestamptz, quantity bigint);
SELECT pg_temp.refusal($$SELECT credit_usage_source_register('foreign', 'foreign_usage')$$);
CREATE VIEW our_usage AS SELECT org_id, campaign_id COLLATE "C", used_at, quantity FROM foreign_usage;
SELECT credit_usage_source_register('foreign', 'our_usage');
SELECT balance_after FROM credit_grant('foreign', 1000, 'opening');
SELECT pg_temp.campaign('foreign', 'Spring', 60, now(), now()), pg_temp.campaign('foreign', 'spring', 40, now(), now());
INSERT INTO foreign_usage VALUES ('foreign', 'Spring', now(), 60), ('foreign', 'SPRING', now(), 40);
SELECT org_id, campaign_id, charged, used, verdict FROM credit_campaign_status('Spring') ORDER BY 1;
SELECT campaign_id, charged, used, verdict FROM credit_reconcile_campaigns() WHERE org_id = 'foreign';
DROP VIEW our_usage;
CREATE VIEW our_usage AS SELECT org_id, campaign_id, used_at, quantity FROM foreign_usage;
SELECT pg_temp.refusal('SELECT credit_run_reconciliation()');
SELECT credit_usage_source_unregister('foreign');

-- Days are those of the ledger's time zone, not of the session's.
INSERT INTO usage VALUES ('days', NULL, '2026-01-10 20:00+00', 20), ('days', NULL, '2026-01-11 14:59:59.999999+00', 30),
                         ('days', NULL, '2026-01-11 15:00+00', 40);
SET credit_ledger.reconciliation_time_zone = 'Asia/Tokyo';
SELECT used_on, used FROM credit_reconcile_campaigns() WHERE org_id = 'days';
SELECT used_on, used FROM credit_reconcile_campaigns('2026-01-10 15:00+00', '2026-01-11 15:00+00') WHERE org_id = 'days';
SET TimeZone = 'America/New_York';
SELECT used_on, used FROM credit_reconcile_campaigns() WHERE org_id = 'days';
RESET credit_ledger.reconciliation_time_zone;
SELECT used_on, used FROM credit_reconcile_campaigns() WHERE org_id = 'days';
SET TimeZone = 'UTC';
SELECT pg_temp.refusal($$SET credit_ledger.reconciliation_time_zone = 'Europe/Atlantis'$$);

-- A day of 25 hours, whose first one comes twice, begins with the first of the two midnights.
INSERT INTO usage VALUES ('havana', NULL, '2026-11-01 03:59:59.999999+00', 20), ('havana', NULL, '2026-11-01 04:00+00', 30),
                         ('havana', NULL, '2026-11-01 05:00+00', 40), ('havana', 'named', '2026-11-01 04:30+00', 50);
SET credit_ledger.reconciliation_time_zone = 'America/Havana';
SELECT campaign_id, used_on, used FROM credit_reconcile_campaigns('2026-11-01 04:20+00', '2026-11-01 06:00+00') WHERE org_id = 'havana';
SELECT campaign_id, used_on, used FROM credit_reconcile_campaigns('2026-11-01 04:59+00', '2026-11-01 06:00+00') WHERE org_id = 'havana';
SELECT campaign_id, used_on, used FROM credit_reconcile_campaigns('2026-10-31 12:00+00', '2026-11-01 04:00+00') WHERE org_id = 'havana';
RESET credit_ledger.reconciliation_time_zone;
DELETE FROM usage WHERE org_id = 'havana';

-- Usage without a campaign that the application itself charges late, to the name of its day: the two are one, whatever
-- the window. Names that are no day's are names.
SELECT balance_after FROM credit_grant('day charged', 1000, 'opening');
INSERT INTO usage VALUES ('day charged', NULL, '2026-01-10 12:00', 77), ('day charged', 'usage without campaign, 2026-02-30', '2026-01-10 12:00', 99);
SELECT amount FROM credit_charge('day charged', 77, 'usage without campaign, 2026-01-10');
SELECT amount FROM credit_charge('day charged', 99, 'usage without campaign, 2026-02-30');
SELECT campaign_id, verdict FROM credit_reconcile_campaigns(now() - interval '1 day') WHERE org_id = 'day charged';
SELECT campaign_id, verdict FROM credit_reconcile_campaigns('2026-01-10', '2026-01-11') WHERE org_id = 'day charged';
SELECT used_on, charged, used, verdict FROM credit_campaign_status('usage without campaign, 2026-01-10', 'day charged');
SELECT day, credit_ledger_internal.day_of_campaign(name) = day AS is_found
FROM (VALUES ('2024-02-29'::date), ('0044-03-15 BC'), ('57891-01-01')) d (day), credit_ledger_internal.campaign_of_day(day) name;
SELECT name, credit_ledger_internal.day_of_campaign('usage without campaign, ' || name) AS day
FROM unnest('{2026-01-10,02026-01-10,2026-13-01,2026-01-00,2026-1-10,0000-01-01,000000-01-01,-0000-01-01,infinity}'::text[]) name;

-- Usage at no instant is told, in every run.
INSERT INTO usage VALUES ('no instant', 'c', 'infinity', 50), ('no instant', NULL, '-infinity', 60), ('no instant', 'c', NULL, 70);
SELECT judged > 0 AS ran FROM credit_run_reconciliation();
SELECT verdict, used_on, difference, detail, resolution FROM credit_finding WHERE org_id = 'no instant';
SELECT judged > 0 AS ran FROM credit_run_reconciliation('-infinity');
SELECT verdict, used_on, difference, detail, resolution FROM credit_finding WHERE org_id = 'no instant';
DELETE FROM usage WHERE org_id = 'no instant';
SELECT judged > 0 AS ran FROM credit_run_reconciliation();
SELECT verdict, resolution FROM credit_finding WHERE org_id = 'no instant';

-- Two look at one finding: it is corrected by one and dismissed by the other. What was not there any more is not accepted,
-- so that as much of what comes late is found; neither is what came on top of it unseen.
SELECT balance_after FROM credit_grant('two', 1000, 'opening');
SELECT pg_temp.campaign('two', name, 100, now(), now()) FROM unnest('{fixed,grown,half fixed}'::text[]) name;
INSERT INTO usage VALUES ('two', 'fixed', now(), 125), ('two', 'grown', now(), 125), ('two', 'half fixed', now(), 60),
                         ('two', NULL, '2026-01-10 12:00', 6), ('two', 'small', now(), 6);
SELECT judged > 0 AS ran FROM credit_run_reconciliation('-infinity');
SELECT c.amount FROM credit_ledger l, credit_correct(l.authorization_id, 125, 'counted late') c WHERE l.campaign_id = 'fixed';
SELECT c.amount FROM credit_ledger l, credit_correct(l.authorization_id, 75, 'counted late') c WHERE l.campaign_id = 'half fixed';
SELECT amount FROM credit_charge('two', 6, 'small');
INSERT INTO usage VALUES ('two', 'grown', now(), 100);
SELECT r.campaign_id, r.campaigns, r.difference
FROM credit_finding f, credit_resolve_finding(f.finding_id, 'dismiss', 'a colleague did it') r
WHERE f.org_id = 'two' AND f.resolved_at IS NULL ORDER BY 1;
INSERT INTO usage VALUES ('two', 'fixed', now(), 25), ('two', 'small', now(), 15);
SELECT findings_new FROM credit_run_reconciliation('-infinity');
SELECT * FROM pg_temp.open WHERE org_id = 'two';
SELECT r.campaign_id, r.adjusted FROM credit_finding f, credit_resolve_finding(f.finding_id, 'adjust', 'as used') r
WHERE f.org_id = 'two' AND f.resolved_at IS NULL ORDER BY 1;

-- An account that was moved here brings charges of findings that had the same numbers elsewhere.
SELECT balance_after FROM credit_grant('moved', 1000, 'opening');
INSERT INTO usage VALUES ('moved', 'c', now(), 30), ('moved', 'of there', now(), 20);
SELECT findings_new FROM credit_run_reconciliation();
SELECT c.amount FROM credit_finding f, credit_charge('moved', 20, 'of there', 'credit_finding:' || f.finding_id) c
WHERE f.org_id = 'moved' AND f.campaign_id = 'c';
SELECT r.campaign_id, r.adjusted FROM credit_finding f, credit_resolve_finding(f.finding_id, 'adjust') r WHERE f.org_id = 'moved' ORDER BY 1;

-- A key that was removed, and the campaign of that name made again: both are its charges, whichever the window touches.
SELECT balance_after FROM credit_grant('again', 1000, 'opening');
SELECT pg_temp.campaign('again', 'newsletter', 100, now() - interval '60 days', now() - interval '60 days');
DELETE FROM credit_idempotency WHERE org_id = 'again' AND operation = 'authorize';
INSERT INTO credit_key_removal (removed_until, oldest_key) SELECT at, at FROM (SELECT now() - interval '30 days') r (at);
SELECT pg_temp.campaign('again', 'newsletter', 100, now() - interval '10 days', now() - interval '10 days');
INSERT INTO usage VALUES ('again', 'newsletter', now() - interval '60 days', 99), ('again', 'newsletter', now() - interval '10 days', 100);
SELECT c.amount FROM credit_ledger l, credit_correct(l.authorization_id, 99, 'as sent') c
WHERE l.org_id = 'again' AND l.created_at < now() - interval '30 days';
SELECT judged > 0 AS ran FROM credit_run_reconciliation();
SELECT count(*) FROM credit_finding WHERE org_id = 'again';
SELECT authorizations, charged, used, verdict FROM credit_campaign_status('newsletter', 'again');

-- A quantity beyond all measure does not stop a run.
INSERT INTO usage VALUES ('huge', 'c', now(), 9223372036854775807), ('huge', 'c', now(), 9223372036854775807);
SELECT findings_new FROM credit_run_reconciliation();
SELECT verdict, used, difference FROM credit_finding WHERE org_id = 'huge';

SELECT * FROM credit_verify();
\c :suite_database
DROP DATABASE credit_ledger_reconciliation;
