"""What is called next: at random, but with amounts and instants at the edges of what the model knows to be there."""

from ledger import Call, Calls

UNKNOWN = "nobody"


class Plan:
    def __init__(self, generator, org_ids, hold_for):
        """hold_for: for how long holds last, from and to."""
        self._random = generator
        self._org_ids = org_ids
        self._hold_for = hold_for
        self._made = 0
        self._done = []
        self._expiries = set()
        self._verbs = {
            "grant": 6, "lot": 16, "adjust": 5, "authorize": 22, "charge": 6, "commit": 13, "part": 7, "revert": 4,
            "extend": 7, "refund": 7, "correct": 6, "lot_configure": 6, "void": 2, "account_configure": 3, "again": 9,
            "hold_many": 3, "settle_many": 3}

    def next_call(self, now, model):
        org_id = self._random.choice(self._org_ids)
        state = model.organisation(org_id)
        verb, = self._random.choices(list(self._verbs), list(self._verbs.values()))
        if self._would_be_vain(now, state, verb) and self._random.random() < 0.9:
            verb = "lot"
        call = getattr(self, f"_{verb}")(now, state, *([model] if verb.endswith("many") else []))
        if isinstance(call, Call) and verb != "again":
            self._done.append(call)
        return call

    @staticmethod
    def _would_be_vain(now, state, verb):
        if verb in ("authorize", "charge", "hold_many"):
            return not state.exists or state.balance_now(now)["available"] <= 0
        if verb in ("lot_configure", "void"):
            return not state.open_lots
        return not state.authorizations and verb != "grant"

    def next_instant(self, now, model):
        """Often that of an end, or just before or after it."""
        all_events = (instant for org_id in self._org_ids for instant in events(model.organisation(org_id)))
        coming = [instant for instant in all_events if instant > now]
        if coming and self._random.random() < 0.8:
            instant = min(coming) if self._random.random() < 0.7 else self._random.choice(coming)
            return max(now, instant + self._random.choice((-1, 0, 0, 0, 1)))
        return now + self._random.randrange(1, 15)

    def instants_to_ask_about(self, now, model, org_id):
        state = model.organisation(org_id)
        known = [entry.instant for entry in state.entries] + list(events(state)) + [now]
        return [self._random.choice(known) + self._random.choice((-1, 0, 1)) for _ in range(2)]

    # ---- verbs ----

    def _grant(self, _now, state):
        amount = self._random.randrange(1, 60)
        return Call("grant", state.org_id, {"amount": amount, "idempotency_key": self._name("g")})

    def _lot(self, now, state):
        arguments = {"amount": self._random.randrange(1, 60), "idempotency_key": self._name("g")}
        kind = self._random.random()
        if kind < 0.9:
            # Ends fall together now and then, and now and then on the present.
            arguments["expires_at"] = now + self._random.choice((0, 5, 10, 10, 20, 40, self._random.randrange(1, 60)))
        if kind > 0.6:
            arguments["priority"] = self._random.choice((0, 50, 100, 100, 1000, 1000, 1001))
        return Call("grant", state.org_id, arguments)

    def _adjust(self, now, state):
        amount = self._random.choice((1, -1, -1)) * self._amount(now, state)
        return Call("adjust", state.org_id, {"amount": amount, "idempotency_key": self._name("a")})

    def _authorize(self, now, state):
        return Call("authorize", state.org_id, {
            **self._new_hold(now, state), "timeout": self._timeout(now),
            "timeout_action": self._random.choice(("commit", "revert"))})

    def _charge(self, now, state):
        return Call("charge", state.org_id, self._new_hold(now, state))

    def _commit(self, now, state):
        row = self._row(state, 0.8)
        used = self._random.choice((
            None, row.authorized, row.authorized // 2, row.parts, row.parts + row.amount // 3,
            row.authorized + self._random.randrange(1, 20), row.authorized + state.overage_limit)) if row else 1
        return self._on(state, "commit", row, amount_used=used)

    def _part(self, now, state):
        row = self._row(state, 0.9)
        used = row.parts + self._random.randrange(0, row.authorized + 1) // 2 if row else 1
        return self._on(state, "commit", row, amount_used=used, final=False)

    def _revert(self, now, state):
        return self._on(state, "revert", self._row(state, 0.7))

    def _extend(self, now, state):
        row = self._row(state, 0.9)
        arguments = {}
        if self._random.random() < 0.4:
            arguments["timeout"] = self._timeout(now)
        if not arguments or self._random.random() < 0.5:
            less, more = self._amount(now, state) // 2, self._amount(now, state) // 2
            amount = self._random.choice((row.authorized - less, row.authorized + more, row.parts - 1)) if row else 1
            arguments["amount"] = max(1, amount)
        return self._on(state, "extend", row, **arguments)

    def _refund(self, now, state):
        row = self._row(state, 0.1)
        arguments = {}
        if self._random.random() < 0.8:
            arguments["amount"] = self._random.randrange(1, max(2, row.charged - row.refunded + 1) if row else 2)
        return self._on(state, "refund", row, idempotency_key=self._name("r"), **arguments)

    def _correct(self, now, state):
        row = self._row(state, 0.1)
        used = self._random.choice((row.refunded, row.charged // 2, row.charged + self._random.randrange(0, 40),
                                    self._random.randrange(0, row.authorized + 1))) if row else 1
        return self._on(state, "correct", row, amount_used=used)

    def _lot_configure(self, now, state):
        arguments = {"lot_no": self._lot_no(state)}
        if self._random.random() < 0.7:
            arguments["expires_at"] = now + self._random.choice((-10, 0, 5, 30))
        if len(arguments) == 1 or self._random.random() < 0.3:
            arguments["priority"] = self._random.choice((0, 100, 1000, -1))
        return Call("lot_configure", state.org_id, arguments)

    def _void(self, now, state):
        return Call("void", state.org_id, {"lot_no": self._lot_no(state)})

    def _account_configure(self, now, state):
        return Call("account_configure", state.org_id, self._random.choice((
            {"credit_limit": self._random.choice((0, 0, 20, 50))}, {"overage_limit": self._random.choice((0, 15))},
            {"frozen": self._random.random() < 0.2})))

    def _again(self, now, state):
        """A call that was made before, whatever came of it; or almost the same."""
        if not self._done:
            return self._grant(now, state)
        call = self._random.choice(self._done[-40:])
        arguments = dict(call.arguments)
        if arguments.get("amount") and self._random.random() < 0.4:
            arguments["amount"] += 1
        if "timeout" in arguments:
            arguments["timeout"] = self._timeout(now)
        return Call(call.verb, call.org_id, arguments)

    # ---- many in one call ----

    def _hold_many(self, now, state, model):
        organisations = self._organisations(model)
        if any(org.expired_holds(now) for org in organisations):
            # Whether these are settled before the first item or before the one that needs them, is open.
            return self._authorize(now, state)
        verb = self._random.choice(("authorize", "charge"))
        items = [Call(verb, org.org_id, self._new_hold(now, org)) for org in organisations]
        return Calls(verb, items, self._random.random() < 0.5)

    def _settle_many(self, now, state, model):
        verb = self._random.choice(("commit", "commit", "revert"))
        items = []
        for org in self._organisations(model):
            row = self._row(org, 0.9)
            if row and not any(item.arguments["name"] == row.name for item in items):
                used = {"amount_used": self._random.choice((None, row.authorized // 2))} if verb == "commit" else {}
                items.append(self._on(org, verb, row, **used))
        return Calls(verb, items, self._random.random() < 0.5) if items else self._grant(now, state)

    def _organisations(self, model):
        there = [org_id for org_id in self._org_ids if model.organisation(org_id).exists]
        return [model.organisation(self._random.choice(there)) for _ in range(self._random.randrange(1, 5))]

    # ---- arguments ----

    def _name(self, prefix):
        self._made += 1
        return f"{self._org_ids[0]}-{prefix}{self._made}"

    def _new_hold(self, now, state):
        name = self._name("h")
        return {"name": name, "campaign_id": name, "amount": self._amount(now, state)}

    def _amount(self, now, state):
        """Often all that is free in one or two lots, or all that is available, or one more."""
        available = state.balance_now(now)["available"] if state.exists else 0
        edges = [lot.free for lot in state.open_lots] + [available]
        edge = self._random.choice(edges)
        return max(1, self._random.choice((
            edge, edge, edge + self._random.randrange(-2, 3), sum(edges[:2]), available // 2, available // 3,
            self._random.randrange(1, 20), self._random.randrange(1, 20))))

    def _timeout(self, now):
        """No two holds of the history expire at once, so that their order is known."""
        timeout = self._random.randrange(*self._hold_for)
        while now + timeout in self._expiries:
            timeout += 1
        self._expiries.add(now + timeout)
        return timeout

    def _lot_no(self, state):
        """Of an open lot, mostly."""
        lots = state.open_lots if self._random.random() < 0.8 else list(state.lots.values())
        if not lots or self._random.random() < 0.05:
            return self._random.randrange(1, len(state.entries) + 2)
        return self._random.choice(lots).lot_no

    def _row(self, state, open_ones):
        if self._random.random() < 0.03:
            return None
        rows = list(state.authorizations.values())
        wanted = self._random.random() < open_ones
        chosen = [row for row in rows if row.is_open == wanted] or rows
        return self._random.choice(chosen[-8:]) if chosen else None

    def _on(self, state, verb, row, **arguments):
        return Call(verb, state.org_id, {"name": row.name if row else UNKNOWN, **arguments})


def events(state):
    """When a lot ends or a hold expires."""
    yield from (lot.expires_at for lot in state.open_lots if lot.expires_at is not None)
    yield from (row.expires_at for row in state.authorizations.values() if row.is_open)
