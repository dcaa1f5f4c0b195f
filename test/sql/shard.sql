-- A shard's claim: a call for an organisation of another shard is LC010, whatever the verb, and writes nothing.
--
-- Two organisations whose hash ends in 0 and one whose hash ends in 1 have accounts while all are this database's; then
-- it becomes shard 0 of 2, and every function that is about an organisation is called for the other one. In a database
-- of its own: the claim is about all of one.
CREATE DATABASE credit_ledger_shard TEMPLATE template0;
SELECT current_database() AS regression \gset
\c credit_ledger_shard
SET client_min_messages = warning;
CREATE EXTENSION credit_ledger;
\getenv abs_srcdir PG_ABS_SRCDIR
\set include :abs_srcdir '/sql/include/refusal.sql'
\i :include

-- The hash is the same on every machine: routers rely on it.
SELECT org, credit_ledger_internal.organisation_hash(org) AS hash
FROM unnest('{shard-a,shard-b,shard-c,shard-d,shard-e,ä}'::text[]) AS org ORDER BY org COLLATE "C";

SELECT min(org) FILTER (WHERE hash % 2 = 0) AS ours, min(org) FILTER (WHERE hash % 2 = 1) AS theirs
FROM (SELECT org, credit_ledger_internal.organisation_hash(org) FROM unnest('{shard-a,shard-b,shard-c,shard-d,shard-e}'::text[]) AS org)
  AS o (org, hash) \gset
SELECT (credit_grant(org, 100, 'opening')).balance_after FROM unnest(ARRAY[:'ours', :'theirs']) AS org;
SELECT (credit_grant(:'theirs', 10, 'lot', priority => 1)).entry_no AS lot_no \gset
SELECT authorization_id AS ours_id FROM credit_authorize(:'ours', 10, 'c-1') \gset
SELECT authorization_id AS theirs_id FROM credit_authorize(:'theirs', 10, 'c-1', timeout => '1 second') \gset

-- An identifier carries the hash of its organisation; imported ones do not.
SELECT credit_ledger_internal.authorization_hash(:'ours_id') = credit_ledger_internal.organisation_hash(:'ours') AS ours,
       credit_ledger_internal.authorization_hash(:'theirs_id') = credit_ledger_internal.organisation_hash(:'theirs') AS theirs,
       credit_ledger_internal.authorization_hash('auth-abc123') AS imported,
       credit_ledger_internal.authorization_hash('auth-8ZZZZZZZZZZZZZZZZZZZZZZZZZ') AS too_large,
       credit_ledger_internal.authorization_hash('auth-7ZZZZZZZZZZZZZZZZZZZZZZZZZ') AS largest;

-- What cannot be claimed.
SELECT pg_temp.refusal(format('SELECT credit_shard_configure(%s)', arguments))
FROM unnest('{"NULL, 2","0, NULL","0, 3","0, 0","2, 2","-1, 2","0, 131072"}'::text[]) AS arguments;

-- In the session that claims, too, and gone with the transaction that was rolled back.
BEGIN;
SELECT credit_shard_configure(1, 2);
SELECT pg_temp.refusal(format('SELECT credit_balance(%L)', :'ours'));
ROLLBACK;
SELECT balance FROM credit_balance(:'ours');

SELECT credit_shard_configure(0, 2);
SELECT shard, of FROM credit_shard;
SELECT (SELECT count(*) FROM credit_entry) AS entries, (SELECT count(*) FROM credit_account) AS accounts \gset
SELECT replace(pg_temp.refusal(replace(replace(replace(statement, 'ORG', quote_literal(:'theirs')), 'ID', quote_literal(:'theirs_id')), 'OURS', quote_literal(:'ours'))),
               :'theirs_id', '<id>') AS refusal
FROM unnest(ARRAY[
  'SELECT credit_grant(ORG, 1, ''k'')',
  'SELECT credit_adjust(ORG, 1, ''k'', ''r'')',
  'SELECT credit_authorize(ORG, 1, ''c-2'')',
  'SELECT credit_authorize(ORG, 10, ''c-1'')',
  'SELECT credit_charge(ORG, 1, ''c-2'')',
  'SELECT credit_commit(ID)',
  'SELECT credit_revert(ID)',
  'SELECT credit_extend(ID, ''1 hour'')',
  'SELECT credit_correct(ID, 1, ''r'')',
  'SELECT credit_refund(ID, ''k'')',
  'SELECT credit_account_configure(ORG, 5)',
  'SELECT credit_lot_configure(ORG, 2, priority => 2)',
  'SELECT credit_void(ORG, 2, ''r'')',
  'SELECT credit_balance(ORG)',
  'SELECT credit_statement(ORG)',
  'SELECT credit_authorize_many(ARRAY[OURS, ORG], ''{1,1}'', ''{c-3,c-3}'')',
  'SELECT credit_charge_many(ARRAY[OURS, ORG], ''{1,1}'', ''{c-3,c-3}'')',
  'SELECT credit_commit_many(ARRAY[ID])',
  'SELECT credit_revert_many(ARRAY[ID])']) WITH ORDINALITY AS s (statement, n) ORDER BY n;
-- An organisation that never had an account gets none; an authorization that is nowhere is told by its identifier.
SELECT count(*) AS refused FROM unnest('{shard-a,shard-b,shard-c,shard-d,shard-e}'::text[]) AS org
WHERE credit_ledger_internal.organisation_hash(org) % 2 = 1
  AND pg_temp.refusal(format('SELECT credit_grant(%L, 1, ''k'')', org)) LIKE '%LC010%';
SELECT pg_temp.refusal('SELECT credit_commit(''auth-00000000000000000000000000'')');
SELECT pg_temp.refusal('SELECT credit_commit(''auth-0000000000000G000000000000'')');
SELECT ord, sqlstate FROM credit_authorize_many(ARRAY[:'ours', :'theirs'], '{1,1}', '{c-4,c-4}', skip_refused => true);
-- The sweep leaves it alone.
SELECT credit_sweep(now() + '1 minute');
SELECT (SELECT count(*) FROM credit_entry) - :entries AS entries_made, (SELECT count(*) FROM credit_account) - :accounts AS accounts_made;

-- A session that could not read the claim to its end reads it again. Dead rows before the claim make that long.
BEGIN;
ALTER TABLE credit_shard DROP CONSTRAINT credit_shard_pkey;
INSERT INTO credit_shard SELECT 0, 2 FROM generate_series(1, 200000);
DELETE FROM credit_shard;
INSERT INTO credit_shard VALUES (0, 2);
SELECT pg_temp.refusal(format('SELECT credit_grant(%L, 1, ''k'')', :'theirs')) LIKE '%LC010%' AS refused;
DELETE FROM credit_shard WHERE false;
SAVEPOINT before;
SET LOCAL statement_timeout = '1ms';
SELECT credit_grant(:'theirs', 1, 'k');
ROLLBACK TO before;
SELECT pg_temp.refusal(format('SELECT credit_grant(%L, 1, ''k'')', :'theirs')) LIKE '%LC010%' AS refused_again;
ROLLBACK;

-- One that moved here is this database's, one that moved away is not.
INSERT INTO credit_account_moved (org_id, place) VALUES (:'theirs', NULL), ('shard-gone', 'elsewhere');
SELECT credit_shard_configure(0, 1);
SELECT pg_temp.refusal('SELECT credit_grant(''shard-gone'', 1, ''k'')');
SELECT pg_temp.refusal('SELECT credit_balance(''shard-gone'')');
SELECT credit_shard_configure(0, 2);
SELECT balance FROM credit_balance(:'theirs');
DELETE FROM credit_account_moved;

-- What is not this shard's is removed, a few accounts at a time, and nothing else.
SELECT pg_temp.refusal('DELETE FROM credit_entry');
SELECT credit_shard_remove(1) AS removed, credit_shard_remove(1) AS removed_again;
SELECT org_id = :'ours' AS ours, count(*) FROM credit_entry GROUP BY 1;
SELECT org_id = :'ours' AS ours, count(*) FROM credit_ledger GROUP BY 1;
SELECT org_id = :'ours' AS ours, count(*) FROM credit_idempotency GROUP BY 1;
SELECT count(*) AS lots FROM credit_lot;
SELECT org_id = :'ours' AS ours FROM credit_account;
SELECT * FROM credit_verify();
\c :regression
DROP DATABASE credit_ledger_shard;
