-- Partitions: settled rows and entries go to the leaf their created_at falls in, and are found wherever they stand.
--
-- In a database of its own, ranges are made with credit_create_partition() and by hand, around now and in the past, with
-- indexes and without, with their columns in another order. Rows with ids of a foreign form are imported into them, as
-- from an older ledger, and every verb is tried on them.
\set home :DBNAME
CREATE DATABASE credit_ledger_partitions TEMPLATE template0;
\c credit_ledger_partitions
SET client_min_messages = warning;
CREATE EXTENSION credit_ledger;
RESET client_min_messages;
\getenv abs_srcdir PG_ABS_SRCDIR
\set include :abs_srcdir '/sql/include/refusal.sql'
\i :include
SET timezone = 'UTC';

-- By function: January 2001, with the indexes and constraints of the default partition.
SELECT credit_create_partition('credit_ledger_settled', '2001-01-01', '2001-02-01');
SELECT credit_create_partition('credit_entry', '2001-01-01', '2001-02-01');
SELECT c.relname, pg_get_expr(c.relpartbound, c.oid),
       (SELECT array_agg(replace(pg_get_indexdef(i.indexrelid), c.relname, '-') ORDER BY i.indexrelid::regclass::text)
        FROM pg_index AS i WHERE i.indrelid = c.oid) AS indexes,
       (SELECT count(*) FROM pg_constraint AS k WHERE k.conrelid = c.oid AND k.contype = 'c') AS checks
FROM pg_class AS c WHERE c.relname IN ('credit_ledger_settled_20010101', 'credit_entry_20010101') ORDER BY 1;

-- By hand: February without any index, and around now a leaf that was a table of its own, its columns in another order
-- and one of them dropped.
CREATE TABLE settled_february PARTITION OF credit_ledger_settled FOR VALUES FROM ('2001-02-01') TO ('2001-03-01');
CREATE TABLE entry_february PARTITION OF credit_entry FOR VALUES FROM ('2001-02-01') TO ('2001-03-01');
CREATE TABLE settled_now (
  dropped integer, metadata jsonb, reason text, settled_by credit_actor, settled_at timestamptz, expires_at timestamptz NOT NULL,
  created_at timestamptz NOT NULL, timeout_action credit_timeout_action NOT NULL, committed_amount bigint, refunded_amount bigint NOT NULL,
  authorized_amount bigint NOT NULL, amount bigint NOT NULL, status credit_status NOT NULL,
  idempotency_key text COLLATE "C" NOT NULL, campaign_id text COLLATE "C", org_id text COLLATE "C" NOT NULL,
  authorization_id text COLLATE "C" PRIMARY KEY, committed_lots bigint[], lots bigint[]);
CREATE TABLE entry_now (
  dropped integer, metadata jsonb, created_at timestamptz NOT NULL, balance_after bigint NOT NULL, reason text,
  idempotency_key text COLLATE "C", authorization_id text COLLATE "C", amount bigint NOT NULL, kind credit_entry_kind NOT NULL,
  entry_no bigint NOT NULL, org_id text COLLATE "C" NOT NULL, effective_at timestamptz, lots bigint[], PRIMARY KEY (org_id, entry_no));
CREATE FUNCTION pg_temp.attach(leaf text, parent regclass, template regclass) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  name text;
  definition text;
BEGIN
  EXECUTE format('ALTER TABLE %I DROP COLUMN dropped', leaf);
  FOR name, definition IN SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = template AND contype = 'c' LOOP
    EXECUTE format('ALTER TABLE %I ADD CONSTRAINT %I %s', leaf, name, definition);
  END LOOP;
  EXECUTE format('ALTER TABLE %s ATTACH PARTITION %I '
                 'FOR VALUES FROM (now() - interval ''1 day'') TO (now() + interval ''1 day'')', parent, leaf);
END
$$;
SELECT pg_temp.attach('settled_now', 'credit_ledger_settled', 'credit_ledger_settled_default');
SELECT pg_temp.attach('entry_now', 'credit_entry', 'credit_entry_default');

-- Whatever happens now goes there.
SELECT balance_after FROM credit_grant('org', 1000, 'opening', 'first purchase', '{"invoice": 1}');
SELECT count((credit_authorize('org', 100, campaign, metadata => '{"list": "spring"}')).available)
FROM string_to_table('full part reverted open', ' ') AS campaign;
CREATE FUNCTION pg_temp.hold(name text) RETURNS text LANGUAGE sql AS $$
  SELECT authorization_id FROM credit_ledger WHERE org_id = 'org' AND campaign_id = name
$$;
SELECT status, amount, settled_by, available FROM credit_commit(pg_temp.hold('full'));
SELECT status, amount, settled_by, available FROM credit_commit(pg_temp.hold('part'), 60);
SELECT status, amount, settled_by, reason, available FROM credit_revert(pg_temp.hold('reverted'), 'never sent');
SELECT kind, amount, balance_after FROM credit_refund(pg_temp.hold('full'), 'refund-1', 30, 'bounced');
SELECT tableoid::regclass, campaign_id, idempotency_key, status, amount, authorized_amount, refunded_amount, timeout_action,
       settled_by, reason, metadata
FROM credit_ledger WHERE org_id = 'org' ORDER BY campaign_id;
SELECT tableoid::regclass, entry_no, kind, amount, idempotency_key, reason, balance_after, metadata
FROM credit_entry WHERE org_id = 'org' ORDER BY entry_no;
SELECT status, amount, refunded_amount, replayed FROM credit_commit(pg_temp.hold('full'));
SELECT status, amount, replayed FROM credit_authorize('org', 100, 'part');

-- An older ledger is imported: ids of another form, and of the same form with another time in them, into every leaf;
-- the default partition takes what has no range. One is still open, whose range is there already.
INSERT INTO credit_account (org_id, balance, held, last_entry_no, created_at, updated_at)
VALUES ('imported', 400, 100, 2, '2000-12-01', '2000-12-01');
INSERT INTO credit_entry (org_id, entry_no, kind, amount, authorization_id, balance_after, created_at) VALUES
  ('imported', 1, 'grant', 500, NULL, 500, '2000-12-01'),
  ('imported', 2, 'commit', -100, 'auth-abc123', 400, '2001-02-10');
INSERT INTO credit_ledger (authorization_id, org_id, campaign_id, idempotency_key, status, amount, authorized_amount,
                           timeout_action, created_at, expires_at, settled_at, settled_by)
SELECT id, 'imported', id, id, status, 100, 100, 'commit', created_at, created_at + interval '10 min',
       CASE WHEN status <> 'authorized' THEN created_at END, CASE WHEN status <> 'authorized' THEN 'caller'::credit_actor END
FROM (VALUES
  ('auth-december', 'reverted'::credit_status, '2000-12-10'::timestamptz),
  ('7f3c4f5e-5f0b-4f0c-9a41-1d6f3c1c2b4a', 'reverted', '2001-01-10'),
  ('auth-abc123', 'committed', '2001-02-10'),
  ('auth-01ARZ3NDEKTSV4RRFFQ69G5FAV', 'reverted', '2001-02-11'),
  ('auth-7ZZZZZZZZZZZZZZZZZZZZZZZZZ', 'reverted', '2001-01-11'),
  ('auth-open', 'authorized', '2001-01-12')
) AS v (id, status, created_at);
INSERT INTO credit_idempotency (org_id, operation, idempotency_key, amount, campaign_id, authorization_id, created_at)
SELECT org_id, 'authorize', idempotency_key, authorized_amount, campaign_id, authorization_id, created_at
FROM credit_ledger WHERE org_id = 'imported';
SELECT tableoid::regclass, authorization_id, status FROM credit_ledger WHERE org_id = 'imported' ORDER BY created_at;
SELECT tableoid::regclass, entry_no FROM credit_entry WHERE org_id = 'imported' ORDER BY entry_no;
SELECT * FROM credit_verify();

-- All of them are found: they replay, conflict, are refunded.
SELECT l.authorization_id, r.status, r.amount, r.replayed
FROM credit_ledger AS l, credit_revert(l.authorization_id) AS r
WHERE l.org_id = 'imported' AND l.status = 'reverted' ORDER BY l.created_at;
SELECT status, amount, replayed FROM credit_commit('auth-abc123', 100);
SELECT status, amount, replayed FROM credit_authorize('imported', 100, 'auth-abc123');
SELECT entry_no, kind, amount, authorization_id, balance_after FROM credit_refund('auth-abc123', 'refund-1', 40);
SELECT tableoid::regclass, status, amount, refunded_amount FROM credit_ledger WHERE authorization_id = 'auth-abc123';

-- The open one is settled into the range of its created_at; its entry is of today.
SELECT status, amount, available FROM credit_commit('auth-open', 70);
SELECT tableoid::regclass, status, amount FROM credit_ledger WHERE authorization_id = 'auth-open';
SELECT tableoid::regclass, entry_no, kind, amount, balance_after FROM credit_entry WHERE org_id = 'imported' ORDER BY entry_no;
SELECT entry_no, balance_after FROM credit_statement('imported');
SELECT credit_balance_at('imported', '2001-02-10'), credit_balance_at('imported', '2000-12-31');
SELECT * FROM credit_verify();

-- A bound inside the millisecond that an id tells: the leaf is that of created_at all the same.
CREATE TABLE settled_march PARTITION OF credit_ledger_settled (PRIMARY KEY (authorization_id))
  FOR VALUES FROM ('2001-03-01') TO ('2001-03-01 00:00:00.0005');
CREATE TABLE settled_march_later PARTITION OF credit_ledger_settled (PRIMARY KEY (authorization_id))
  FOR VALUES FROM ('2001-03-01 00:00:00.0005') TO ('2001-04-01');
INSERT INTO credit_ledger
SELECT concat('auth-',
              string_agg(substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', (ms >> (45 - 5 * n))::bit(5)::integer + 1, 1), '' ORDER BY n),
              '0000000000000000'),
       'imported', NULL, 'march', 'reverted', 1, 1, NULL, 0, 'commit', created_at, created_at, created_at, 'caller'
FROM (SELECT created_at, floor(extract(epoch FROM created_at) * 1000)::bigint AS ms
      FROM (VALUES ('2001-03-01 00:00:00.0007'::timestamptz)) AS v (created_at)) AS t, generate_series(0, 9) AS n
GROUP BY created_at;
INSERT INTO credit_idempotency (org_id, operation, idempotency_key, amount, campaign_id, authorization_id, created_at)
SELECT org_id, 'authorize', idempotency_key, authorized_amount, campaign_id, authorization_id, created_at
FROM credit_ledger WHERE org_id = 'imported' AND idempotency_key = 'march';
SELECT tableoid::regclass, authorization_id, (credit_revert(authorization_id)).replayed
FROM credit_ledger WHERE org_id = 'imported' AND idempotency_key = 'march';

-- A true-up corrects the row where it stands.
UPDATE credit_ledger SET expires_at = '2000-01-01' WHERE authorization_id = pg_temp.hold('open');
SELECT credit_sweep('2000-01-02');
SELECT tableoid::regclass, status, settled_by FROM credit_ledger WHERE authorization_id = pg_temp.hold('open');
SELECT status, amount, settled_by FROM credit_revert(pg_temp.hold('open'), 'never sent');
SELECT tableoid::regclass, status, settled_by, reason FROM credit_ledger WHERE authorization_id = pg_temp.hold('open');

-- Detached, an old range is out of the ledger; attached again, it is back.
ALTER TABLE credit_ledger_settled DETACH PARTITION credit_ledger_settled_20010101;
\pset tuples_only on
\pset format unaligned
SELECT pg_temp.refusal($$SELECT credit_revert('7f3c4f5e-5f0b-4f0c-9a41-1d6f3c1c2b4a')$$);
SELECT pg_temp.refusal($$SELECT credit_authorize('imported', 100, '7f3c4f5e-5f0b-4f0c-9a41-1d6f3c1c2b4a')$$);
SELECT replayed FROM credit_commit('auth-abc123', 100);
ALTER TABLE credit_ledger_settled ATTACH PARTITION credit_ledger_settled_20010101 FOR VALUES FROM ('2001-01-01') TO ('2001-02-01');
SELECT replayed FROM credit_revert('7f3c4f5e-5f0b-4f0c-9a41-1d6f3c1c2b4a');

-- Dropped leaves are forgotten in the session.
BEGIN;
DROP TABLE settled_february;
SELECT pg_temp.refusal($$SELECT credit_commit('auth-abc123', 100)$$);
ROLLBACK;
SELECT replayed FROM credit_commit('auth-abc123', 100);

-- Where no leaf takes the row, it cannot be settled, and stays as it was. A leaf may be partitioned in its turn.
BEGIN;
ALTER TABLE credit_ledger_settled DETACH PARTITION settled_now;
ALTER TABLE credit_ledger_settled DETACH PARTITION credit_ledger_settled_default;
SELECT status FROM credit_authorize('org', 10, 'nowhere');
SELECT pg_temp.refusal($$SELECT credit_commit(pg_temp.hold('nowhere'))$$);
SELECT status FROM credit_ledger WHERE authorization_id = pg_temp.hold('nowhere');
CREATE TABLE by_hash PARTITION OF credit_ledger_settled FOR VALUES FROM (now() - interval '1 day') TO (now() + interval '1 day')
  PARTITION BY HASH (org_id);
CREATE TABLE by_hash_even PARTITION OF by_hash FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE by_hash_odd PARTITION OF by_hash FOR VALUES WITH (MODULUS 2, REMAINDER 1);
SELECT status FROM credit_commit(pg_temp.hold('nowhere'), 9);
SELECT tableoid::regclass::text LIKE 'by_hash_%' AS in_leaf, status, amount FROM credit_ledger WHERE authorization_id = pg_temp.hold('nowhere');
SELECT status, replayed FROM credit_commit(pg_temp.hold('nowhere'), 9);
ROLLBACK;

-- What credit_create_partition() refuses.
SELECT pg_temp.refusal('SELECT credit_create_partition(' || arguments || ')')
FROM (VALUES
  (1, $$NULL, '2002-01-01', '2002-02-01'$$),
  (2, $$'credit_entry', NULL, '2002-02-01'$$),
  (3, $$'credit_entry', '2002-01-01', NULL$$),
  (4, $$'credit_ledger', '2002-01-01', '2002-02-01'$$),
  (5, $$'credit_account', '2002-01-01', '2002-02-01'$$),
  (6, $$'pg_class', '2002-01-01', '2002-02-01'$$),
  (7, $$'credit_entry', '2002-01-01', '2002-01-01'$$),
  (8, $$'credit_entry', '2002-02-01', '2002-01-01'$$),
  (9, $$'credit_entry', '2001-01-01', '2001-02-01'$$),
  (10, $$'credit_entry', '2001-01-15', '2001-02-15'$$),
  (11, $$'credit_entry', '2000-12-01', '2001-01-01'$$)
) AS v (n, arguments) ORDER BY n;

-- Two ranges that begin on the same day have names of their own.
SELECT credit_create_partition('credit_entry', '2002-01-01', '2002-01-01 12:00');
SELECT credit_create_partition('credit_entry', '2002-01-01 12:00', '2002-01-02');

SELECT * FROM credit_verify();
\c :home
DROP DATABASE credit_ledger_partitions;
