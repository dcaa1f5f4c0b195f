"""Carries calls out on the model and on databases, and compares all that they say."""

from dataclasses import asdict

from books import Refused, by_lot
from ledger import Call, Calls

class Disagreement(Exception):
    pass


def expect_same(what, expected, found):
    """All that is expected; there may be more."""
    if isinstance(expected, dict) and isinstance(found, dict):
        same = all(name in found and found[name] == value for name, value in expected.items())
    else:
        same = expected == found
    if not same:
        raise Disagreement(f"{what} is not as it should be\n  expected: {expected}\n  found:    {found}")


def expect_same_rows(what, key, expected, found):
    expect_same(f"the {key}s of the {what}s", sorted(row[key] for row in expected), sorted(row[key] for row in found))
    found = {row[key]: row for row in found}
    for row in expected:
        expect_same(what, row, found[row[key]])


class Play:
    """One model, and databases that must all agree with it."""

    def __init__(self, clock, model, databases):
        self.clock, self.model, self.databases = clock, model, databases
        self.log = []
        self._readings = 0

    def note(self, what):
        self.log.append(f"at {self.clock.now}: {what}")

    def carry_out(self, call, and_compare_tables=True):
        """The answer, or the SQLSTATE of its refusal."""
        many = isinstance(call, Calls)
        self.note(call)
        expected = outcome(lambda: (self.model.call_many if many else self.model.call)(self.clock.now, call))
        for database in self.databases:
            found = outcome(lambda: (database.call_many if many else database.call)(call))
            self.compare_outcomes(expected, found)
        self.log[-1] += f": {shown(expected)}"
        if and_compare_tables and not isinstance(expected, str):
            for org_id in call.org_ids:
                self.compare_tables(org_id)
        return expected

    def compare_outcomes(self, expected, found):
        if isinstance(expected, list) and isinstance(found, list):
            expect_same("the number of answers", len(expected), len(found))
            for ours, theirs in zip(expected, found):
                expect_same("an answer", ours, theirs)
        else:
            expect_same("the outcome", expected, found)

    def sweep(self, org_ids):
        """All databases."""
        self.note("sweep")
        settled = 0
        for org_id in org_ids:
            state = self.model.organisation(org_id)
            for hold in state.expired_holds(self.clock.now):
                state.time_out(self.clock.now, hold.name)
                settled += 1
            state.post_due(self.clock.now)
        for database in self.databases:
            expect_same("the number of holds that were settled", settled, database.sweep())
        for org_id in org_ids:
            if self.model.organisation(org_id).exists:
                self.compare_tables(org_id)

    def settle_all(self, org_ids):
        """So that nothing is left for later sweeps; then all must be sound."""
        for org_id in org_ids:
            rows = self.model.organisation(org_id).authorizations.values()
            for name in [row.name for row in rows if row.is_open]:
                self.carry_out(Call("revert", org_id, {"name": name}))
            self.carry_out(Call("account_configure", org_id, {}))
            self.carry_out(Call("account_configure", org_id, {"frozen": False}))
            for database in self.databases:
                expect_same("credit_verify", [], database.query("SELECT * FROM credit_verify(%s)", org_id))

    def compare_tables(self, org_id):
        """Once a call has posted what is due."""
        state = self.model.organisation(org_id)
        for database in self.databases:
            entries = database.rows("entries", org_id)
            for entry in entries:
                entry["lots"] = by_lot(entry["lots"] or ())
                # When what is due was written, depends on who called.
                if entry["effective_at"] is not None:
                    entry["created_at"] = None
            expect_same_rows("entry", "entry_no", [expected_entry(entry) for entry in state.entries], entries)

            lots = database.rows("lots", org_id)
            expect_same_rows("lot", "lot_no", [expected_lot(lot) for lot in state.lots.values()], lots)
            for lot in lots:
                expect_same("whether the lot is closed", lot["remaining"] == 0, lot["closed_at"] is not None)

            account, = database.rows("account", org_id)
            expect_same("the account", expected_account(state), account)
            ends = [lot.expires_at for lot in state.open_lots if lot.expires_at is not None]
            if ends and account["lot_expires_at"] > min(ends):
                raise Disagreement(f"lot_expires_at {account['lot_expires_at']} is later than {min(ends)}")
        self._compare_authorizations(org_id)

    def _compare_authorizations(self, org_id):
        state = self.model.organisation(org_id)
        for database in self.databases:
            rows = database.rows("authorizations", org_id)
            for row in rows:
                row["lots"] = tuple(map(tuple, row["lots"] or ()))
                row["committed_lots"] = tuple(map(tuple, row["committed_lots"] or ()))
            expect_same_rows("authorization", "authorization_id",
                             [expected_authorization(row) for row in state.authorizations.values()], rows)

    def compare_readers(self, org_id, instants):
        """As of now, whatever was posted."""
        now, state = self.clock.now, self.model.organisation(org_id)
        for database in self.databases:
            balance, = database.rows("balance", org_id)
            expect_same("credit_balance", state.balance_now(now), balance)
            expected, lots = state.lots_now(now), database.rows("open_lots", org_id)
            expect_same("the order of credit_lots", [lot["lot_no"] for lot in expected],
                        [lot["lot_no"] for lot in lots])
            for ours, theirs in zip(expected, lots):
                expect_same("a row of credit_lots", ours, theirs)
            for instant in instants:
                at, = database.rows("balance_at", org_id, instant)
                expect_same(f"credit_balance_at {instant}", state.balance_at(now, instant), at["balance"])
            if self._readings % 4 == 0:
                self._compare_lines(database, org_id, sorted(instants))
        self._readings += 1


    def _compare_lines(self, database, org_id, instants):
        """What is due has its lines, too, though nobody has written it."""
        state = self.model.organisation(org_id).copy()
        state.post_due(self.clock.now)
        lines = database.rows("statement", org_id)
        for line in lines:
            line["lots"] = by_lot(line["lots"] or ())
            if line["effective_at"] is not None:
                line["created_at"] = None
        expected = [expected_entry(entry) for entry in state.entries]
        for entry in expected:
            entry.pop("authorization_id", None)
        expect_same_rows("line of the statement", "entry_no", expected, lines)
        expect_same("the order of the statement", sorted(line["entry_no"] for line in lines),
                    [line["entry_no"] for line in lines])

        since, until = instants[0], instants[-1]
        moved, = database.rows("moved_between", org_id, since, until)
        expect_same(f"what moved from {since} to {until}",
                    sum(entry.amount for entry in state.entries if since <= entry.instant < until), moved["credits"])

        movements = [(entry.entry_no, *pair, entry.instant) for entry in state.entries for pair in entry.parts]
        expect_same("credit_lot_movement", movements, [
            (row["entry_no"], row["lot_no"], row["amount"], row["effective_at"])
            for row in database.rows("movements", org_id)])


def outcome(ask):
    try:
        return ask()
    except Refused as refused:
        return refused.sqlstate


def shown(answer):
    """The most telling of it."""
    if isinstance(answer, list):
        return ", ".join(map(shown, answer))
    if not isinstance(answer, dict):
        return str(answer)
    names = ("entry_no", "kind", "status", "amount", "balance_after", "available", "replayed", "sqlstate")
    return " ".join(f"{name} {answer[name]}" for name in names if name in answer and answer[name] is not False)


def expected_entry(entry):
    expected = asdict(entry)
    expected["authorization_id"] = expected.pop("authorization")
    if entry.kind in ("expiry", "void"):
        del expected["authorization_id"]
    if entry.effective_at is not None:
        expected["created_at"] = None
    return expected


def expected_lot(lot):
    expected = asdict(lot)
    del expected["closed_at"]
    return expected


def expected_account(state):
    open_lots = bool(state.open_lots)
    return {"balance": state.balance, "held": state.held, "credit_limit": state.credit_limit,
            "overage_limit": state.overage_limit, "last_entry_no": len(state.entries),
            "lot_balance": state.lot_balance if open_lots else None,
            "lot_held": state.lot_held if open_lots else None}


def expected_authorization(row):
    expected = {"authorization_id": row.name, "status": row.status, "amount": row.amount,
                "authorized_amount": row.authorized, "committed_amount": row.parts or None,
                "refunded_amount": row.refunded, "created_at": row.created_at, "expires_at": row.expires_at,
                "settled_at": row.settled_at, "settled_by": row.settled_by, "lots": row.lots}
    if row.is_open:
        expected["committed_lots"] = row.parts_lots
    return expected
