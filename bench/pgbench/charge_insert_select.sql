-- The floor of charge_many.sql: the rows that it writes, by INSERT ... SELECT, and those of the accounts by UPDATE, in one
-- statement; into tables with the same indexes and constraints. It checks nothing and looks for no key that was used before.
\set n :n + 1
WITH new AS MATERIALIZED (
  SELECT 'auth-' || lpad((:run * 1000000000::bigint + :n * 1000 + i)::text, 26, '0') AS id,
         'org-' || 1 + (:n * 1000 + i) * 7919 % :orgs AS org, 'c-' || :run || '-' || :n || '-' || i AS campaign,
         clock_timestamp() AS at, :run * 1000000000::bigint + :n * 1000 + i AS no
  FROM generate_series(1, 1000) i
), keys AS (
  INSERT INTO credit_idempotency SELECT org, 'authorize', campaign, 90, campaign, id, NULL, at FROM new
), settled AS (
  INSERT INTO credit_ledger_settled
  SELECT id, org, campaign, campaign, 'committed', 90, 90, NULL, 0, 'commit', at, at, at, 'caller' FROM new
), accounts AS (
  UPDATE credit_account a
  SET balance = a.balance - n.amount, last_entry_no = a.last_entry_no + n.entries, updated_at = n.at
  FROM (SELECT org, sum(90)::bigint AS amount, count(*) AS entries, max(at) AS at FROM new GROUP BY org) n
  WHERE a.org_id = n.org
) INSERT INTO credit_entry
  SELECT org, no, 'commit', -90, id, NULL, NULL, 0, at FROM new;
