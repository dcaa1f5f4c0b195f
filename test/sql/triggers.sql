-- What a user puts on the tables works as on any table: triggers, CHECK constraints, foreign keys.
--
-- Row triggers on each of the tables write down what they see while every verb is called; others raise, swallow or
-- change the row. Constraints are added on the tables and against tables of an application. All of it in transactions
-- that are rolled back.
\getenv abs_srcdir PG_ABS_SRCDIR
\set include :abs_srcdir '/sql/include/refusal.sql'
\i :include

SELECT balance_after FROM credit_grant('triggers', 1000, 'opening');

-- Triggers that watch: each verb with the rows it wrote, as the triggers saw them.
BEGIN;
CREATE TABLE seen (position integer GENERATED ALWAYS AS IDENTITY, what text);
CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  old_row jsonb := to_jsonb(OLD);
  new_row jsonb := to_jsonb(NEW);
BEGIN
  INSERT INTO seen (what)
  SELECT format('%s %s on %s: %s', TG_WHEN, TG_OP, TG_TABLE_NAME,
                (SELECT string_agg(format('%s %s', key, concat_ws(' -> ', old_row ->> key, new_row ->> key)), ', ' ORDER BY key)
                 FROM string_to_table('balance held status amount settled_by refunded_amount kind operation', ' ') AS key
                 WHERE old_row ? key OR new_row ? key));
  RETURN coalesce(NEW, OLD);
END
$$;
CREATE TRIGGER watch_before BEFORE INSERT OR UPDATE OR DELETE ON credit_account FOR EACH ROW EXECUTE FUNCTION watch();
CREATE TRIGGER watch_after AFTER INSERT OR UPDATE OR DELETE ON credit_account FOR EACH ROW EXECUTE FUNCTION watch();
CREATE TRIGGER watch_before BEFORE INSERT OR UPDATE OR DELETE ON credit_ledger FOR EACH ROW EXECUTE FUNCTION watch();
CREATE TRIGGER watch_after AFTER INSERT OR UPDATE OR DELETE ON credit_ledger FOR EACH ROW EXECUTE FUNCTION watch();
CREATE TRIGGER watch_before BEFORE INSERT OR UPDATE OR DELETE ON credit_entry FOR EACH ROW EXECUTE FUNCTION watch();
CREATE TRIGGER watch_after AFTER INSERT OR UPDATE OR DELETE ON credit_entry FOR EACH ROW EXECUTE FUNCTION watch();
CREATE TRIGGER watch_before BEFORE INSERT OR UPDATE OR DELETE ON credit_idempotency FOR EACH ROW EXECUTE FUNCTION watch();
CREATE TRIGGER watch_after AFTER INSERT OR UPDATE OR DELETE ON credit_idempotency FOR EACH ROW EXECUTE FUNCTION watch();
CREATE FUNCTION pg_temp.seen() RETURNS SETOF text LANGUAGE sql AS $$
  WITH gone AS (DELETE FROM seen RETURNING *) SELECT what FROM gone ORDER BY position
$$;
CREATE FUNCTION pg_temp.hold(name text) RETURNS text LANGUAGE sql AS $$
  SELECT authorization_id FROM credit_ledger WHERE org_id = 'triggers' AND campaign_id = name
$$;
\pset tuples_only on
\pset format unaligned
SELECT balance_after FROM credit_grant('triggers-new', 10, 'opening');
SELECT pg_temp.seen();
SELECT status FROM credit_authorize('triggers', 100, 'a');
SELECT pg_temp.seen();
SELECT status FROM credit_commit(pg_temp.hold('a'), 60);
SELECT pg_temp.seen();
SELECT amount FROM credit_refund(pg_temp.hold('a'), 'refund-1', 10);
SELECT pg_temp.seen();
SELECT status FROM credit_authorize('triggers', 100, 'b');
SELECT status FROM credit_extend(pg_temp.hold('b'), '1 hour');
SELECT status FROM credit_revert(pg_temp.hold('b'));
SELECT pg_temp.seen();
SELECT status FROM credit_authorize('triggers', 100, 'c');
UPDATE credit_ledger SET expires_at = '2000-01-01' WHERE authorization_id = pg_temp.hold('c');
DELETE FROM seen;
SELECT credit_sweep('2000-01-02');
SELECT pg_temp.seen();
SELECT status FROM credit_commit(pg_temp.hold('c'), 40);
SELECT pg_temp.seen();
SELECT frozen FROM credit_account_configure('triggers', credit_limit => 5);
SELECT pg_temp.seen();
SELECT amount FROM credit_adjust('triggers', -1, 'correction-1', 'r');
SELECT pg_temp.seen();
-- A replay writes nothing.
SELECT replayed FROM credit_authorize('triggers', 100, 'a');
SELECT replayed FROM credit_commit(pg_temp.hold('a'), 60);
SELECT replayed FROM credit_refund(pg_temp.hold('a'), 'refund-1', 10);
SELECT pg_temp.seen();
SELECT * FROM credit_verify();
ROLLBACK;

-- Triggers that raise stop the call, which leaves nothing behind.
BEGIN;
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE check_violation USING MESSAGE = format('no %s on %s', TG_OP, TG_ARGV[0]);
END
$$;
CREATE FUNCTION pg_temp.refused_with(trigger_on text, timing text, statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  result text;
BEGIN
  EXECUTE format('CREATE TRIGGER refuse %s ON %s FOR EACH ROW EXECUTE FUNCTION refuse(%L)', timing, trigger_on, trigger_on);
  result := format('%s: %s', timing, pg_temp.refusal(statement));
  EXECUTE format('DROP TRIGGER refuse ON %s', trigger_on);
  RETURN result;
END
$$;
SELECT status FROM credit_authorize('triggers', 100, 'held');
SELECT pg_temp.refused_with(relation, timing, call)
FROM (VALUES
  (1, 'credit_account', 'INSERT', $$SELECT credit_grant('triggers-new', 1, 'k')$$),
  (2, 'credit_account', 'UPDATE', $$SELECT credit_grant('triggers', 1, 'k')$$),
  (3, 'credit_entry', 'INSERT', $$SELECT credit_grant('triggers', 1, 'k')$$),
  (4, 'credit_entry_default', 'INSERT', $$SELECT credit_grant('triggers', 1, 'k')$$),
  (5, 'credit_idempotency', 'INSERT', $$SELECT credit_grant('triggers', 1, 'k')$$),
  (6, 'credit_ledger', 'INSERT', $$SELECT credit_authorize('triggers', 1, 'k')$$),
  (7, 'credit_ledger_open', 'INSERT', $$SELECT credit_authorize('triggers', 1, 'k')$$),
  (8, 'credit_ledger_open', 'UPDATE', $$SELECT credit_extend(authorization_id, '1 hour') FROM credit_ledger WHERE org_id = 'triggers'$$),
  (9, 'credit_ledger_open', 'DELETE', $$SELECT credit_commit(authorization_id) FROM credit_ledger WHERE org_id = 'triggers'$$),
  (10, 'credit_ledger_settled_default', 'INSERT', $$SELECT credit_revert(authorization_id) FROM credit_ledger WHERE org_id = 'triggers'$$)
) AS v (n, relation, event, call),
LATERAL (VALUES (1, 'BEFORE ' || event), (2, 'AFTER ' || event)) AS w (m, timing)
ORDER BY n, m;
SELECT * FROM credit_balance('triggers');
SELECT * FROM credit_verify();
ROLLBACK;

-- A trigger that swallows the row would break the books: it is refused.
BEGIN;
CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE FUNCTION pg_temp.swallowed_with(trigger_on text, event text, statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  result text;
BEGIN
  EXECUTE format('CREATE TRIGGER swallow BEFORE %s ON %s FOR EACH ROW EXECUTE FUNCTION swallow()', event, trigger_on);
  result := format('%s on %s: %s', event, trigger_on, pg_temp.refusal(statement));
  EXECUTE format('DROP TRIGGER swallow ON %s', trigger_on);
  RETURN result;
END
$$;
SELECT status FROM credit_authorize('triggers', 100, 'held');
SELECT pg_temp.swallowed_with(relation, event, call)
FROM (VALUES
  (1, 'credit_account', 'INSERT', $$SELECT credit_grant('triggers-new', 1, 'k')$$),
  (2, 'credit_account', 'UPDATE', $$SELECT credit_grant('triggers', 1, 'k')$$),
  (3, 'credit_entry', 'INSERT', $$SELECT credit_grant('triggers', 1, 'k')$$),
  (4, 'credit_idempotency', 'INSERT', $$SELECT credit_grant('triggers', 1, 'k')$$),
  (5, 'credit_ledger_open', 'INSERT', $$SELECT credit_authorize('triggers', 1, 'k')$$),
  (6, 'credit_ledger_open', 'UPDATE', $$SELECT credit_extend(authorization_id, '1 hour') FROM credit_ledger WHERE org_id = 'triggers'$$),
  (7, 'credit_ledger_open', 'DELETE', $$SELECT credit_commit(authorization_id) FROM credit_ledger WHERE org_id = 'triggers'$$),
  (8, 'credit_ledger_settled_default', 'INSERT', $$SELECT credit_revert(authorization_id) FROM credit_ledger WHERE org_id = 'triggers'$$)
) AS v (n, relation, event, call) ORDER BY n;
SELECT * FROM credit_balance('triggers');
SELECT * FROM credit_verify();
ROLLBACK;

-- A trigger may add to the row.
BEGIN;
CREATE FUNCTION label() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.metadata := coalesce(NEW.metadata, '{}') || jsonb_build_object('labelled', TG_OP);
  RETURN NEW;
END
$$;
CREATE TRIGGER label BEFORE INSERT OR UPDATE ON credit_account FOR EACH ROW EXECUTE FUNCTION label();
CREATE TRIGGER label BEFORE INSERT ON credit_ledger_open FOR EACH ROW EXECUTE FUNCTION label();
CREATE TRIGGER label BEFORE INSERT ON credit_entry FOR EACH ROW EXECUTE FUNCTION label();
SELECT (credit_grant('triggers', 1, 'labelled')).balance_after,
       (credit_authorize('triggers', 1, 'labelled', metadata => '{"own": 1}')).available;
SELECT metadata FROM credit_account WHERE org_id = 'triggers';
SELECT metadata FROM credit_ledger WHERE org_id = 'triggers';
SELECT metadata FROM credit_entry WHERE org_id = 'triggers' ORDER BY entry_no DESC LIMIT 1;
SELECT * FROM credit_verify();
ROLLBACK;

-- A trigger that calls the ledger itself: a campaign's row takes the hold, and its end settles it.
BEGIN;
CREATE TABLE campaign (id text PRIMARY KEY, org_id text, size bigint, sent bigint, authorization_id text);
CREATE FUNCTION campaign_credits() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'INSERT' THEN
    NEW.authorization_id := (credit_authorize(NEW.org_id, NEW.size, NEW.id)).authorization_id;
  ELSE
    PERFORM credit_commit(NEW.authorization_id, NEW.sent);
  END IF;
  RETURN NEW;
END
$$;
CREATE TRIGGER campaign_credits BEFORE INSERT OR UPDATE OF sent ON campaign FOR EACH ROW EXECUTE FUNCTION campaign_credits();
INSERT INTO campaign (id, org_id, size) SELECT 'campaign-' || n, 'triggers', 100 * n FROM generate_series(1, 3) AS n;
SELECT * FROM credit_balance('triggers');
UPDATE campaign SET sent = size - 10 WHERE id <> 'campaign-3';
SELECT * FROM credit_balance('triggers');
SELECT campaign_id, status, amount FROM credit_ledger WHERE org_id = 'triggers' ORDER BY campaign_id;
SELECT * FROM credit_verify();
ROLLBACK;

-- A trigger that calls the ledger for the same account, once its row is written: an account that tops itself up. Before
-- the row is written, the ledger is in the middle of its work and the call is refused.
BEGIN;
CREATE FUNCTION top_up() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM credit_grant(NEW.org_id, 500, 'top-up-' || NEW.last_entry_no);
  RETURN NEW;
END
$$;
CREATE TRIGGER top_up AFTER UPDATE ON credit_account FOR EACH ROW WHEN (NEW.balance < 100) EXECUTE FUNCTION top_up();
SELECT c.available FROM credit_authorize('triggers', 950, 'a') AS a, credit_commit(a.authorization_id) AS c;
SELECT * FROM credit_balance('triggers');
SELECT entry_no, kind, amount, balance_after FROM credit_statement('triggers');
DROP TRIGGER top_up ON credit_account;
CREATE FUNCTION hold_one() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM credit_authorize('triggers', 1, 'in between');
  RETURN NEW;
END
$$;
CREATE TRIGGER hold_one BEFORE INSERT ON credit_entry FOR EACH ROW EXECUTE FUNCTION hold_one();
SELECT pg_temp.refusal($$SELECT credit_adjust('triggers', -100, 'correction-1', 'r')$$);
SELECT * FROM credit_verify();
ROLLBACK;

-- A deferred constraint trigger waits for the end of the transaction, or to be asked.
BEGIN;
CREATE FUNCTION keep_something() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF (SELECT a.balance - a.held FROM credit_account AS a WHERE a.org_id = NEW.org_id) < 100 THEN
    RAISE check_violation USING MESSAGE = format('%s has to keep 100', NEW.org_id);
  END IF;
  RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER keep_something AFTER UPDATE ON credit_account DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION keep_something();
SELECT available FROM credit_authorize('triggers', 950, 'nearly all');
SELECT pg_temp.refusal('SET CONSTRAINTS keep_something IMMEDIATE');
SELECT available FROM credit_grant('triggers', 50, 'top up');
SET CONSTRAINTS keep_something IMMEDIATE;
SELECT pg_temp.refusal($$SELECT credit_authorize('triggers', 1, 'one more')$$);
ROLLBACK;

-- CHECK constraints.
BEGIN;
ALTER TABLE credit_account ADD CONSTRAINT no_more_than_2000 CHECK (balance <= 2000) NOT VALID;
ALTER TABLE credit_ledger ADD CONSTRAINT small_holds CHECK (authorized_amount <= 500) NOT VALID;
ALTER TABLE credit_entry ADD CONSTRAINT small_entries CHECK (abs(amount::numeric) <= 1200) NOT VALID;
ALTER TABLE credit_idempotency ADD CONSTRAINT lower_case_keys CHECK (idempotency_key = lower(idempotency_key)) NOT VALID;
ALTER TABLE credit_ledger_settled ADD CONSTRAINT no_reason CHECK (reason IS NULL) NOT VALID;
SELECT split_part(pg_temp.refusal(statement), E'\n  DETAIL', 1)
FROM (VALUES
  (1, $$SELECT credit_grant('triggers', 1001, 'k')$$),
  (2, $$SELECT credit_grant('triggers', 1201, 'k')$$),
  (3, $$SELECT credit_grant('triggers', 1, 'K')$$),
  (4, $$SELECT credit_authorize('triggers', 501, 'k')$$),
  (5, $$SELECT credit_authorize('triggers', 500, 'K')$$),
  (6, $$SELECT credit_revert((credit_authorize('triggers', 500, 'k')).authorization_id, 'with a reason')$$)
) AS v (n, statement) ORDER BY n;
SELECT balance_after FROM credit_grant('triggers', 1000, 'k');
SELECT r.status FROM credit_authorize('triggers', 500, 'k') AS a, credit_revert(a.authorization_id) AS r;
ROLLBACK;

-- Columns of the user's own: they are left as they are, travel with the row, are generated anew.
BEGIN;
ALTER TABLE credit_account ADD COLUMN region text, ADD COLUMN net bigint GENERATED ALWAYS AS (balance - held) STORED;
ALTER TABLE credit_ledger ADD COLUMN note text;
ALTER TABLE credit_entry ADD COLUMN note text;
SELECT (credit_grant('triggers-new', 10, 'opening')).balance_after, (credit_authorize('triggers-new', 4, 'a')).available;
UPDATE credit_account SET region = 'us' WHERE org_id = 'triggers-new';
UPDATE credit_ledger SET note = 'urgent' WHERE org_id = 'triggers-new';
SELECT (credit_commit(authorization_id, 3)).available FROM credit_ledger WHERE org_id = 'triggers-new';
SELECT region, net, balance, held FROM credit_account WHERE org_id = 'triggers-new';
SELECT tableoid::regclass, status, note FROM credit_ledger WHERE org_id = 'triggers-new';
SELECT entry_no, note FROM credit_entry WHERE org_id = 'triggers-new' ORDER BY entry_no;
ROLLBACK;

-- Foreign keys, to the accounts and from them.
BEGIN;
CREATE TABLE invoice (id integer PRIMARY KEY, org_id text COLLATE "C" REFERENCES credit_account);
INSERT INTO invoice VALUES (1, 'triggers');
SELECT pg_temp.refusal($$INSERT INTO invoice VALUES (2, 'triggers-new')$$);
SELECT balance_after FROM credit_grant('triggers-new', 10, 'opening');
INSERT INTO invoice VALUES (2, 'triggers-new');
SELECT available FROM credit_authorize('triggers-new', 10, 'a');
ROLLBACK;
BEGIN;
CREATE TABLE organisation (id text COLLATE "C" PRIMARY KEY);
INSERT INTO organisation SELECT org_id FROM credit_account;
ALTER TABLE credit_account ADD CONSTRAINT of_an_organisation FOREIGN KEY (org_id) REFERENCES organisation;
SELECT pg_temp.refusal($$SELECT credit_grant('triggers-new', 10, 'opening')$$);
SELECT pg_temp.refusal($$SELECT credit_account_configure('triggers-new', 10)$$);
INSERT INTO organisation VALUES ('triggers-new');
SELECT balance_after FROM credit_grant('triggers-new', 10, 'opening');
SELECT available FROM credit_authorize('triggers-new', 10, 'a');
SELECT pg_temp.refusal($$DELETE FROM organisation WHERE id = 'triggers-new'$$);
ALTER TABLE credit_account ALTER CONSTRAINT of_an_organisation DEFERRABLE INITIALLY DEFERRED;
SELECT balance_after FROM credit_grant('triggers-newer', 10, 'opening');
SELECT pg_temp.refusal('SET CONSTRAINTS of_an_organisation IMMEDIATE');
ROLLBACK;

-- What a trigger's own call of the ledger is refused ends the whole call, also where refused items are skipped: the
-- trigger's transaction is the call's.
BEGIN;
SELECT balance_after FROM credit_grant('triggers-poor', 1, 'opening');
CREATE FUNCTION mirror() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.campaign_id = 'mirrored' THEN
    PERFORM credit_charge('triggers-poor', 100, NEW.campaign_id);
  END IF;
  RETURN NEW;
END
$$;
CREATE TRIGGER mirror BEFORE INSERT ON credit_ledger_open FOR EACH ROW EXECUTE FUNCTION mirror();
SELECT pg_temp.refusal($$
  SELECT credit_authorize_many('{triggers,triggers}', '{1,2}', '{plain,mirrored}', skip_refused => true)$$);
SELECT ord, status, sqlstate
FROM credit_authorize_many('{triggers,triggers}', '{1,20000}', '{plain,dear}', skip_refused => true);
SELECT * FROM credit_verify();
ROLLBACK;

-- Indexes of the user's own are kept up: a unique one refuses, another finds what was written.
BEGIN;
CREATE UNIQUE INDEX one_hold ON credit_ledger_open (upper(org_id)) WHERE org_id = 'triggers';
CREATE INDEX by_campaign ON credit_ledger_settled (campaign_id);
SELECT (credit_commit(authorization_id)).status FROM credit_authorize('triggers', 1, 'a');
SELECT status FROM credit_authorize('triggers', 1, 'b');
SELECT pg_temp.refusal($$SELECT credit_authorize('triggers', 1, 'c')$$);
SET LOCAL enable_seqscan = off;
SELECT campaign_id, status FROM credit_ledger_settled WHERE campaign_id = 'a' AND org_id = 'triggers';
ROLLBACK;

SELECT * FROM credit_verify();
