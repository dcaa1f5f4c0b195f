-- Tables, types and partitions as a DBA leaves them: what can work works, all else is refused with words that say what is
-- wrong. None of it is misread, and nothing brings the server down.
--
-- Each subject is a transaction that changes something, calls, and is rolled back.
\getenv abs_srcdir PG_ABS_SRCDIR
\set include :abs_srcdir '/sql/include/refusal.sql'
\i :include
\pset tuples_only on
\pset format unaligned

SELECT balance_after FROM credit_grant('shapes', 1000, 'opening');
CREATE TABLE ids AS SELECT authorization_id AS id FROM credit_authorize('shapes', 10, 'charged');
SELECT status FROM ids, credit_commit(id);

-- How a call is refused after a change, which is undone again; or how the change itself is.
CREATE FUNCTION pg_temp.refused_after(change text, call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  result text;
BEGIN
  EXECUTE change;
  result := regexp_replace(pg_temp.refusal(call), '\n  DETAIL: Failing row[^\n]*', '');
  RAISE SQLSTATE 'P0099';
EXCEPTION
  WHEN SQLSTATE 'P0099' THEN
    RETURN concat_ws(E'\n', change, result);
  WHEN OTHERS THEN
    RETURN concat_ws(E'\n', change, '  ' || SQLSTATE || ': ' || SQLERRM);
END
$$;

-- Leaves that are foreign tables: passed over and named. What belongs into one cannot be written.
BEGIN;
CREATE FOREIGN DATA WRAPPER archive;
CREATE SERVER archive FOREIGN DATA WRAPPER archive;
CREATE FOREIGN TABLE archive_2020 PARTITION OF credit_ledger_settled FOR VALUES FROM ('2020-01-01') TO ('2021-01-01') SERVER archive;
CREATE TABLE deeper PARTITION OF credit_ledger_settled FOR VALUES FROM ('2021-01-01') TO ('2022-01-01')
  PARTITION BY RANGE (created_at);
CREATE FOREIGN TABLE archive_2021 PARTITION OF deeper FOR VALUES FROM ('2021-02-01') TO ('2021-03-01') SERVER archive;
CREATE FOREIGN TABLE entries_2020 PARTITION OF credit_entry FOR VALUES FROM ('2020-01-01') TO ('2021-01-01') SERVER archive;
SELECT pg_temp.refusal(format('SELECT credit_commit(%L)', id))
FROM unnest(ARRAY['imported', 'auth-01E7K5P600AAAAAAAAAAAAAAAA', 'auth-01EXHPQ600AAAAAAAAAAAAAAAA']) AS id;
SELECT replayed, amount FROM ids, credit_commit(id);
INSERT INTO credit_idempotency (org_id, operation, idempotency_key, amount, campaign_id, authorization_id, entry_no, created_at)
VALUES ('shapes', 'authorize', 'old', 5, 'old', 'imported', NULL, '2020-05-05'),
       ('shapes', 'grant', 'old', 5, NULL, NULL, 1, '2020-05-05');
SELECT pg_temp.refusal($$SELECT credit_authorize('shapes', 5, 'old')$$);
SELECT entry_no, amount, balance_after, replayed FROM credit_grant('shapes', 5, 'old');
INSERT INTO credit_ledger (authorization_id, org_id, idempotency_key, status, amount, authorized_amount, timeout_action, created_at, expires_at)
VALUES ('late', 'shapes', 'late', 'authorized', 5, 5, 'commit', '2020-05-05', '2020-05-06');
SET LOCAL session_replication_role = replica;
UPDATE credit_account SET held = held + 5 WHERE org_id = 'shapes';
RESET session_replication_role;
SELECT pg_temp.refusal($$SELECT credit_commit('late')$$);
ROLLBACK;

-- A leaf without an index is read from one end to the other.
BEGIN;
CREATE TABLE bare PARTITION OF credit_ledger_settled FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
INSERT INTO bare
SELECT 'bare-' || n, 'shapes', NULL, 'bare-' || n, 'committed', 1, 1, NULL, 0, 'commit', '2020-05-05', '2020-05-06', '2020-05-05', 'caller'
FROM generate_series(1, 100) AS n;
SELECT authorization_id, amount, replayed FROM credit_commit('bare-99');
SELECT pg_temp.refusal($$SELECT credit_commit('bare-101')$$);
ROLLBACK;

-- Columns that are no longer what the extension made. The server itself refuses another type, while functions read the
-- column; where one got in nevertheless, nothing is read with it.
SELECT pg_temp.refused_after(change, call)
FROM (VALUES
  (1, 'ALTER TABLE credit_account ALTER balance TYPE numeric', $$SELECT credit_authorize('shapes', 1, 'a')$$),
  (2, 'ALTER TABLE credit_account ALTER held DROP NOT NULL', $$SELECT credit_authorize('shapes', 1, 'a')$$),
  (3, 'ALTER TABLE credit_account RENAME held TO reserved', $$SELECT credit_balance('shapes')$$),
  (4, $$UPDATE pg_attribute SET atttypid = 'json'::regtype WHERE attrelid = 'credit_account'::regclass AND attname = 'metadata'$$,
   $$SELECT credit_account_configure('shapes', 1)$$),
  (5, $$UPDATE pg_attribute SET attcollation = 'ucs_basic'::regcollation
        WHERE attrelid = 'credit_idempotency'::regclass AND attname = 'idempotency_key'$$,
   $$SELECT credit_authorize('shapes', 1, 'a')$$),
  (6, $$UPDATE pg_attribute SET atttypid = 'text'::regtype WHERE attrelid = 'credit_entry_default'::regclass AND attname = 'kind'$$,
   $$SELECT credit_grant('shapes', 1, 'a')$$)
) AS v (n, change, call) ORDER BY n;

-- Types whose labels or attributes are others: a session that has not looked them up yet says so.
BEGIN;
ALTER TYPE credit_status RENAME VALUE 'reverted' TO 'given back';
ALTER TABLE credit_account SET (fillfactor = 50);
SELECT pg_temp.refusal($$SELECT credit_authorize('shapes', 1, 'a')$$);
ALTER TYPE credit_status RENAME VALUE 'committed' TO 'reverted';
ALTER TYPE credit_status RENAME VALUE 'given back' TO 'committed';
SELECT pg_temp.refusal($$SELECT credit_authorize('shapes', 1, 'a')$$);
ROLLBACK;
BEGIN;
ALTER TYPE credit_entry_kind ADD VALUE 'gift' BEFORE 'grant';
ALTER TABLE credit_account SET (fillfactor = 50);
SELECT kind FROM credit_grant('shapes', 1, 'a');
ROLLBACK;
BEGIN;
ALTER TYPE credit_movement ALTER ATTRIBUTE amount TYPE text;
SELECT pg_temp.refusal($$SELECT credit_grant('shapes', 1, 'a')$$);
ALTER TYPE credit_account_balance DROP ATTRIBUTE available;
SELECT pg_temp.refusal($$SELECT credit_balance('shapes')$$);
ALTER TYPE credit_authorization_item ALTER ATTRIBUTE org_id TYPE bigint;
SELECT pg_temp.refusal($$SELECT credit_authorize_many('{shapes}', '{1}', '{a}')$$);
ROLLBACK;

-- The constraints that come with the extension hold without being evaluated; all others are, and said so to a debugger.
BEGIN;
SET LOCAL client_min_messages = debug1;
SELECT entry_no FROM credit_grant('shapes', 1, 'a');
SELECT c.status FROM credit_authorize('shapes', 2, 'b') AS a, credit_commit(a.authorization_id, 1) AS c;
SELECT credit_limit FROM credit_account_configure('shapes', 5);
RESET client_min_messages;
ALTER TABLE credit_account ADD CONSTRAINT not_rich CHECK (balance < 2000 OR org_id <> 'shapes');
SET LOCAL client_min_messages = debug1;
SELECT entry_no FROM credit_grant('shapes', 1, 'b');
ROLLBACK;

-- Constraints in place of the extension's: as many, or of the same name, or NOT NULL.
SELECT pg_temp.refused_after(change, call)
FROM (VALUES
  (1, 'ALTER TABLE credit_account DROP CONSTRAINT credit_account_overage_limit_check, ADD CONSTRAINT not_rich CHECK (balance <= 2000 OR org_id <> ''shapes'')',
   $$SELECT credit_grant('shapes', 2000, 'a')$$),
  (2, 'ALTER TABLE credit_account DROP CONSTRAINT credit_account_held_check, ADD CONSTRAINT credit_account_held_check CHECK (held < 100 OR org_id <> ''shapes'')',
   $$SELECT credit_authorize('shapes', 100, 'a')$$),
  (3, $$UPDATE credit_account SET metadata = '{}'; ALTER TABLE credit_account ALTER metadata SET NOT NULL$$,
   $$SELECT credit_grant('shapes-2', 1, 'a')$$),
  (4, $$UPDATE credit_ledger SET campaign_id = 'c'; ALTER TABLE credit_ledger ALTER campaign_id SET NOT NULL$$,
   $$SELECT credit_authorize('shapes', 1, NULL, 'a')$$),
  (5, 'ALTER TABLE credit_ledger_settled_default ADD CHECK (amount > 5 OR org_id <> ''shapes'')', $$SELECT credit_revert((credit_authorize('shapes', 5, 'a')).authorization_id)$$),
  (6, $$ALTER TABLE credit_entry DISABLE TRIGGER USER; UPDATE credit_entry SET reason = 'r'; ALTER TABLE credit_entry ALTER reason SET NOT NULL$$,
   $$SELECT credit_grant('shapes', 1, 'a')$$),
  (7, $$UPDATE credit_idempotency SET campaign_id = 'c'; ALTER TABLE credit_idempotency ALTER campaign_id SET NOT NULL$$,
   $$SELECT credit_grant('shapes', 1, 'a')$$),
  (8, 'CREATE UNIQUE INDEX one_spelling ON credit_account (lower(org_id)) WHERE org_id ~* ''^shapes''', $$SELECT credit_grant('SHAPES', 1, 'a')$$),
  (9, 'CREATE UNIQUE INDEX one_balance ON credit_account (balance) WHERE org_id ~ ''^one''',
   $$SELECT credit_account_configure('one-a') IS NULL, credit_account_configure('one-b')$$),
  (10, 'ALTER TABLE credit_account ADD EXCLUDE USING hash (substr(org_id, 1, 3) WITH =) WHERE (org_id ~ ''^shap'')', $$SELECT credit_grant('shaping', 1, 'a')$$),
  (11, 'ALTER TABLE credit_account DROP CONSTRAINT credit_account_pkey CASCADE', $$SELECT credit_grant('shapes-2', 1, 'a')$$),
  (12, 'CREATE COLLATION pg_temp.any_case (provider = icu, locale = ''und-u-ks-level2'', deterministic = false); '
       'SET LOCAL session_replication_role = replica; '
       'DELETE FROM credit_account a USING credit_account b WHERE lower(a.org_id) = lower(b.org_id) AND a.org_id > b.org_id; '
       'CREATE UNIQUE INDEX any_case ON credit_account (org_id COLLATE pg_temp.any_case)', $$SELECT credit_grant('SHAPES', 1, 'a')$$)
) AS v (n, change, call) ORDER BY n;

-- A longer name than the extension's constraint lets in: no call takes it, but its holds are settled, and cannot be told.
BEGIN;
ALTER TABLE credit_account DROP CONSTRAINT credit_account_org_id_check, ADD CHECK (octet_length(org_id) > 0);
SELECT repeat(E'\x01', 2000) AS long \gset
INSERT INTO credit_account (org_id, balance, held, last_entry_no, created_at, updated_at) VALUES (:'long', 7, 3, 1, '2000-01-01', '2000-01-01');
INSERT INTO credit_entry (org_id, entry_no, kind, amount, balance_after, created_at) VALUES (:'long', 1, 'grant', 7, 7, '2000-01-01');
INSERT INTO credit_ledger (authorization_id, org_id, idempotency_key, status, amount, authorized_amount, timeout_action, created_at, expires_at)
SELECT 'long-' || n, :'long', 'long-' || n, 'authorized', n, n, 'commit', '2000-01-01', '2000-01-01' FROM generate_series(1, 2) AS n;
INSERT INTO credit_idempotency (org_id, operation, idempotency_key, amount, authorization_id, created_at)
SELECT org_id, 'authorize', idempotency_key, amount, authorization_id, created_at FROM credit_ledger WHERE org_id = :'long';
SELECT status, available FROM credit_commit('long-1');
SELECT credit_sweep('2000-01-02');
SELECT authorization_id, status, settled_by FROM credit_ledger WHERE org_id = :'long' ORDER BY 1;
SELECT * FROM credit_verify();
ROLLBACK;

-- A domain says for itself whether a column that nobody fills takes a null.
BEGIN;
CREATE DOMAIN named AS text CHECK (VALUE IS NOT NULL);
ALTER TABLE credit_entry ADD COLUMN booked_by text;
ALTER TABLE credit_entry ALTER COLUMN booked_by TYPE named USING 'nobody';
SELECT pg_temp.refusal($$SELECT credit_grant('shapes', 1, 'a')$$);
ROLLBACK;

-- Generated columns are computed for every row of a call, and defaults for as many as there are.
BEGIN;
SELECT balance_after FROM credit_grant('shapes-2', 100, 'opening');
ALTER TABLE credit_account ADD COLUMN half bigint GENERATED ALWAYS AS (balance / 2) STORED,
  ADD COLUMN owner_name text NOT NULL DEFAULT 'nobody', ADD COLUMN label text GENERATED ALWAYS AS (owner_name || '!') STORED;
CREATE TABLE shaped (org_id text REFERENCES credit_account);
SELECT count(*) FROM credit_authorize_many('{shapes,shapes-2}', '{10,10}', '{both,both}');
SELECT org_id, amount, available
FROM credit_commit_many((SELECT array_agg(authorization_id ORDER BY org_id) FROM credit_ledger WHERE campaign_id = 'both'), '{0,10}');
SELECT balance_after FROM credit_grant('shapes-3', 5, 'opening');
SELECT org_id, half = balance / 2, label FROM credit_account WHERE org_id ~ '^shapes' ORDER BY org_id;
SELECT credit_limit, half, owner_name, label FROM credit_account_configure('shapes-3', 7);
ALTER TABLE credit_ledger ADD COLUMN cost_centre text DEFAULT repeat('c', 10) || 'entre';
ALTER TABLE credit_idempotency ADD COLUMN remark text DEFAULT repeat('r', 10) || 'emark';
SELECT count(*) FROM credit_authorize_many(array_fill('shapes'::text, '{250}'), array_fill(1::bigint, '{250}'),
                                           (SELECT array_agg('many ' || n) FROM generate_series(1, 250) AS n));
SELECT cost_centre, count(*) FROM credit_ledger WHERE campaign_id ~ '^many' GROUP BY 1;
SELECT remark, count(*) FROM credit_idempotency WHERE campaign_id ~ '^many' GROUP BY 1;
SELECT * FROM credit_verify();
ROLLBACK;

-- A trigger that turns what the call wrote into something else would have it count on what is not there.
SELECT pg_temp.refused_after(
  format('CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS %L; '
         'CREATE TRIGGER meddle BEFORE INSERT OR UPDATE ON %s FOR EACH ROW EXECUTE FUNCTION meddle()',
         format('BEGIN NEW.%s; RETURN NEW; END', change), relation), call)
FROM (VALUES
  (1, 'credit_account', 'org_id := lower(NEW.org_id)', $$SELECT credit_grant('SHAPES-2', 1, 'a')$$),
  (2, 'credit_account', 'held := 0', $$SELECT credit_authorize('shapes', 1, 'a')$$),
  (3, 'credit_ledger_open', 'status := ''committed''', $$SELECT credit_authorize('shapes', 1, 'a')$$),
  (4, 'credit_ledger_open', 'amount := 2 * NEW.amount', $$SELECT credit_authorize('shapes', 1, 'a')$$),
  (5, 'credit_ledger_settled_default', 'created_at := ''2020-01-01''', $$SELECT credit_charge('shapes', 1, 'a')$$),
  (6, 'credit_entry', 'balance_after := NULL', $$SELECT credit_grant('shapes', 1, 'a')$$),
  (7, 'credit_idempotency', 'idempotency_key := upper(NEW.idempotency_key)', $$SELECT credit_grant('shapes', 1, 'a')$$)
) AS v (n, relation, change, call) ORDER BY n;

-- A trigger before holds are deleted, which settling one does.
BEGIN;
CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE '% of %', TG_OP, OLD.campaign_id; RETURN OLD; END $$;
CREATE TRIGGER watch BEFORE DELETE ON credit_ledger_open FOR EACH ROW EXECUTE FUNCTION watch();
SELECT c.status, c.available FROM credit_authorize('shapes', 10, 'a') AS a, credit_commit(a.authorization_id, 4) AS c;
SELECT c.status, c.available
FROM (SELECT array_agg(a.authorization_id) AS ids FROM credit_authorize_many('{shapes,shapes}', '{1,1}', '{b,c}') AS a) AS a,
     credit_revert_many(a.ids) AS c;
SELECT * FROM credit_verify();
ROLLBACK;

-- Lots are used in their order whichever indexes there are: with one of the DBA's before ours, and with none.
CREATE FUNCTION pg_temp.lots_used(org text) RETURNS text LANGUAGE sql AS $$
  SELECT NULL FROM credit_grant(org, 50, 'first', expires_at => now() + interval '2 days');
  SELECT NULL FROM credit_grant(org, 50, 'second', expires_at => now() + interval '1 day');
  SELECT NULL FROM credit_charge(org, 70, 'campaign');
  SELECT lots::text FROM credit_ledger WHERE org_id = org;
$$;
BEGIN;
DROP INDEX credit_lot_use_idx;
SELECT pg_temp.lots_used('shapes-lots-1');
CREATE INDEX credit_lot_age_idx ON credit_lot (org_id, created_at) WHERE closed_at IS NULL;
CREATE INDEX credit_lot_closed_idx ON credit_lot (org_id, closed_at);
SELECT pg_temp.lots_used('shapes-lots-2');
CREATE INDEX credit_lot_use_idx ON credit_lot (org_id, priority, expires_at, lot_no) WHERE closed_at IS NULL;
SELECT pg_temp.lots_used('shapes-lots-3');
SELECT * FROM credit_verify();
ROLLBACK;

-- An index to which organisations are the same that are not finds nothing of ours.
BEGIN;
DROP INDEX credit_lot_use_idx;
CREATE COLLATION pg_temp.any_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE INDEX credit_lot_any_case_idx ON credit_lot (org_id COLLATE pg_temp.any_case, priority, expires_at, lot_no) WHERE closed_at IS NULL;
SELECT balance_after FROM credit_grant('Shapes-Lots-4', 50, 'other', expires_at => now() + interval '1 hour');
SELECT pg_temp.lots_used('shapes-lots-4');
SELECT * FROM credit_verify();
ROLLBACK;

SELECT * FROM credit_verify();
DROP TABLE ids;
