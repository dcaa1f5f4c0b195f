"""Random arguments: mostly what an application would pass, now and then what none should.

An argument is made by its type, and where any value would only be refused, by its name; so functions that are added later
are called, too.
"""

from datetime import datetime, timedelta, timezone

ORGANISATIONS = [f"org-{number}" for number in range(12)] + ["old-1", "old-2"]
ODD_TEXTS = ["", " ", "x" * 256, "x" * 257, "\u00e9" * 128, "\u00e9" * 129, "O'Neil \"%s\" \\ {}", "\U0001f4b3", "auth-", "a\nb"]
ODD_IDS = ["auth-unknown", "auth-" + "0" * 26, "auth-7" + "Z" * 25, "auth-8" + "0" * 25, "auth-" + "Z" * 26, "auth-0123"]
EXTREME_AMOUNTS = [0, -1, 2**31, 2**53, 2**62, 2**63 - 1, -(2**63), -(2**63) + 1]
INTERVALS = ["1 second", "5 minutes", "10 minutes", "1 hour", "3 days"]
EXTREME_INTERVALS = ["0", "-1 second", "1 microsecond", "1 month", "100 years", "178000000 years", "-178000000 years"]
INSTANTS = ["now", "now", "yesterday", "tomorrow", "2026-01-01"]
EXTREME_INSTANTS = ["infinity", "-infinity", "4713-01-01 BC", "294276-12-31", "1970-01-01", "2000-02-29 23:59:59.999999"]
JSON = ["{}", '{"a": [1, 2, {"b": null}]}', "null", "[]", '"text"', '{"a": "%s"}' % ("x" * 5000), "[" * 200 + "]" * 200]
RELATIONS = ["credit_account", "credit_ledger", "credit_ledger_settled", "credit_entry", "usage_of_emails", "pg_class",
             "credit_ledger_open_pkey", "usage_view", "credit_entry_default", "lines", "lines_again", "moved"]
TEXTS = {
    "action": ["adjust", "refund", "dismiss"],
    "level": ["reader", "app", "operator"],
    "name": ["emails", "views", "other"],
    "reconcile_schedule": ["0 3 * * *"],
}
# An organisation that moves away is gone, and a claim to less than all has calls refused: calls.py has both come back.
NUMBERS = {
    "lot_no": range(1, 80),
    "priority": [0, 50, 100, 100, 1000],
    "months": [1, 2, 3],
    "max_rows": [1, 3, 1000],
    "max_accounts": [1, 3],
    "shard": [0],
    "of": [1] * 9 + [2],
}
SECONDS_AHEAD = [0.2, 1, 3, 600]
OF_AN_ENUM = {"credit_timeout_action": ["commit", "revert"]}


class Values:
    """What one session passes. Of the authorizations it knows those that were answered to it."""

    def __init__(self, generator):
        self._generator = generator
        self._ids = []

    def learn(self, authorization_id):
        self._ids.append(authorization_id)
        del self._ids[:-300]

    def of(self, name, type_name):
        """A value for psycopg2, to be cast to the type."""
        if self._rarely():
            return None
        if type_name.endswith("[]"):
            return self._array(name.removesuffix("s"), type_name[:-2])
        if type_name == "text":
            return self._text(name)
        if type_name in ("bigint", "integer", "numeric"):
            return self._number(name, type_name)
        if type_name == "interval":
            return self._one_of(INTERVALS, EXTREME_INTERVALS)
        if name == "expires_at":
            ahead = timedelta(seconds=self._generator.choice(SECONDS_AHEAD))
            return self._one_of([str(datetime.now(timezone.utc) + ahead)], EXTREME_INSTANTS)
        if type_name == "timestamp with time zone":
            return self._one_of(INSTANTS, EXTREME_INSTANTS)
        if type_name == "boolean":
            return self._generator.random() < 0.5
        if type_name == "jsonb":
            return self._generator.choice(JSON)
        if type_name == "regclass":
            return self._generator.choice(RELATIONS)
        if type_name == "regrole":
            return self._generator.choice(["fuzz_app", "fuzz_reader"])
        for enum, labels in OF_AN_ENUM.items():
            if type_name.endswith(enum):
                return self._generator.choice(labels)
        return None

    def _rarely(self, probability=0.03):
        return self._generator.random() < probability

    def _one_of(self, usual, odd):
        return self._generator.choice(odd if self._rarely(0.1) else usual)

    def _text(self, name):
        if name == "moves_to":
            return None
        if self._rarely():
            return self._generator.choice(ODD_TEXTS)
        if name == "org_id":
            return self._generator.choice(ORGANISATIONS)
        if name == "campaign_id":
            return f"campaign-{self._generator.randrange(300)}"
        if name == "idempotency_key":
            return f"key-{self._generator.randrange(1000)}"
        if name == "authorization_id":
            if not self._ids or self._rarely(0.05):
                return self._generator.choice(ODD_IDS)
            return self._generator.choice(self._ids)
        return self._generator.choice(TEXTS.get(name, ["because", "of this"]))

    def _number(self, name, type_name):
        if self._rarely():
            extreme = self._generator.choice(EXTREME_AMOUNTS)
            return max(-(2**31), min(extreme, 2**31 - 1)) if type_name == "integer" else extreme
        return self._generator.choice(NUMBERS.get(name, [1, 2, 10, 50, 100, self._generator.randrange(1000)]))

    def _array(self, name, type_name):
        length = self._generator.choice([0, 1, 2, 3, 5, 20] if not self._rarely() else [1000])
        values = [self.of(name, type_name) for _ in range(length)]
        if self._rarely() and length:
            return [values, values]
        return values
