-- Entries are append-only, for the owner too: UPDATE, DELETE and TRUNCATE are refused on the table and on each leaf.
\getenv abs_srcdir PG_ABS_SRCDIR
\set include :abs_srcdir '/sql/include/refusal.sql'
\i :include
\pset tuples_only on
\pset format unaligned

SELECT balance_after FROM credit_grant('append-only', 1000, 'opening');
SELECT balance_after FROM credit_grant('append-only', 500, 'second');

BEGIN;
SELECT credit_create_partition('credit_entry', '2001-01-01Z', '2001-02-01Z');
CREATE TABLE append_only_by_hand PARTITION OF credit_entry FOR VALUES FROM ('2001-02-01Z') TO ('2001-03-01Z');
SELECT pg_temp.refusal(statement)
FROM (VALUES
  (1, $$UPDATE credit_entry SET amount = 1 WHERE org_id = 'append-only'$$),
  (2, $$UPDATE credit_entry_default SET reason = 'nicer' WHERE org_id = 'append-only' AND entry_no = 2$$),
  (3, $$UPDATE credit_entry SET created_at = '2001-01-15' WHERE org_id = 'append-only'$$),
  (4, $$DELETE FROM credit_entry WHERE org_id = 'append-only'$$),
  (5, $$DELETE FROM credit_entry_default WHERE org_id = 'append-only' AND entry_no = 2$$),
  (6, $$INSERT INTO credit_entry_default SELECT * FROM credit_entry_default WHERE org_id = 'append-only'
        ON CONFLICT (org_id, entry_no) DO UPDATE SET amount = 1$$),
  (7, $$TRUNCATE credit_entry$$),
  (8, $$TRUNCATE credit_entry_default$$),
  (9, $$TRUNCATE credit_entry_20010101$$),
  (10, $$TRUNCATE credit_account, credit_entry, credit_ledger, credit_idempotency$$)
) AS v (n, statement) ORDER BY n;

-- A row that got into another leaf is as safe there.
INSERT INTO credit_entry SELECT org_id, 3, kind, 1, authorization_id, 'third', reason, 1501, '2001-01-15Z', metadata
FROM credit_entry WHERE org_id = 'append-only' AND entry_no = 2;
INSERT INTO credit_entry SELECT org_id, 4, kind, 1, authorization_id, 'fourth', reason, 1502, '2001-02-15Z', metadata
FROM credit_entry WHERE org_id = 'append-only' AND entry_no = 2;
SELECT tableoid::regclass, entry_no FROM credit_entry WHERE org_id = 'append-only' ORDER BY entry_no;
SELECT pg_temp.refusal(statement)
FROM (VALUES
  (1, $$UPDATE credit_entry_20010101 SET amount = 2$$),
  (2, $$DELETE FROM credit_entry_20010101$$),
  (3, $$UPDATE append_only_by_hand SET amount = 2$$),
  (4, $$DELETE FROM append_only_by_hand$$)
) AS v (n, statement) ORDER BY n;
ROLLBACK;

-- An owner who is no superuser is refused as well.
BEGIN;
CREATE ROLE regress_credit_owner;
ALTER TABLE credit_entry OWNER TO regress_credit_owner;
ALTER TABLE credit_entry_default OWNER TO regress_credit_owner;
SET LOCAL ROLE regress_credit_owner;
SELECT pg_temp.refusal(statement)
FROM (VALUES
  (1, $$UPDATE credit_entry SET amount = 2$$),
  (2, $$DELETE FROM credit_entry_default$$),
  (3, $$TRUNCATE credit_entry_default$$)
) AS v (n, statement) ORDER BY n;
ROLLBACK;

-- What touches no row is nobody's harm.
UPDATE credit_entry SET amount = 1 WHERE org_id = 'append-only-nobody';
DELETE FROM credit_entry WHERE org_id = 'append-only-nobody';

-- The trigger function guards entries and is nothing to be called otherwise.
SELECT pg_temp.refusal($$SELECT credit_ledger_internal.entry_append_only()$$);

SELECT * FROM credit_verify();
