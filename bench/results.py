"""Reads the figures of bench/measure, and knows what they are held against."""

import statistics
from collections import defaultdict
from dataclasses import dataclass

TITLES = {
    "spread_1": "authorize + commit: 1 client, 10,000 organisations",
    "spread_16": "authorize + commit: 16 clients, 10,000 organisations",
    "spread_64": "authorize + commit: 64 clients, 10,000 organisations",
    "charge_1": "credit_charge: 1 client, 10,000 organisations",
    "charge": "credit_charge: 16 clients, 10,000 organisations",
    "charge_64": "credit_charge: 64 clients, 10,000 organisations",
    "lots": "authorize + commit: 16 clients, 1,000 organisations with lots",
    "many_charges": "1,000 charges in one call, 1 client, 10,000 organisations",
    "skipped": "100,000 authorizations in one call, every second one refused and skipped",
    "hot_one": "authorize + commit: 16 clients, one organisation",
    "hot_sixteen": "authorize + commit: 16 clients, 16 organisations",
    "hot_waits": "authorize + commit: 64 clients, one organisation, where their sessions are",
    "many_spread": "1,000 in one call, 1 client, 10,000 organisations",
    "many_one": "1,000 in one call, 1 client, one organisation",
    "wal": "WAL of one authorize + commit, steady state",
    "wal_records": "the records of that WAL",
    "history_rate": "authorize + commit with history: 16 clients, 10,000 organisations",
    "history_sweep": "credit_sweep of 10,000 expired holds",
    "history_orphans": "the runbook's orphan query",
    "history_upkeep": "the tables after the cases with history",
    "scale_rate": "authorize + commit with history: 16 clients, 100,000 organisations",
    "scale_sweep": "credit_sweep of 10,000 expired holds, 100,000 organisations",
    "scale_orphans": "the runbook's orphan query, 100,000 organisations",
    "scale_reading": "reading, 100,000 organisations",
    "scale_upkeep": "the tables after the case with 100,000 organisations",
    "statement": "a page of a statement, and a balance of some time ago",
    "long_run": "authorize + commit for twenty minutes: 16 clients, 10,000 organisations",
    "kept_small": "authorize + commit while old keys are removed: 16 clients, 10,000 organisations",
    "kept_small_size": "the tables over ten cycles in which as much goes as comes",
    "verify": "credit_verify of an organisation with 500,000 entries",
    "reconciliation": "reconciliation of a day, by itself and after nineteen others",
    "counting": "authorize + commit in one session, with and without the counters",
    "router_1": "credit_charge through a router: 1 client, 10,000 organisations",
    "router_16": "credit_charge through a router: 16 clients, 10,000 organisations",
    "router_shards": "authorize + commit through a router: 16 clients, 10,000 organisations",
    "router_removal": "credit_shard_remove of half of 10,000 organisations",
}


@dataclass(frozen=True)
class Comparison:
    """A side's figure as a ratio to another side's, or by itself; with its target, if there is one."""
    case: str
    metric: str
    side: str
    against: str = None
    at_least: float = None
    at_most: float = None

    def target(self):
        if self.at_least is not None:
            return f">= {self.at_least:,g}"
        if self.at_most is not None:
            return f"<= {self.at_most:,g}"
        return ""

    def verdict(self, figure):
        if self.at_least is None and self.at_most is None:
            return ""
        met = figure >= self.at_least if self.at_least is not None else figure <= self.at_most
        return "met" if met else "not met"


_EXTENSION, _EARLY, _RIVAL = "extension", "extension, early lock release", "PL/pgSQL"

COMPARISONS = [
    Comparison("spread_1", "pairs/s", _EXTENSION, _RIVAL),
    Comparison("spread_1", "pairs/s", _EXTENSION, "plain SQL"),
    Comparison("spread_1", "pairs/s", _EXTENSION, "INSERT"),
    *(Comparison("spread_1", "p50 ms", _EXTENSION, side) for side in ("plain SQL", "INSERT")),
    Comparison("spread_16", "pairs/s", _EXTENSION, _RIVAL, at_least=1.8),
    Comparison("spread_16", "pairs/s", _EXTENSION, "plain SQL"),
    Comparison("spread_16", "pairs/s", _EXTENSION, "INSERT", at_least=0.7),
    Comparison("spread_16", "CPU us/pair", _EXTENSION, "INSERT", at_most=1.6),
    Comparison("spread_64", "pairs/s", _EXTENSION, _RIVAL),
    Comparison("spread_64", "pairs/s", _EXTENSION, "plain SQL"),
    Comparison("spread_64", "pairs/s", _EXTENSION, "INSERT"),
    Comparison("charge", "pairs/s", _EXTENSION, "pair", at_least=1.7),
    Comparison("charge", "pairs/s", _EXTENSION, "plain SQL"),
    Comparison("charge", "pairs/s", "plain SQL", "INSERT"),
    Comparison("charge", "pairs/s", _EXTENSION, "INSERT", at_least=0.7),
    Comparison("charge", "pairs/s", _EXTENSION, _RIVAL),
    *(Comparison(f"charge_{clients}", metric, _EXTENSION, side)
      for clients in (1, 64) for metric in ("pairs/s", "p50 ms", "p99 ms") for side in ("plain SQL", "INSERT")),
    Comparison("lots", "pairs/s", "one lot", "no lots", at_least=0.75),
    Comparison("lots", "pairs/s", "a hundred lots", "no lots", at_least=0.7),
    Comparison("lots", "pairs/s", "lots that end", "no lots"),
    Comparison("many_charges", "rows/s", _EXTENSION, _RIVAL, at_least=4),
    Comparison("many_charges", "rows/s", _EXTENSION, "INSERT SELECT", at_least=1),
    Comparison("skipped", "ms", "half refused", "accepted", at_most=2),
    Comparison("hot_one", "pairs/s", _EXTENSION, _RIVAL),
    Comparison("hot_one", "pairs/s", _EARLY, _RIVAL, at_least=4),
    Comparison("hot_sixteen", "pairs/s", _EXTENSION, _RIVAL),
    Comparison("hot_sixteen", "pairs/s", _EARLY, _RIVAL),
    Comparison("many_spread", "authorize rows/s", _EXTENSION, _RIVAL, at_least=4),
    Comparison("many_spread", "authorize rows/s", _EXTENSION, "INSERT SELECT", at_least=1),
    Comparison("many_spread", "authorize rows/s", _EXTENSION, "INSERT SELECT without accounts"),
    Comparison("many_spread", "commit rows/s", _EXTENSION, _RIVAL),
    Comparison("many_spread", "commit rows/s", _EXTENSION, "INSERT SELECT"),
    Comparison("many_spread", "commit rows/s", _EXTENSION, "INSERT SELECT without accounts"),
    Comparison("many_one", "authorize rows/s", _EXTENSION, _RIVAL, at_least=4),
    Comparison("many_one", "authorize rows/s", _EXTENSION, "INSERT SELECT", at_least=1),
    Comparison("many_one", "authorize rows/s", _EXTENSION, "INSERT SELECT without accounts"),
    Comparison("many_one", "commit rows/s", _EXTENSION, _RIVAL),
    Comparison("many_one", "commit rows/s", _EXTENSION, "INSERT SELECT"),
    Comparison("many_one", "commit rows/s", _EXTENSION, "INSERT SELECT without accounts"),
    Comparison("wal", "bytes", _EXTENSION, at_most=1950),
    Comparison("wal", "bytes", _EXTENSION, _RIVAL),
    Comparison("history_rate", "pairs/s", "history", "empty", at_least=0.9),
    Comparison("history_rate", "pairs/s", "history, one partition", "empty"),
    Comparison("history_sweep", "ms", "history", "empty", at_most=1.2),
    Comparison("history_sweep", "ms", "history, one partition", "empty"),
    Comparison("history_sweep", "ms", "empty", _RIVAL),
    Comparison("history_sweep", "ms right after a checkpoint", "history", "empty"),
    Comparison("history_sweep", "ms right after a checkpoint", "history, one partition", "empty"),
    Comparison("history_orphans", "ms", "history", "empty", at_most=1.2),
    *(Comparison(f"scale_{metric}", "pairs/s" if metric == "rate" else "ms", "history", "empty", **limit)
      for metric, limit in (("rate", {"at_least": 0.9}), ("sweep", {"at_most": 1.2}), ("orphans", {"at_most": 1.2}))),
    *(Comparison("scale_reading", metric, "history", "empty") for metric in (
        "ms of a statement of 50 lines", "ms of a balance a month ago", "ms of credit_verify of a day",
        "ms of the reconciliation of a day")),
    *(Comparison("statement", metric, "500,000 entries", "500 entries", at_most=2)
      for metric in ("ms of the last 50 lines", "ms of 50 lines from an instant", "ms of credit_balance_at")),
    Comparison("long_run", "pairs/s", "quarter 4", "quarter 1", at_least=0.95),
    *(Comparison("long_run", f"{table}, MB with indexes", "quarter 4", "quarter 1", at_most=1.1)
      for table in ("credit_account", "credit_ledger_open", "credit_idempotency")),
    Comparison("kept_small", "pairs/s", "keys removed", "nothing removed", at_least=0.9),
    *(Comparison("kept_small_size", f"{table}, MB with indexes", "cycle 10", "cycle 5", at_most=1.1)
      for table in ("credit_ledger_settled", "credit_entry", "credit_idempotency")),
    *(Comparison("verify", "ms", side, at_most=2000) for side in ("charges", "pairs", "grants")),
    Comparison("reconciliation", "ms", "twenty_days", "day"),
    Comparison("counting", "instructions/pair", "counted", "not counted", at_most=1.01),
    Comparison("counting", "instructions/pair", "counted, watched", "counted"),
    *(Comparison(f"router_{clients}", metric, "router, 1 shard", "direct")
      for clients in (1, 16) for metric in ("calls/s", "p50 ms", "p99 ms", "CPU us/call of shards")),
    Comparison("router_shards", "CPU us/pair of shards", "router, 1 shard", "direct"),
    *(Comparison("router_shards", "pairs/s", side, "direct") for side in ("router, 1 shard", "router, 2 shards", "router, 4 shards")),
    Comparison("router_removal", "ms/1,000 accounts", "100 a call", "10,000 a call"),
]


@dataclass(frozen=True)
class Spread:
    median: float
    low: float
    high: float


class Results:
    def __init__(self, path):
        self.about = {}
        self.figures = defaultdict(dict)    # (case, side, metric): {round: figure}
        with open(path) as lines:
            for line in lines:
                case, side, metric, number, figure = line.rstrip("\n").split("\t")
                if case == "about":
                    self.about[metric] = figure
                else:
                    self.figures[case, side, metric][int(number)] = float(figure)

    def cases(self):
        return list(dict.fromkeys(case for case, _, _ in self.figures))

    def sides(self, case, metric):
        return [s for c, s, m in self.figures if (c, m) == (case, metric)]

    def metrics(self, case):
        return list(dict.fromkeys(metric for c, _, metric in self.figures if c == case))

    def spread(self, case, side, metric):
        return _spread(self.figures[case, side, metric].values()) if (case, side, metric) in self.figures else None

    def compare(self, comparison):
        """The spread of the rounds' ratios, or of the figure itself if it stands alone; None if it was not measured."""
        of = self.figures.get((comparison.case, comparison.side, comparison.metric))
        if comparison.against is None or of is None:
            return of and _spread(of.values())
        to = self.figures.get((comparison.case, comparison.against, comparison.metric))
        return to and _spread([of[number] / to[number] for number in of.keys() & to.keys()])


def _spread(figures):
    return Spread(statistics.median(figures), min(figures), max(figures))
