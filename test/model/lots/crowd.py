"""Several sessions at once.

The clock stands while they call, and is moved when all have come to rest: so it is known at what instant each call was
made. Whoever was answered still has the accounts locked when it takes its stamp, so the stamps are in the order of the
locks, and the model is led through the calls in that order. A call that was refused is not in that order, as its lock
went with it: it is right if a state that its organisation had while it ran refuses it.
"""

import itertools
import threading
from collections import Counter
from dataclasses import dataclass

from books import Refused
from ledger import Calls, Database, Model
from plan import Plan
from play import Disagreement, Play, expect_same, outcome, shown

SERIALIZATION_FAILURE = "40001"
ERAS, ROUNDS, CALLS_OF_A_SESSION = 6, 8, 6


@dataclass
class Turn:
    """What a session does next, in a transaction of its own."""
    call: object  # None: a sweep
    isolation: str
    commits: bool


@dataclass
class Event:
    call: object
    asked: int
    answer: object = None
    sqlstate: str = None
    stamp: int = None
    timed_out: list = None  # all whom a timeout has settled so far

    @property
    def name(self):
        return "sweep" if self.call is None else self.call.name

    def __str__(self):
        return f"{self.call or 'sweep'}: {self.sqlstate or shown(self.answer)} ({self.asked} to {self.stamp})"


class Stamps:
    def __init__(self):
        self._count = itertools.count(1)
        self._lock = threading.Lock()

    def next(self):
        with self._lock:
            return next(self._count)


class Crowd:
    def __init__(self, clock, database, generator, sessions):
        self._clock = clock
        self._random = generator
        self._model = Model()
        self._sessions = [Database(database) for _ in range(sessions)]
        for session in self._sessions:
            session.ids, session.names = self._sessions[0].ids, self._sessions[0].names
        self._play = Play(clock, self._model, self._sessions[:1])
        self._stamps = Stamps()
        self._versions = {}
        self.outcomes = Counter()

    def play(self):
        try:
            for era in range(ERAS):
                org_ids = [f"crowd-{era}-{name}" for name in "abc"]
                plan = Plan(self._random, org_ids, (1, 30))
                for _ in range(ROUNDS):
                    self._round(plan, org_ids)
                    self._clock.set(plan.next_instant(self._clock.now, self._model))
                self._play.settle_all(org_ids)
        finally:
            for session in self._sessions:
                session.close()

    def _round(self, plan, org_ids):
        turns = [[self._turn(plan) for _ in range(CALLS_OF_A_SESSION)] for _ in self._sessions]
        for org_id in org_ids:
            self._versions[org_id] = [(self._stamps.next(), self._model.organisation(org_id).copy())]
        events, failures = [], []

        def work(session, turns):
            try:
                for turn in turns:
                    events.append(self._carry_out(session, turn, org_ids))
            except BaseException as failure:
                failures.append(failure)

        threads = [threading.Thread(target=work, args=pair) for pair in zip(self._sessions, turns)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]
        self._judge(sorted(filter(None, events), key=lambda event: event.stamp), org_ids)

    def _turn(self, plan):
        isolation = self._random.choice(["READ COMMITTED"] * 5 + ["REPEATABLE READ", "SERIALIZABLE"])
        call = None if self._random.random() < 0.1 else plan.next_call(self._clock.now, self._model)
        return Turn(call, isolation, self._random.random() < 0.9)

    def _carry_out(self, session, turn, org_ids):
        """The event, or None where nothing came of it that anybody could see."""
        event = Event(turn.call, self._stamps.next())
        session.query(f"BEGIN ISOLATION LEVEL {turn.isolation}")
        try:
            if turn.call is None:
                event.answer = session.sweep()
                event.timed_out = session.query(
                    "SELECT authorization_id FROM credit_ledger WHERE org_id = ANY (%s) AND settled_by = 'timeout'",
                    org_ids)
            elif isinstance(turn.call, Calls):
                event.answer = session.call_many(turn.call, turn.commits)
            else:
                event.answer = session.call(turn.call, turn.commits)
        except Refused as refused:
            event.sqlstate = refused.sqlstate
        event.stamp = self._stamps.next()
        try:
            session.query("COMMIT" if turn.commits else "ROLLBACK")
        except Refused as refused:
            expect_same("the refusal of a commit", (SERIALIZATION_FAILURE, "SERIALIZABLE"),
                        (refused.sqlstate, turn.isolation))
            return None
        if event.sqlstate == SERIALIZATION_FAILURE and turn.isolation != "READ COMMITTED":
            self.outcomes[event.name, event.sqlstate] += 1
            return None
        return event if turn.commits else None

    # ---- judging ----

    def _judge(self, events, org_ids):
        """First all that had an effect, as a refused call may have seen any of it."""
        try:
            for event in events:
                if not event.sqlstate:
                    self._play.note(event)
                    self._judge_effect(event)
                    for org_id in org_ids:
                        self._versions[org_id].append((event.stamp, self._model.organisation(org_id)))
            for event in events:
                if event.sqlstate:
                    self._play.note(event)
                    self._judge_refusal(event)
        except Disagreement as disagreement:
            raise Disagreement("\n".join([*self._play.log[-40:], str(disagreement)])) from None
        for event in events:
            self.outcomes[event.name, event.sqlstate or "done"] += 1
        for org_id in org_ids:
            if self._model.organisation(org_id).exists:
                self._play.compare_readers(org_id, [self._clock.now, self._clock.now - 7])

    def _judge_effect(self, event):
        if event.call is None:
            self._judge_sweep(event)
        else:
            ask = self._model.call_many if isinstance(event.call, Calls) else self._model.call
            self._play.compare_outcomes(outcome(lambda: ask(self._clock.now, event.call)), event.answer)

    def _judge_sweep(self, event):
        """It passes over accounts that somebody has locked, so what it settled is for it to say."""
        timed_out = {row["authorization_id"] for row in event.timed_out}
        settled = 0
        for org_id in self._versions:
            state = self._model.organisation(org_id).copy()
            for hold in state.expired_holds(self._clock.now):
                if hold.name in timed_out:
                    state.time_out(self._clock.now, hold.name)
                    settled += 1
            self._model.organisations[org_id] = state
        expect_same("the number of holds that were settled", settled, event.answer)

    def _judge_refusal(self, event):
        org_ids = event.call.org_ids
        possible = set()
        for states in itertools.product(*(self._states_during(event, org_id) for org_id in org_ids)):
            model = Model()
            model.organisations = dict(zip(org_ids, states))
            ask = model.call_many if isinstance(event.call, Calls) else model.call
            found = outcome(lambda: ask(self._clock.now, event.call))
            possible.add(found if isinstance(found, str) else "done")
        if event.sqlstate not in possible:
            raise Disagreement(f"refused with {event.sqlstate}, possible: {possible}")

    def _states_during(self, event, org_id):
        versions = self._versions[org_id]
        ends = [stamp for stamp, _ in versions[1:]] + [event.stamp + 1]
        return [state for (stamp, state), end in zip(versions, ends) if stamp < event.stamp and end > event.asked]
