-- What an account has follows from other rows: UPDATE of its credits, DELETE and TRUNCATE are refused, for superusers too.
\getenv abs_srcdir PG_ABS_SRCDIR
\set include :abs_srcdir '/sql/include/refusal.sql'
\i :include
\pset tuples_only on
\pset format unaligned

SELECT balance_after FROM credit_grant('guarded', 1000, 'opening');
SELECT available FROM credit_authorize('guarded', 100, 'campaign-1');

SELECT pg_temp.refusal(statement)
FROM (VALUES
  (1, $$UPDATE credit_account SET balance = 5000 WHERE org_id = 'guarded'$$),
  (2, $$UPDATE credit_account SET held = 0 WHERE org_id = 'guarded'$$),
  (3, $$UPDATE credit_account SET metadata = '{}', org_id = 'renamed' WHERE org_id = 'guarded'$$),
  (4, $$UPDATE credit_account SET lot_balance = 1, lot_held = 0, lot_expires_at = 'infinity' WHERE org_id = 'guarded'$$),
  (5, $$INSERT INTO credit_account SELECT * FROM credit_account ON CONFLICT (org_id) DO UPDATE SET balance = 5000$$),
  (6, $$MERGE INTO credit_account a USING (VALUES ('guarded')) v (id) ON v.id = a.org_id WHEN MATCHED THEN UPDATE SET balance = 1$$),
  (7, $$MERGE INTO credit_account a USING (VALUES ('guarded')) v (id) ON v.id = a.org_id WHEN MATCHED THEN DELETE$$),
  (8, $$DELETE FROM credit_account WHERE org_id = 'guarded'$$),
  (9, $$TRUNCATE credit_account$$),
  (10, $$SELECT credit_ledger_internal.account_guard()$$)
) AS v (n, statement) ORDER BY n;

-- An owner who is no superuser is refused as well.
BEGIN;
CREATE ROLE regress_credit_owner;
ALTER TABLE credit_account OWNER TO regress_credit_owner;
SET LOCAL ROLE regress_credit_owner;
SELECT pg_temp.refusal(statement)
FROM (VALUES (1, $$UPDATE credit_account SET balance = 5000$$), (2, $$DELETE FROM credit_account$$)) AS v (n, statement) ORDER BY n;
ROLLBACK;

-- What is no credit may be written; who has to mend damage says so, and verifies.
BEGIN;
ALTER TABLE credit_account ADD region text;
UPDATE credit_account SET region = 'eu', metadata = '{"plan": "pro"}' WHERE org_id = 'guarded';
SELECT balance, held, region, metadata FROM credit_account WHERE org_id = 'guarded';
ROLLBACK;
BEGIN;
SET LOCAL session_replication_role = replica;
UPDATE credit_account SET balance = 900 WHERE org_id = 'guarded';
SELECT org_id, check_name, expected, actual FROM credit_verify('guarded');
ROLLBACK;

-- Calls go on, and delete nothing.
SELECT status, available FROM credit_revert((SELECT authorization_id FROM credit_ledger WHERE org_id = 'guarded'));
SELECT * FROM credit_verify();
