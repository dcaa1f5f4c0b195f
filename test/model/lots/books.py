"""What the ledger has to do with credits that expire, told once more: plain objects, plain numbers for instants.

An Organisation is all rows of one organisation. Its verbs take the instant, which is the same for all that one call
does, and the call's arguments, and return the answer, or raise Refused with the SQLSTATE; what they have altered by
then is of no use, so the caller works on a copy().

What is due is posted here at the beginning of every call. When the server does that is its own affair: no answer may
depend on it.

Lots are named by their numbers. A list of pairs (lot_no, credits) is in the order in which credits were taken; what it
lacks to the amount that it stands on is the main pool's, and counts as its last.
"""

import math
from dataclasses import dataclass, replace

COMMIT_TIMEOUT = 600
DEFAULT_PRIORITY = 100

INSUFFICIENT_CREDITS = "LC001"
ACCOUNT_NOT_FOUND = "LC002"
AUTHORIZATION_NOT_FOUND = "LC003"
IDEMPOTENCY_CONFLICT = "LC004"
AMOUNT_EXCEEDS_AUTHORIZATION = "LC005"
INVALID_STATUS_TRANSITION = "LC006"
ACCOUNT_FROZEN = "LC007"
REFUND_EXCEEDS_COMMITTED = "LC008"
LOT_NOT_OPEN = "LC009"
NULL_NOT_ALLOWED = "22004"
INVALID_ARGUMENT = "22023"


class Refused(Exception):
    @property
    def sqlstate(self):
        return self.args[0]


def refuse_if(condition, sqlstate):
    if condition:
        raise Refused(sqlstate)


# ---------------------------------------------------------------------------------------------------------------------
# Pairs


def total(pairs):
    return sum(credits for _, credits in pairs)


def joined(*lists):
    """One list after the other; where the first ends with the lot that the next begins with, that is one pair."""
    result = []
    for lot_no, credits in (pair for pairs in lists for pair in pairs):
        if result and result[-1][0] == lot_no:
            credits += result.pop()[1]
        result.append((lot_no, credits))
    return tuple(result)


def cut(pairs, length):
    """The first credits of a list, and the others from its end; the main pool's, at the very end, are not named."""
    kept, others = [], []
    for lot_no, credits in pairs:
        first = min(credits, length)
        length -= first
        kept.append((lot_no, first))
        others.insert(0, (lot_no, credits - first))
    return tuple(pair for pair in kept if pair[1]), tuple(pair for pair in others if pair[1])


def by_lot(pairs, sign=1):
    sums = {}
    for lot_no, credits in pairs:
        sums[lot_no] = sums.get(lot_no, 0) + sign * credits
    return sums


# ---------------------------------------------------------------------------------------------------------------------
# Rows


@dataclass
class Lot:
    lot_no: int
    amount: int
    remaining: int
    priority: int
    expires_at: float
    created_at: float
    held: int = 0
    absorbed: int = 0
    voided: bool = False
    closed_at: float = None

    @property
    def free(self):
        return self.remaining - self.held

    def ended(self, now):
        return self.expires_at is not None and self.expires_at <= now

    def is_over(self, now):
        return self.voided or self.ended(now)

    @property
    def place(self):
        return self.priority, math.inf if self.expires_at is None else self.expires_at, self.lot_no


@dataclass
class Authorization:
    name: str
    org_id: str
    campaign_id: str
    status: str
    amount: int
    authorized: int
    timeout_action: str
    created_at: float
    expires_at: float
    lots: tuple
    parts: int = 0
    parts_lots: tuple = ()
    refunded: int = 0
    settled_at: float = None
    settled_by: str = None

    @property
    def is_open(self):
        return self.status == "authorized"

    @property
    def charged(self):
        return {"authorized": self.parts, "committed": self.amount, "reverted": 0}[self.status]


@dataclass(frozen=True)
class Entry:
    entry_no: int
    kind: str
    amount: int
    lots: dict
    balance_after: int
    created_at: float
    effective_at: float
    authorization: str

    @property
    def instant(self):
        return self.created_at if self.effective_at is None else self.effective_at

    @property
    def parts(self):
        """In each lot, and with None as its number in the main pool."""
        pool = self.amount - sum(self.lots.values())
        return [*sorted(self.lots.items()), *([(None, pool)] if pool else [])]


@dataclass(frozen=True)
class UsedKey:
    told: tuple  # what must be told again
    entry_no: int = None
    authorization: str = None


# ---------------------------------------------------------------------------------------------------------------------
# An organisation


class Organisation:
    def __init__(self, org_id, true_up_window):
        self.org_id = org_id
        self.true_up_window = true_up_window
        self.exists = False
        self.balance = self.held = 0
        self.credit_limit = self.overage_limit = 0
        self.frozen = False
        self.lots = {}
        self.authorizations = {}
        self.entries = []
        self.used_keys = {}

    def copy(self):
        other = Organisation(self.org_id, self.true_up_window)
        other.__dict__.update(self.__dict__)
        other.lots = {lot_no: replace(lot) for lot_no, lot in self.lots.items()}
        other.authorizations = {name: replace(row) for name, row in self.authorizations.items()}
        other.entries = self.entries.copy()
        other.used_keys = self.used_keys.copy()
        return other

    @property
    def available(self):
        return self.balance - self.held + self.credit_limit

    @property
    def open_lots(self):
        return [lot for lot in self.lots.values() if lot.remaining]

    @property
    def lot_balance(self):
        return sum(lot.remaining for lot in self.open_lots)

    @property
    def lot_held(self):
        return sum(lot.held for lot in self.open_lots)

    @property
    def pool_free(self):
        return (self.balance - self.held) - (self.lot_balance - self.lot_held)

    # ---- ends ----

    def post_due(self, now, before=math.inf):
        """What is free in lots that have ended leaves them; only in those that ended before an instant."""
        due = [lot for lot in self.open_lots
               if lot.ended(now) and lot.expires_at < before and not lot.voided and lot.free]
        for lot in sorted(due, key=lambda lot: (lot.expires_at, lot.lot_no)):
            self._leave(now, lot, lot.expires_at)

    def _leave(self, now, lot, effective_at=None):
        """What is free in a lot leaves it: an expiry never takes what the organisation owes, a void takes all."""
        free = lot.free
        gone = free if lot.voided else min(free, max(0, free + self.pool_free))
        lot.absorbed += free - gone
        self._take_from_lot(now, lot, free)
        return self._post(now, "void" if lot.voided else "expiry", -gone, {lot.lot_no: -gone}, effective_at)

    def _leave_all(self, now, pairs):
        """What came back to lots that are over leaves them again."""
        for lot_no in sorted({lot_no for lot_no, _ in pairs}):
            if self.lots[lot_no].is_over(now) and self.lots[lot_no].free:
                self._leave(now, self.lots[lot_no])

    # ---- taking and giving back ----

    def _take(self, now, amount):
        """From what is free in lots, in their order; what they do not have is the main pool's. Nothing moves yet."""
        taken = []
        for lot in sorted(self.open_lots, key=lambda lot: lot.place):
            credits = min(lot.free, amount - total(taken))
            if credits and not lot.is_over(now):
                taken.append((lot.lot_no, credits))
        return tuple(taken)

    def _hold(self, pairs, sign=1):
        for lot_no, credits in pairs:
            self.lots[lot_no].held += sign * credits

    def _charge(self, now, pairs):
        for lot_no, credits in pairs:
            self._take_from_lot(now, self.lots[lot_no], credits)

    def _uncharge(self, pairs):
        for lot_no, credits in pairs:
            self.lots[lot_no].remaining += credits
            self.lots[lot_no].closed_at = None

    def _take_from_lot(self, now, lot, credits):
        lot.remaining -= credits
        if not lot.remaining:
            lot.closed_at = now

    def _post(self, now, kind, amount, lots, effective_at=None, authorization=None):
        """An entry, if anything moves at all."""
        if amount == 0:
            return None
        self.balance += amount
        entry = Entry(len(self.entries) + 1, kind, amount, lots, self.balance, now, effective_at, authorization)
        self.entries.append(entry)
        return entry

    # ---- verbs that move credits ----

    def grant(self, now, amount, idempotency_key, expires_at=None, priority=None):
        refuse_if(amount <= 0, INVALID_ARGUMENT)
        refuse_if(priority is not None and not 0 <= priority <= 1000, INVALID_ARGUMENT)
        self.exists = True
        self.post_due(now)
        replay = self._replay("grant", idempotency_key, (amount,))
        if replay:
            return self._movement(self.entries[replay.entry_no - 1], replayed=True)
        refuse_if(expires_at is not None and expires_at <= now, INVALID_ARGUMENT)

        is_lot = expires_at is not None or priority is not None
        lot_no = len(self.entries) + 1
        if is_lot:
            self.lots[lot_no] = Lot(lot_no, amount, amount, DEFAULT_PRIORITY if priority is None else priority,
                                    expires_at, now)
        entry = self._post(now, "grant", amount, {lot_no: amount} if is_lot else {})
        self._use_key("grant", idempotency_key, (amount,), entry_no=entry.entry_no)
        return self._movement(entry)

    def adjust(self, now, amount, idempotency_key):
        refuse_if(amount == 0, INVALID_ARGUMENT)
        self._begin(now)
        replay = self._replay("adjust", idempotency_key, (amount,))
        if replay:
            return self._movement(self.entries[replay.entry_no - 1], replayed=True)
        taken = self._take(now, -amount) if amount < 0 else ()
        self._charge(now, taken)
        entry = self._post(now, "adjustment", amount, by_lot(taken, -1))
        self._use_key("adjust", idempotency_key, (amount,), entry_no=entry.entry_no)
        return self._movement(entry)

    def refund(self, now, name, idempotency_key, amount=None):
        refuse_if(amount is not None and amount <= 0, INVALID_ARGUMENT)
        row = self._begin_with(now, name)
        replay = self._replay("refund", idempotency_key, (name, amount))
        if replay:
            return self._movement(self.entries[replay.entry_no - 1], replayed=True)
        refuse_if(row.status != "committed", INVALID_STATUS_TRANSITION)
        left = row.amount - row.refunded
        given_back = left if amount is None else amount
        refuse_if(given_back > left or left == 0, REFUND_EXCEEDS_COMMITTED)

        row.settled_by = "caller"
        row.refunded += given_back
        row.lots, returned = cut(row.lots, row.amount - row.refunded)
        self._uncharge(returned)
        entry = self._post(now, "refund", given_back, by_lot(returned), authorization=name)
        self._leave_all(now, returned)
        self._use_key("refund", idempotency_key, (name, amount), entry_no=entry.entry_no)
        return self._movement(entry)

    def void(self, now, lot_no):
        self._begin(now)
        replay = self._replay("void", f"lot:{lot_no}", ())
        if replay:
            return self._void_answer(replay.entry_no, replayed=True)
        lot = self._open_lot(lot_no)
        lot.voided = True
        entry = self._leave(now, lot)
        self._use_key("void", f"lot:{lot_no}", (), entry_no=entry and entry.entry_no)
        return self._void_answer(entry and entry.entry_no)

    def lot_configure(self, now, lot_no, expires_at=None, priority=None):
        refuse_if(priority is not None and not 0 <= priority <= 1000, INVALID_ARGUMENT)
        self._begin(now)
        lot = self._open_lot(lot_no)
        if expires_at is not None:
            lot.expires_at = max(expires_at, now)
        if priority is not None:
            lot.priority = priority
        self.post_due(now)
        return {"lot_no": lot_no, "priority": lot.priority, "expires_at": lot.expires_at, "amount": lot.amount,
                "held": lot.held, "voided": False}

    def account_configure(self, now, **settings):
        refuse_if("frozen" in settings and not self.exists, ACCOUNT_NOT_FOUND)
        self.exists = True
        self.post_due(now)
        self.__dict__.update({name: value for name, value in settings.items() if value is not None})
        return {"balance": self.balance, "held": self.held, **settings}

    # ---- verbs that hold credits ----

    def authorize(self, now, name, amount, campaign_id, timeout=None, timeout_action=None):
        refuse_if(amount <= 0 or timeout is not None and timeout <= 0, INVALID_ARGUMENT)
        row = self._require(now, amount, campaign_id)
        if row:
            return self._authorization(row, replayed=True)
        taken = self._take(now, amount)
        self._hold(taken)
        self.held += amount
        expires_at = now + (COMMIT_TIMEOUT if timeout is None else timeout)
        row = Authorization(name, self.org_id, campaign_id, "authorized", amount, amount, timeout_action or "commit",
                            now, expires_at, taken)
        return self._made(row)

    def charge(self, now, name, amount, campaign_id):
        refuse_if(amount <= 0, INVALID_ARGUMENT)
        row = self._require(now, amount, campaign_id)
        if row:
            return self._authorization(row, replayed=True)
        taken = self._take(now, amount)
        self._charge(now, taken)
        self._post(now, "commit", -amount, by_lot(taken, -1), authorization=name)
        row = Authorization(name, self.org_id, campaign_id, "committed", amount, amount, None, now, now, taken,
                            settled_at=now, settled_by="caller")
        return self._made(row)

    def extend(self, now, name, timeout=None, amount=None):
        refuse_if(timeout is not None and timeout <= 0 or amount is not None and amount <= 0, INVALID_ARGUMENT)
        refuse_if(timeout is None and amount is None, NULL_NOT_ALLOWED)
        row = self._begin_with(now, name)
        refuse_if(not row.is_open, INVALID_STATUS_TRANSITION)
        expires_at = row.expires_at if timeout is None else max(row.expires_at, now + timeout)
        amount = row.authorized if amount is None else amount
        if (expires_at, amount) == (row.expires_at, row.authorized):
            return self._authorization(row, replayed=True)

        refuse_if(amount < row.parts, IDEMPOTENCY_CONFLICT)
        more = amount - row.authorized
        if more > 0:
            refuse_if(self.frozen, ACCOUNT_FROZEN)
            self._make_available(now, more, row)
            taken = self._take(now, more)
            self._hold(taken)
            row.lots = joined(row.lots, taken)
        row.authorized += more
        row.amount += more
        row.expires_at = expires_at
        self.held += more
        if more < 0:
            row.lots, returned = cut(row.lots, row.amount)
            self._hold(returned, -1)
            self._leave_all(now, returned)
        return self._authorization(row)

    # ---- verbs that settle holds ----

    def commit(self, now, name, amount_used=None, final=True):
        refuse_if(amount_used is None and not final, NULL_NOT_ALLOWED)
        refuse_if(amount_used is not None and amount_used < 0, INVALID_ARGUMENT)
        row = self._begin_with(now, name)
        return self._commit_whole(now, row, amount_used) if final else self._commit_part(now, row, amount_used)

    def _commit_whole(self, now, row, amount_used):
        by_caller = row.settled_by == "caller"
        used = row.authorized if amount_used is None else amount_used
        in_time = self._may_be_corrected(now, row)
        if by_caller and row.status == "committed" and amount_used in (None, row.amount):
            return self._authorization(row, replayed=True)
        refuse_if(used > row.authorized + self.overage_limit, AMOUNT_EXCEEDS_AUTHORIZATION)
        refuse_if(by_caller and row.status == "committed", IDEMPOTENCY_CONFLICT)
        refuse_if(by_caller or not in_time, INVALID_STATUS_TRANSITION)
        refuse_if(used < row.parts, IDEMPOTENCY_CONFLICT)
        self._make_available(now, used - (row.authorized if row.is_open else row.charged), row)
        return self._settle(now, row, "committed", used, "caller")

    def _commit_part(self, now, row, used):
        if not row.is_open:
            refuse_if(row.status != "committed" or row.settled_by != "caller" or used > row.amount,
                      INVALID_STATUS_TRANSITION)
            return self._authorization(row, replayed=True)
        if used == row.parts:
            return self._authorization(row, replayed=True)
        refuse_if(used < row.parts, IDEMPOTENCY_CONFLICT)
        refuse_if(used > row.authorized, AMOUNT_EXCEEDS_AUTHORIZATION)

        more = used - row.parts
        charged, row.lots = cut(row.lots, more)
        row.lots = tuple(reversed(row.lots))
        self._hold(charged, -1)
        self._charge(now, charged)
        self.held -= more
        self._post(now, "commit", -more, by_lot(charged, -1), authorization=row.name)
        row.parts, row.parts_lots = used, joined(row.parts_lots, charged)
        row.amount -= more
        return self._authorization(row)

    def revert(self, now, name):
        row = self._begin_with(now, name)
        if row.settled_by == "caller":
            only_parts = row.status == "committed" and row.parts > 0 and row.amount == row.parts
            refuse_if(row.status == "committed" and not only_parts, INVALID_STATUS_TRANSITION)
            return self._authorization(row, replayed=True)
        refuse_if(not self._may_be_corrected(now, row), INVALID_STATUS_TRANSITION)
        return self._give_up(now, row, "caller")

    def correct(self, now, name, amount_used):
        refuse_if(amount_used < 0, INVALID_ARGUMENT)
        row = self._begin_with(now, name)
        refuse_if(row.is_open, INVALID_STATUS_TRANSITION)
        if amount_used == row.charged:
            return self._authorization(row, replayed=True)
        refuse_if(amount_used < row.refunded, REFUND_EXCEEDS_COMMITTED)
        return self._settle(now, row, "committed", amount_used, "caller")

    def time_out(self, now, name):
        """What a sweep does to a hold, or a call that it stands in the way of."""
        self.post_due(now)
        row = self.authorizations[name]
        if row.timeout_action == "commit":
            self._settle(now, row, "committed", row.authorized, "timeout")
        else:
            self._give_up(now, row, "timeout")

    def expired_holds(self, now):
        holds = [row for row in self.authorizations.values() if row.is_open and row.expires_at < now]
        return sorted(holds, key=lambda row: row.expires_at)

    def _give_up(self, now, row, actor):
        """What was charged in parts was used."""
        return self._settle(now, row, "committed" if row.parts else "reverted", row.parts, actor)

    def _settle(self, now, row, status, charge, actor):
        if row.is_open:
            self._settle_hold(now, row, charge)
        else:
            self._true_up(now, row, charge)
        row.status = status
        row.amount = charge if status == "committed" else row.authorized
        row.settled_at, row.settled_by = now, actor
        return self._authorization(row)

    def _settle_hold(self, now, row, charge):
        more = charge - row.parts
        charged, returned = cut(row.lots, more)
        self._hold(row.lots, -1)
        self.held -= row.amount
        if more > row.amount:
            # What is held is charged in full, the excess is taken from what is free.
            self._charge(now, charged)
            excess = self._take(now, more - row.amount)
            self._charge(now, excess)
            charged = joined(charged, excess)
        else:
            self._charge(now, charged)
        self._post(now, "commit", -more, by_lot(charged, -1), authorization=row.name)
        row.lots, row.parts_lots = joined(row.parts_lots, charged), ()
        self._leave_all(now, returned)

    def _true_up(self, now, row, charge):
        more = charge - row.charged
        if more > 0:
            taken = self._take(now, more)
            self._charge(now, taken)
            row.lots = joined(row.lots, taken)
            self._post(now, "true_up", -more, by_lot(taken, -1), authorization=row.name)
        else:
            row.lots, returned = cut(row.lots, charge - row.refunded)
            self._uncharge(returned)
            self._post(now, "true_up", -more, by_lot(returned), authorization=row.name)
            self._leave_all(now, returned)

    def _may_be_corrected(self, now, row):
        """Not what the caller decided, nor what the timeout decided too long ago."""
        return row.is_open or row.settled_by == "timeout" and now - row.settled_at < self.true_up_window

    # ---- readers, of what is due already as of what is posted ----

    def balance_now(self, now):
        state = self.copy()
        refuse_if(not state.exists, ACCOUNT_NOT_FOUND)
        state.post_due(now)
        return {"balance": state.balance, "held": state.held, "credit_limit": state.credit_limit,
                "available": state.available}

    def balance_at(self, now, instant):
        refuse_if(not self.exists, ACCOUNT_NOT_FOUND)
        state = self.copy()
        state.post_due(max(now, instant), before=instant)
        earlier = [entry for entry in state.entries if entry.instant < instant]
        return earlier[-1].balance_after if earlier else 0

    def lots_now(self, now):
        state = self.copy()
        refuse_if(not state.exists, ACCOUNT_NOT_FOUND)
        state.post_due(now)
        rows = [{"lot_no": lot.lot_no, "priority": lot.priority, "expires_at": lot.expires_at, "amount": lot.amount,
                 "remaining": lot.remaining, "held": lot.held, "free": lot.free}
                for lot in sorted(state.open_lots, key=lambda lot: lot.place)]
        remaining, held = state.balance - state.lot_balance, state.held - state.lot_held
        return [*rows, {"lot_no": None, "priority": None, "expires_at": None,
                        "remaining": remaining, "held": held, "free": remaining - held}]

    # ---- what the verbs have in common ----

    def _begin(self, now):
        refuse_if(not self.exists, ACCOUNT_NOT_FOUND)
        self.post_due(now)

    def _begin_with(self, now, name):
        refuse_if(name not in self.authorizations, AUTHORIZATION_NOT_FOUND)
        self.post_due(now)
        return self.authorizations[name]

    def _open_lot(self, lot_no):
        lot = self.lots.get(lot_no)
        refuse_if(lot is None or not lot.remaining or lot.voided, LOT_NOT_OPEN)
        return lot

    def _require(self, now, amount, campaign_id):
        """What authorize and charge begin with: the authorization that was made by the same call before, or None."""
        self._begin(now)
        replay = self._replay("authorize", campaign_id, (amount, campaign_id))
        if replay:
            return self.authorizations[replay.authorization]
        refuse_if(self.frozen, ACCOUNT_FROZEN)
        self._make_available(now, amount, None)
        return None

    def _make_available(self, now, amount, except_for):
        """Holds that have expired are settled before a call is refused."""
        if amount <= 0 or amount <= self.available:
            return
        name = except_for and except_for.name
        may_give = sum(row.amount for row in self.expired_holds(now)
                       if row.name != name and row.timeout_action == "revert")
        refuse_if(amount > self.available + may_give, INSUFFICIENT_CREDITS)
        self.settle_expired(now, name)
        refuse_if(amount > self.available, INSUFFICIENT_CREDITS)

    def settle_expired(self, now, except_for):
        for row in self.expired_holds(now):
            if row.name != except_for:
                self.time_out(now, row.name)

    def _made(self, row):
        self.authorizations[row.name] = row
        self._use_key("authorize", row.campaign_id, (row.authorized, row.campaign_id), authorization=row.name)
        return self._authorization(row)

    def _replay(self, operation, key, told):
        used = self.used_keys.get((operation, key))
        refuse_if(used is not None and used.told != told, IDEMPOTENCY_CONFLICT)
        return used

    def _use_key(self, operation, key, told, **made):
        self.used_keys[operation, key] = UsedKey(told, **made)

    def _movement(self, entry, replayed=False):
        return {"entry_no": entry.entry_no, "kind": entry.kind, "amount": entry.amount,
                "authorization_id": entry.authorization, "balance_after": entry.balance_after,
                "available": self.available, "replayed": replayed}

    def _void_answer(self, entry_no, replayed=False):
        if entry_no is not None:
            return self._movement(self.entries[entry_no - 1], replayed)
        return {"kind": "void", "entry_no": None, "available": self.available, "replayed": replayed}

    def _authorization(self, row, replayed=False):
        return {"authorization_id": row.name, "campaign_id": row.campaign_id, "status": row.status,
                "amount": row.amount, "authorized_amount": row.authorized, "refunded_amount": row.refunded,
                "created_at": row.created_at, "expires_at": row.expires_at, "settled_at": row.settled_at,
                "settled_by": row.settled_by, "available": self.available, "replayed": replayed}
