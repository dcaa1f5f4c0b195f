"""What the ledger has to do, told once more, apart from the C: plain objects, no database, no concurrency.

An Organisation is all rows of one organisation, as the tables would hold them. Its verbs take a call's arguments and
return the answer that the call must get, or raise Refused with the SQLSTATE that it must fail with; what they have
altered by then is of no use. Rows are never altered in place, so copy() is cheap and an organisation of a moment ago
can be kept. A Ledger is several organisations, and finds the one that a call is about.

What only the server can know, the model is told in a Moment: the clock's instant, when a new account was made, the id
of a new authorization, whether the true-up window is open, and when expired holds in the way were settled.
"""

from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta

LOWEST, HIGHEST = -2**63, 2**63 - 1
COMMIT_TIMEOUT = timedelta(minutes=10)
EXPIRED_AT_ONCE = timedelta(seconds=1)
TIMEOUT_ACTION = "commit"

INSUFFICIENT_CREDITS = "LC001"
ACCOUNT_NOT_FOUND = "LC002"
AUTHORIZATION_NOT_FOUND = "LC003"
IDEMPOTENCY_CONFLICT = "LC004"
AMOUNT_EXCEEDS_AUTHORIZATION = "LC005"
INVALID_STATUS_TRANSITION = "LC006"
ACCOUNT_FROZEN = "LC007"
REFUND_EXCEEDS_COMMITTED = "LC008"
NULL_NOT_ALLOWED = "22004"
OUT_OF_RANGE = "22003"
INVALID_ARGUMENT = "22023"


class Refused(Exception):
    @property
    def sqlstate(self):
        return self.args[0]

    @property
    def by_ledger(self):
        return self.sqlstate.startswith("LC")


@dataclass(frozen=True)
class Moment:
    now: datetime = None
    account_created_at: datetime = None
    authorization_id: str = None
    true_up_open: bool = True
    timed_out_at: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Account:
    org_id: str
    balance: int
    held: int
    credit_limit: int
    overage_limit: int
    low_balance_threshold: int
    frozen: bool
    last_entry_no: int
    created_at: datetime
    updated_at: datetime
    metadata: dict


@dataclass(frozen=True)
class Authorization:
    authorization_id: str
    org_id: str
    campaign_id: str
    idempotency_key: str
    status: str
    amount: int
    authorized_amount: int
    committed_amount: int
    refunded_amount: int
    timeout_action: str
    created_at: datetime
    expires_at: datetime
    settled_at: datetime
    settled_by: str
    reason: str
    metadata: dict

    @property
    def settled_by_timeout(self):
        return self.settled_by == "timeout"

    @property
    def in_parts(self):
        """What was charged while it was open."""
        return self.committed_amount or 0

    @property
    def charged(self):
        return {"authorized": self.in_parts, "committed": self.amount, "reverted": 0}[self.status]

    @property
    def expired(self):
        """No instant is needed to tell: the plan's holds expire at once, or not before the run is over."""
        return (self.status == "authorized" and self.created_at is not None
                and self.expires_at - self.created_at < EXPIRED_AT_ONCE)


@dataclass(frozen=True)
class Entry:
    org_id: str
    entry_no: int
    kind: str
    amount: int
    authorization_id: str
    idempotency_key: str
    reason: str
    balance_after: int
    created_at: datetime
    metadata: dict


@dataclass(frozen=True)
class UsedKey:
    org_id: str
    operation: str
    idempotency_key: str
    amount: int
    campaign_id: str
    authorization_id: str
    entry_no: int
    created_at: datetime


# ---------------------------------------------------------------------------------------------------------------------
# Arguments: what each verb refuses before it looks at any row.


def optional(check):
    return lambda value: None if value is None else check(value)


def required(value):
    if value is None:
        raise Refused(NULL_NOT_ALLOWED)


def identifier(value):
    required(value)
    if not 1 <= len(value.encode()) <= 256:
        raise Refused(INVALID_ARGUMENT)


def at_least(minimum):
    def check(value):
        required(value)
        if value < minimum:
            raise Refused(INVALID_ARGUMENT)
    return check


def not_zero(value):
    required(value)
    if value == 0:
        raise Refused(INVALID_ARGUMENT)


def not_empty(value):
    required(value)
    if not value:
        raise Refused(INVALID_ARGUMENT)


def timeout(value):
    required(value)
    if value <= timedelta(0):
        raise Refused(INVALID_ARGUMENT)


def anything(_value):
    pass


def one_of(*names):
    """At least one of the arguments is needed."""
    def check(given):
        if all(given[name] is None for name in names):
            raise Refused(NULL_NOT_ALLOWED)
    return check


def total_if_not_final(given):
    if given["final"] is False:
        required(given["amount_used"])


ARGUMENTS = {
    "grant": {"org_id": identifier, "amount": at_least(1), "idempotency_key": identifier, "reason": anything,
              "metadata": anything},
    "adjust": {"org_id": identifier, "amount": not_zero, "idempotency_key": identifier, "reason": not_empty},
    "authorize": {"org_id": identifier, "amount": at_least(1), "campaign_id": optional(identifier),
                  "idempotency_key": optional(identifier), "timeout": optional(timeout), "timeout_action": anything,
                  "metadata": anything},
    "charge": {"org_id": identifier, "amount": at_least(1), "campaign_id": optional(identifier),
               "idempotency_key": optional(identifier), "metadata": anything},
    "commit": {"authorization_id": identifier, "amount_used": optional(at_least(0)), "final": anything},
    "revert": {"authorization_id": identifier, "reason": anything},
    "extend": {"authorization_id": identifier, "timeout": optional(timeout), "amount": optional(at_least(1))},
    "correct": {"authorization_id": identifier, "amount_used": at_least(0), "reason": not_empty},
    "refund": {"authorization_id": identifier, "idempotency_key": identifier, "amount": optional(at_least(1)),
               "reason": anything},
    "account_configure": {"org_id": identifier, "credit_limit": optional(at_least(0)),
                          "overage_limit": optional(at_least(0)), "low_balance_threshold": anything,
                          "frozen": anything, "metadata": anything},
    "balance": {"org_id": identifier},
    "statement": {"org_id": identifier},
    "sweep": {"as_of": anything, "max_rows": at_least(1)},
    "verify": {},
}
TOGETHER = {"authorize": one_of("campaign_id", "idempotency_key"), "charge": one_of("campaign_id", "idempotency_key"),
            "commit": total_if_not_final, "extend": one_of("timeout", "amount")}


def check_arguments(verb, arguments):
    """All arguments of the verb, the omitted ones as None; or Refused."""
    given = {name: arguments.get(name) for name in ARGUMENTS[verb]}
    for name, check in ARGUMENTS[verb].items():
        check(given[name])
    TOGETHER.get(verb, anything)(given)
    return given


# ---------------------------------------------------------------------------------------------------------------------
# The ledger.


class Ledger:
    def __init__(self, organisations):
        self._organisations = organisations

    def call(self, verb, moment, arguments):
        checked = check_arguments(verb, arguments)
        if verb == "sweep":
            return []  # what it settles is for the sweep to say: see Organisation.time_out
        return getattr(self._find(checked), verb)(moment, **checked)

    def call_many(self, verb, moments, items, ords, skip_refused):
        """All items or none, or all that are not refused. First every item is looked at, then every account is locked.
        If what is refused may be skipped, bad arguments come before all else, and items that find no row to lock are
        not among these."""
        checked, owners = [], []
        if skip_refused:
            for item in items:
                check_arguments(verb, item)
        for item in items:
            checked.append(check_arguments(verb, item))
            owners.append(self._find(checked[-1]))
        for owner in owners:
            owner.require_account()
        answers = []
        for ord, owner, moment, arguments in zip(ords, owners, moments, checked):
            try:
                answer = {**getattr(owner, verb)(moment, **arguments), "sqlstate": None}
            except Refused as refused:
                if not skip_refused or not refused.by_ledger:
                    raise
                answer = {"sqlstate": refused.sqlstate}
            answers.append({"ord": ord, **answer})
        return answers

    def _find(self, arguments):
        if "org_id" in arguments:
            return self._organisations[arguments["org_id"]]
        for organisation in self._organisations.values():
            if arguments["authorization_id"] in organisation.authorizations:
                return organisation
        raise Refused(AUTHORIZATION_NOT_FOUND)


class Organisation:
    def __init__(self, org_id):
        self.org_id = org_id
        self.account = None
        self.authorizations = {}
        self.entries = []
        self.used_keys = {}

    def copy(self):
        other = Organisation(self.org_id)
        other.account = self.account
        other.authorizations = self.authorizations.copy()
        other.entries = self.entries.copy()
        other.used_keys = self.used_keys.copy()
        return other

    # ---- verbs ----

    def grant(self, moment, org_id, amount, idempotency_key, reason, metadata):
        self._make_account(moment)
        return self._move_once(moment, "grant", "grant", amount, idempotency_key, reason, metadata)

    def adjust(self, moment, org_id, amount, idempotency_key, reason):
        self.require_account()
        return self._move_once(moment, "adjust", "adjustment", amount, idempotency_key, reason, None)

    def authorize(self, moment, org_id, amount, campaign_id, idempotency_key, timeout, timeout_action, metadata):
        self.require_account()
        key = campaign_id if idempotency_key is None else idempotency_key
        used = self.used_keys.get(("authorize", key))
        if used is not None:
            if (used.amount, used.campaign_id) != (amount, campaign_id):
                raise Refused(IDEMPOTENCY_CONFLICT)
            return self._authorization_answer(self.authorizations[used.authorization_id], replayed=True)

        if self.account.frozen:
            raise Refused(ACCOUNT_FROZEN)
        self._require_available(moment, amount)
        hold = Authorization(
            moment.authorization_id, org_id, campaign_id, key, "authorized", amount, amount, None, 0,
            TIMEOUT_ACTION if timeout_action is None else timeout_action,
            moment.now, moment.now and moment.now + (COMMIT_TIMEOUT if timeout is None else timeout),
            None, None, None, metadata)
        self.authorizations[hold.authorization_id] = hold
        self._use_key(moment, "authorize", key, amount, campaign_id=campaign_id,
                      authorization_id=hold.authorization_id)
        self._change_account(moment, held=amount)
        return self._authorization_answer(hold)

    def charge(self, moment, org_id, amount, campaign_id, idempotency_key, metadata):
        answer = self.authorize(moment, org_id, amount, campaign_id, idempotency_key, timedelta(0), None, metadata)
        return answer if answer["replayed"] else self.commit(moment, answer["authorization_id"], amount, None)

    def commit(self, moment, authorization_id, amount_used, final):
        hold = self.authorizations[authorization_id]
        if final is False:
            return self._commit_part(moment, hold, amount_used)
        by_caller = hold.settled_by == "caller"
        if hold.status == "committed" and by_caller and amount_used in (None, hold.amount):
            return self._authorization_answer(hold, replayed=True)

        used = hold.authorized_amount if amount_used is None else amount_used
        if used > hold.authorized_amount + self.account.overage_limit:
            raise Refused(AMOUNT_EXCEEDS_AUTHORIZATION)
        if hold.status == "committed" and by_caller:
            raise Refused(IDEMPOTENCY_CONFLICT)
        if hold.status == "reverted" and by_caller:
            raise Refused(INVALID_STATUS_TRANSITION)
        self._require_true_up_open(moment, hold)
        if used < hold.in_parts:
            raise Refused(IDEMPOTENCY_CONFLICT)

        covered = hold.authorized_amount if hold.status == "authorized" else hold.charged
        self._require_available(moment, used - covered, but=hold)
        if hold.status == "authorized":
            self._change_account(moment, held=-hold.amount)
            self._move(moment, "commit", hold.in_parts - used, authorization_id)
        else:
            self._move(moment, "true_up", covered - used, authorization_id)
        return self._settle(moment, hold, "committed", used)

    def _commit_part(self, moment, hold, total):
        if hold.status == "committed" and hold.settled_by == "caller" and total <= hold.amount:
            return self._authorization_answer(hold, replayed=True)
        if hold.status != "authorized":
            raise Refused(INVALID_STATUS_TRANSITION)
        if total == hold.in_parts:
            return self._authorization_answer(hold, replayed=True)
        if total < hold.in_parts:
            raise Refused(IDEMPOTENCY_CONFLICT)
        if total > hold.authorized_amount:
            raise Refused(AMOUNT_EXCEEDS_AUTHORIZATION)
        added = total - hold.in_parts
        self._change_account(moment, held=-added)
        self._move(moment, "commit", -added, hold.authorization_id)
        charged = replace(hold, amount=hold.amount - added, committed_amount=total)
        self.authorizations[hold.authorization_id] = charged
        return self._authorization_answer(charged)

    def revert(self, moment, authorization_id, reason):
        hold = self.authorizations[authorization_id]
        if hold.settled_by == "caller":
            if hold.status == "committed" and not hold.amount == hold.in_parts > 0:
                raise Refused(INVALID_STATUS_TRANSITION)
            return self._authorization_answer(hold, replayed=True)
        self._require_true_up_open(moment, hold)

        if hold.status == "authorized":
            self._change_account(moment, held=-hold.amount)
        else:
            self._move(moment, "true_up", hold.charged - hold.in_parts, authorization_id, reason=reason)
        return self._settle_without_rest(moment, hold, reason)

    def extend(self, moment, authorization_id, timeout, amount):
        hold = self.authorizations[authorization_id]
        if hold.status != "authorized":
            raise Refused(INVALID_STATUS_TRANSITION)
        total = hold.authorized_amount if amount is None else amount
        if total < hold.in_parts:
            raise Refused(IDEMPOTENCY_CONFLICT)
        expires_at = hold.expires_at
        if timeout is not None:
            expires_at = moment.now and max(expires_at, moment.now + timeout)
        if (expires_at, total) == (hold.expires_at, hold.authorized_amount):
            return self._authorization_answer(hold, replayed=True)
        added = total - hold.authorized_amount
        if added > 0:
            if self.account.frozen:
                raise Refused(ACCOUNT_FROZEN)
            self._require_available(moment, added, but=hold)
        extended = replace(hold, expires_at=expires_at, amount=hold.amount + added, authorized_amount=total)
        self.authorizations[authorization_id] = extended
        self._change_account(moment, held=added)
        return self._authorization_answer(extended)

    def correct(self, moment, authorization_id, amount_used, reason):
        hold = self.authorizations[authorization_id]
        if hold.status == "authorized":
            raise Refused(INVALID_STATUS_TRANSITION)
        if amount_used == hold.charged:
            return self._authorization_answer(hold, replayed=True)
        if amount_used < hold.refunded_amount:
            raise Refused(REFUND_EXCEEDS_COMMITTED)
        self._move(moment, "true_up", hold.charged - amount_used, authorization_id, reason=reason)
        return self._settle(moment, hold, "committed", amount_used, reason)

    def refund(self, moment, authorization_id, idempotency_key, amount, reason):
        hold = self.authorizations[authorization_id]
        used = self.used_keys.get(("refund", idempotency_key))
        if used is not None:
            if (used.authorization_id, used.amount) != (authorization_id, amount):
                raise Refused(IDEMPOTENCY_CONFLICT)
            return self._movement_answer(self.entries[used.entry_no - 1], replayed=True)

        if hold.status != "committed":
            raise Refused(INVALID_STATUS_TRANSITION)
        left = hold.amount - hold.refunded_amount
        given_back = left if amount is None else amount
        if given_back > left or left == 0:
            raise Refused(REFUND_EXCEEDS_COMMITTED)
        self.authorizations[authorization_id] = replace(
            hold, refunded_amount=hold.refunded_amount + given_back, settled_by="caller")
        entry = self._move(moment, "refund", given_back, authorization_id, idempotency_key, reason)
        self._use_key(moment, "refund", idempotency_key, amount, authorization_id=authorization_id,
                      entry_no=entry.entry_no)
        return self._movement_answer(entry)

    def account_configure(self, moment, org_id, **settings):
        told = {name: value for name, value in settings.items() if value is not None}
        if "frozen" in told:
            self.require_account()
        else:
            self._make_account(moment)
        if told.get("low_balance_threshold") == 0:
            told["low_balance_threshold"] = None
        self.account = replace(self.account, **told)
        self._change_account(moment)
        return asdict(self.account)

    def time_out(self, moment, authorization_id):
        """What a sweep does to a hold."""
        hold = self.authorizations[authorization_id]
        self._change_account(moment, held=-hold.amount)
        if hold.timeout_action == "commit":
            self._move(moment, "commit", -hold.amount, authorization_id)
            self._settle(moment, hold, "committed", hold.authorized_amount, settled_by="timeout")
        else:
            self._settle_without_rest(moment, hold, settled_by="timeout")

    # ---- readers ----

    def balance(self, _moment, org_id):
        self.require_account()
        return {"org_id": org_id, "balance": self.account.balance, "held": self.account.held,
                "credit_limit": self.account.credit_limit, "available": self._available(),
                "frozen": self.account.frozen}

    def statement(self, _moment, org_id):
        self.require_account()
        # Nothing here ends, or is granted to be used first: lots have a model of their own.
        return [asdict(entry) | {"lots": None, "effective_at": None} | self._of_authorization(entry) for entry in self.entries]

    def _of_authorization(self, entry):
        """As it stands now."""
        hold = self.authorizations.get(entry.authorization_id)
        return {"campaign_id": hold and hold.campaign_id, "settled_by": hold and hold.settled_by}

    def expired(self, but=None):
        return [hold for hold in self.authorizations.values() if hold.expired and hold != but]

    def expired_before(self, instant):
        return [hold for hold in self.authorizations.values()
                if hold.status == "authorized" and hold.expires_at < instant]

    # ---- what the verbs have in common ----

    def _available(self):
        return self.account.balance - self.account.held + self.account.credit_limit

    def _make_account(self, moment):
        if self.account is None:
            self.account = Account(self.org_id, 0, 0, 0, 0, None, False, 0, moment.account_created_at, moment.now, None)

    def require_account(self):
        if self.account is None:
            raise Refused(ACCOUNT_NOT_FOUND)

    def _require_available(self, moment, amount, but=None):
        """Expired holds in the way of a call are settled, but for the one that it is about, if that is enough."""
        if amount <= 0 or amount <= self._available():
            return
        swept = self.copy()
        for hold in sorted(self.expired(but), key=lambda hold: hold.expires_at):
            now = moment.timed_out_at.get(hold.authorization_id, moment.now)
            swept.time_out(replace(moment, now=now), hold.authorization_id)
        if amount > swept._available():
            raise Refused(INSUFFICIENT_CREDITS)
        self.__dict__.update(swept.__dict__)

    @staticmethod
    def _require_true_up_open(moment, hold):
        if hold.settled_by_timeout and not moment.true_up_open:
            raise Refused(INVALID_STATUS_TRANSITION)

    def _change_account(self, moment, balance=0, held=0, entries=0):
        account = replace(
            self.account, balance=self.account.balance + balance, held=self.account.held + held,
            last_entry_no=self.account.last_entry_no + entries, updated_at=moment.now)
        if account.balance - account.held < LOWEST or account.balance + account.credit_limit > HIGHEST:
            raise Refused(OUT_OF_RANGE)
        self.account = account

    def _move(self, moment, kind, amount, authorization_id=None, idempotency_key=None, reason=None, metadata=None):
        """Post an entry, if anything moves at all."""
        if amount == 0:
            return None
        self._change_account(moment, balance=amount, entries=1)
        entry = Entry(self.org_id, self.account.last_entry_no, kind, amount, authorization_id, idempotency_key, reason,
                      self.account.balance, moment.now, metadata)
        self.entries.append(entry)
        return entry

    def _move_once(self, moment, operation, kind, amount, idempotency_key, reason, metadata):
        used = self.used_keys.get((operation, idempotency_key))
        if used is not None:
            if used.amount != amount:
                raise Refused(IDEMPOTENCY_CONFLICT)
            return self._movement_answer(self.entries[used.entry_no - 1], replayed=True)
        entry = self._move(moment, kind, amount, None, idempotency_key, reason, metadata)
        self._use_key(moment, operation, idempotency_key, amount, entry_no=entry.entry_no)
        return self._movement_answer(entry)

    def _use_key(self, moment, operation, key, amount, campaign_id=None, authorization_id=None, entry_no=None):
        self.used_keys[operation, key] = UsedKey(
            self.org_id, operation, key, amount, campaign_id, authorization_id, entry_no, moment.now)

    def _settle(self, moment, hold, status, amount, reason=None, settled_by="caller"):
        settled = replace(hold, status=status, amount=amount, settled_at=moment.now, settled_by=settled_by,
                          reason=reason)
        self.authorizations[hold.authorization_id] = settled
        self._change_account(moment)
        return self._authorization_answer(settled)

    def _settle_without_rest(self, moment, hold, reason=None, settled_by="caller"):
        """What was charged in parts stays charged; without parts, the hold was for nothing."""
        if hold.in_parts:
            return self._settle(moment, hold, "committed", hold.in_parts, reason, settled_by)
        return self._settle(moment, hold, "reverted", hold.authorized_amount, reason, settled_by)

    def _authorization_answer(self, hold, replayed=False):
        shown = ("authorization_id", "org_id", "campaign_id", "status", "amount", "authorized_amount",
                 "refunded_amount", "created_at", "expires_at", "settled_at", "settled_by", "reason")
        return {**{name: getattr(hold, name) for name in shown},
                "available": self._available(), "replayed": replayed}

    def _movement_answer(self, entry, replayed=False):
        shown = ("org_id", "entry_no", "kind", "amount", "authorization_id", "balance_after", "created_at")
        return {**{name: getattr(entry, name) for name in shown},
                "available": self._available(), "replayed": replayed}
