"""Small histories with the results that the contract states, in its words and numbers.

Steps are (instant, verb, arguments), for one organisation; authorizations and keys have names. Each vector says all
entries (kind, amount, lots, effective_at) and what else is known at its end.
"""

from dataclasses import dataclass, field


@dataclass
class Vector:
    title: str
    steps: list
    entries: list
    balance: int
    available: int = None
    lots: dict = field(default_factory=dict)  # by name of the authorization
    absorbed: dict = field(default_factory=dict)  # by lot
    balances_at: dict = field(default_factory=dict)  # by instant


def grant(at, amount, **lot):
    return at, "grant", {"amount": amount, **lot}


def authorize(at, amount, **more):
    return at, "authorize", {"name": "a", "amount": amount, "timeout": 1000, **more}


def on(at, verb, **arguments):
    return at, verb, {"name": "a", **arguments}


def timeout(at):
    return at, "sweep", {}


def pairs(*lots):
    return dict(lots)


VECTORS = [
    Vector("a hold serves after the end, what it does not use leaves",
           [grant(0, 100, expires_at=10), grant(0, 50), authorize(5, 60), on(12, "commit", amount_used=40)],
           [("grant", 100, {1: 100}, None), ("grant", 50, {}, None), ("expiry", -40, {1: -40}, 10),
            ("commit", -40, {1: -40}, None), ("expiry", -20, {1: -20}, None)],
           balance=50, available=50, lots={"a": ((1, 40),)}),
    Vector("a hold given back after the end leaves with the lot",
           [grant(0, 100, expires_at=10), authorize(5, 60), on(12, "revert")],
           [("grant", 100, {1: 100}, None), ("expiry", -40, {1: -40}, 10), ("expiry", -60, {1: -60}, None)],
           balance=0),
    Vector("a refund into a lot that is over leaves at once",
           [grant(0, 100, expires_at=10), authorize(5, 60), on(5, "commit", amount_used=60),
            on(12, "refund", idempotency_key="r", amount=20)],
           [("grant", 100, {1: 100}, None), ("commit", -60, {1: -60}, None), ("expiry", -40, {1: -40}, 10),
            ("refund", 20, {1: 20}, None), ("expiry", -20, {1: -20}, None)],
           balance=0, lots={"a": ((1, 40),)}),
    Vector("a refund goes back to what paid last",
           [grant(0, 50, expires_at=20), grant(0, 50, expires_at=30), grant(0, 50), authorize(1, 120),
            on(2, "commit", amount_used=120), on(3, "refund", idempotency_key="r", amount=40)],
           [("grant", 50, {1: 50}, None), ("grant", 50, {2: 50}, None), ("grant", 50, {}, None),
            ("commit", -120, {1: -50, 2: -50}, None), ("refund", 40, {2: 20}, None)],
           balance=70, available=70, lots={"a": ((1, 50), (2, 30))}),
    Vector("an expiry does not take what is owed",
           [(0, "account_configure", {"credit_limit": 50}), authorize(1, 30), on(2, "commit", amount_used=30),
            grant(3, 100, expires_at=10), (10, "account_configure", {"overage_limit": 0})],
           [("commit", -30, {}, None), ("grant", 100, {2: 100}, None), ("expiry", -70, {2: -70}, 10)],
           balance=0, available=50, absorbed={2: 30}),
    Vector("the lower priority first, then the earlier end",
           [grant(0, 40, expires_at=10, priority=100), grant(0, 40, expires_at=20, priority=50), authorize(1, 50)],
           [("grant", 40, {1: 40}, None), ("grant", 40, {2: 40}, None)],
           balance=80, available=30, lots={"a": ((2, 40), (1, 10))}),
    Vector("what the timeout charged comes back too late",
           [grant(0, 100, expires_at=10), authorize(0, 80, timeout=3), timeout(4), on(11, "commit", amount_used=50)],
           [("grant", 100, {1: 100}, None), ("commit", -80, {1: -80}, None), ("expiry", -20, {1: -20}, 10),
            ("true_up", 30, {1: 30}, None), ("expiry", -30, {1: -30}, None)],
           balance=0, lots={"a": ((1, 50),)}),
    Vector("a void takes what is free, and later what is released",
           [grant(0, 100, priority=100), authorize(1, 80), (2, "void", {"lot_no": 1}),
            on(3, "commit", amount_used=50)],
           [("grant", 100, {1: 100}, None), ("void", -20, {1: -20}, None), ("commit", -50, {1: -50}, None),
            ("void", -30, {1: -30}, None)],
           balance=0, lots={"a": ((1, 50),)}),
    Vector("the instant itself is not past",
           [grant(0, 100, expires_at=10), (3, "account_configure", {"overage_limit": 0})],
           [("grant", 100, {1: 100}, None)],
           balance=100, available=100, balances_at={0: 0, 3: 100, 9: 100, 10: 100, 50: 0}),
]
