"""What the ledger has to do, told once more, apart from the C: plain objects, no database, no concurrency.

An Organisation is all rows of one organisation, as the tables would hold them. Its verbs take a call's arguments and
return the answer that the call must get, or raise Refused with the SQLSTATE that it must fail with; what they have
altered by then is of no use. Rows are never altered in place, so copy() is cheap and an organisation of a moment ago
can be kept. A Ledger is several organisations, and finds the one that a call is about.

What only the server can know, the model is told in a Moment: the clock's instant, when a new account was made, the id
of a new authorization, and whether the true-up window is open.
"""

from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta

LOWEST, HIGHEST = -2**63, 2**63 - 1
COMMIT_TIMEOUT = timedelta(minutes=10)
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


@dataclass(frozen=True)
class Moment:
    now: datetime = None
    account_created_at: datetime = None
    authorization_id: str = None
    true_up_open: bool = True


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


ARGUMENTS = {
    "grant": {"org_id": identifier, "amount": at_least(1), "idempotency_key": identifier, "reason": anything,
              "metadata": anything},
    "adjust": {"org_id": identifier, "amount": not_zero, "idempotency_key": identifier, "reason": not_empty},
    "authorize": {"org_id": identifier, "amount": at_least(1), "campaign_id": optional(identifier),
                  "idempotency_key": optional(identifier), "timeout": optional(timeout), "timeout_action": anything,
                  "metadata": anything},
    "commit": {"authorization_id": identifier, "amount_used": optional(at_least(0))},
    "revert": {"authorization_id": identifier, "reason": anything},
    "extend": {"authorization_id": identifier, "timeout": timeout},
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


def check_arguments(verb, arguments):
    """All arguments of the verb, the omitted ones as None; or Refused."""
    given = {name: arguments.get(name) for name in ARGUMENTS[verb]}
    for name, check in ARGUMENTS[verb].items():
        check(given[name])
    if verb == "authorize" and given["campaign_id"] is None:
        required(given["idempotency_key"])
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

    def call_many(self, verb, moments, items):
        """All items or none: first every argument is looked at, then the accounts are locked in the order of org_id."""
        checked, owners = [], []
        for item in items:
            checked.append(check_arguments(verb, item))
            owners.append(self._find(checked[-1]))
        for owner in owners:
            owner.require_account()
        return [{"ord": ord, **getattr(owner, verb)(moment, **arguments)}
                for ord, (owner, moment, arguments) in enumerate(zip(owners, moments, checked), start=1)]

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
        self._require_available(amount)
        hold = Authorization(
            moment.authorization_id, org_id, campaign_id, key, "authorized", amount, amount, 0,
            TIMEOUT_ACTION if timeout_action is None else timeout_action,
            moment.now, moment.now and moment.now + (COMMIT_TIMEOUT if timeout is None else timeout),
            None, None, None, metadata)
        self.authorizations[hold.authorization_id] = hold
        self._use_key(moment, "authorize", key, amount, campaign_id=campaign_id,
                      authorization_id=hold.authorization_id)
        self._change_account(moment, held=amount)
        return self._authorization_answer(hold)

    def commit(self, moment, authorization_id, amount_used):
        hold = self.authorizations[authorization_id]
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

        covered = 0 if hold.status == "reverted" else hold.amount
        self._require_available(used - covered)
        if hold.status == "authorized":
            self._change_account(moment, held=-hold.amount)
            self._move(moment, "commit", -used, authorization_id)
        else:
            self._move(moment, "true_up", covered - used, authorization_id)
        return self._settle(moment, hold, "committed", used)

    def revert(self, moment, authorization_id, reason):
        hold = self.authorizations[authorization_id]
        if hold.settled_by == "caller":
            if hold.status == "committed":
                raise Refused(INVALID_STATUS_TRANSITION)
            return self._authorization_answer(hold, replayed=True)
        self._require_true_up_open(moment, hold)

        if hold.status == "authorized":
            self._change_account(moment, held=-hold.amount)
        elif hold.status == "committed":
            self._move(moment, "true_up", hold.amount, authorization_id, reason=reason)
        return self._settle(moment, hold, "reverted", hold.authorized_amount, reason)

    def extend(self, moment, authorization_id, timeout):
        hold = self.authorizations[authorization_id]
        if hold.status != "authorized":
            raise Refused(INVALID_STATUS_TRANSITION)
        extended = replace(hold, expires_at=moment.now and moment.now + timeout)
        self.authorizations[authorization_id] = extended
        self._change_account(moment)
        return self._authorization_answer(extended)

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
        self._make_account(moment)
        self.account = replace(self.account, **{name: value for name, value in settings.items() if value is not None})
        self._change_account(moment)
        return asdict(self.account)

    def time_out(self, moment, authorization_id):
        """What a sweep does to a hold."""
        hold = self.authorizations[authorization_id]
        self._change_account(moment, held=-hold.amount)
        if hold.timeout_action == "commit":
            self._move(moment, "commit", -hold.amount, authorization_id)
        status = {"commit": "committed", "revert": "reverted"}[hold.timeout_action]
        self._settle(moment, hold, status, hold.amount, settled_by="timeout")

    # ---- readers ----

    def balance(self, _moment, org_id):
        self.require_account()
        return {"org_id": org_id, "balance": self.account.balance, "held": self.account.held,
                "credit_limit": self.account.credit_limit, "available": self._available()}

    def statement(self, _moment, org_id):
        self.require_account()
        return [asdict(entry) for entry in self.entries]

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

    def _require_available(self, amount):
        if amount > 0 and amount > self._available():
            raise Refused(INSUFFICIENT_CREDITS)

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

    def _authorization_answer(self, hold, replayed=False):
        shown = ("authorization_id", "org_id", "campaign_id", "status", "amount", "authorized_amount",
                 "refunded_amount", "created_at", "expires_at", "settled_at", "settled_by", "reason")
        return {**{name: getattr(hold, name) for name in shown},
                "available": self._available(), "replayed": replayed}

    def _movement_answer(self, entry, replayed=False):
        shown = ("org_id", "entry_no", "kind", "amount", "authorization_id", "balance_after", "created_at")
        return {**{name: getattr(entry, name) for name in shown},
                "available": self._available(), "replayed": replayed}
