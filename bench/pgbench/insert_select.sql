-- The floor of many.sql: the rows that it writes, by INSERT ... SELECT, and those of the accounts by UPDATE, in one statement
-- each; into tables with the same indexes and constraints. It checks nothing and looks for no key that was used before.
\set n :n + 1
WITH new AS MATERIALIZED (
  SELECT 'auth-' || lpad((:run * 1000000000::bigint + :n * 1000 + i)::text, 26, '0') AS id,
         'org-' || 1 + (:n * 1000 + i) * 7919 % :orgs AS org, 'c-' || :run || '-' || :n || '-' || i AS campaign,
         clock_timestamp() AS at
  FROM generate_series(1, 1000) i
), keys AS (
  INSERT INTO credit_idempotency SELECT org, 'authorize', campaign, 100, campaign, id, NULL, at FROM new
), holds AS (
  INSERT INTO credit_ledger_open
  SELECT id, org, campaign, campaign, 'authorized', 100, 100, NULL, 0, 'commit', at, at + interval '10 min' FROM new
  RETURNING authorization_id
), accounts AS (
  UPDATE credit_account a SET held = a.held + n.amount, updated_at = n.at
  FROM (SELECT org, sum(100)::bigint AS amount, max(at) AS at FROM new GROUP BY org) n
  WHERE a.org_id = n.org
) SELECT array_agg(authorization_id)::text AS ids FROM holds \gset
WITH gone AS (
  DELETE FROM credit_ledger_open WHERE authorization_id = ANY (:ids::text[]) RETURNING *
), settled AS (
  INSERT INTO credit_ledger_settled
  SELECT authorization_id, org_id, campaign_id, idempotency_key, 'committed', 90, authorized_amount, NULL, 0, timeout_action,
         created_at, expires_at, clock_timestamp(), 'caller', NULL, metadata
  FROM gone
), accounts AS (
  UPDATE credit_account a
  SET held = a.held - g.held, balance = a.balance - g.amount, last_entry_no = a.last_entry_no + g.entries, updated_at = clock_timestamp()
  FROM (SELECT org_id, sum(amount)::bigint AS held, 90 * count(*) AS amount, count(*) AS entries FROM gone GROUP BY org_id) g
  WHERE a.org_id = g.org_id
) INSERT INTO credit_entry
  SELECT org_id, :run * 1000000000::bigint + :n * 1000 + row_number() OVER (), 'commit', -90, authorization_id, NULL, NULL,
         0, clock_timestamp()
  FROM gone;
