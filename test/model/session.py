"""One connection that carries out transactions of the plan and writes down what happened.

The history orders calls without any help of the server's: an answer is stamped before its transaction ends, while
the transaction still has the account locked, so the stamps of one organisation's answers are in the order in which
the server let the calls in. What ends a lock is stamped before it is asked for.
"""

import itertools
import threading
from dataclasses import dataclass, replace

import psycopg2
from psycopg2.extras import Json, RealDictCursor

from plan import SERIALIZABLE, TOLD_EACH, TOLD_TOGETHER, Call, FromNow, Hold, Transaction

SERIALIZATION_FAILURE, DEADLOCK = "40001", "40P01"
ARRAYS = {"org_id": "org_ids => %s::text[]", "amount": "amounts => %s::bigint[]",
          "campaign_id": "campaign_ids => %s::text[]", "idempotency_key": "idempotency_keys => %s::text[]",
          "authorization_id": "authorization_ids => %s::text[]", "amount_used": "amounts_used => %s::bigint[]",
          "metadata": "metadata => %s::jsonb[]"}
READERS = ("balance", "statement", "verify")


@dataclass
class Answer:
    """A call that was answered (with the rows that it left) or refused (with an SQLSTATE)."""
    transaction: Transaction
    call: Call
    sql: str
    began: int
    asked: int
    stamp: int = None
    answer: list = None
    rows: object = None
    sqlstate: str = None
    message: str = None


@dataclass
class Turn:
    """A savepoint was made, returned to or released."""
    transaction: Transaction
    step: str
    stamp: int


@dataclass
class End:
    """The transaction was committed or rolled back: asked for at stamp, done by the time of done."""
    transaction: Transaction
    committed: bool
    stamp: int
    done: int


class History:
    """What all sessions share: the stamps, the events, and the ids of the authorizations made so far."""

    def __init__(self):
        self._stamps = itertools.count(1)
        self._lock = threading.Lock()
        self._ids = {}
        self._last_id = "auth-not-made-yet"
        self.events = []

    def stamp(self):
        with self._lock:
            return next(self._stamps)

    def record(self, event):
        with self._lock:
            self.events.append(event)
            if isinstance(event, Answer) and event.call.verb in ("authorize", "charge") and event.answer:
                for item, answer in zip(event.call.items, event.answer):
                    if not answer.get("sqlstate"):
                        key = item.get("idempotency_key") or item["campaign_id"]
                        self._last_id = self._ids[Hold(answer["org_id"], key)] = answer["authorization_id"]

    def authorization_id(self, hold):
        """In place of one that was refused or is still to come, the last that was made."""
        with self._lock:
            return self._ids.get(hold, self._last_id)


class Abandoned(Exception):
    """The transaction cannot go on: its only call was refused, or the server sacrificed it."""


class Session:
    def __init__(self, database, history):
        self._history = history
        self._connection = psycopg2.connect(dbname=database)
        self._connection.autocommit = True
        self._cursor = self._connection.cursor(cursor_factory=RealDictCursor)
        self._cursor.execute("SET deadlock_timeout = '20ms'; SET statement_timeout = '60s'; SET timezone = 'UTC'")

    def close(self):
        self._connection.close()

    def carry_out(self, transaction):
        began = self._history.stamp()
        self._cursor.execute(f"BEGIN ISOLATION LEVEL {transaction.isolation}")
        if not transaction.true_up_open:
            self._cursor.execute("SET LOCAL credit_ledger.true_up_window = 0")
        try:
            self._take_steps(transaction, began)
        except Abandoned:
            commits = False
        else:
            commits = transaction.commits
        stamp = self._history.stamp()
        committed = self._end(transaction, commits)
        self._history.record(End(transaction, committed, stamp, self._history.stamp()))

    def _take_steps(self, transaction, began):
        guarded = len(transaction.steps) > 1
        for step in transaction.steps:
            if isinstance(step, Call):
                self._call(transaction, step, began, guarded)
            else:
                self._history.record(Turn(transaction, step, self._history.stamp()))
                self._cursor.execute(f"{step} plan")

    def _end(self, transaction, commits):
        try:
            self._cursor.execute("COMMIT" if commits else "ROLLBACK")
        except psycopg2.Error as error:
            if error.pgcode != SERIALIZATION_FAILURE or transaction.isolation != SERIALIZABLE:
                raise
            return False
        return self._cursor.statusmessage == "COMMIT"

    def _call(self, transaction, call, began, guarded):
        """One call, guarded by a savepoint of its own where others must survive its refusal."""
        items = [{name: self._resolve(value) for name, value in item.items()} for item in call.items]
        call = replace(call, items=items)
        if call.many:
            sql = self._sql_of_many(call)
        else:
            sql = " UNION ALL ".join(self._sql_of_one(call.verb, item) for item in items)
        event = Answer(transaction, call, sql, began, asked=self._history.stamp())
        if guarded:
            self._cursor.execute("SAVEPOINT call")
        try:
            event.answer = self._query(sql)
            event.rows = self._rows_left(call, event.answer)
        except psycopg2.Error as error:
            if error.pgcode is None:
                raise
            event.answer, event.sqlstate, event.message = None, error.pgcode, str(error)
        event.stamp = self._history.stamp()
        self._history.record(event)

        if event.sqlstate in (SERIALIZATION_FAILURE, DEADLOCK) or event.sqlstate and not guarded:
            raise Abandoned
        if guarded:
            self._cursor.execute("ROLLBACK TO call" if event.sqlstate else "RELEASE call")

    def _resolve(self, value):
        if isinstance(value, Hold):
            return self._history.authorization_id(value)
        if isinstance(value, FromNow):
            return self._query("SELECT clock_timestamp() + %s AS instant", value.distance)[0]["instant"]
        return value

    def _sql(self, function, arguments):
        """arguments: the values, by how each is passed."""
        values = [as_json(value) for value in arguments.values()]
        return self._cursor.mogrify(f"SELECT * FROM credit_{function}({', '.join(arguments)})", values).decode()

    def _sql_of_one(self, verb, item):
        return self._sql(verb, {f"{name} => %s": value for name, value in item.items()})

    def _sql_of_many(self, call):
        each = {ARRAYS[name]: [as_json(item[name]) for item in call.items] for name in TOLD_EACH[call.verb]}
        together = {f"{name} => %s": call.items[0][name] for name in TOLD_TOGETHER[call.verb]}
        skipping = {"skip_refused => %s": True} if call.skip_refused else {}
        return self._sql(f"{call.verb}_many", {**each, **together, **skipping})

    def _rows_left(self, call, answers):
        """The rows that the call may have written; for a sweep, all that were settled by a timeout meanwhile."""
        timed_out = ("SELECT * FROM credit_ledger WHERE settled_by = 'timeout' AND settled_at >= now()"
                     " ORDER BY expires_at")
        if call.verb == "sweep":
            return self._query(timed_out)
        if call.verb in READERS:
            return None
        ids = [row.get("authorization_id") for row in [*answers, *call.items]]
        rows = self._query("SELECT * FROM credit_ledger WHERE authorization_id = ANY (%s)", ids)
        org_ids = [row.get("org_id") for row in [*answers, *call.items, *rows]]
        return {
            "authorization": rows,
            "account": self._query("SELECT * FROM credit_account WHERE org_id = ANY (%s)", org_ids),
            "timed out": self._query(timed_out),
            "first charge": self._query(
                "SELECT authorization_id, min(created_at) AS settled_at FROM credit_entry"
                " WHERE org_id = ANY (%s) AND kind = 'commit' AND created_at >= now() GROUP BY authorization_id",
                org_ids),
            "last entry": self._query(
                "SELECT e.* FROM credit_account a, LATERAL (SELECT * FROM credit_entry WHERE org_id = a.org_id"
                " ORDER BY entry_no DESC LIMIT 1) e WHERE a.org_id = ANY (%s)", org_ids)}

    def _query(self, sql, *values):
        self._cursor.execute(sql, values or None)
        return [dict(row) for row in self._cursor.fetchall()]


def as_json(value):
    return Json(value) if isinstance(value, dict) else value
