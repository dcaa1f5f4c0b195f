"""What a DBA may do to the tables while they are in use, again and again, in an order that the seed decides.

None of it may cost more than a wait: the functions of the triggers say nothing, what is detached is attached again, and
UNDO takes everything away at the end.
"""

import random
from collections import Counter

import psycopg2

TABLES = ["credit_account", "credit_ledger_open", "credit_ledger_settled", "credit_entry", "credit_idempotency", "credit_lot"]
LEAVES = ["credit_account", "credit_ledger_open", "credit_ledger_settled_default", "credit_entry_default", "credit_idempotency",
          "credit_lot"]

CHANGES = [
    "CREATE INDEX fuzz_{leaf} ON {leaf} (created_at)", "DROP INDEX IF EXISTS fuzz_{leaf}",
    "CREATE INDEX CONCURRENTLY fuzz_{leaf} ON {leaf} (created_at)", "DROP INDEX CONCURRENTLY IF EXISTS fuzz_{leaf}",
    "REINDEX TABLE {leaf}", "REINDEX TABLE CONCURRENTLY {leaf}", "VACUUM {leaf}", "VACUUM FULL {leaf}", "VACUUM (FREEZE) {leaf}",
    "ANALYZE", "ALTER TABLE {table} ADD COLUMN IF NOT EXISTS fuzz_extra integer",
    "ALTER TABLE {table} ADD COLUMN IF NOT EXISTS fuzz_rewrite double precision DEFAULT random()",
    "ALTER TABLE {table} DROP COLUMN IF EXISTS fuzz_extra, DROP COLUMN IF EXISTS fuzz_rewrite",
    "ALTER TABLE credit_account ADD COLUMN IF NOT EXISTS fuzz_generated bigint GENERATED ALWAYS AS (balance / 2) STORED",
    "ALTER TABLE credit_account DROP COLUMN IF EXISTS fuzz_generated",
    "CREATE OR REPLACE TRIGGER fuzz_before BEFORE INSERT OR UPDATE OR DELETE ON {leaf} FOR EACH ROW EXECUTE FUNCTION fuzz_pass()",
    "CREATE OR REPLACE TRIGGER fuzz_after AFTER INSERT OR UPDATE OR DELETE ON {leaf} FOR EACH ROW EXECUTE FUNCTION fuzz_again()",
    "CREATE CONSTRAINT TRIGGER fuzz_deferred AFTER INSERT OR UPDATE ON {leaf} INITIALLY DEFERRED"
    " FOR EACH ROW EXECUTE FUNCTION fuzz_again()",
    "CREATE OR REPLACE TRIGGER fuzz_refuse BEFORE INSERT OR UPDATE OR DELETE ON {leaf} FOR EACH ROW EXECUTE FUNCTION fuzz_refuse()",
    "DROP TRIGGER IF EXISTS fuzz_refuse ON {leaf}", "DROP TRIGGER IF EXISTS fuzz_before ON {leaf}", "DROP TRIGGER IF EXISTS fuzz_after ON {leaf}",
    "DROP TRIGGER IF EXISTS fuzz_deferred ON {leaf}",
    "CREATE TABLE IF NOT EXISTS fuzz_customer (org_id text COLLATE \"C\" REFERENCES credit_account)",
    "INSERT INTO fuzz_customer SELECT org_id FROM credit_account", "DELETE FROM fuzz_customer", "DROP TABLE IF EXISTS fuzz_customer",
    "ALTER TABLE credit_account ADD CONSTRAINT fuzz_check CHECK (held > -1)",
    "ALTER TABLE credit_account DROP CONSTRAINT IF EXISTS fuzz_check",
    "ALTER TABLE {leaf} SET (fillfactor = 70)", "ALTER TABLE {leaf} RESET (fillfactor)",
    "ALTER TABLE credit_ledger_settled DETACH PARTITION credit_ledger_settled_default;"
    " ALTER TABLE credit_ledger_settled ATTACH PARTITION credit_ledger_settled_default DEFAULT",
    "ALTER TABLE credit_entry DETACH PARTITION credit_entry_default;"
    " ALTER TABLE credit_entry ATTACH PARTITION credit_entry_default DEFAULT",
    "SELECT credit_create_partitions(2)", "TRUNCATE credit_stat", "CHECKPOINT",
    "SELECT credit_detach_partitions('1 second')",
    "ALTER TABLE credit_entry ATTACH PARTITION credit_entry_20250101 FOR VALUES FROM ('2025-01-01 00:00Z') TO ('2025-02-01 00:00Z')",
    "CLUSTER credit_account USING credit_account_pkey", "ALTER TABLE credit_lot SET UNLOGGED; ALTER TABLE credit_lot SET LOGGED",
    "SELECT credit_shard_configure(0, 1)",
    "BEGIN; LOCK TABLE {table}; SELECT pg_sleep(0.05); COMMIT",
    "CREATE PUBLICATION fuzz FOR ALL TABLES", "DROP PUBLICATION IF EXISTS fuzz",
    "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'fuzz session%' LIMIT 1",
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type LIKE 'credit_ledger%' LIMIT 1",
    "SELECT credit_usage_source_register('emails', 'usage_of_emails')", "SELECT credit_usage_source_unregister('emails')",
]

PREPARE = """
CREATE EXTENSION credit_ledger;
CREATE TABLE usage_of_emails (org_id text, campaign_id text, used_at timestamptz, quantity bigint);
CREATE INDEX ON usage_of_emails (org_id, campaign_id);
CREATE INDEX ON usage_of_emails (used_at);
CREATE VIEW usage_view AS SELECT * FROM usage_of_emails;
-- What another ledger knew: of two organisations, and of others again and again.
CREATE TABLE lines AS
SELECT 'old-' || n % 2 + 1 AS org_id, (n * 10)::bigint AS amount, '2025-01-01 00:00Z'::timestamptz + n * interval '1 day' AS created_at,
       'line ' || n AS reason
FROM generate_series(1, 40) n;
CREATE VIEW lines_again AS SELECT 'new-' || (40 * random())::integer AS org_id, amount, created_at, reason FROM lines;
SELECT credit_create_partition('credit_entry', '2025-01-01 00:00Z', '2025-02-01 00:00Z');
SELECT credit_entries_import('lines');
CREATE FUNCTION fuzz_pass() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
  RETURN NEW;
END $$;
-- Calls the ledger from within a call of it, as an audit or a mirror would.
CREATE FUNCTION fuzz_again() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF pg_trigger_depth() < 2 AND NEW.org_id <> 'mirror' THEN
    PERFORM public.credit_balance(NEW.org_id);
    PERFORM public.credit_grant('mirror', 1, gen_random_uuid()::text);
  END IF;
  RETURN NULL;
END $$;
-- Is refused by the ledger itself, now and then.
CREATE FUNCTION fuzz_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF random() < 0.2 AND pg_trigger_depth() < 2 THEN
    PERFORM public.credit_charge('mirror', 1000000000000000, gen_random_uuid()::text);
  END IF;
  IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
  RETURN NEW;
END $$;
"""

UNDO = [change.replace("{leaf}", leaf).replace("{table}", table)
        for change in CHANGES if change.startswith(("DROP INDEX IF", "DROP TR", "DROP TA", "DROP PUB")) or " DROP C" in change
        for leaf, table in zip(LEAVES, TABLES)]


class Changes:
    def __init__(self, database, seed):
        self._generator = random.Random(f"{seed} changes")
        self._connection = psycopg2.connect(dbname=database, application_name="fuzz changes")
        self._connection.autocommit = True
        self._cursor = self._connection.cursor()
        self._cursor.execute("SET statement_timeout = '60s'; SET client_min_messages = error")
        self.last = None
        self.outcomes = Counter()
        self.failures = []

    def close(self):
        self._connection.close()

    def change(self):
        sql = self._generator.choice(CHANGES)
        self.execute(sql.replace("{leaf}", self._generator.choice(LEAVES)).replace("{table}", self._generator.choice(TABLES)))

    def execute(self, sql):
        self.last = sql
        try:
            self._cursor.execute(sql)
            self.outcomes["done"] += 1
        except psycopg2.Error as error:
            if error.pgcode is None:
                raise
            self.outcomes[error.pgcode] += 1
            if error.pgcode.startswith("XX"):
                self.failures.append(f"{error.pgcode} {error}{sql}")
            self._cursor.execute("ROLLBACK")
        finally:
            self.last = None

    def undo(self):
        for sql in UNDO:
            self.execute(sql)
