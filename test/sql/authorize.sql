-- Authorizations: what a hold is and takes, who is refused one, and how the call replays.
--
-- Holds are taken until nothing is available, with credit limits and without, on frozen accounts and thawed ones; every
-- answer is compared with what the account says.
\getenv abs_srcdir PG_ABS_SRCDIR
\set include :abs_srcdir '/sql/include/refusal.sql'
\i :include

SELECT balance_after FROM credit_grant('auth-org', 100, 'opening');

-- A hold: the campaign is its key, the settings give timeout and action. It moves no balance and writes no entry.
SELECT org_id, campaign_id, status, amount, authorized_amount, refunded_amount, settled_at, settled_by, reason,
       available, replayed, expires_at - created_at AS timeout
FROM credit_authorize('auth-org', 40, 'campaign-1');
SELECT * FROM credit_balance('auth-org');
SELECT tableoid::regclass, campaign_id, idempotency_key, status, amount, authorized_amount, refunded_amount,
       timeout_action, settled_at, settled_by, reason, metadata
FROM credit_ledger WHERE org_id = 'auth-org';
SELECT entry_no, kind FROM credit_entry WHERE org_id = 'auth-org';
SELECT i.operation, i.idempotency_key, i.amount, i.campaign_id, i.authorization_id = l.authorization_id AS its_id, i.entry_no
FROM credit_idempotency i JOIN credit_ledger l USING (org_id)
WHERE org_id = 'auth-org' AND operation = 'authorize';

-- Its id is auth- and a ULID: the milliseconds of created_at, then 16 bits of the organisation, then chance.
CREATE FUNCTION pg_temp.milliseconds(authorization_id text) RETURNS numeric LANGUAGE sql AS $$
  SELECT sum((position(letter IN '0123456789ABCDEFGHJKMNPQRSTVWXYZ') - 1) * 32 ^ (10 - n))::numeric
  FROM string_to_table(substr(authorization_id, 6, 10), NULL) WITH ORDINALITY AS t (letter, n)
$$;
SELECT (credit_grant('auth-ulid-' || n, 1000, 'opening')).balance_after FROM generate_series(1, 3) AS n;
SELECT count((credit_authorize('auth-ulid-' || n, 1, 'campaign-' || i)).available)
FROM generate_series(1, 3) AS n, generate_series(1, 100) AS i;
SELECT count(DISTINCT authorization_id) AS ids,
       bool_and(authorization_id ~ '^auth-[0-7][0-9A-HJKMNP-TV-Z]{25}$') AS well_formed,
       bool_and(pg_temp.milliseconds(authorization_id) = floor(extract(epoch FROM created_at) * 1000)) AS of_its_time,
       count(DISTINCT substr(authorization_id, 16, 3)) AS organisations
FROM credit_ledger WHERE org_id LIKE 'auth-ulid-%';

-- Everything may be told; the campaign and the key are then two things, and a campaign may hold several times.
SELECT campaign_id, amount, available, replayed, expires_at - created_at AS timeout
FROM credit_authorize('auth-org', 10, 'campaign-1', 'campaign-1:2', '90 seconds', 'revert', '{"list": "spring"}');
SELECT campaign_id, amount, available, replayed FROM credit_authorize('auth-org', 5, idempotency_key => 'no campaign');
SELECT campaign_id, idempotency_key, timeout_action, metadata
FROM credit_ledger WHERE org_id = 'auth-org' ORDER BY idempotency_key;

-- Without being told, timeout and action are those of the settings.
BEGIN;
SET LOCAL credit_ledger.commit_timeout = '3min';
SET LOCAL credit_ledger.timeout_action = 'revert';
SELECT expires_at - created_at AS timeout FROM credit_authorize('auth-org', 1, 'settings');
SELECT timeout_action FROM credit_ledger WHERE org_id = 'auth-org' AND campaign_id = 'settings';
ROLLBACK;

-- A replay answers with the row as it stands and holds nothing more; timeout, action and metadata need not match.
SELECT a.campaign_id, a.status, a.amount, a.available, a.replayed, a.authorization_id = l.authorization_id AS same_id,
       a.expires_at = l.expires_at AS same_expiry
FROM credit_authorize('auth-org', 40, 'campaign-1') AS a
JOIN credit_ledger AS l ON l.org_id = a.org_id AND l.idempotency_key = 'campaign-1';
SELECT amount, available, replayed, expires_at - created_at AS timeout
FROM credit_authorize('auth-org', 10, 'campaign-1', 'campaign-1:2', '1 day', 'commit', '{}');
SELECT status, (credit_revert(authorization_id, 'not sent')).status AS then
FROM credit_ledger WHERE org_id = 'auth-org' AND idempotency_key = 'campaign-1:2';
SELECT status, amount, settled_by, reason, available, replayed
FROM credit_authorize('auth-org', 10, 'campaign-1', 'campaign-1:2');

-- Another organisation has keys of its own.
SELECT amount, replayed FROM credit_authorize('auth-ulid-1', 40, 'campaign-1:2');

\pset tuples_only on
\pset format unaligned
-- The same key with another amount or another campaign is refused, and says what is stored.
SELECT pg_temp.refusal($$SELECT credit_authorize('auth-org', 41, 'campaign-1')$$);
SELECT pg_temp.refusal($$SELECT credit_authorize('auth-org', 10, 'campaign-2', 'campaign-1:2')$$);
SELECT pg_temp.refusal($$SELECT credit_authorize('auth-org', 10, NULL, 'campaign-1:2')$$);
SELECT pg_temp.refusal($$SELECT credit_authorize('auth-org', 5, 'no campaign')$$);

-- 55 are available: 56 are refused and burn no key, 55 are not. Then there is nothing left.
SELECT pg_temp.refusal($$SELECT credit_authorize('auth-org', 56, 'campaign-3')$$);
SELECT amount, available, replayed FROM credit_authorize('auth-org', 55, 'campaign-3');
SELECT pg_temp.refusal($$SELECT credit_authorize('auth-org', 1, 'campaign-4')$$);
SELECT pg_temp.refusal($$SELECT credit_authorize('auth-org', 9223372036854775807, 'campaign-4')$$);

-- A replay is answered all the same. Topped up, what was refused goes through under the same key.
SELECT amount, available, replayed FROM credit_authorize('auth-org', 55, 'campaign-3');
SELECT available FROM credit_grant('auth-org', 1, 'top up');
SELECT amount, available, replayed FROM credit_authorize('auth-org', 1, 'campaign-4');

-- A credit limit lets holds go below zero, that far and no further; lowered again, it takes back no hold.
SELECT credit_limit FROM credit_account_configure('auth-org', credit_limit => 10);
SELECT amount, available FROM credit_authorize('auth-org', 4, 'on credit');
SELECT pg_temp.refusal($$SELECT credit_authorize('auth-org', 7, 'on more credit')$$);
SELECT amount, available FROM credit_authorize('auth-org', 6, 'on more credit');
SELECT credit_limit FROM credit_account_configure('auth-org', credit_limit => 0);
SELECT pg_temp.refusal($$SELECT credit_authorize('auth-org', 1, 'on no credit')$$);
SELECT (credit_commit(authorization_id)).available FROM credit_ledger WHERE org_id = 'auth-org' AND idempotency_key = 'on credit';

-- A frozen account gets no new hold, but its replays; and what it holds it can settle.
SELECT frozen FROM credit_account_configure('auth-ulid-2', frozen => true);
SELECT pg_temp.refusal($$SELECT credit_authorize('auth-ulid-2', 1, 'while frozen')$$);
SELECT pg_temp.refusal($$SELECT credit_authorize('auth-ulid-2', 100000, 'while frozen, and poor')$$);
SELECT pg_temp.refusal($$SELECT credit_authorize('auth-ulid-2', 2, 'campaign-1')$$);
SELECT status, replayed FROM credit_authorize('auth-ulid-2', 1, 'campaign-1');
SELECT (credit_commit(authorization_id)).status FROM credit_ledger
WHERE org_id = 'auth-ulid-2' AND idempotency_key = 'campaign-1';
SELECT (credit_revert(authorization_id)).status FROM credit_ledger
WHERE org_id = 'auth-ulid-2' AND idempotency_key = 'campaign-2';
SELECT (credit_extend(authorization_id, '2 hours')).status FROM credit_ledger
WHERE org_id = 'auth-ulid-2' AND idempotency_key = 'campaign-3';
SELECT balance_after FROM credit_grant('auth-ulid-2', 1, 'while frozen');
SELECT frozen FROM credit_account_configure('auth-ulid-2', frozen => false);
SELECT status, replayed FROM credit_authorize('auth-ulid-2', 1, 'while frozen');

-- The largest hold there is. No credit limit goes on top of it: balance and limit have to fit together.
SELECT available FROM credit_grant('auth-max', 9223372036854775807, 'opening');
SELECT amount, available FROM credit_authorize('auth-max', 9223372036854775807, 'everything');
SELECT pg_temp.refusal($$SELECT credit_authorize('auth-max', 1, 'one more')$$);
SELECT pg_temp.refusal($$SELECT credit_account_configure('auth-max', credit_limit => 1)$$);
SELECT (credit_revert(authorization_id)).available FROM credit_ledger WHERE org_id = 'auth-max';
SELECT * FROM credit_balance('auth-max');

SELECT * FROM credit_verify();
