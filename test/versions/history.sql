-- A ledger with everything in it: holds open, open in parts, settled by their caller, by timeout, corrected; lots,
-- refunds, partitions with rows in them, findings, an alert, and a role of every level.

CREATE ROLE watcher;
CREATE ROLE application;
CREATE ROLE banker;
CREATE SCHEMA credits;
CREATE EXTENSION credit_ledger SCHEMA credits;
SELECT credit_grant_privileges('watcher', 'reader'), credit_grant_privileges('application', 'app'),
       credit_grant_privileges('banker', 'operator');
CREATE TABLE public.campaign (name text PRIMARY KEY, authorization_id text NOT NULL);
GRANT ALL ON public.campaign TO application, banker;

SELECT credit_account_configure(org, credit_limit => 50, overage_limit => 5, metadata => '{"plan": "gold"}'),
       credit_grant(org, 1000, 'plan', 'bought', '{"invoice": 7}'),
       credit_grant(org, 300, 'bonus', expires_at => now() + interval '1 year', priority => 1),
       credit_grant(org, 100, 'gift', expires_at => now() + interval '2 years')
FROM unnest('{acme,globex}'::text[]) org;
SELECT credit_account_configure('acme', low_balance_threshold => 10000);

-- What is settled so far stands in the default partitions, what comes later in those of the months.
INSERT INTO public.campaign
  SELECT name, (credit_authorize('acme', 10, name, timeout => '1 minute', timeout_action => action)).authorization_id
  FROM (VALUES ('charged early', 'commit'), ('charged by timeout', 'commit'), ('corrected', 'commit'),
               ('given back by timeout', 'revert'::credit_timeout_action)) AS v (name, action);
SELECT credit_commit(authorization_id, 7) FROM public.campaign WHERE name = 'charged early';
SELECT credit_create_partition('credit_ledger_settled', clock_timestamp(), 'infinity');
SELECT credit_create_partition('credit_entry', clock_timestamp(), 'infinity');

INSERT INTO public.campaign
  SELECT name, (credit_authorize('globex', 10, name, timeout => '100 days')).authorization_id
  FROM unnest('{charged,given back,refunded,partly refunded,in parts,in parts and stopped}'::text[]
              || '{open before 17,open after 15,open before 18,open after 17}'::text[]) name;
SELECT credit_commit(authorization_id, 9) FROM public.campaign WHERE name IN ('charged', 'refunded', 'partly refunded');
SELECT credit_revert(authorization_id, 'not sent') FROM public.campaign WHERE name = 'given back';
SELECT credit_refund(authorization_id, 'all of it') FROM public.campaign WHERE name = 'refunded';
SELECT credit_refund(authorization_id, 'a part', 4) FROM public.campaign WHERE name = 'partly refunded';
SELECT credit_commit(authorization_id, 4, final => false) FROM public.campaign WHERE name LIKE 'in parts%';
SELECT credit_revert(authorization_id, 'stopped') FROM public.campaign WHERE name = 'in parts and stopped';
SELECT credit_adjust('globex', -13, 'goodwill', 'withdrawn');
SELECT credit_void('globex', lot_no, 'a mistake') FROM credit_lots('globex') WHERE lot_no IS NOT NULL
  ORDER BY lot_no DESC LIMIT 1;
SELECT credit_sweep(now() + interval '2 minutes');
SELECT credit_commit(authorization_id, 8) FROM public.campaign WHERE name = 'corrected';

CREATE TABLE public.usage (org_id text, campaign_id text, used_at timestamptz, quantity bigint);
INSERT INTO public.usage VALUES ('acme', 'never authorized', now(), 50), ('globex', 'never authorized', now(), 60);
SELECT credit_usage_source_register('usage', 'public.usage');
SELECT credit_run_reconciliation();
SELECT credit_resolve_finding(finding_id, 'adjust') FROM credit_finding
WHERE org_id = 'acme' AND campaign_id = 'never authorized';
