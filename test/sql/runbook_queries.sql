-- The runbook's own SELECTs run as they stand and agree with the functions (its last one in the form that is valid).
--
-- An application with the runbook's tables, and its sends as the usage source. Some campaigns are right, one was sent too
-- often, one too seldom; nothing is in flight and nothing refunded, for these the runbook's query does not know.
\getenv abs_srcdir PG_ABS_SRCDIR
\set include :abs_srcdir '/sql/include/reconciliation.sql'
\i :include
CREATE TABLE campaigns (id text PRIMARY KEY, title text, status text);
CREATE TABLE sends (id bigint GENERATED ALWAYS AS IDENTITY, org_id text, campaign_id text, status text, sent_at timestamptz);
CREATE VIEW sent AS SELECT org_id, campaign_id, sent_at AS used_at, 1::bigint AS quantity FROM sends WHERE status = 'sent';
SELECT credit_usage_source_register('sends', 'sent');

CREATE TABLE plan (org text, campaign text, sent integer, charged integer);
INSERT INTO plan VALUES ('org-id-here', 'campaign-id-here', 100, 100), ('org-id-here', 'spring', 90, 60), ('org-2', 'summer', 70, 100),
                        ('org-3', 'autumn', 100, 90), ('org-4', 'winter', 50, 50);
SELECT count((credit_grant(org, 1000, 'opening')).balance_after) FROM (SELECT DISTINCT org FROM plan) AS p;
INSERT INTO campaigns SELECT campaign, initcap(campaign), 'sent' FROM plan;
INSERT INTO sends (org_id, campaign_id, status, sent_at)
SELECT org, campaign, CASE WHEN n <= sent THEN 'sent' ELSE 'bounced' END, '2026-01-10 12:00' FROM plan, generate_series(1, 110) AS n;
SELECT count(pg_temp.campaign(org, campaign, charged, '2026-01-10 11:00', '2026-01-10 13:00')) FROM plan;

-- Check ledger for organization
SELECT count(*) FROM (
SELECT *
FROM credit_ledger
WHERE org_id = 'org-id-here'
ORDER BY created_at DESC
LIMIT 50
) AS shown;

-- Compare credits used vs actual sends
SELECT
  org_id,
  SUM(CASE WHEN status = 'committed' THEN amount ELSE 0 END) as credits_committed,
  (SELECT COUNT(*) FROM sends WHERE org_id = credit_ledger.org_id AND status = 'sent') as actual_sends,
  SUM(CASE WHEN status = 'committed' THEN amount ELSE 0 END) -
    (SELECT COUNT(*) FROM sends WHERE org_id = credit_ledger.org_id AND status = 'sent') as difference
FROM credit_ledger
GROUP BY org_id
HAVING ABS(
  SUM(CASE WHEN status = 'committed' THEN amount ELSE 0 END) -
    (SELECT COUNT(*) FROM sends WHERE org_id = credit_ledger.org_id AND status = 'sent')
) > 10
ORDER BY org_id;
SELECT * FROM credit_reconcile();

-- Check campaign credit status
SELECT
  c.id,
  c.title,
  c.status,
  COUNT(s.id) as sends_count,
  SUM(CASE WHEN s.status = 'sent' THEN 1 ELSE 0 END) as sent_count
FROM campaigns c
LEFT JOIN sends s ON s.campaign_id = c.id
WHERE c.id = 'campaign-id-here'
GROUP BY c.id, c.title, c.status;
SELECT campaign_id, charged, used FROM credit_campaign_status('campaign-id-here');

-- Find orphaned authorizations (no commit/revert)
SELECT (credit_authorize('org-4', 10, name)).status FROM unnest('{orphan,fresh}'::text[]) AS name;
UPDATE credit_ledger SET created_at = now() - interval '2 hours', authorization_id = 'auth-abc123' WHERE campaign_id = 'orphan';
UPDATE credit_idempotency SET authorization_id = 'auth-abc123' WHERE campaign_id = 'orphan';
SELECT authorization_id, amount FROM (
SELECT authorization_id, amount, created_at
FROM credit_ledger
WHERE status = 'authorized'
AND created_at < now() - interval '1 hour'
) AS orphaned;
SELECT authorization_id, amount FROM credit_orphaned_authorizations();
SELECT count(*) FROM credit_orphaned_authorizations('3 hours');

SELECT * FROM credit_verify();
\c :suite_database
DROP DATABASE credit_ledger_reconciliation;
