-- Entries are append-only, for the tables' owner too, on the parent and on the leaves.
BEGIN;
SET LOCAL client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS credit_ledger;
SELECT plan(13);

SELECT credit_grant('append-only', 1000, 'opening') IS NULL AS prepared \gset
SELECT credit_create_partition('credit_entry', '2001-01-01Z', '2001-02-01Z') AS made \gset
INSERT INTO credit_entry (org_id, entry_no, kind, amount, balance_after, created_at)
VALUES ('append-only', 2, 'grant', 1, 1001, '2001-01-15Z');
SELECT is((SELECT tableoid::regclass::text FROM credit_entry WHERE org_id = 'append-only' AND entry_no = 2), 'credit_entry_20010101',
          'an entry stands in a partition made later');

SELECT throws_ok(format(statement, relation), '23001', NULL, format(statement, relation))
FROM string_to_table('credit_entry credit_entry_default credit_entry_20010101', ' ') AS relation,
     (VALUES ($$UPDATE %s SET amount = 2 WHERE org_id = 'append-only'$$),
             ($$DELETE FROM %s WHERE org_id = 'append-only'$$),
             ('TRUNCATE %s')) AS v (statement);

-- An owner who is no superuser is refused as well.
CREATE ROLE credit_test_owner;
ALTER TABLE credit_entry OWNER TO credit_test_owner;
ALTER TABLE credit_entry_default OWNER TO credit_test_owner;
SET LOCAL ROLE credit_test_owner;
SELECT throws_ok($$UPDATE credit_entry SET amount = 2$$, '23001', NULL, 'UPDATE by an owner');
SELECT throws_ok($$DELETE FROM credit_entry_default$$, '23001', NULL, 'DELETE by an owner');
SELECT throws_ok($$TRUNCATE credit_entry_default$$, '23001', NULL, 'TRUNCATE by an owner');
RESET ROLE;

SELECT * FROM finish();
ROLLBACK;
