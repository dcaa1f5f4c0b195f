-- The rows that pair.sql writes, moves and removes, by two statements of plain SQL on tables with the same indexes and
-- constraints. They check nothing, look for no key that was used before, and take the credits whether they are there or not.
\set org random(1, :orgs)
\set n :n + 1
WITH new AS MATERIALIZED (
  SELECT 'auth-' || lpad((:run * 1000000000000::bigint + :client_id * 1000000000::bigint + :n)::text, 26, '0') AS id,
         'org-' || :org AS org, 'c-' || :run || '-' || :client_id || '-' || :n AS campaign, clock_timestamp() AS at
), account AS (
  UPDATE credit_account SET held = held + 100, updated_at = clock_timestamp() WHERE org_id = 'org-' || :org
), key AS (
  INSERT INTO credit_idempotency SELECT org, 'authorize', campaign, 100, campaign, id, NULL, at FROM new
) INSERT INTO credit_ledger_open
  SELECT id, org, campaign, campaign, 'authorized', 100, 100, NULL, 0, 'commit', at, at + interval '10 min' FROM new
  RETURNING authorization_id \gset
WITH gone AS (
  DELETE FROM credit_ledger_open WHERE authorization_id = :authorization_id RETURNING *
), account AS (
  UPDATE credit_account
  SET held = held - 100, balance = balance - 90, last_entry_no = last_entry_no + 1, updated_at = clock_timestamp()
  WHERE org_id = 'org-' || :org
  RETURNING last_entry_no
), settled AS (
  INSERT INTO credit_ledger_settled
  SELECT authorization_id, org_id, campaign_id, idempotency_key, 'committed', 90, authorized_amount, NULL, 0, timeout_action,
         created_at, expires_at, clock_timestamp(), 'caller', NULL, metadata
  FROM gone
) INSERT INTO credit_entry
  SELECT org_id, last_entry_no, 'commit', -90, authorization_id, NULL, NULL, 0, clock_timestamp() FROM gone, account;
