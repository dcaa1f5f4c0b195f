"""What is measured. A case is a function (bench) that makes itself a database and emits its figures, round by round.

Sides are interleaved: every round measures each of them, starting with another one each time, so that what else happens
on the machine hits all of them alike. Two figures of the same round are comparable; the report takes ratios of those.
"""

import contextlib
import re
import threading
from dataclasses import dataclass, field, replace

from counting import counting
from router import router
from server import median_of, percentile, pgbench, psql, value

ORGANISATIONS = 10000
BATCH = 1000
ENTRIES = 500000
LOT_ORGANISATIONS = 1000
CALLS_A_SECOND = 10    # of a batch, roughly what the slowest side can do
EXPIRED = 10000
CYCLES = 10
QUARTERS = 4
MANY_ORGANISATIONS = 100000
SPAN_DAYS = 365


@dataclass(frozen=True)
class Side:
    name: str
    search_path: str
    script: str = "pair.sql"
    settings: dict = field(default_factory=dict)
    database: str = "bench"


EXTENSION = Side("extension", "extension")
EARLY = Side("extension, early lock release", "extension", settings={"credit_ledger.early_lock_release": "on"})
RIVAL = Side("PL/pgSQL", "rival,extension")
INSERT = Side("INSERT", "floor", script="insert.sql")
BARE = Side("plain SQL", "bulk,extension", script="pair_bare.sql")
INSERT_SELECT = Side("INSERT SELECT", "bulk,extension", script="insert_select.sql")
WITHOUT_ACCOUNTS = replace(INSERT_SELECT, name="INSERT SELECT without accounts", script="insert_select_without_accounts.sql")


def spread(clients):
    def case(bench):
        rates(bench, f"spread_{clients}", [EXTENSION, RIVAL, BARE, INSERT], clients, ORGANISATIONS)
    return case


def hot(name, organisations):
    def case(bench):
        rates(bench, name, [EXTENSION, EARLY, RIVAL], 16, organisations)
    return case


def rates(bench, name, sides, clients, organisations):
    bench.make_database()
    warm_up(sides, organisations)
    measure_rates(bench, name, sides, clients, organisations)


def warm_up(sides, organisations):
    """Lets every side touch the pages that it will touch again, so that full-page images lie behind it."""
    clients = 4
    for side in sides:
        psql(side.database, "CHECKPOINT")
        pgbench(side.database, side.script, clients, side.search_path, {**side.settings, "synchronous_commit": "off"},
                transactions=warm_up_pairs(organisations) // clients, orgs=organisations)


def warm_up_pairs(organisations):
    return 2 * organisations + 2000


def measure_rates(bench, name, sides, clients, organisations):
    for number, side in bench.rounds(sides):
        result = pgbench(side.database, side.script, clients, side.search_path, side.settings,
                         seconds=bench.seconds, orgs=organisations)
        bench.emit(name, side.name, "pairs/s", number, result.per_second)
        bench.emit(name, side.name, "CPU us/pair", number, result.cpu_us)
        bench.emit(name, side.name, "p50 ms", number, percentile(result.latencies_ms, 50))
        bench.emit(name, side.name, "p99 ms", number, percentile(result.latencies_ms, 99))


def charge_by(clients):
    """A single call beside the same rows by plain SQL and a one-row INSERT: how long each takes."""
    def case(bench):
        rates(bench, f"charge_{clients}", [replace(EXTENSION, script="charge.sql"), replace(BARE, script="charge_bare.sql"),
                                           replace(INSERT, script="insert_one.sql")], clients, ORGANISATIONS)
    return case


def charge(bench):
    """One call instead of two, where the price is known: beside the same on the rival, the pair, the same rows by plain SQL,
    and a one-row INSERT."""
    sides = [replace(EXTENSION, script="charge.sql"), replace(RIVAL, script="charge.sql"), replace(EXTENSION, name="pair"),
             replace(BARE, script="charge_bare.sql"), replace(INSERT, script="insert_one.sql")]
    rates(bench, "charge", sides, 16, ORGANISATIONS)


def lots(bench):
    """The pair on accounts without lots, with one and with a hundred open ones; and with one that ends every few calls."""
    sides = [replace(EXTENSION, name=name, database=database) for name, database in (
        ("no lots", "no_lots"), ("one lot", "one_lot"), ("a hundred lots", "hundred_lots"), ("lots that end", "ending_lots"))]
    for side, count in zip(sides, (0, 1, 100, 100), strict=True):
        bench.make_database(side.database)
        ends = "clock_timestamp() + i * interval '200 ms'" if side.name == "lots that end" else "now() + interval '1 day' * i"
        psql(side.database, f"""
            SELECT count(credit_grant('org-' || o, 1000000000, 'lot-' || i, expires_at => {ends}))
            FROM generate_series(1, {LOT_ORGANISATIONS}) o, generate_series(1, {count}) i""", search_path=side.search_path)
        psql(side.database, "VACUUM (FREEZE, ANALYZE)")
    warm_up(sides, LOT_ORGANISATIONS)
    measure_rates(bench, "lots", sides, 16, LOT_ORGANISATIONS)


def many_charges(bench):
    """Many charges in one call by one client: rows a second."""
    bench.make_database()
    sides = [replace(EXTENSION, script="charge_many.sql"), replace(RIVAL, script="charge_many.sql"),
             replace(INSERT_SELECT, script="charge_insert_select.sql")]
    for side in sides:
        psql(side.database, "CHECKPOINT")
        pgbench(side.database, side.script, 1, side.search_path, transactions=10, orgs=ORGANISATIONS)
    for number, side in bench.rounds(sides):
        result = pgbench(side.database, side.script, 1, side.search_path,
                         transactions=CALLS_A_SECOND * bench.seconds, orgs=ORGANISATIONS)
        bench.emit("many_charges", side.name, "rows/s", number, BATCH * 1000 / result.statements_ms[0])


def skipped(bench):
    """100,000 authorizations in one call, all of them accepted, and every second one refused and skipped."""
    bench.make_database()
    side = EXTENSION
    psql(side.database, f"""
        SELECT count(credit_account_configure('org-' || i, frozen => true))
        FROM generate_series(2, {ORGANISATIONS}, 2) i""", search_path=side.search_path)
    sides = [replace(side, name=name) for name in ("accepted", "half refused")]
    for number, side in bench.rounds(sides):
        step, base = (2, 1) if side.name == "accepted" else (1, 0)
        bench.emit("skipped", side.name, "ms", number, timed(side, f"""
            DO $$ BEGIN
              PERFORM count(*)
              FROM (SELECT array_agg('org-' || {base} + ({step} * i) % {ORGANISATIONS} + 1 - {base}) AS orgs,
                           array_agg(10::bigint) AS amounts, array_agg('skip-{number}-{base}-' || i) AS campaigns
                    FROM generate_series(1, 100000) i) batch,
                   credit_authorize_many(batch.orgs, batch.amounts, batch.campaigns, skip_refused => true);
            END $$"""))


def many(name, organisations):
    """Many authorizations in one call, and many commits in one call, by one client: rows a second of each statement.

    Every side makes as many calls, so that none has to work on bigger tables for having been fast.
    """
    def case(bench):
        bench.make_database()
        sides = [replace(EXTENSION, script="many.sql"), replace(RIVAL, script="many.sql"),
                 INSERT_SELECT, WITHOUT_ACCOUNTS]
        for side in sides:
            psql(side.database, "CHECKPOINT")
            pgbench(side.database, side.script, 1, side.search_path, transactions=10, orgs=organisations)
        for number, side in bench.rounds(sides):
            result = pgbench(side.database, side.script, 1, side.search_path,
                             transactions=CALLS_A_SECOND * bench.seconds, orgs=organisations)
            for metric, milliseconds in zip(("authorize rows/s", "commit rows/s"), result.statements_ms, strict=True):
                bench.emit(name, side.name, metric, number, BATCH * 1000 / milliseconds)
            bench.emit(name, side.name, "CPU us/pair of rows", number, result.cpu_us / BATCH)
    return case


def wal(bench):
    """WAL bytes of one authorize + commit in the steady state, and of which records they are made.

    As many pairs are measured as went before: the indexes double, so that each leaf splits about once, as in the long run.
    """
    pairs = warm_up_pairs(ORGANISATIONS)
    bench.make_database()
    with bench.autovacuum_off():
        for side in (EXTENSION, RIVAL):
            warm_up([side], ORGANISATIONS)
            start = value(side.database, "SELECT pg_current_wal_insert_lsn()")
            pgbench(side.database, side.script, 1, side.search_path, {"synchronous_commit": "off"},
                    transactions=pairs, orgs=ORGANISATIONS)
            end = value(side.database, "SELECT pg_current_wal_insert_lsn()")
            emit_wal(bench, side, pairs, start, end)


def emit_wal(bench, side, pairs, start, end):
    psql(side.database, "SELECT pg_switch_wal()")  # only flushed WAL can be read
    records = psql(side.database, f"""
        SELECT "resource_manager/record_type", "count", record_size, fpi_size
        FROM pg_get_wal_stats('{start}', '{end}', true)
        WHERE "count" > 0""")
    images = sum(int(fpi) for _, _, _, fpi in records)
    total = int(value(side.database, f"SELECT '{end}'::pg_lsn - '{start}'::pg_lsn"))
    bench.emit("wal", side.name, "bytes", 1, (total - images) / pairs)
    bench.emit("wal", side.name, "bytes of full-page images", 1, images / pairs)
    for record, count, size, _ in sorted(records, key=lambda row: -int(row[2])):
        if int(count) * 1000 >= pairs:
            bench.emit("wal_records", side.name, f"{record}, records", 1, int(count) / pairs)
            bench.emit("wal_records", side.name, f"{record}, bytes", 1, int(size) / pairs)


def history(bench):
    """An empty ledger beside one with bench.history settled authorizations, in partitions of a month; and beside one with
    as many in the single partition that a ledger begins with. Each has a database of its own."""
    sides = [replace(EXTENSION, name=name, database=database)
             for name, database in (("empty", "empty"), ("history", "history"), ("history, one partition", "history_single"))]
    for side in sides:
        bench.make_database(side.database)
        fill(bench, side, partitions=side is not sides[2], rows=side is not sides[0])
    warm_up(sides, ORGANISATIONS)
    measure_rates(bench, "history_rate", sides, 16, ORGANISATIONS)
    history_sweep(bench, "history_sweep", sides + [replace(RIVAL, database="empty")])
    history_orphans(bench, "history_orphans", sides)
    history_upkeep(bench, "history_upkeep", sides)


def scale(bench):
    """An empty ledger of 100,000 organisations beside one with bench.history settled authorizations: all that a call, a sweep
    and a reader do, and the reconciliation of one day. Both have partitions of a month."""
    sides = [replace(EXTENSION, name=name, database=name) for name in ("empty", "history")]
    for side in sides:
        bench.make_database(side.database)
        psql(side.database, file="accounts.sql", search_path=side.search_path, first=ORGANISATIONS + 1, orgs=MANY_ORGANISATIONS)
        fill(bench, side, partitions=True, rows=side is sides[1], organisations=MANY_ORGANISATIONS)
    warm_up(sides, MANY_ORGANISATIONS)
    measure_rates(bench, "scale_rate", sides, 16, MANY_ORGANISATIONS)
    history_sweep(bench, "scale_sweep", sides)
    history_orphans(bench, "scale_orphans", sides)
    scale_reading(bench, sides)
    history_upkeep(bench, "scale_upkeep", sides)


def fill(bench, side, partitions, rows, organisations=ORGANISATIONS):
    if partitions:
        psql(side.database, file="partitions.sql", search_path=side.search_path)
    if rows:
        psql(side.database, file="history.sql", search_path=side.search_path, rows=bench.history, orgs=organisations)
    psql(side.database, "VACUUM (FREEZE, ANALYZE)")


def scale_reading(bench, sides):
    """What a person asks for, and what a day's verification and reconciliation take, beside what these runs have left."""
    for side in sides:
        psql(side.database, file="usage.sql", search_path=side.search_path)
    day = "now() - interval '1 day'"
    for number, side in bench.rounds(sides):
        for metric, query in (("ms of a statement of 50 lines", "SELECT * FROM credit_statement('org-7', max_rows => 50)"),
                              ("ms of a balance a month ago", "SELECT credit_balance_at('org-7', now() - interval '30 days')")):
            bench.emit("scale_reading", side.name, metric, number, median_of(11, lambda query=query: explained_ms(side, query)))
        bench.emit("scale_reading", side.name, "ms of credit_verify of a day", number, timed(side, f"""
            DO $$ BEGIN IF EXISTS (SELECT FROM credit_verify(since => {day})) THEN RAISE 'the ledger is not sound'; END IF; END $$"""))
        bench.emit("scale_reading", side.name, "ms of the reconciliation of a day", number,
                   timed(side, f"BEGIN; DO $$ BEGIN PERFORM credit_run_reconciliation({day}, now()); END $$; ROLLBACK"))


def statement(bench):
    """A page of the statement, and a balance of some time ago, of an organisation with few entries and of one with many."""
    side = EXTENSION
    organisations = {"500 entries": 500, "500,000 entries": ENTRIES}
    bench.make_database(side.database)
    for entries in organisations.values():
        psql(side.database, f"""
            SET synchronous_commit = off;
            SELECT credit_grant('with-{entries}', 1000000000000, 'opening');
            SELECT count(*)
            FROM (SELECT array_agg('with-{entries}'::text) AS orgs, array_agg(90::bigint) AS amounts, array_agg('key-' || i) AS keys
                  FROM generate_series(2, {entries}) i GROUP BY i / {BATCH}) batch,
                 credit_charge_many(batch.orgs, batch.amounts, batch.keys)""", search_path=side.search_path)
    psql(side.database, "VACUUM (FREEZE, ANALYZE)")
    sides = [replace(side, name=name) for name in organisations]
    for number, side in bench.rounds(sides):
        org = f"with-{organisations[side.name]}"
        middle = value(side.database, f"""
            SELECT created_at FROM credit_entry WHERE org_id = '{org}' AND entry_no = {organisations[side.name] // 2}""",
            side.search_path)
        for metric, query in (
                ("ms of the last 50 lines", f"SELECT * FROM credit_statement('{org}', after_entry_no => {organisations[side.name] - 50})"),
                ("ms of 50 lines from an instant", f"SELECT * FROM credit_statement('{org}', since => '{middle}', max_rows => 50)"),
                ("ms of credit_balance_at", f"SELECT credit_balance_at('{org}', '{middle}')")):
            bench.emit("statement", side.name, metric, number, median_of(11, lambda query=query: explained_ms(side, query)))


def history_sweep(bench, case, sides):
    """First the rounds for which full-page images lie behind every side, then those right after a checkpoint, which is the
    whole server's."""
    for side in sides:
        swept_ms(side, "warm-up")
    for number, side in bench.rounds(sides):
        bench.emit(case, side.name, "ms", number, swept_ms(side, f"sweep-{number}"))
    for number, side in bench.rounds(sides):
        bench.emit(case, side.name, "ms right after a checkpoint", number,
                   swept_ms(side, f"checkpoint-{number}", "CHECKPOINT"))


def swept_ms(side, key, preparation=""):
    """Milliseconds of a sweep of 10,000 expired holds, one of each organisation."""
    hold(side, key, EXPIRED)
    psql(side.database, f"VACUUM credit_ledger_open, credit_account; {preparation}", search_path=side.search_path)
    swept, milliseconds = psql(side.database, f"""
        SELECT clock_timestamp() AS start \\gset
        SELECT credit_sweep(clock_timestamp() + interval '1 day', {EXPIRED}) AS swept \\gset
        SELECT :swept, extract(epoch FROM clock_timestamp() - :'start') * 1000""", search_path=side.search_path)[0]
    if int(swept) != EXPIRED:
        raise SystemExit(f"history_sweep: {side.name} swept {swept} holds")
    return float(milliseconds)


def history_orphans(bench, case, sides):
    """The runbook's query for orphaned authorizations, with 1,000 of them among 10,000 live holds."""
    for side in sides:
        hold(side, "orphan", EXPIRED)
        psql(side.database, """
            UPDATE credit_ledger_open SET created_at = created_at - interval '2 hours'
            WHERE idempotency_key IN (SELECT 'orphan-' || i FROM generate_series(1, 1000) i);
            VACUUM ANALYZE credit_ledger_open""", search_path=side.search_path)
    for number, side in bench.rounds(sides):
        bench.emit(case, side.name, "ms", number, median_of(11, lambda: explained_ms(side, """
            SELECT authorization_id, amount, created_at FROM credit_ledger
            WHERE status = 'authorized' AND created_at < now() - interval '1 hour'""")))


def history_upkeep(bench, case, sides):
    """What the run left to vacuum, how big it made the tables that must stay small, and whether all of it adds up."""
    for side in sides:
        for table in ("credit_account", "credit_ledger_open", "credit_ledger_settled", "credit_entry", "credit_idempotency"):
            size = value(side.database, f"SELECT sum(pg_total_relation_size(part)) FROM ({parts_of(table)}) t (part)",
                         side.search_path)
            bench.emit(case, side.name, f"{table}, MB with indexes", 1, int(size) / 1e6)
            bench.emit(case, side.name, f"{table}, ms of VACUUM", 1, timed(side, f"VACUUM {table}"))
        bench.emit(case, side.name, "credit_verify, ms", 1, timed(side, """
            DO $$ BEGIN IF EXISTS (SELECT FROM credit_verify()) THEN RAISE 'the ledger is not sound'; END IF; END $$"""))


def hold(side, key, holds):
    psql(side.database, f"""
        SELECT count(*)
        FROM generate_series(1, {holds}) i, credit_authorize('org-' || 1 + i % {ORGANISATIONS}, 100, '{key}-' || i)""",
         search_path=side.search_path)


def explained_ms(side, query):
    plan = psql(side.database, f"EXPLAIN (ANALYZE, TIMING OFF) {query}", search_path=side.search_path)
    return float(re.search(r"Execution Time: ([0-9.]+) ms", plan[-1][0])[1])


def timed(side, statement):
    return float(psql(side.database, f"""
        SELECT clock_timestamp() AS start \\gset
        {statement};
        SELECT extract(epoch FROM clock_timestamp() - :'start') * 1000""", search_path=side.search_path)[0][0])


def reconciliation(bench):
    """A run over the last day, a twentieth of bench.history, alone in its ledger and with nineteen days before it; and the run
    of a night, which looks back three days more and verifies what is new."""
    sides = [replace(EXTENSION, name=name, database=name) for name in ("day", "twenty_days")]
    for side, days in zip(sides, (1, 20), strict=True):
        bench.make_database(side.database)
        psql(side.database, file="history.sql", search_path="extension", rows=bench.history * days // 20, span=f"{days} days")
        psql(side.database, file="usage.sql", search_path="extension")
        psql(side.database, """
            INSERT INTO credit_reconciliation_run (since, until, tolerance, judged, in_flight, findings_new, findings_open,
              covered_until, started_at, finished_at)
            SELECT '-infinity', night, 10, 0, 0, 0, 0, night, night, night FROM (SELECT now() - interval '1 day' AS night) n""",
             search_path="extension")
    for number, side in bench.rounds(sides):
        for metric, window in (("ms", "now() - interval '1 day', now()"), ("ms of a night", "")):
            bench.emit("reconciliation", side.name, metric, number, timed(side, f"""
                BEGIN;
                DO $$ BEGIN
                  IF (SELECT findings_new FROM credit_run_reconciliation({window})) > 0 THEN
                    RAISE 'the ledger does not agree with its usage';
                  END IF;
                END $$;
                ROLLBACK"""))


def verify(bench):
    """credit_verify of one organisation with half a million entries, from charges, from pairs, or all of them grants."""
    entries = {
        "charges": "credit_charge_many(batch.orgs, batch.amounts, batch.campaigns)",
        "pairs": "credit_authorize_many(batch.orgs, batch.amounts, batch.campaigns)",
        "grants": "unnest(batch.campaigns) key, credit_grant('one', 1, key)"}
    sides = [replace(EXTENSION, name=name, database=name) for name in entries]
    for side in sides:
        bench.make_database(side.database)
        psql(side.database, f"""
            SET synchronous_commit = off;
            SELECT credit_grant('one', 1000000000000, 'opening');
            SELECT count(*)
            FROM (SELECT array_agg('one'::text) AS orgs, array_agg(90::bigint) AS amounts, array_agg('campaign-' || i) AS campaigns
                  FROM generate_series(1, {ENTRIES}) i GROUP BY i / {BATCH}) batch, {entries[side.name]};
            SELECT count(*)
            FROM (SELECT array_agg(o.authorization_id) AS ids
                  FROM (SELECT authorization_id, row_number() OVER () AS i FROM credit_ledger_open) o GROUP BY o.i / {BATCH}) batch,
                 credit_commit_many(batch.ids)""", search_path=side.search_path)
        psql(side.database, "VACUUM (FREEZE, ANALYZE)")
    for number, side in bench.rounds(sides):
        bench.emit("verify", side.name, "ms", number, timed(side, """
            DO $$ BEGIN IF EXISTS (SELECT FROM credit_verify('one')) THEN RAISE 'the ledger is not sound'; END IF; END $$"""))


def kept_small(bench):
    """Ten cycles, in each of which a tenth of bench.history comes in and a tenth grows too old: its keys are removed, while
    the rate of 16 clients is measured with and without, its partitions put away and dropped.

    Time passes by the retention getting shorter. The keys are removed for a tenth of the time, as the worker does it; what
    is left when the rate has been measured is removed at once.
    """
    without, removing = (replace(EXTENSION, name=name, database="kept") for name in ("nothing removed", "keys removed"))
    bench.make_database(without.database)
    psql(without.database, file="partitions.sql", search_path="extension")
    psql(without.database, file="history.sql", search_path="extension", rows=bench.history, span=f"{SPAN_DAYS} days")
    psql(without.database, "VACUUM (FREEZE, ANALYZE)")
    warm_up([without], ORGANISATIONS)
    emit_kept(bench, without, "before", 1)
    for cycle in range(1, CYCLES + 1):
        coming = bench.history // CYCLES
        kept_for = f"{max(SPAN_DAYS * 24 * (CYCLES - cycle) // CYCLES, 1)} hours"
        with bench.setting("credit_ledger.idempotency_retention", kept_for.replace(" hours", "h")):
            for side in (without, removing) if cycle % 2 else (removing, without):
                with removing_keys(side) if side is removing else contextlib.nullcontext():
                    result = pgbench(side.database, side.script, 16, side.search_path, seconds=bench.seconds,
                                     orgs=ORGANISATIONS)
                bench.emit("kept_small", side.name, "pairs/s", cycle, result.per_second)
                coming -= len(result.latencies_ms)
            keys = count_keys(removing)
            milliseconds = timed(removing, "DO $$ BEGIN PERFORM credit_ledger_internal.remove_keys('1 hour'); END $$")
            removed = keys - count_keys(removing)
            if removed > 1000:
                bench.emit("kept_small", removing.name, "us/key", cycle, milliseconds * 1000 / removed)
        charge_many(without, f"kept-{cycle}", coming)
        psql(removing.database, f"SELECT format('DROP TABLE %s', credit_detach_partitions('{kept_for}')) \\gexec",
             search_path="extension,pg_catalog")
        psql(removing.database, "VACUUM")
        emit_kept(bench, without, f"cycle {cycle}", 1)
    psql(without.database, "DO $$ BEGIN IF EXISTS (SELECT FROM credit_verify()) THEN RAISE 'the ledger is not sound'; END IF; END $$",
         search_path="extension")


def emit_kept(bench, side, when, number):
    for table in ("credit_ledger_settled", "credit_entry", "credit_idempotency"):
        size = value(side.database, f"SELECT sum(pg_total_relation_size(part)) FROM ({parts_of(table)}) t (part)", "extension")
        bench.emit("kept_small_size", when, f"{table}, MB with indexes", number, int(size) / 1e6)


def parts_of(table):
    return f"SELECT '{table}'::regclass UNION SELECT relid FROM pg_partition_tree('{table}')"


def count_keys(side):
    return int(value(side.database, "SELECT count(*) FROM extension.credit_idempotency"))


def charge_many(side, name, charges):
    psql(side.database, "SET synchronous_commit = off;" + "".join(f"""
        SELECT count(*)
        FROM (SELECT array_agg('org-' || 1 + i % {ORGANISATIONS}) AS orgs, array_agg(90::bigint) AS amounts,
                     array_agg('{name}-' || i) AS campaigns
              FROM generate_series({first}, {min(first + BATCH - 1, charges)}) i) batch,
             credit_charge_many(batch.orgs, batch.amounts, batch.campaigns);""" for first in range(1, charges + 1, BATCH)),
         search_path=side.search_path)


@contextlib.contextmanager
def removing_keys(side):
    """Removes keys as the worker does with a sweep_interval of a second: for a tenth of it."""
    ended = threading.Event()

    def work():
        while not ended.wait(0.9):
            psql(side.database, "SELECT credit_ledger_internal.remove_keys('100 ms')")

    thread = threading.Thread(target=work)
    thread.start()
    yield
    ended.set()
    thread.join()


def hot_waits(bench):
    """Where the sessions of 64 clients on one organisation are, by wait event, with and without early lock release: how many
    of them on average, looked at fifty times a second."""
    bench.make_database()
    sides = [EXTENSION, EARLY]
    warm_up(sides, 1)
    for number, side in bench.rounds(sides):
        with looking_at_waits(bench) as waits:
            result = pgbench(side.database, side.script, 64, side.search_path, side.settings, seconds=bench.seconds, orgs=1)
        bench.emit("hot_waits", side.name, "pairs/s", number, result.per_second)
        for event, sessions in waits:
            bench.emit("hot_waits", side.name, f"sessions, {event}", number, sessions)


@contextlib.contextmanager
def looking_at_waits(bench):
    waits = []
    looks = int(50 * bench.seconds)

    def look():
        waits.extend((event, float(sessions)) for event, sessions in psql("postgres", f"""
            CREATE TEMP TABLE look (event text);
            DO $$ BEGIN
              FOR i IN 1 .. {looks} LOOP
                PERFORM pg_stat_clear_snapshot();
                INSERT INTO look
                SELECT CASE WHEN a.state LIKE 'idle%' THEN 'with the client'
                         ELSE coalesce(a.wait_event_type || ' ' || a.wait_event, 'at work, or ready to') END
                FROM pg_stat_activity a WHERE a.application_name = 'pgbench';
                PERFORM pg_sleep(0.02);
              END LOOP;
            END $$;
            SELECT event, round(count(*)::numeric / {looks}, 1) FROM look GROUP BY event HAVING count(*) > {looks} / 5
            ORDER BY count(*) DESC"""))

    thread = threading.Thread(target=look)
    thread.start()
    yield waits
    thread.join()


def long_run(bench):
    """Twenty minutes (four times 60 times bench.seconds) at full load, with autovacuum, and keys of a minute ago removed: the
    rate of each quarter, and the sizes at its end of what must not grow."""
    side = EXTENSION
    bench.make_database()
    warm_up([side], ORGANISATIONS)
    with bench.setting("credit_ledger.idempotency_retention", "1min"), removing_keys(side):
        for quarter in range(1, QUARTERS + 1):
            name = f"quarter {quarter}"
            result = pgbench(side.database, side.script, 16, side.search_path, seconds=60 * bench.seconds, orgs=ORGANISATIONS)
            bench.emit("long_run", name, "pairs/s", 1, result.per_second)
            bench.emit("long_run", name, "p99 ms", 1, percentile(result.latencies_ms, 99))
            for table in ("credit_account", "credit_ledger_open", "credit_idempotency"):
                size = value(side.database, f"SELECT pg_total_relation_size('{table}')", side.search_path)
                bench.emit("long_run", name, f"{table}, MB with indexes", 1, int(size) / 1e6)


CASES = {
    "spread_1": spread(1),
    "spread_16": spread(16),
    "spread_64": spread(64),
    "charge_1": charge_by(1),
    "charge": charge,
    "charge_64": charge_by(64),
    "lots": lots,
    "hot_one": hot("hot_one", 1),
    "hot_sixteen": hot("hot_sixteen", 16),
    "hot_waits": hot_waits,
    "many_spread": many("many_spread", ORGANISATIONS),
    "many_one": many("many_one", 1),
    "many_charges": many_charges,
    "skipped": skipped,
    "wal": wal,
    "history": history,
    "statement": statement,
    "kept_small": kept_small,
    "verify": verify,
    "reconciliation": reconciliation,
    "counting": counting,
    "router": router,
}

# Long ones, which run if they are named.
BY_NAME = {
    "scale": scale,
    "long_run": long_run,
}
