\set ECHO none
-- A database of its own, since reconciliation judges every organisation there is; with one usage source, the table
-- public.usage, and pg_temp.campaign(): a campaign that was authorized, settled and used at given instants.
\set suite_database :DBNAME
\c postgres
SET client_min_messages = warning;
DROP DATABASE IF EXISTS credit_ledger_reconciliation WITH (FORCE);
CREATE DATABASE credit_ledger_reconciliation;
\c credit_ledger_reconciliation
\getenv abs_srcdir PG_ABS_SRCDIR
\set include :abs_srcdir '/sql/include/refusal.sql'
\i :include
\set ECHO none
SET TimeZone = 'UTC';
SET DateStyle = 'ISO';
SET client_min_messages = warning;
CREATE EXTENSION credit_ledger;
RESET client_min_messages;
CREATE TABLE usage (org_id text, campaign_id text, used_at timestamptz, quantity bigint);
CREATE INDEX ON usage (org_id, campaign_id);
CREATE INDEX ON usage (used_at);

-- Authorizes 100 credits (more if more is used) and commits charged; NULL: reverts.
CREATE FUNCTION pg_temp.campaign(org text, campaign text, charged bigint, created timestamptz, settled timestamptz,
                                 key text = NULL) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  id text;
BEGIN
  SELECT a.authorization_id INTO id FROM credit_authorize(org, greatest(charged, 100), campaign, key) a;
  IF charged IS NULL THEN
    PERFORM credit_revert(id);
  ELSE
    PERFORM credit_commit(id, charged);
  END IF;
  UPDATE credit_ledger l SET created_at = created, expires_at = created + interval '10 minutes', settled_at = settled
  WHERE l.authorization_id = id;
END
$$;
\set ECHO all
