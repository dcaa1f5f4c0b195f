-- credit_verify: every check is made to fail by damage done by hand, and reports just that.
--
-- A ledger with all sorts of rows is sound. Then, as the tables' owner and in transactions that are rolled back (or
-- each in a savepoint), one thing at a time is damaged and verify asked. Ids are named by their campaign in the output.
\getenv abs_srcdir PG_ABS_SRCDIR
\set include :abs_srcdir '/sql/include/refusal.sql'
\i :include

SELECT balance_after FROM credit_grant('verify', 1000, 'opening');
SELECT count((credit_authorize('verify', 100, campaign)).available)
FROM string_to_table('open committed reverted refunded timed-out', ' ') AS campaign;
CREATE FUNCTION pg_temp.hold(name text) RETURNS text LANGUAGE sql AS $$
  SELECT authorization_id FROM credit_ledger WHERE org_id = 'verify' AND campaign_id = name LIMIT 1
$$;
SELECT (credit_commit(pg_temp.hold('committed'), 60)).status, (credit_revert(pg_temp.hold('reverted'))).status,
       (credit_commit(pg_temp.hold('refunded'))).status;
SELECT amount FROM credit_refund(pg_temp.hold('refunded'), 'refund-1', 30);
UPDATE credit_ledger SET expires_at = '2000-01-01' WHERE authorization_id = pg_temp.hold('timed-out');
SELECT credit_sweep('2000-01-02');
SELECT amount FROM credit_adjust('verify', -5, 'correction-1', 'sold twice');
SELECT balance_after FROM credit_grant('verify-b', 1000, 'opening');
SELECT * FROM credit_verify('verify');
SELECT * FROM credit_verify();

-- pg_temp.damage(statement): what verify says of the organisation afterwards; nothing of it stays.
CREATE FUNCTION pg_temp.damage(statement text) RETURNS SETOF text LANGUAGE plpgsql
  SET session_replication_role = replica  -- accounts and entries are guarded otherwise
AS $$
DECLARE
  found text[];
BEGIN
  BEGIN
    EXECUTE statement;
    SELECT array_agg(format('  %s of %s: %s for %s (%s)', v.check_name, v.org_id, coalesce(v.actual, 'none'), v.expected, v.detail))
    INTO found FROM credit_verify() AS v;
    RAISE EXCEPTION SQLSTATE 'TEST1';
  EXCEPTION WHEN SQLSTATE 'TEST1' THEN NULL;
  END;
  RETURN NEXT statement;
  RETURN QUERY
    SELECT pg_temp.named(line, 'verify') COLLATE "C" AS told FROM unnest(coalesce(found, '{"  nothing found"}')) AS line ORDER BY told;
END
$$;
\pset tuples_only on
\pset format unaligned

-- The account.
SELECT pg_temp.damage($$UPDATE credit_account SET balance = balance + 1 WHERE org_id = 'verify'$$);
SELECT pg_temp.damage($$UPDATE credit_account SET last_entry_no = last_entry_no + 1 WHERE org_id = 'verify'$$);
SELECT pg_temp.damage($$UPDATE credit_account SET held = held + 1 WHERE org_id = 'verify'$$);
SELECT pg_temp.damage($$UPDATE credit_account SET held = 1 WHERE org_id = 'verify-b'$$);
SELECT pg_temp.damage($$INSERT INTO credit_account (org_id, balance, created_at, updated_at) VALUES ('verify-c', 7, now(), now())$$);
SELECT pg_temp.damage($$DELETE FROM credit_account WHERE org_id = 'verify'$$);

-- The entries.
BEGIN;
SET LOCAL session_replication_role = replica;
SELECT pg_temp.damage($$UPDATE credit_entry SET amount = amount + 1 WHERE org_id = 'verify' AND entry_no = 1$$);
SELECT pg_temp.damage($$UPDATE credit_entry SET amount = amount - 1 WHERE org_id = 'verify' AND entry_no = 2$$);
SELECT pg_temp.damage($$UPDATE credit_entry SET balance_after = balance_after + 1 WHERE org_id = 'verify' AND entry_no = 3$$);
SELECT pg_temp.damage($$UPDATE credit_entry SET balance_after = balance_after + 1 WHERE org_id = 'verify' AND entry_no = 6$$);
SELECT pg_temp.damage($$UPDATE credit_entry SET entry_no = 7 WHERE org_id = 'verify' AND entry_no = 6$$);
SAVEPOINT backwards;
UPDATE credit_entry SET created_at = created_at - interval '1 day' WHERE org_id = 'verify' AND entry_no = 3;
SELECT check_name, detail FROM credit_verify('verify');
ROLLBACK TO backwards;
SELECT pg_temp.damage($$DELETE FROM credit_entry WHERE org_id = 'verify' AND entry_no = 2$$);
SELECT pg_temp.damage($$DELETE FROM credit_entry WHERE org_id = 'verify' AND entry_no = 6$$);
SELECT pg_temp.damage($$DELETE FROM credit_entry WHERE org_id = 'verify-b'$$);
SELECT pg_temp.damage($$UPDATE credit_entry SET authorization_id = pg_temp.hold('reverted') WHERE org_id = 'verify' AND entry_no = 4$$);
SELECT pg_temp.damage($$UPDATE credit_entry SET kind = 'adjustment' WHERE org_id = 'verify' AND entry_no = 4$$);
ROLLBACK;
SELECT pg_temp.damage($$INSERT INTO credit_entry VALUES ('verify-c', 1, 'grant', 7, NULL, 'k', NULL, 7, now())$$);
SELECT pg_temp.damage($$INSERT INTO credit_entry VALUES ('verify', 7, 'refund', 7, pg_temp.hold('open'), 'k', NULL, 902, now())$$);

-- The authorizations.
SELECT pg_temp.damage($$UPDATE credit_ledger SET amount = 50 WHERE authorization_id = pg_temp.hold('committed')$$);
SELECT pg_temp.damage($$UPDATE credit_ledger SET refunded_amount = 31 WHERE authorization_id = pg_temp.hold('refunded')$$);
SELECT pg_temp.damage($$UPDATE credit_ledger SET status = 'committed', settled_at = now(), settled_by = 'caller'
                        WHERE authorization_id = pg_temp.hold('open')$$);
SELECT pg_temp.damage($$UPDATE credit_ledger SET status = 'reverted', amount = authorized_amount
                        WHERE authorization_id = pg_temp.hold('committed')$$);
SELECT pg_temp.damage($$UPDATE credit_ledger SET amount = 90, authorized_amount = 90 WHERE authorization_id = pg_temp.hold('open')$$);
SELECT pg_temp.damage($$DELETE FROM credit_ledger WHERE authorization_id = pg_temp.hold('open')$$);
SELECT pg_temp.damage($$UPDATE credit_ledger SET idempotency_key = 'another' WHERE authorization_id = pg_temp.hold('reverted')$$);
SELECT pg_temp.damage($$INSERT INTO credit_ledger SELECT authorization_id, org_id, campaign_id, idempotency_key, 'reverted', 100, 100, NULL, 0,
                          timeout_action, created_at, expires_at, now(), 'caller' FROM credit_ledger WHERE authorization_id = pg_temp.hold('open')$$);
SELECT pg_temp.damage($$UPDATE credit_ledger SET org_id = 'verify-c' WHERE authorization_id = pg_temp.hold('open')$$);

-- The same id in two leaves of settled authorizations.
BEGIN;
SELECT credit_create_partition('credit_ledger_settled', '2001-01-01Z', '2001-02-01Z');
SELECT pg_temp.damage($$INSERT INTO credit_ledger SELECT authorization_id, org_id, campaign_id, idempotency_key, status, amount, authorized_amount,
                          committed_amount, refunded_amount, timeout_action, '2001-01-15Z', expires_at, settled_at, settled_by
                        FROM credit_ledger WHERE authorization_id = pg_temp.hold('reverted')$$);
ROLLBACK;

-- Two that are off by as much, one up and one down; and one number that two partitions have.
SELECT pg_temp.damage($$UPDATE credit_ledger SET amount = amount + CASE idempotency_key WHEN 'committed' THEN 1 ELSE -1 END
                        WHERE authorization_id IN (pg_temp.hold('committed'), pg_temp.hold('refunded'))$$);
BEGIN;
SELECT credit_create_partition('credit_entry', '2001-01-01Z', '2001-02-01Z');
INSERT INTO credit_entry (org_id, entry_no, kind, amount, balance_after, created_at)
SELECT org_id, entry_no, kind, amount, balance_after, '2001-01-15Z' FROM credit_entry WHERE org_id = 'verify' AND entry_no = 3;
SELECT check_name FROM credit_verify('verify');
ROLLBACK;

-- More refunded than charged, once the constraint that forbids it is out of the way.
BEGIN;
ALTER TABLE credit_ledger DROP CONSTRAINT credit_ledger_refunded_amount_check;
SELECT pg_temp.damage($$UPDATE credit_ledger SET refunded_amount = 101 WHERE authorization_id = pg_temp.hold('refunded')$$);
SELECT pg_temp.damage($$UPDATE credit_ledger SET refunded_amount = -1 WHERE authorization_id = pg_temp.hold('committed')$$);
SELECT pg_temp.damage($$UPDATE credit_ledger SET refunded_amount = 1 WHERE authorization_id = pg_temp.hold('reverted')$$);
ROLLBACK;

-- The keys.
SELECT pg_temp.damage($$DELETE FROM credit_idempotency WHERE org_id = 'verify' AND idempotency_key = 'committed'$$);
SELECT pg_temp.damage($$UPDATE credit_idempotency SET authorization_id = 'auth-abc123' WHERE org_id = 'verify' AND idempotency_key = 'open'$$);
SELECT pg_temp.damage($$INSERT INTO credit_idempotency VALUES ('verify-c', 'grant', 'k', 7, NULL, NULL, 1, now())$$);

-- The places: two partitions of entries whose bounds are exchanged behind the server's back.
BEGIN;
CREATE TABLE verify_may PARTITION OF credit_entry FOR VALUES FROM ('2020-05-01Z') TO ('2020-06-01Z');
CREATE TABLE verify_june PARTITION OF credit_entry FOR VALUES FROM ('2020-06-01Z') TO ('2020-07-01Z');
INSERT INTO credit_account (org_id, balance, last_entry_no, updated_at, created_at)
VALUES ('verify-d', 7, 1, '2020-05-02Z', '2020-05-02Z');
INSERT INTO credit_entry (org_id, entry_no, kind, amount, balance_after, created_at)
VALUES ('verify-d', 1, 'grant', 7, 7, '2020-05-02Z');
SELECT check_name FROM credit_verify('verify-d');
SET LOCAL allow_system_table_mods = on;
UPDATE pg_class AS c SET relpartbound = o.relpartbound
FROM pg_class AS o
WHERE (c.oid, o.oid) IN (('verify_may'::regclass, 'verify_june'::regclass), ('verify_june'::regclass, 'verify_may'::regclass));
SELECT * FROM credit_verify('verify-d');
ROLLBACK;

-- Asked of one organisation, it says nothing of the others; one that is not there is refused.
SELECT pg_temp.refusal($$SELECT * FROM credit_verify('verify-nobody')$$);
BEGIN;
SET LOCAL session_replication_role = replica;
UPDATE credit_account SET held = held + 1 WHERE org_id IN ('verify', 'verify-b');
SELECT org_id, check_name, expected, actual FROM credit_verify('verify-b');
SELECT org_id, check_name, expected, actual FROM credit_verify();
ROLLBACK;

-- What is new since an instant, or for a period.
SELECT count(*) FROM credit_verify('verify', '2000-01-01');
SELECT count(*) FROM credit_verify('verify', period => '7 days');
SELECT count(*) FROM credit_verify('verify', now() - interval '7 days');
SELECT pg_temp.refusal($$SELECT * FROM credit_verify('verify', '7 days')$$);
SELECT pg_temp.refusal($$SELECT * FROM credit_verify('verify', '2000-01-01', '7 days')$$);
SET client_min_messages = warning;
SELECT count(o) > 0 FROM credit_orphaned_authorizations('-1 hour') o, credit_commit_failure_rate('1 hour');
SELECT count(o) > 0 FROM credit_orphaned_authorizations(made_before => 'infinity') o, credit_commit_failure_rate(since => '2000-01-01');
RESET client_min_messages;

-- The constraints that guard against manual repair gone wrong.
SET session_replication_role = replica;
SELECT split_part(pg_temp.refusal(statement), E'\n  DETAIL', 1)
FROM (VALUES
  (1, $$UPDATE credit_account SET org_id = '' WHERE org_id = 'verify'$$),
  (2, $$UPDATE credit_account SET held = -1 WHERE org_id = 'verify'$$),
  (3, $$UPDATE credit_account SET credit_limit = -1 WHERE org_id = 'verify'$$),
  (4, $$UPDATE credit_account SET overage_limit = -1 WHERE org_id = 'verify'$$),
  (5, $$UPDATE credit_account SET last_entry_no = -1 WHERE org_id = 'verify'$$),
  (6, $$UPDATE credit_ledger SET authorization_id = '' WHERE org_id = 'verify' AND campaign_id = 'open'$$),
  (7, $$UPDATE credit_ledger SET amount = 0, authorized_amount = 0 WHERE org_id = 'verify' AND campaign_id = 'open'$$),
  (8, $$UPDATE credit_ledger SET amount = 50 WHERE org_id = 'verify' AND campaign_id = 'open'$$),
  (9, $$UPDATE credit_ledger SET amount = 50 WHERE org_id = 'verify' AND campaign_id = 'reverted'$$),
  (10, $$UPDATE credit_ledger SET amount = -1 WHERE org_id = 'verify' AND campaign_id = 'committed'$$),
  (11, $$UPDATE credit_ledger SET refunded_amount = 61 WHERE org_id = 'verify' AND campaign_id = 'committed'$$),
  (12, $$UPDATE credit_ledger SET refunded_amount = -1 WHERE org_id = 'verify' AND campaign_id = 'committed'$$),
  (13, $$UPDATE credit_ledger SET refunded_amount = 1 WHERE org_id = 'verify' AND campaign_id = 'reverted'$$),
  (14, $$UPDATE credit_ledger SET status = 'committed' WHERE org_id = 'verify' AND campaign_id = 'open'$$),
  (15, $$UPDATE credit_ledger SET settled_at = now() WHERE org_id = 'verify' AND campaign_id = 'open'$$),
  (16, $$UPDATE credit_ledger SET settled_by = NULL WHERE org_id = 'verify' AND campaign_id = 'committed'$$),
  (17, $$UPDATE credit_ledger SET status = 'authorized' WHERE org_id = 'verify' AND campaign_id = 'reverted'$$),
  (18, $$INSERT INTO credit_entry VALUES ('verify', 0, 'grant', 7, NULL, 'k', NULL, 7, now())$$),
  (19, $$INSERT INTO credit_entry VALUES ('verify', 7, 'grant', 0, NULL, 'k', NULL, 7, now())$$),
  (20, $$INSERT INTO credit_entry VALUES ('verify', 1, 'grant', 7, NULL, 'k', NULL, 7, now())$$),
  (21, $$INSERT INTO credit_idempotency VALUES ('verify', 'grant', 'opening', 7, NULL, NULL, 1, now())$$)
) AS v (n, statement) ORDER BY n;
RESET session_replication_role;

SELECT * FROM credit_verify();
