-- The incident that docs/runbook.md starts from. Ids and instants are set by hand, so that they can stand in the
-- document: these are the rows of a ledger that was taken over from elsewhere, and ids of another form stay as they are.

CREATE EXTENSION credit_ledger;

CREATE TABLE campaigns (id text PRIMARY KEY, title text NOT NULL, status text NOT NULL);
CREATE TABLE sends (
  id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  org_id      text NOT NULL,
  campaign_id text NOT NULL REFERENCES campaigns,
  status      text NOT NULL,
  sent_at     timestamptz NOT NULL DEFAULT '2026-01-05 09:05:00+00'
);

INSERT INTO campaigns VALUES
  ('campaign-id-here', 'Spring sale', 'sent'),
  ('campaign-2', 'Newsletter 7', 'failed'),
  ('campaign-3', 'Black Friday', 'sent'),
  ('campaign-4', 'Welcome', 'sent'),
  ('campaign-5', 'Welcome again', 'sent');
INSERT INTO sends (org_id, campaign_id, status)
SELECT 'org-id-here', 'campaign-id-here', 'sent' FROM generate_series(1, 100);
INSERT INTO sends (org_id, campaign_id, status)
SELECT 'org-id-here', 'campaign-2', 'failed' FROM generate_series(1, 60);
INSERT INTO sends (org_id, campaign_id, status)
SELECT 'org-3', 'campaign-3', CASE WHEN n <= 187 THEN 'sent' ELSE 'bounced' END FROM generate_series(1, 200) AS n;
INSERT INTO sends (org_id, campaign_id, status)
SELECT 'org-4', campaign_id, 'sent' FROM generate_series(1, 97), (VALUES ('campaign-4'), ('campaign-5')) AS c (campaign_id);

SELECT credit_grant('org-id-here', 1000, idempotency_key => 'invoice-1'),
       credit_grant('org-3', 1000, idempotency_key => 'invoice-2'),
       credit_grant('org-4', 1000, idempotency_key => 'invoice-3');

-- Sent, and its worker died: nobody committed.
SELECT credit_authorize('org-id-here', 100, campaign_id => 'campaign-id-here');
-- Failed, and its worker died: nobody reverted.
SELECT credit_authorize('org-id-here', 60, campaign_id => 'campaign-2');
-- Sent to 187 of 200, and its worker died: the timeout will commit all of it.
SELECT credit_authorize('org-3', 200, campaign_id => 'campaign-3');
-- Sent to 97 of 100 each.
SELECT credit_authorize('org-4', 100, campaign_id => 'campaign-4'), credit_authorize('org-4', 100, campaign_id => 'campaign-5');

UPDATE credit_ledger l
SET authorization_id = kept.authorization_id, created_at = kept.created_at, expires_at = kept.created_at + interval '10 minutes'
FROM (VALUES ('campaign-id-here', 'auth-abc123', '2026-01-05 09:00:00+00'::timestamptz),
             ('campaign-2', 'auth-def456', '2026-01-05 09:30:00+00'),
             ('campaign-3', 'auth-ghi789', '2026-01-05 08:00:00+00'),
             ('campaign-4', 'auth-jkl012', '2026-01-05 08:00:00+00'),
             ('campaign-5', 'auth-mno345', '2026-01-05 08:00:00+00')) AS kept (campaign_id, authorization_id, created_at)
WHERE l.campaign_id = kept.campaign_id;

UPDATE credit_idempotency i SET authorization_id = l.authorization_id
FROM credit_ledger l
WHERE i.operation = 'authorize' AND i.org_id = l.org_id AND i.idempotency_key = l.idempotency_key;

SELECT credit_sweep(as_of => '2026-01-05 08:30:00+00');
