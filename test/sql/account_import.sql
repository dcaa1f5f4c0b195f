-- An organisation that moves arrives as it was, and the old place remembers where it went; lines of another ledger get
-- numbers and balances here.
--
-- An account with lots, holds, charges, refunds and a finding leaves its database and comes back to it from the lines
-- that were exported, as it would to another one.
\getenv abs_srcdir PG_ABS_SRCDIR
\set include :abs_srcdir '/sql/include/refusal.sql'
\i :include

SELECT balance_after FROM credit_grant('mover', 100, 'opening', metadata => '{"n": 1.10}');
SELECT balance_after FROM credit_grant('mover', 50, 'lot', priority => 1);
SELECT authorization_id AS held FROM credit_authorize('mover', 20, 'c-1') \gset
SELECT authorization_id AS charged FROM credit_charge('mover', 60, 'c-2') \gset
SELECT balance_after FROM credit_refund(:'charged', 'r-1', 5);
INSERT INTO credit_finding (run_id, verdict, org_id, campaign_id, found_at, seen_at)
VALUES (1, 'overcharged', 'mover', 'c-2', '2026-01-01', '2026-01-01');

CREATE TEMP TABLE lines AS SELECT * FROM credit_account_export('mover');
SELECT relation, count(*) FROM lines GROUP BY relation ORDER BY relation COLLATE "C";
SELECT pg_temp.refusal('SELECT credit_account_import(''lines'')');

-- It leaves, and nothing of it stays; a rollback leaves it where it was.
BEGIN;
SELECT count(*) > 0 AS leaves FROM credit_account_export('mover', 'shard 1');
ROLLBACK;
SELECT balance FROM credit_balance('mover');
SELECT count(*) = (SELECT count(*) FROM lines) AS all_of_it FROM credit_account_export('mover', 'shard 1');
SELECT count(*) FROM credit_ledger_internal.lines_of('mover');
SELECT replace(pg_temp.refusal(format(call, :'charged')), :'charged', '<id>')
FROM unnest('{"SELECT credit_balance(''mover'')","SELECT credit_grant(''mover'', 1, ''k'')"}'::text[]) AS call;
SELECT pg_temp.refusal('SELECT credit_account_export(''mover'', ''shard 1'')');

-- Lines that were tampered with are refused.
CREATE TEMP TABLE tampered AS
SELECT relation, CASE relation WHEN 'credit_account' THEN jsonb_set(line, '{balance}', '1000') ELSE line END AS line FROM lines;
SELECT pg_temp.refusal('SELECT credit_account_import(''tampered'')');
CREATE TEMP VIEW incomplete AS SELECT * FROM lines WHERE relation <> 'credit_account';
SELECT pg_temp.refusal('SELECT credit_account_import(''incomplete'')');

-- Columns of the DBA's own travel, and those that are generated are made anew, however the session writes an interval.
BEGIN;
ALTER TABLE credit_account ADD COLUMN half bigint GENERATED ALWAYS AS (balance / 2) STORED,
  ADD COLUMN "Term" interval DEFAULT '1 day -2 hours';
SELECT balance_after FROM credit_grant('widened', 10, 'opening');
SET LOCAL IntervalStyle = 'sql_standard';
CREATE TEMP TABLE wide AS SELECT * FROM credit_account_export('widened', 'shard 1');
SET LOCAL IntervalStyle = 'iso_8601';
SELECT credit_account_import('wide');
SELECT balance, half, extract(epoch FROM "Term") AS term FROM credit_account WHERE org_id = 'widened';
ROLLBACK;

-- Keys that were removed here are not missing where it arrives.
BEGIN;
SELECT balance_after FROM credit_grant('forgetful', 10, 'opening');
SELECT status FROM credit_charge('forgetful', 1, 'c-1');
DELETE FROM credit_idempotency WHERE org_id = 'forgetful';
INSERT INTO credit_key_removal (removed_until, oldest_key) VALUES (clock_timestamp(), clock_timestamp());
SELECT check_name FROM credit_verify('forgetful');
CREATE TEMP TABLE keyless AS SELECT * FROM credit_account_export('forgetful', 'shard 1');
DELETE FROM credit_key_removal;
SELECT credit_account_import('keyless');
SELECT removed_until <= clock_timestamp() AS keys_may_be_gone FROM credit_key_removal;
ROLLBACK;

-- What a trigger over there makes of a row is noticed, though the books are sound and 1.1 equals 1.10.
BEGIN;
CREATE FUNCTION pg_temp.retell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.metadata := '{"n": 1.1}';
  RETURN NEW;
END
$$;
CREATE TRIGGER retell BEFORE INSERT ON credit_entry_default FOR EACH ROW WHEN (NEW.metadata IS NOT NULL) EXECUTE FUNCTION pg_temp.retell();
SELECT regexp_replace(pg_temp.refusal('SELECT credit_account_import(''lines'')'), 'DETAIL: .*', 'DETAIL: a row') AS refusal;
ROLLBACK;

SELECT credit_account_import('lines');
SELECT balance, held FROM credit_balance('mover');
SELECT status, amount, replayed FROM credit_commit(:'held');
SELECT amount, replayed FROM credit_refund(:'charged', 'r-1', 5);
SELECT balance_after, replayed FROM credit_grant('mover', 100, 'opening');
SELECT count(*) FROM credit_account_moved WHERE org_id = 'mover';

-- The table of a home-grown ledger.
CREATE TEMP TABLE homegrown AS
SELECT * FROM (VALUES ('home-1', 100, timestamptz '2019-01-01 00:00+00', 'bought'), ('home-1', -30, '2019-01-02 00:00+00', 'campaign 1'),
                      ('home-2', 10, '2019-01-02 00:00+00', NULL), ('home-1', -80, '2019-01-03 00:00+00', 'campaign 2'),
                      ('home-2', 0, '2019-01-03 00:00+00', 'nothing')) AS h (org_id, amount, created_at, reason);
SELECT credit_entries_import('homegrown');
SELECT org_id, entry_no, kind, amount, balance_after, reason, created_at = '2019-01-03 00:00+00' AS last_instant
FROM credit_entry WHERE org_id LIKE 'home-%' ORDER BY org_id, entry_no;
SELECT credit_balance_at('home-1', '2019-01-02 12:00+00');
SELECT balance_after FROM credit_grant('home-1', 10, 'first');
SELECT pg_temp.refusal('SELECT credit_entries_import(''homegrown'')');
UPDATE homegrown SET org_id = 'home-3', created_at = 'infinity';
SELECT pg_temp.refusal('SELECT credit_entries_import(''homegrown'')');
DELETE FROM credit_finding WHERE org_id = 'mover';
SELECT * FROM credit_verify();
