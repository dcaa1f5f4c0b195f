-- A shard compares with what was used: the application's rows, which are in the router's database here, and of them those of
-- its own organisations.

CREATE EXTENSION postgres_fdw;
CREATE SERVER application FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host :'host', port :'port', dbname :'router');
CREATE USER MAPPING FOR PUBLIC SERVER application;
CREATE FOREIGN TABLE sends (org_id text, campaign_id text, status text, sent_at timestamptz) SERVER application;
CREATE VIEW sent_mails AS
SELECT s.org_id, s.campaign_id, s.sent_at AS used_at, 1::bigint AS quantity
FROM sends s
WHERE s.status = 'sent' AND credit_ledger_internal.is_ours(s.org_id);
SELECT credit_usage_source_register('mails', 'sent_mails');
