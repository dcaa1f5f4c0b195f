"""What is to be called: a random sequence of transactions, which the seed alone decides.

A call names an authorization by its organisation and key, since its id is not known before it is made. Organisations
and amounts come from small ranges, calls are repeated and keys used again, so that replays, conflicts and the last
credits are met again and again.
"""

from dataclasses import dataclass
from datetime import timedelta

ORGANISATIONS = [f"org-{n}" for n in range(1, 7)]
POOR = ORGANISATIONS[:2]
EXTREME = "org-extreme"
HIGHEST = 2**63 - 1
AT_ONCE = timedelta(microseconds=1)  # the timeout of a hold that has expired when the next call comes
READ_COMMITTED, REPEATABLE_READ, SERIALIZABLE = "READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"

# The arguments that credit_authorize_many() and so on take for each item, under the plural of the name, and those that
# they take once.
TOLD_EACH = {"authorize": ["org_id", "amount", "campaign_id", "idempotency_key", "metadata"],
             "charge": ["org_id", "amount", "campaign_id", "idempotency_key", "metadata"],
             "commit": ["authorization_id", "amount_used"], "revert": ["authorization_id"]}
TOLD_TOGETHER = {"authorize": ["timeout", "timeout_action"], "charge": [], "commit": [], "revert": ["reason"]}

# Steps of a transaction beside its calls.
SAVEPOINT, ROLLBACK_TO, RELEASE = "SAVEPOINT", "ROLLBACK TO", "RELEASE"


@dataclass(frozen=True)
class Hold:
    """An authorization that some call of the plan asks for."""
    org_id: str
    key: str


@dataclass(frozen=True)
class FromNow:
    """An instant, told from the moment of the call."""
    distance: timedelta


@dataclass(frozen=True)
class Call:
    """A statement that calls a verb, once for each item (its arguments by name), or once for all of them."""
    verb: str
    items: list
    many: bool = False
    skip_refused: bool = False

    @property
    def name(self):
        """What is counted by itself: each way to call the verb."""
        if self.many:
            return f"{self.verb}_many, skip_refused" if self.skip_refused else f"{self.verb}_many"
        return "commit in part" if self.items[0].get("final") is False else self.verb


@dataclass(frozen=True)
class Transaction:
    number: int
    isolation: str
    true_up_open: bool
    steps: list
    commits: bool

    @property
    def calls(self):
        return [step for step in self.steps if isinstance(step, Call)]


class Plan:
    def __init__(self, random, calls):
        self._random = random
        self._calls = []
        self._holds = []
        self._committed = []
        self._amounts = {}
        self._refunds = []
        self._movements = 0
        self.transactions = []
        while calls > 0:
            transaction = self._transaction(len(self.transactions) + 1)
            self.transactions.append(transaction)
            calls -= len(transaction.calls)

    def _transaction(self, number):
        random = self._random
        several = random.random() < 0.3
        steps = [self._call() for _ in range(random.randint(2, 5) if several else 1)]
        if several and random.random() < 0.4:
            steps.insert(random.randrange(len(steps)), SAVEPOINT)
            end = random.randint(steps.index(SAVEPOINT) + 1, len(steps))
            steps.insert(end, random.choice([ROLLBACK_TO, ROLLBACK_TO, RELEASE]))
        return Transaction(
            number=number,
            isolation=self._weighted({READ_COMMITTED: 86, REPEATABLE_READ: 7, SERIALIZABLE: 7}),
            true_up_open=random.random() < 0.8,
            steps=steps,
            commits=random.random() < 0.9)

    def _call(self):
        if self._calls and self._random.random() < 0.2:
            return self._repeated()
        make = self._weighted({
            self._grant: 10, self._adjust: 4, self._authorize: 30, self._charge: 8, self._commit: 26,
            self._commit_part: 14, self._revert: 9, self._extend: 12, self._refund: 9, self._correct: 6,
            self._configure: 6, self._sweep: 3, self._read: 4, self._verify: 1, self._nonsense: 4, self._extreme: 4,
            self._each: 3, self._many: 16})
        self._calls.append(make())
        return self._calls[-1]

    def _repeated(self):
        """One of the last calls again, sometimes with another amount."""
        call = self._random.choice(self._calls[-20:])
        if "amount" not in call.items[0] or self._random.random() < 0.6:
            return call
        items = [{**item, "amount": self._random.randint(1, 9)} for item in call.items]
        return Call(call.verb, items, call.many, call.skip_refused)

    # ---- verbs ----

    def _grant(self):
        org_id = self._org_id()
        return Call("grant", [{
            "org_id": org_id, "amount": self._random.choice([1, 20] if org_id in POOR else [1, 50, 100, 150]),
            "idempotency_key": self._movement_key(), "reason": self._reason(), "metadata": self._metadata()}])

    def _adjust(self):
        return Call("adjust", [{
            "org_id": self._org_id(), "amount": self._random.choice([-70, -20, -1, 1, 20]),
            "idempotency_key": self._movement_key(), "reason": "counted again"}])

    def _authorize(self):
        random = self._random
        arguments = self._key()
        arguments["timeout"] = random.choice([None, timedelta(hours=1), timedelta(days=1), AT_ONCE, AT_ONCE])
        actions = ["commit", "revert", "revert"] if arguments["timeout"] == AT_ONCE else [None, "commit", "revert"]
        arguments["timeout_action"] = random.choice(actions)
        arguments["metadata"] = self._metadata()
        return Call("authorize", [arguments])

    def _charge(self):
        return Call("charge", [{**self._key(), "metadata": self._metadata()}])

    def _key(self):
        """Organisation, amount, campaign and key of an authorization or a charge."""
        random = self._random
        hold = self._hold() if self._holds and random.random() < 0.25 else self._new_hold()
        amount = self._amounts[hold] + random.choice([0, 0, 0, 0, 0, 0, 1])
        arguments = {"org_id": hold.org_id, "amount": amount}
        naming = random.random()
        if naming < 0.8:
            arguments["campaign_id"] = hold.key
        elif naming < 0.9:
            arguments["idempotency_key"] = hold.key
        else:
            arguments.update(campaign_id="campaign", idempotency_key=hold.key)
        return arguments

    def _commit(self):
        hold = self._hold()
        amount = self._amounts[hold]
        self._committed.append(hold)
        used = self._random.choice(
            [None, None, amount, amount, 0, 1, amount - 1, amount + 1, amount + 90, amount + 700])
        return Call("commit", [{"authorization_id": hold, "amount_used": used and min(used, HIGHEST)}])

    def _commit_part(self):
        hold = self._open_hold()
        amount = self._amounts[hold]
        self._committed.append(hold)
        third, half = amount // 3, amount // 2
        total = self._random.choice([third, third, half, half, amount - 1, amount, amount + 1])
        return Call("commit", [{"authorization_id": hold, "amount_used": total, "final": False}])

    def _revert(self):
        return Call("revert", [{"authorization_id": self._hold(), "reason": self._reason()}])

    def _extend(self):
        random = self._random
        hold = self._open_hold()
        item = {"authorization_id": hold}
        if random.random() < 0.5:
            item["timeout"] = random.choice([timedelta(minutes=20), timedelta(hours=2), timedelta(days=3)])
        if not item.keys() - {"authorization_id"} or random.random() < 0.3:
            amount = self._amounts[hold]
            item["amount"] = random.choice([amount, amount + 1, amount + 20, amount + 80, amount // 2 or 1, 1])
        return Call("extend", [item])

    def _correct(self):
        hold = self._random.choice(self._committed[-12:] or [self._hold()])
        amount = self._amounts[hold]
        return Call("correct", [{"authorization_id": hold, "reason": "counted again",
                                 "amount_used": self._random.choice([0, amount // 2, amount, amount, amount + 30])}])

    def _refund(self):
        random = self._random
        again = self._refunds and random.random() < 0.2
        item = random.choice(self._refunds[-10:]) if again else {
            "authorization_id": random.choice(self._committed[-12:] or [self._hold()]),
            "idempotency_key": self._movement_key(), "reason": self._reason()}
        self._refunds.append(item)
        return Call("refund", [{**item, "amount": random.choice([None, 1, 5, 20])}])

    def _configure(self):
        random = self._random
        settings = {"credit_limit": random.choice([0, 10, 50]), "overage_limit": random.choice([0, 100, 1000]),
                    "low_balance_threshold": random.choice([-5, 0, 10]), "frozen": random.random() < 0.1,
                    "metadata": self._metadata()}
        names = random.sample(sorted(settings), random.randint(0, 3))
        return Call("account_configure", [{"org_id": self._org_id(), **{name: settings[name] for name in names}}])

    def _sweep(self):
        return Call("sweep", [{
            "as_of": FromNow(self._random.choice([timedelta(0), timedelta(minutes=5), timedelta(minutes=30),
                                                  timedelta(hours=5), timedelta(days=2)])),
            "max_rows": self._random.choice([1, 2, 5, 1000])}])

    def _read(self):
        return Call(self._random.choice(["balance", "statement"]), [{"org_id": self._org_id()}])

    def _verify(self):
        return Call("verify", [{}])

    def _nonsense(self):
        """A call with one argument that is refused, whatever the ledger holds."""
        make, name, values = self._random.choice([
            (self._grant, "org_id", [None, "", "x" * 257]), (self._grant, "amount", [None, 0, -1]),
            (self._grant, "idempotency_key", [None, "", "é" * 129]), (self._adjust, "amount", [None, 0]),
            (self._adjust, "org_id", [None, "", "nobody"]), (self._adjust, "reason", [None]),
            (self._authorize, "org_id", [None, "", "nobody"]), (self._authorize, "amount", [None, 0, -5]),
            (self._authorize, "timeout", [timedelta(0), timedelta(hours=-1)]),
            (self._commit, "authorization_id", [None, "", "auth-unknown", "auth-01ARZ3NDEKTSV4RRFFQ69G5FAV"]),
            (self._commit, "amount_used", [-1]), (self._revert, "authorization_id", [None, "auth-unknown"]),
            (self._charge, "org_id", [None, "", "nobody"]), (self._charge, "amount", [None, 0, -5]),
            (self._commit_part, "amount_used", [None, -1]), (self._extend, "timeout", [timedelta(0)]),
            (self._extend, "amount", [0, -1]), (self._correct, "amount_used", [None, -1]),
            (self._correct, "reason", [None, ""]), (self._correct, "authorization_id", ["auth-unknown"]),
            (self._extend_nothing, "amount", [None]), (self._refund, "amount", [0, -1]),
            (self._refund, "idempotency_key", [None, ""]), (self._configure, "credit_limit", [-1]),
            (self._sweep, "max_rows", [None, 0])])
        call = make()
        return Call(call.verb, [{**call.items[0], name: self._random.choice(values)}])

    def _extend_nothing(self):
        return Call("extend", [{"authorization_id": self._hold()}])

    def _extreme(self):
        """Amounts at the end of bigint, on an organisation that is there for nothing else."""
        amount = self._random.choice([HIGHEST, HIGHEST - 1, 2**62, 1])
        hold = Hold(EXTREME, f"campaign-{self._random.randint(1, 30)}")
        self._amounts.setdefault(hold, amount)
        verb, item = self._random.choice([
            ("grant", {"org_id": EXTREME, "amount": amount, "idempotency_key": self._movement_key()}),
            ("adjust", {"org_id": EXTREME, "amount": -amount, "idempotency_key": self._movement_key(), "reason": "no"}),
            ("account_configure", {"org_id": EXTREME, "credit_limit": amount}),
            ("account_configure", {"org_id": EXTREME, "credit_limit": 0, "overage_limit": amount}),
            ("authorize", {"org_id": EXTREME, "amount": self._amounts[hold], "campaign_id": hold.key}),
            ("charge", {"org_id": EXTREME, "amount": self._amounts[hold], "campaign_id": hold.key}),
            ("commit", {"authorization_id": hold, "amount_used": self._random.choice([None, 0, 1, amount])}),
            ("commit", {"authorization_id": hold, "amount_used": self._random.choice([1, amount]), "final": False}),
            ("extend", {"authorization_id": hold, "amount": amount}),
            ("correct", {"authorization_id": hold, "amount_used": amount, "reason": "all there is"}),
            ("revert", {"authorization_id": hold}),
            ("refund", {"authorization_id": hold, "idempotency_key": self._movement_key()})])
        return Call(verb, [item])

    def _each(self):
        """A statement that makes several calls of one verb, one after the other."""
        make = self._random.choice([self._grant, self._authorize, self._charge, self._commit, self._refund])
        calls = [make() for _ in range(self._random.randint(2, 4))]
        return Call(calls[0].verb, [call.items[0] for call in calls])

    def _many(self):
        """All calls in one. Sometimes an item comes twice, and sometimes one is bad."""
        random = self._random
        make = random.choice([self._authorize, self._charge, self._commit, self._revert])
        calls = [make() for _ in range(random.choice([1, 1, 2, 3, 4]))]
        verb, first = calls[0].verb, calls[0].items[0]
        together = {name: first[name] for name in TOLD_TOGETHER[verb]}
        if together.get("timeout") == AT_ONCE:  # which of its own holds a call has seen expire is nobody's to know
            together["timeout"] = None
        items = [{**{name: call.items[0].get(name) for name in TOLD_EACH[verb]}, **together} for call in calls]
        if verb == "commit" and random.random() < 0.4:  # all of it is seldom legal at once
            items = [{**items[0], "authorization_id": self._open_hold(), "amount_used": None}]
        if random.random() < 0.3:
            items.insert(random.randrange(len(items)), random.choice(items))
        if random.random() < 0.1:
            bad = {"authorize": {"amount": 0}, "charge": {"amount": 0}, "commit": {"amount_used": -1},
                   "revert": {"authorization_id": ""}}
            items.insert(random.randrange(len(items)), {**items[0], **bad[verb]})
        skip_refused = random.random() < 0.5
        if skip_refused and random.random() < 0.2:
            nobody = {name: "auth-nobody" if name == "authorization_id" else "nobody"
                      for name in ("authorization_id", "org_id") if name in items[0]}
            items.insert(random.randrange(len(items)), {**items[0], **nobody})
        return Call(verb, items, many=True, skip_refused=skip_refused)

    # ---- values ----

    def _weighted(self, weights):
        return self._random.choices(list(weights), list(weights.values()))[0]

    def _org_id(self):
        return self._random.choice(ORGANISATIONS)

    def _new_hold(self):
        hold = Hold(self._org_id(), f"campaign-{len(self._holds) + 1}")
        self._holds.append(hold)
        self._amounts[hold] = self._random.choice([1, 5, 20, 60, 120])
        return hold

    def _hold(self):
        """Mostly a recent one, which others may be working at; sometimes any."""
        if not self._holds:
            return self._new_hold()
        return self._random.choice(self._holds[-12:] if self._random.random() < 0.8 else self._holds)

    def _open_hold(self):
        """One that nobody is likely to have settled yet."""
        return self._random.choice(self._holds[-4:] or [self._new_hold()])

    def _movement_key(self):
        """Mostly one that no movement had before."""
        if self._movements == 0 or self._random.random() < 0.85:
            self._movements += 1
            return f"key-{self._movements}"
        return f"key-{self._random.randint(1, self._movements)}"

    def _reason(self):
        return self._random.choice([None, "complaint", "send failed"])

    def _metadata(self):
        return self._random.choice([None, None, {"n": self._random.randint(1, 9)}])
