"""One session that calls the ledger at random: any function, in any form of statement, at any isolation level.

The seed and the number of the session decide what it calls. What it is answered depends on the other sessions.
"""

import random
from collections import Counter, namedtuple

import psycopg2
import psycopg2.extensions

from values import ORGANISATIONS, Values

# Not every instant of the server's is one of Python's.
TIMESTAMPTZ = 1184
psycopg2.extensions.register_type(psycopg2.extensions.new_type((TIMESTAMPTZ,), "TIMESTAMPTZ", lambda value, cursor: value))

Function = namedtuple("Function", "name arguments needed")

# The arguments that a caller passes, in their order, of all functions in the extension's public schema.
FUNCTIONS = """
SELECT p.oid::regproc::text, p.pronargs - p.pronargdefaults,
       coalesce(p.proargnames[1:p.pronargs], '{}'), ARRAY(SELECT format_type(t, NULL) FROM unnest(p.proargtypes) t)
FROM pg_proc p
JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'credit_ledger'
WHERE p.pronamespace = e.extnamespace AND p.prorettype <> 'trigger'::regtype AND p.prokind = 'f'
ORDER BY p.proname
"""

# The verbs are what the rest is about. Others are slow, or of little interest after the first times.
WEIGHTS = {"credit_authorize": 12, "credit_commit": 10, "credit_charge": 8, "credit_grant": 6, "credit_revert": 6,
           "credit_refund": 5, "credit_extend": 5, "credit_correct": 5, "credit_sweep": 3, "credit_authorize_many": 4,
           "credit_commit_many": 4, "credit_revert_many": 3, "credit_charge_many": 4, "credit_adjust": 3,
           "credit_void": 2, "credit_lot_configure": 2}
SELDOM = 0.2
SELDOM_CALLED = {"credit_verify", "credit_run_reconciliation", "credit_create_partitions", "credit_create_partition",
                 "credit_detach_partitions", "credit_grant_privileges", "credit_maintain", "credit_health",
                 "credit_shard_configure", "credit_shard_remove"}

LEVELS = ["READ COMMITTED"] * 4 + ["REPEATABLE READ"] * 2 + ["SERIALIZABLE"] * 2 + \
    ["SERIALIZABLE READ ONLY DEFERRABLE", "READ COMMITTED READ ONLY"]

FORMS = [
    ("SELECT * FROM {call}", 12),
    ("SELECT {call}", 4),
    ("SELECT ({call}).*", 1),
    ("SELECT {call} FROM generate_series(1, 3)", 2),
    ("SELECT * FROM {call} one, {other} two", 2),
    ("WITH one AS (SELECT * FROM {call}), two AS (SELECT * FROM {other}) SELECT count(*) FROM one, two", 1),
    ("SELECT {call} FROM credit_account WHERE org_id = {org} FOR UPDATE", 1),
    ("UPDATE credit_account SET metadata = (SELECT to_jsonb(count(*)) FROM {call}) WHERE org_id = {org}", 1),
    ("DO $fuzz$ BEGIN PERFORM {call}; EXCEPTION WHEN OTHERS THEN PERFORM {other}; END $fuzz$", 2),
    ("DO $fuzz$ BEGIN PERFORM {call}; RAISE division_by_zero; EXCEPTION WHEN division_by_zero THEN NULL; END $fuzz$", 1),
    ("CREATE TEMPORARY TABLE fuzz ON COMMIT DROP AS SELECT count(*) FROM {call}", 1),
    ("DECLARE fuzz CURSOR FOR SELECT {call} FROM generate_series(1, 4); FETCH 2 FROM fuzz", 1),
    # Not in the select list: what a function in SQL holds that such a cursor has read in part, the server itself leaks at COMMIT
    # if a savepoint was rolled back since.
    ("DECLARE fuzz CURSOR WITH HOLD FOR SELECT * FROM {call}; FETCH 1 FROM fuzz", 1),
    ("EXPLAIN (ANALYZE, COSTS OFF) SELECT * FROM {call}", 1),
    ("INSERT INTO usage_of_emails SELECT {org}, 'campaign-1', now(), count(*) FROM {call}", 1),
]

# What surrounds the calls of a transaction.
ASIDES = [
    "SAVEPOINT a", "SAVEPOINT b", "ROLLBACK TO a", "ROLLBACK TO b", "RELEASE a", "CLOSE ALL", "FETCH 1 FROM fuzz",
    "SET LOCAL ROLE fuzz_app", "RESET ROLE", "SET LOCAL statement_timeout = '2ms'", "SET LOCAL statement_timeout = '60s'",
    "SET LOCAL credit_ledger.timeout_action = revert", "SET LOCAL credit_ledger.true_up_window = 0",
    "SET LOCAL credit_ledger.early_lock_release = on", "SET LOCAL synchronous_commit = off", "SET LOCAL enable_indexscan = off",
    "SET LOCAL datestyle = 'SQL, DMY'", "SET LOCAL timezone = 'Asia/Kathmandu'", "SET LOCAL search_path = pg_temp, public",
    "SET LOCAL lock_timeout = '20ms'", "SELECT * FROM credit_account WHERE org_id = {org} FOR SHARE",
    "SELECT count(*) FROM (SELECT FROM credit_ledger_open WHERE org_id = {org} LIMIT 3 FOR UPDATE SKIP LOCKED) s",
    "UPDATE credit_ledger SET reason = 'a DBA was here' WHERE org_id = {org} AND campaign_id = 'campaign-1'",
    "INSERT INTO usage_of_emails VALUES ({org}, 'campaign-2', now(), 5)", "LISTEN credit_ledger_alert",
    "SET LOCAL credit_ledger.reconciliation_lookback = 0", "SET LOCAL credit_ledger.reconciliation_time_zone = 'Asia/Kathmandu'",
    "SET LOCAL intervalstyle = 'sql_standard'", "SET LOCAL quote_all_identifiers = on", "SELECT credit_shard_configure(0, 1)",
    # To another database and back.
    "CREATE TEMPORARY TABLE moved ON COMMIT DROP AS SELECT * FROM credit_account_export({org}, 'elsewhere');"
    " SELECT credit_account_import('moved')",
]


class Session:
    def __init__(self, database, seed, number):
        self._generator = random.Random(f"{seed} {number}")
        self._values = Values(self._generator)
        self._number = number
        self._prepared = 0
        self._connection = psycopg2.connect(dbname=database, application_name=f"fuzz session {number}")
        self._connection.autocommit = True
        self._cursor = self._connection.cursor()
        self._cursor.execute("SET statement_timeout = '60s'; SET client_min_messages = error")
        self._functions = self._read_functions()
        self._weights = [SELDOM if f.name in SELDOM_CALLED else WEIGHTS.get(f.name, 1) for f in self._functions]
        self.last = None
        self.outcomes = Counter()
        self.failures = []

    def close(self):
        self._connection.close()

    def transaction(self):
        """Make some calls; the number of them."""
        calls = 1
        if self._generator.random() < 0.3:
            self._execute(self._call())
            return calls
        # The server itself fails an assertion when a wait for a DEFERRABLE snapshot is interrupted and resumed after ROLLBACK
        # TO, so the snapshot is taken before the first savepoint.
        self._execute(f"BEGIN ISOLATION LEVEL {self._generator.choice(LEVELS)}; SELECT; SAVEPOINT a; SAVEPOINT b")
        for calls in range(1, self._generator.randrange(2, 9)):
            if self._generator.random() < 0.4 and not self._execute(self._fill(self._generator.choice(ASIDES))):
                self._execute("ROLLBACK TO a")
            if self._generator.random() < 0.3:
                self._execute("SAVEPOINT a")
            if not self._execute(self._call()) and not self._execute("ROLLBACK TO a"):
                break
        self._end()
        return calls

    def _end(self):
        way = self._generator.random()
        if way < 0.7:
            self._execute("COMMIT")
        elif way < 0.9:
            self._execute("ROLLBACK")
        else:
            self._prepared += 1
            name = f"fuzz {self._number} {self._prepared}"
            if self._execute(f"PREPARE TRANSACTION '{name}'") and self._cursor.statusmessage == "PREPARE TRANSACTION":
                self._execute(f"{self._generator.choice(['COMMIT', 'ROLLBACK'])} PREPARED '{name}'")
        if self._connection.info.transaction_status != psycopg2.extensions.TRANSACTION_STATUS_IDLE:
            self._execute("ROLLBACK")
        self._execute("CLOSE ALL; RESET ROLE")

    def _call(self):
        form = self._generator.choices([form for form, _ in FORMS], [weight for _, weight in FORMS])[0]
        return self._fill(form)

    def _fill(self, form):
        return form.replace("{call}", self._random_call()).replace("{other}", self._random_call()) \
            .replace("{org}", f"'{self._generator.choice(ORGANISATIONS)}'")

    def _random_call(self):
        function = self._generator.choices(self._functions, self._weights)[0]
        passed = []
        for position, (name, type_name) in enumerate(function.arguments):
            if position < function.needed or self._generator.random() < 0.4:
                value = self._values.of(name, type_name)
                passed.append(self._cursor.mogrify(f"{name} => %s::{type_name}", [value]).decode())
        return f"{function.name}({', '.join(passed)})"

    def _execute(self, sql):
        """Whether it went well. Whatever the server refuses is an outcome, unless it says that it is at fault itself."""
        self.last = sql
        try:
            self._cursor.execute(sql)
        except psycopg2.Error as error:
            if error.pgcode is None:
                raise
            self.outcomes[error.pgcode] += 1
            if self._is_fault(error):
                self.failures.append(f"{error.pgcode} {error}{sql}")
            return False
        finally:
            self.last = None
        self.outcomes["done"] += 1
        self._learn()
        return True

    @staticmethod
    def _is_fault(error):
        """Two GRANTs of the same thing at once are such an error of the server's own."""
        return error.pgcode.startswith("XX") and "tuple concurrently updated" not in str(error)

    def _learn(self):
        if self._cursor.description and self._cursor.description[0].name == "authorization_id":
            for row in self._cursor.fetchall():
                if row[0]:
                    self._values.learn(row[0])

    def _read_functions(self):
        self._cursor.execute(FUNCTIONS)
        return [Function(name, list(zip(names, types)), needed) for name, needed, names, types in self._cursor.fetchall()]
