-- The rows that charge.sql writes, by one statement of plain SQL into tables with the same indexes and constraints. It checks
-- nothing, looks for no key that was used before, and takes the credits whether they are there or not.
\set org random(1, :orgs)
\set n :n + 1
WITH new AS MATERIALIZED (
  SELECT 'auth-' || lpad((:run * 1000000000000::bigint + :client_id * 1000000000::bigint + :n)::text, 26, '0') AS id,
         'org-' || :org AS org, 'c-' || :run || '-' || :client_id || '-' || :n AS campaign, clock_timestamp() AS at
), account AS (
  UPDATE credit_account SET balance = balance - 90, last_entry_no = last_entry_no + 1, updated_at = clock_timestamp()
  WHERE org_id = 'org-' || :org
  RETURNING last_entry_no
), key AS (
  INSERT INTO credit_idempotency SELECT org, 'authorize', campaign, 90, campaign, id, NULL, at FROM new
), settled AS (
  INSERT INTO credit_ledger_settled
  SELECT id, org, campaign, campaign, 'committed', 90, 90, NULL, 0, 'commit', at, at, at, 'caller' FROM new
) INSERT INTO credit_entry SELECT org, last_entry_no, 'commit', -90, id, NULL, NULL, 0, at FROM new, account;
