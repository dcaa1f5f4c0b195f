"""Goes through a history in its order, carries every call out on the reference model, and compares.

While a transaction has an organisation locked, nobody else may be answered by it. A call that was refused is not in
that order: its lock went with its savepoint. It changed nothing, so it is right if some of the states that its
organisations can have had while it ran refuse it with the same SQLSTATE; the same goes for what only reads. With one
session there is one such state, so there every answer is compared exactly.
"""

import re
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass, field, is_dataclass, replace
from itertools import product

from plan import READ_COMMITTED, ROLLBACK_TO, SAVEPOINT, Call
from reference import ACCOUNT_NOT_FOUND, AUTHORIZATION_NOT_FOUND, Ledger, Moment, Organisation, Refused
from session import DEADLOCK, SERIALIZATION_FAILURE, Answer, End, Turn

READERS = ("balance", "statement")
AUTHORIZATION_ID = re.compile(r"auth-[0-7][0-9A-HJKMNP-TV-Z]{25}")
INSTANTS = {"commit": "settled_at", "revert": "settled_at"}
NOT_FOUND = (ACCOUNT_NOT_FOUND, AUTHORIZATION_NOT_FOUND)
PRIMARY_KEYS = {
    "credit_account": ("org_id",), "credit_ledger": ("authorization_id",), "credit_entry": ("org_id", "entry_no"),
    "credit_idempotency": ("org_id", "operation", "idempotency_key")}


class Disagreement(Exception):
    pass


def expect(condition, what, *details):
    if not condition:
        raise Disagreement("\n  ".join([what, *map(show, details)]))


def expect_same(what, expected, found):
    for name in expected:
        expect(found is not None and found[name] == expected[name],
               f"{name} of the {what} is not as it should be; expected, found:", expected, found)


@dataclass
class Version:
    """An organisation as a transaction left it that was committed by the stamp done."""
    done: int
    state: Organisation


@dataclass
class Change:
    """An organisation as it was before a call of an open transaction."""
    before: Organisation
    locked_it: bool


@dataclass
class Track:
    """What an open transaction has done so far, and how much of it before its savepoint."""
    changes: list = field(default_factory=list)
    mark: int = 0


class Judge:
    def __init__(self, sessions):
        self._alone = sessions == 1
        self._current = {}
        self._versions = {}
        self._locked_by = {}
        self._tracks = defaultdict(Track)
        self._made = {}
        self._horizon = 0
        self.outcomes = Counter()

    def judge(self, events):
        events = sorted(events, key=lambda event: event.stamp)
        horizons = earliest_start_from_here(events)
        for position, event in enumerate(events):
            self._horizon = horizons[position]
            try:
                self._judge_event(event)
            except Disagreement as disagreement:
                before = [describe(earlier) for earlier in events[max(0, position - 20):position]]
                raise Disagreement("\n".join([*before, describe(event), str(disagreement)])) from None

    def compare_tables(self, tables):
        """All rows that are there at the end."""
        organisations = self._current.values()
        expected = {
            "credit_account": [o.account for o in organisations if o.account],
            "credit_ledger": [row for o in organisations for row in o.authorizations.values()],
            "credit_entry": [row for o in organisations for row in o.entries],
            "credit_idempotency": [row for o in organisations for row in o.used_keys.values()]}
        for table, key in PRIMARY_KEYS.items():
            expected_rows = {tuple(row[name] for name in key): row for row in map(asdict, expected[table])}
            rows = {tuple(row[name] for name in key): row for row in tables[table]}
            expect(len(rows) == len(tables[table]), f"{table} has a key twice")
            for key_values in sorted(rows.keys() | expected_rows.keys()):
                expect(key_values in expected_rows, f"{table} has a row too many", rows.get(key_values))
                expect_same(f"row in {table}", expected_rows[key_values], rows.get(key_values))

    def _judge_event(self, event):
        if isinstance(event, Answer):
            self.outcomes.update((event.call.name, outcome) for outcome in summaries(event))
            self._judge_answer(event)
        elif isinstance(event, Turn):
            self._turn(event)
        else:
            self._end(event)

    # ---- answers ----

    def _judge_answer(self, event):
        if event.sqlstate in (SERIALIZATION_FAILURE, DEADLOCK):
            self._judge_sacrifice(event)
        elif event.call.verb == "verify":
            expect(event.answer == [], "the ledger is not sound")
        elif event.sqlstate or event.call.verb in READERS:
            self._judge_without_effect(event)
        elif event.call.verb == "sweep":
            self._judge_sweep(event)
        else:
            self._judge_effect(event)

    def _judge_sacrifice(self, event):
        expect(not self._alone, "there is nobody to be in conflict with")
        expect(event.sqlstate == DEADLOCK or event.transaction.isolation != READ_COMMITTED,
               "a READ COMMITTED transaction has no snapshot that could be in conflict")

    def _judge_without_effect(self, event):
        found = event.sqlstate or event.answer
        possible = []
        for states in product(*map(self._possible_states(event), self._org_ids(event))):
            possible.append(outcome(event, {state.org_id: state.copy() for state in states}))
        expect(found in possible, "the outcome is not as it should be; found, possible:", found, *possible)

    def _judge_effect(self, event):
        expect(len(event.answer) == len(event.call.items), "there are too many answers, or too few")
        accounts = {account["org_id"]: account for account in event.rows["account"]}
        event = self._judge_not_found(event)
        after = {}
        for org_id in self._org_ids(event):
            before = self._state(org_id)
            after[org_id] = before.copy()
            self._lock(event.transaction, before)
            self._judge_clock(before, event, accounts)
        try:
            expected = carry_out(event, after, accounts)
        except Refused as refused:
            raise Disagreement(f"the call should have been refused with {refused.sqlstate}") from None
        self._count_timeouts(after)
        self._current.update(after)

        if event.call.many:
            take_over_last_use(after, accounts)
        for expected_answer, answer in zip(expected, event.answer):
            expect_same("answer", expected_answer, answer)
        self._judge_ids(event, after)
        for account in event.rows["account"]:
            if account["org_id"] in after:
                expect_same("account", asdict(after[account["org_id"]].account), account)
        for row in event.rows["authorization"]:
            if row["org_id"] in after:
                expect_same("authorization", asdict(after[row["org_id"]].authorizations[row["authorization_id"]]), row)
        for entry in event.rows["last entry"]:
            if entry["org_id"] in after:
                expect_same("last entry", asdict(after[entry["org_id"]].entries[-1]), entry)

    def _judge_not_found(self, event):
        """The event without the items that found no row to lock: those are out of order, as calls that are refused."""
        found = []
        for position, answer in enumerate(event.answer):
            if answer.get("sqlstate") not in NOT_FOUND:
                found.append(position)
                continue
            expect(event.call.skip_refused and answer["ord"] == position + 1 and answer["message"],
                   "the row of a refused item is not as it should be", answer)
            single = replace(event, call=Call(event.call.verb, [event.call.items[position]]), answer=None,
                             sqlstate=answer["sqlstate"])
            self._judge_without_effect(single)
        return replace(event, call=replace(event.call, items=[event.call.items[position] for position in found]),
                       answer=[event.answer[position] for position in found])

    def _count_timeouts(self, after):
        """Of a call that is no sweep: what it had to settle to have its way."""
        for org_id, state in after.items():
            open_before = {hold.authorization_id for hold in self._state(org_id).expired()}
            settled = [id for id in open_before if state.authorizations[id].settled_by == "timeout"]
            self.outcomes["expired hold in the way", "settled"] += len(settled)

    def _judge_clock(self, before, event, accounts):
        last = before.account and before.account.updated_at
        for position, answer in enumerate(event.answer):
            if answer.get("org_id") == before.org_id and not answer.get("replayed") and not answer.get("sqlstate"):
                instant = instant_of(event, position, accounts)
                expect(last is None or last <= instant, "the clock went backwards", last, instant)
                last = instant

    def _judge_ids(self, event, organisations):
        """An id is made once, even if the transaction that made it was rolled back."""
        for answer in event.answer if event.call.verb in ("authorize", "charge") else ():
            if answer.get("sqlstate"):
                continue
            expect(AUTHORIZATION_ID.fullmatch(answer["authorization_id"]), "the id has another form")
            authorization = organisations[answer["org_id"]].authorizations[answer["authorization_id"]]
            made = self._made.setdefault(authorization.authorization_id, authorization)
            expect((made.org_id, made.created_at) == (authorization.org_id, authorization.created_at),
                   "the id is not unique", made, authorization)

    def _judge_sweep(self, event):
        """Passing over an account is right only if somebody has it locked, which a session alone rules out."""
        as_of, max_rows = event.call.items[0]["as_of"], event.call.items[0]["max_rows"]
        settled = [row for row in event.rows if self._is_open(row)]
        expect(len(settled) == event.answer[0]["credit_sweep"] <= max_rows, "the number of settled holds is wrong",
               *settled)
        if self._alone:
            due = [hold for state in self._current.values() for hold in state.expired_before(as_of)]
            due.sort(key=lambda hold: hold.expires_at)
            expect([hold.authorization_id for hold in due[:max_rows]] == [row["authorization_id"] for row in settled],
                   "the holds due were", *due[:max_rows], "but settled were", *settled)
        for row in settled:  # in the order of expiry
            before = self._state(row["org_id"])
            after = before.copy()
            self._lock(event.transaction, before)
            expect(row["expires_at"] < as_of, "a hold was settled that had not expired", row)
            after.time_out(Moment(now=row["settled_at"]), row["authorization_id"])
            self._current[after.org_id] = after
            expect_same("swept authorization", asdict(after.authorizations[row["authorization_id"]]), row)
            expect(row["settled_at"] >= before.account.updated_at,
                   "an older hold of the organisation was settled later", *settled)

    def _is_open(self, row):
        hold = self._state(row["org_id"]).authorizations.get(row["authorization_id"])
        expect(hold is not None, "a hold was settled that is not there", row)
        return hold.status == "authorized"

    # ---- transactions ----

    def _turn(self, event):
        track = self._tracks[event.transaction.number]
        if event.step == SAVEPOINT:
            track.mark = len(track.changes)
        elif event.step == ROLLBACK_TO:
            self._take_back(track, track.mark)

    def _end(self, event):
        track = self._tracks.pop(event.transaction.number, Track())
        if not event.committed:
            self._take_back(track, 0)
        for org_id in {change.before.org_id for change in track.changes}:
            del self._locked_by[org_id]
            versions = self._versions_of(org_id)
            versions.append(Version(event.done, self._current[org_id]))
            self._versions[org_id] = since(versions, self._horizon)

    def _take_back(self, track, mark):
        for change in reversed(track.changes[mark:]):
            self._current[change.before.org_id] = change.before
            if change.locked_it:
                del self._locked_by[change.before.org_id]
        del track.changes[mark:]

    def _lock(self, transaction, state):
        locked_it = state.org_id not in self._locked_by
        holder = self._locked_by.setdefault(state.org_id, transaction.number)
        expect(holder == transaction.number, f"transaction {holder} has {state.org_id} locked")
        self._tracks[transaction.number].changes.append(Change(state, locked_it))

    # ---- states ----

    def _org_ids(self, event):
        """The organisations that a call is about, as far as they are known by its ids."""
        org_ids = set()
        for item in event.call.items:
            made = self._made.get(item.get("authorization_id"))
            org_ids.add(made.org_id if made else item.get("org_id"))
        return sorted(org_ids - {None})

    def _state(self, org_id):
        return self._current.setdefault(org_id, Organisation(org_id))

    def _versions_of(self, org_id):
        return self._versions.setdefault(org_id, [Version(0, Organisation(org_id))])

    def _possible_states(self, event):
        def states(org_id):
            if self._locked_by.get(org_id) == event.transaction.number:
                return [self._state(org_id)]
            return [version.state for version in since(self._versions_of(org_id), start_of(event))]
        return states


def since(versions, stamp):
    """The last version that was there before the stamp, and all later ones."""
    there = [position for position, version in enumerate(versions) if version.done < stamp]
    return versions[there[-1] if there else 0:]


def start_of(event):
    """From when on an event can have seen what it saw."""
    if not isinstance(event, Answer):
        return event.stamp
    return event.asked if event.transaction.isolation == READ_COMMITTED else event.began


def earliest_start_from_here(events):
    earliest, horizons = float("inf"), []
    for event in reversed(events):
        earliest = min(earliest, start_of(event))
        horizons.append(earliest)
    return horizons[::-1]


def carry_out(event, organisations, accounts=None):
    """What the model answers. What only the server knows is taken from its answers and accounts, if there are any."""
    call, ledger = event.call, Ledger(organisations)
    moments = [moment_of(event, position, accounts) for position in range(len(call.items))]
    if call.many:
        ords = [answer["ord"] for answer in event.answer] if event.answer else range(1, len(call.items) + 1)
        return ledger.call_many(call.verb, moments, call.items, ords, call.skip_refused)
    expected = []
    for moment, item in zip(moments, call.items):
        answer = ledger.call(call.verb, moment, item)
        expected += answer if isinstance(answer, list) else [answer]
    return expected


def outcome(event, organisations):
    try:
        return carry_out(event, organisations)
    except Refused as refused:
        return refused.sqlstate


def moment_of(event, position, accounts):
    if accounts is None:
        return Moment(true_up_open=event.transaction.true_up_open)
    answer = event.answer[position]
    timed_out_at = {row["authorization_id"]: row["settled_at"]
                    for row in [*event.rows["first charge"], *event.rows["timed out"]]}
    if answer.get("sqlstate"):
        return Moment(true_up_open=event.transaction.true_up_open, timed_out_at=timed_out_at)
    return Moment(now=instant_of(event, position, accounts),
                  account_created_at=accounts[answer["org_id"]]["created_at"],
                  authorization_id=answer.get("authorization_id"),
                  true_up_open=event.transaction.true_up_open, timed_out_at=timed_out_at)


def take_over_last_use(organisations, accounts):
    """In a call of many items, an account that one of them changed is used by the replayed ones as well."""
    for org_id in accounts.keys() & organisations.keys():
        account, found = organisations[org_id].account, accounts[org_id]
        if found["updated_at"] > account.updated_at:
            organisations[org_id].account = replace(account, updated_at=found["updated_at"])


def instant_of(event, position, accounts):
    """When the server carried a call out, by what it answered, or by what the account says."""
    call, answer = event.call, event.answer[position]
    if call.verb in ("extend", "correct", "account_configure") or call.items[position].get("final") is False:
        return accounts[answer["org_id"]]["updated_at"]
    return answer[INSTANTS.get(call.verb, "created_at")]


def summaries(event):
    """What came of the call; of each item, where some may be refused."""
    if event.sqlstate:
        return [event.sqlstate]
    answers = event.answer if event.call.skip_refused else event.answer[-1:]
    outcomes = [answer.get("sqlstate") or ("replayed" if answer.get("replayed") else "done") for answer in answers]
    return outcomes or ["done"]


def describe(event):
    line = f"{event.stamp:6} transaction {event.transaction.number} ({event.transaction.isolation}): "
    if isinstance(event, Turn):
        return line + event.step
    if isinstance(event, End):
        return line + ("COMMIT" if event.committed else "ROLLBACK")
    if event.sqlstate:
        return f"{line}{event.sql}\n       {event.sqlstate}: {event.message.splitlines()[0]}"
    return "\n       ".join([line + event.sql, *map(show, event.answer)])


def show(value):
    """A row, or whatever else is to be told, as a person reads it."""
    row = asdict(value) if is_dataclass(value) else value
    if not isinstance(row, dict):
        return str(row)
    return ", ".join(f"{name} {cell}" for name, cell in row.items() if cell is not None)
