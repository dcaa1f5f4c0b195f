-- What the authorizations of history.sql used, as an application reports it: a row each, found by campaign and by time.
-- Wants search_path = extension.

CREATE TABLE public.usage AS
SELECT org_id, campaign_id, created_at AS used_at, amount AS quantity FROM credit_ledger;
CREATE INDEX ON public.usage (org_id, campaign_id);
CREATE INDEX ON public.usage USING brin (used_at);
VACUUM ANALYZE;
SELECT credit_usage_source_register('usage', 'public.usage');
