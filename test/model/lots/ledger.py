"""Calls, and who answers them: the model, and databases that have the ledger.

A Call names its arguments as the SQL function does. Authorizations have names of our own, as each database makes ids
of its own; instants are plain numbers (clock.py).
"""

from dataclasses import dataclass, field

import psycopg2
from psycopg2.extras import RealDictCursor

from books import INSUFFICIENT_CREDITS, Organisation, Refused
from clock import instant, number

TRUE_UP_WINDOW = 60
MAKES_AUTHORIZATION = ("authorize", "charge")
INSTANTS = ("created_at", "expires_at", "settled_at", "effective_at", "closed_at", "lot_expires_at")

# Prepared, as planning is most of what they cost.
READERS = {
    "entries": "SELECT entry_no, kind::text, amount, lots, balance_after, created_at, effective_at, authorization_id"
               " FROM credit_entry WHERE org_id = $1 ORDER BY entry_no",
    "lots": "SELECT * FROM credit_lot WHERE org_id = $1 ORDER BY lot_no",
    "authorizations": "SELECT * FROM credit_ledger WHERE org_id = $1 ORDER BY authorization_id",
    "account": "SELECT * FROM credit_account WHERE org_id = $1",
    "balance": "SELECT * FROM credit_balance($1)",
    "open_lots": "SELECT * FROM credit_lots($1)",
    "balance_at": "SELECT credit_balance_at($1, $2) AS balance",
    "statement": "SELECT entry_no, kind::text, amount, lots, balance_after, created_at, effective_at"
                 " FROM credit_statement($1)",
    "moved_between": "SELECT coalesce(sum(amount), 0) AS credits FROM credit_statement($1, $2, $3)",
    "movements": "SELECT entry_no, lot_no, amount, effective_at FROM credit_lot_movement WHERE org_id = $1"
                 " ORDER BY entry_no, lot_no NULLS LAST"}

# What SQL wants to be told and the model need not know.
ALSO_TOLD = {"adjust": {"reason": "because"}, "void": {"reason": "because"}, "correct": {"reason": "because"}}


@dataclass
class Call:
    verb: str
    org_id: str
    arguments: dict

    @property
    def name(self):
        return self.verb

    @property
    def org_ids(self):
        return [self.org_id]

    def __str__(self):
        return f"{self.org_id} {self.verb}({', '.join(f'{name} {value}' for name, value in self.arguments.items())})"


@dataclass
class Calls:
    """Many of one verb in one call."""
    verb: str
    items: list = field(default_factory=list)
    skip_refused: bool = False

    @property
    def name(self):
        return f"{self.verb}_many"

    @property
    def org_ids(self):
        return sorted({item.org_id for item in self.items})

    def __str__(self):
        return " + ".join(map(str, self.items)) + (" skip_refused" if self.skip_refused else "")


class Model:
    def __init__(self):
        self.organisations = {}

    def organisation(self, org_id):
        return self.organisations.setdefault(org_id, Organisation(org_id, TRUE_UP_WINDOW))

    def call(self, now, call):
        """The answer, as one of many where it is one; a call that is refused leaves nothing behind."""
        state = self.organisation(call.org_id).copy()
        answer = getattr(state, call.verb)(now, **call.arguments)
        self.organisations[call.org_id] = state
        return answer

    def call_many(self, now, calls):
        before = dict(self.organisations)
        answers = []
        for item in calls.items:
            try:
                answers.append(self.call(now, item))
            except Refused as refused:
                if not calls.skip_refused:
                    self.organisations = before
                    raise
                answers.append({"sqlstate": refused.sqlstate})
                self._left_by_refused(now, item, refused)
        return answers

    def _left_by_refused(self, now, item, refused):
        """What was due, and holds that were in the way, are settled all the same."""
        state = self.organisation(item.org_id).copy()
        state.post_due(now)
        if refused.sqlstate == INSUFFICIENT_CREDITS:
            state.settle_expired(now, item.arguments["name"])
        self.organisations[item.org_id] = state


class Database:
    """A database that has the ledger, and one session in it."""

    def __init__(self, name):
        self._connection = psycopg2.connect(dbname=name)
        self._connection.autocommit = True
        self._cursor = self._connection.cursor(cursor_factory=RealDictCursor)
        self._cursor.execute("SET timezone = 'UTC'; SET plan_cache_mode = force_generic_plan")
        for name, sql in READERS.items():
            self._cursor.execute(f"PREPARE {name} AS {sql}")
        self.ids, self.names = {}, {}

    def close(self):
        self._connection.close()

    def call(self, call, learn=True):
        answer, = self._asked(f"credit_{call.verb}", self._arguments(call))
        if learn and call.verb in MAKES_AUTHORIZATION:
            self._learn(call.arguments["name"], answer["authorization_id"])
        return self._told(answer)

    def call_many(self, calls, learn=True):
        arguments = {}
        if calls.verb in MAKES_AUTHORIZATION:
            arguments["org_ids"] = [item.org_id for item in calls.items]
            arguments["amounts"] = [item.arguments["amount"] for item in calls.items]
            arguments["campaign_ids"] = [item.arguments["campaign_id"] for item in calls.items]
        else:
            arguments["authorization_ids"] = [self._id(item.arguments["name"]) for item in calls.items]
        if calls.verb == "commit":
            arguments["amounts_used"] = [item.arguments["amount_used"] for item in calls.items]
        arguments["skip_refused"] = calls.skip_refused
        answers = self._asked(f"credit_{calls.verb}_many", arguments)
        if learn and calls.verb in MAKES_AUTHORIZATION:
            for item, answer in zip(calls.items, answers):
                if answer["authorization_id"]:
                    self._learn(item.arguments["name"], answer["authorization_id"])
        return [self._told(answer) for answer in answers]

    def sweep(self):
        return self.query("SELECT credit_sweep() AS settled")[0]["settled"]

    def rows(self, reader, org_id, *instants):
        """What a reader says of an organisation."""
        values = [org_id, *map(instant, instants)]
        return self.query(f"EXECUTE {reader}({', '.join(['%s'] * len(values))})", *values)

    def query(self, sql, *values):
        """Rows, with instants as numbers and authorizations by their names."""
        self._execute(sql, values or None)
        return [self._told(row) for row in self._cursor.fetchall()] if self._cursor.description else None

    def _learn(self, name, authorization_id):
        if self.ids.setdefault(name, authorization_id) == authorization_id:
            self.names[authorization_id] = name

    def _asked(self, function, arguments):
        given = ", ".join(f"{name} => %s" for name in arguments)
        self._execute(f"SELECT * FROM {function}({given})", list(arguments.values()))
        return self._cursor.fetchall()

    def _execute(self, sql, values):
        try:
            self._cursor.execute(sql, values)
        except psycopg2.Error as error:
            if error.pgcode is None:
                raise
            raise Refused(error.pgcode) from None

    def _arguments(self, call):
        arguments = {**call.arguments, **ALSO_TOLD.get(call.verb, {})}
        name = arguments.pop("name", None)
        if call.verb in MAKES_AUTHORIZATION or name is None:
            arguments["org_id"] = call.org_id
        else:
            arguments["authorization_id"] = self._id(name)
        if arguments.get("expires_at") is not None:
            arguments["expires_at"] = instant(arguments["expires_at"])
        if arguments.get("timeout") is not None:
            arguments["timeout"] = f"{arguments['timeout']} seconds"
        return arguments

    def _id(self, name):
        return self.ids.get(name, "auth-of-nobody")

    def _told(self, row):
        told = dict(row)
        for name in INSTANTS:
            if name in told:
                told[name] = number(told[name])
        if told.get("authorization_id") is not None:
            told["authorization_id"] = self.names.get(told["authorization_id"], told["authorization_id"])
        return told
