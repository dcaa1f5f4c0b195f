-- Accounts: what can be configured, what is left as it is, and what an organisation has.
\getenv abs_srcdir PG_ABS_SRCDIR
\set include :abs_srcdir '/sql/include/refusal.sql'
\i :include

-- Configuring creates the account, with what is not told at its default; but none only to freeze it.
SELECT org_id, balance, held, credit_limit, overage_limit, low_balance_threshold, frozen, last_entry_no, metadata,
       created_at <= updated_at AS in_order
FROM credit_account_configure('account-a');
SELECT org_id, credit_limit, overage_limit, low_balance_threshold, frozen, metadata
FROM credit_account_configure('account-b', 100, 20, 50, true, '{"plan": "gold"}');
SELECT balance FROM credit_account_configure('account-b');
SELECT org_id, credit_limit, overage_limit, low_balance_threshold, frozen, metadata
FROM credit_account_configure('account-b', 100, 20, 50, true, '{"plan": "gold"}');
SELECT org_id, credit_limit, overage_limit, low_balance_threshold, frozen, metadata
FROM credit_account WHERE org_id IN ('account-a', 'account-b') ORDER BY org_id;

-- One thing at a time; NULL leaves a thing as it is.
SELECT credit_limit, overage_limit, low_balance_threshold, frozen, metadata
FROM credit_account_configure('account-b', credit_limit => 0);
SELECT credit_limit, overage_limit, low_balance_threshold, frozen, metadata
FROM credit_account_configure('account-b', overage_limit => 0);
SELECT credit_limit, overage_limit, low_balance_threshold, frozen, metadata
FROM credit_account_configure('account-b', low_balance_threshold => -10);
SELECT credit_limit, overage_limit, low_balance_threshold, frozen, metadata
FROM credit_account_configure('account-b', frozen => false);
SELECT credit_limit, overage_limit, low_balance_threshold, frozen, metadata
FROM credit_account_configure('account-b', metadata => '{}');
SELECT credit_limit, overage_limit, low_balance_threshold, frozen, metadata, created_at < updated_at AS updated
FROM credit_account_configure('account-b');

-- The answer is the row.
CREATE TEMP TABLE answer AS SELECT * FROM credit_account_configure('account-b', credit_limit => 7);
SELECT credit_limit, to_jsonb(answer) = (SELECT to_jsonb(a) FROM credit_account AS a WHERE a.org_id = 'account-b') AS the_row
FROM answer;

-- Grants keep what was configured; available = balance - held + credit_limit.
SELECT * FROM credit_balance('account-b');
SELECT balance_after, available FROM credit_grant('account-b', 10, 'opening');
SELECT available FROM credit_authorize('account-b', 15, 'campaign');
SELECT * FROM credit_balance('account-b');
SELECT credit_limit, overage_limit, low_balance_threshold, frozen, metadata FROM credit_account WHERE org_id = 'account-b';

\pset tuples_only on
\pset format unaligned
-- Bad limits are refused, and leave no account.
SELECT pg_temp.refusal($$SELECT credit_account_configure('account-c', credit_limit => -1)$$);
SELECT pg_temp.refusal($$SELECT credit_account_configure('account-c', overage_limit => -1)$$);
SELECT count(*) FROM credit_account WHERE org_id = 'account-c';

-- A limit that would take what is available past bigint is refused, not wrapped.
SELECT pg_temp.refusal($$SELECT credit_account_configure('account-b', credit_limit => 9223372036854775807)$$);
SELECT credit_limit FROM credit_account_configure('account-a', credit_limit => 9223372036854775807);
SELECT * FROM credit_balance('account-a');
SELECT pg_temp.refusal($$SELECT credit_grant('account-a', 1, 'one more')$$);
SELECT credit_limit FROM credit_account_configure('account-a', credit_limit => 0);
SELECT * FROM credit_balance('account-a');

-- What was written while the clock was ahead dates what follows, but a hold has its time by the clock on the wall; and
-- somebody is told.
SELECT balance_after FROM credit_grant('account-ahead', 10, 'opening');
UPDATE credit_account SET updated_at = '2100-01-01Z' WHERE org_id = 'account-ahead';
SELECT created_at = '2100-01-01Z' AS dated_ahead, expires_at BETWEEN now() AND now() + interval '2 min' AS in_time
FROM credit_authorize('account-ahead', 1, 'hold', timeout => '1 min');
SELECT status, detail ~ '^1, .* "account-ahead": ' AS named FROM credit_health() WHERE check_name = 'accounts_from_the_future';

SELECT * FROM credit_verify();
