-- What accounts, authorizations and lots say follows from other rows: UPDATE of credits, DELETE and TRUNCATE are refused,
-- for superusers too.
\getenv abs_srcdir PG_ABS_SRCDIR
\set include :abs_srcdir '/sql/include/refusal.sql'
\i :include
\pset tuples_only on
\pset format unaligned

SELECT balance_after FROM credit_grant('guarded', 1000, 'opening');
SELECT available FROM credit_authorize('guarded', 100, 'campaign-1');
SELECT balance_after FROM credit_grant('guarded', 10, 'bonus', expires_at => '2100-01-01');

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
  (10, $$SELECT credit_ledger_internal.account_guard()$$),
  (11, $$UPDATE credit_ledger SET amount = 10, authorized_amount = 10$$),
  (12, $$UPDATE credit_ledger_open SET status = 'reverted', settled_at = now(), settled_by = 'caller'$$),
  (13, $$UPDATE credit_ledger_settled SET refunded_amount = 5 WHERE status = 'committed'$$),
  (14, $$UPDATE credit_ledger_settled_default SET amount = 5$$),
  (15, $$DELETE FROM credit_ledger WHERE org_id = 'guarded'$$),
  (16, $$DELETE FROM credit_ledger_open$$),
  (17, $$TRUNCATE credit_ledger$$),
  (18, $$TRUNCATE credit_ledger_open$$),
  (19, $$UPDATE credit_lot SET remaining = 5$$),
  (20, $$DELETE FROM credit_lot$$),
  (21, $$TRUNCATE credit_lot$$)
) AS v (n, statement) ORDER BY n;

-- An owner who is no superuser is refused as well.
BEGIN;
CREATE ROLE regress_credit_owner;
ALTER TABLE credit_account OWNER TO regress_credit_owner;
SET LOCAL ROLE regress_credit_owner;
SELECT pg_temp.refusal(statement)
FROM (VALUES (1, $$UPDATE credit_account SET balance = 5000$$), (2, $$DELETE FROM credit_account$$)) AS v (n, statement) ORDER BY n;
ROLLBACK;

-- On somebody's own table, with whatever columns and however the trigger is made, they refuse all the same.
BEGIN;
CREATE TABLE others (org_id integer);
INSERT INTO others VALUES (1);
CREATE TABLE nameless (a integer);
INSERT INTO nameless VALUES (1);
CREATE FUNCTION pg_temp.refused_on(relation text, way text, guard text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  result text;
BEGIN
  EXECUTE format('CREATE TRIGGER guard AFTER DELETE ON %s %s EXECUTE FUNCTION credit_ledger_internal.%s()', relation, way, guard);
  result := split_part(pg_temp.refusal('DELETE FROM ' || relation), E'\n  DETAIL', 1);
  EXECUTE format('DROP TRIGGER guard ON %s', relation);
  RETURN result;
END
$$;
SELECT pg_temp.refused_on(relation, way, guard)
FROM (VALUES (1, 'others'), (2, 'nameless')) AS r (i, relation),
     (VALUES (1, 'FOR EACH ROW', 'entry_append_only'), (2, 'FOR EACH ROW', 'account_guard'),
             (3, 'REFERENCING OLD TABLE AS deleted FOR EACH STATEMENT', 'lot_guard')) AS w (j, way, guard)
ORDER BY i, j;
ROLLBACK;

-- What is no credit may be written; who has to mend damage says so, and verifies.
BEGIN;
ALTER TABLE credit_account ADD region text;
UPDATE credit_account SET region = 'eu', metadata = '{"plan": "pro"}' WHERE org_id = 'guarded';
SELECT balance, held, region, metadata FROM credit_account WHERE org_id = 'guarded';
UPDATE credit_ledger SET metadata = '{"batch": 7}', reason = 'none yet' WHERE org_id = 'guarded' RETURNING metadata, reason;
DELETE FROM credit_ledger WHERE org_id = 'nobody';
ROLLBACK;
BEGIN;
SET LOCAL session_replication_role = replica;
UPDATE credit_account SET balance = 900 WHERE org_id = 'guarded';
SELECT org_id, check_name, expected, actual FROM credit_verify('guarded');
ROLLBACK;

-- Calls go on, and delete nothing.
SELECT status, available FROM credit_revert((SELECT authorization_id FROM credit_ledger WHERE org_id = 'guarded'));
SELECT amount FROM credit_void('guarded', 2, 'withdrawn');
SELECT * FROM credit_verify();
