-- Goal: no answer lets its reader believe what is not so: that something is held, that a misspelt organisation exists.
-- Method: in a database of its own, make the mistakes of a newcomer and of a retried job, and read what comes back; let a
-- timeout decide, and look for it in what people look at.
\set QUIET on
\set home :DBNAME
CREATE DATABASE credit_ledger_told TEMPLATE template0;
\c credit_ledger_told
SET client_min_messages = warning;
CREATE EXTENSION credit_ledger;
RESET client_min_messages;
SELECT FROM credit_grant('told', 1000, 'opening');
SELECT authorization_id AS spring FROM credit_authorize('told', 100, 'spring') \gset
SELECT authorization_id AS summer FROM credit_authorize('told', 100, 'summer') \gset
SELECT authorization_id AS autumn FROM credit_authorize('told', 100, 'autumn') \gset
SELECT authorization_id AS winter FROM credit_authorize('told', 100, 'winter') \gset

-- A live hold is repeated without a word.
SELECT status, replayed FROM credit_authorize('told', 100, 'spring');

-- One that is over is not.
SELECT status FROM credit_revert(:'spring');
SELECT status FROM credit_commit(:'summer', 97);
SELECT credit_sweep(now() + interval '1 hour', org_id => 'told');
SELECT status, replayed FROM credit_authorize('told', 100, 'spring');
SELECT status, replayed FROM credit_authorize('told', 100, 'summer');
SELECT status, replayed FROM credit_authorize('told', 100, 'autumn');
SET credit_ledger.true_up_window = 0;
SELECT status, replayed FROM credit_authorize('told', 100, 'winter');
RESET credit_ledger.true_up_window;
SELECT ord, status, replayed FROM credit_authorize_many('{told,told}', '{100,5}', '{spring,new}');

-- A charge that repeats one is silent; one that repeats something else is not.
SELECT status FROM credit_charge('told', 5, 'paid');
SELECT status, replayed FROM credit_charge('told', 5, 'paid');
SELECT status, replayed FROM credit_charge('told', 100, 'spring');
SELECT status, replayed FROM credit_charge('told', 5, 'new');
SELECT ord, status, replayed FROM credit_charge_many('{told}', '{5}', '{new}');

-- Misspelt.
SELECT credit_account_configure('tolld', frozen => true);
SELECT credit_account_configure('tolld', frozen => false);
SELECT credit_limit FROM credit_account_configure('told-2', credit_limit => 1);
SELECT credit_limit FROM credit_account_configure('told-2', credit_limit => 2);
SELECT credit_balance('tolld');
SELECT credit_verify('tolld');
SELECT credit_sweep(org_id => 'tolld');
SELECT credit_commit('spring');
SELECT credit_commit('auth-spring');
SELECT credit_authorize('told', 5);

-- What the timeout decided.
SELECT campaign_id, status, authorized_amount, charged, correctable_until - settled_at AS time FROM credit_provisional
WHERE org_id = 'told' ORDER BY campaign_id;
SELECT kind, amount, campaign_id, settled_by FROM credit_statement('told') ORDER BY entry_no, campaign_id;
SELECT frozen FROM credit_account_configure('told', frozen => true);
SELECT available, frozen FROM credit_balance('told');
SELECT check_name, status, detail ~ '^\d+ of \d+ in the last hour, the newest: authorization "auth-\w+" of organisation "told"$' AS named
FROM credit_health() WHERE check_name = 'settled_by_timeout';

-- Among many that were settled, a few are no reason to warn.
BEGIN;
SELECT balance_after FROM credit_grant('told-many', 1000, 'opening');
SELECT count(*) FROM credit_charge_many(array_fill('told-many'::text, '{1000}'), array_fill(1::bigint, '{1000}'),
  idempotency_keys => ARRAY(SELECT n::text FROM generate_series(1, 1000) n));
SELECT status, what_to_do FROM credit_health() WHERE check_name = 'settled_by_timeout';
-- Where so much is settled that a part of the hour tells, no more is read. Two of these were settled a quarter of an hour ago.
INSERT INTO credit_ledger_settled (authorization_id, org_id, idempotency_key, status, amount, authorized_amount, timeout_action, created_at,
  expires_at, settled_at, settled_by)
SELECT 'auth-told-' || i, 'told', i, 'committed', 1, 1, 'commit', at, at, at, CASE WHEN i < 3 THEN 'timeout' ELSE 'caller' END::credit_actor
FROM generate_series(1, 50001) i, LATERAL (VALUES (now() - CASE WHEN i < 3 THEN interval '15 minutes' ELSE '3 minutes' END)) v (at);
SELECT status, substring(detail FROM '^.* minutes') AS told FROM credit_health() WHERE check_name = 'settled_by_timeout';
ROLLBACK;

-- Corrected in one statement, once.
SELECT authorization_id IN (:'autumn', :'winter') AS named, status, amount, settled_by, replayed
FROM credit_commit_many(
  ARRAY(SELECT p.authorization_id FROM credit_provisional p WHERE p.org_id = 'told' ORDER BY p.authorization_id),
  ARRAY(SELECT 97 FROM credit_provisional p WHERE p.org_id = 'told' ORDER BY p.authorization_id))
ORDER BY amount;
SELECT count(*) FROM credit_provisional WHERE org_id = 'told';

SELECT * FROM credit_verify();
\c :home
DROP DATABASE credit_ledger_told;
