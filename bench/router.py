"""The case router: calls through a router beside direct ones, and the rate of several shards; servers of their own on one machine.

Shard server 0 has the databases of1, of2 and of4, in which it is shard 0 of 1, 2 or 4; server 1 has of2 and of4; servers 2 and 3 have
of4. A router server has a database of the same name over each of these. So what is compared differs in nothing else.
"""

import sys
from dataclasses import dataclass

from server import percentile, pgbench, psql, start_server, value

ORGANISATIONS = 10000
HOME = "extension"
SHARDS = 4
SETTLING = 2    # seconds in which sessions of the router connect to the shards, as they do once in production


@dataclass(frozen=True)
class Side:
    name: str
    database: str
    servers: list


def router(bench):
    if not value("postgres", "SELECT count(*) FROM pg_available_extensions WHERE name = 'plproxy'") == "1":
        print("PL/Proxy is not installed:", end=" ", file=sys.stderr)
        return
    front = start_server("router", 5500)
    shards = [start_server(f"shard_{number}", 5501 + number) for number in range(SHARDS)]
    counts = [1, 2, 4]
    for count in counts:
        make_shards(shards[:count], f"of{count}")
        make_router(front, shards[:count], f"of{count}")
    direct = Side("direct", f"{shards[0].connection} dbname=of1", [shards[0].directory])
    routed = [Side(f"router, {count} shard{'s' if count > 1 else ''}", f"{front.connection} dbname=of{count}",
                   [front.directory, *(shard.directory for shard in shards[:count])]) for count in counts]
    for side in (direct, *routed):
        measure(side, "charge.sql", 4, transactions=ORGANISATIONS // 4)
    added(bench, [direct, routed[0]])
    rates(bench, [direct, *routed])
    removal(bench, shards[0])


def make_shards(shards, database):
    for number, shard in enumerate(shards):
        psql(f"{shard.connection} dbname=postgres", f"CREATE DATABASE {database}")
        psql(f"{shard.connection} dbname={database}", f"""
            CREATE SCHEMA {HOME};
            CREATE EXTENSION credit_ledger SCHEMA {HOME};
            SELECT {HOME}.credit_shard_configure({number}, {len(shards)});
            SELECT count(*) FROM generate_series(1, {ORGANISATIONS}) i, {HOME}.credit_grant('org-' || i, 1000000000000, 'opening')
            WHERE credit_ledger_internal.is_ours('org-' || i);
            VACUUM (FREEZE, ANALYZE)""")


def make_router(front, shards, database):
    connections = ", ".join(f"'{shard.connection} dbname={database}'" for shard in shards)
    psql(f"{front.connection} dbname=postgres", f"CREATE DATABASE {database}")
    psql(f"{front.connection} dbname={database}", f"""
        CREATE SCHEMA {HOME};
        CREATE EXTENSION credit_ledger_router SCHEMA {HOME} CASCADE;
        SELECT {HOME}.credit_router_configure(ARRAY[{connections}])""")


def measure(side, script, clients, **how_long):
    return pgbench(side.database, script, clients, HOME, servers=side.servers, orgs=ORGANISATIONS, **how_long)


def measure_settled(bench, side, script, clients):
    return measure(side, script, clients, seconds=bench.seconds, settling=SETTLING)


def added(bench, sides):
    """What the router adds to a call: a charge by one client that waits for nobody, and by 16."""
    for clients in (1, 16):
        case = f"router_{clients}"
        for number, side in bench.rounds(sides):
            result = measure_settled(bench, side, "charge.sql", clients)
            bench.emit(case, side.name, "calls/s", number, result.per_second)
            bench.emit(case, side.name, "p50 ms", number, percentile(result.latencies_ms, 50))
            bench.emit(case, side.name, "p99 ms", number, percentile(result.latencies_ms, 99))
            emit_cpu(bench, case, side, "call", number, result)


def emit_cpu(bench, case, side, what, number, result):
    """The router is the first server of a side that has one."""
    shards = result.cpu_us_of if len(side.servers) == 1 else result.cpu_us_of[1:]
    bench.emit(case, side.name, f"CPU us/{what} of shards", number, sum(shards))
    if len(side.servers) > 1:
        bench.emit(case, side.name, f"CPU us/{what} of the router", number, result.cpu_us_of[0])


def rates(bench, sides):
    for number, side in bench.rounds(sides):
        result = measure_settled(bench, side, "pair.sql", 16)
        bench.emit("router_shards", side.name, "pairs/s", number, result.per_second)
        emit_cpu(bench, "router_shards", side, "pair", number, result)


def removal(bench, shard):
    """What a shard takes to remove the half that is another's after a doubling, by accounts a call."""
    for number, accounts in bench.rounds([100, 10000]):
        psql(f"{shard.connection} dbname=postgres", "DROP DATABASE IF EXISTS half; CREATE DATABASE half TEMPLATE of1")
        database = f"{shard.connection} dbname=half"
        psql(database, f"SELECT {HOME}.credit_shard_configure(0, 2)")
        milliseconds, gone = psql(database, f"""
            SELECT clock_timestamp() AS start, count(*) AS accounts FROM {HOME}.credit_account \\gset
            DO $$ BEGIN WHILE {HOME}.credit_shard_remove({accounts}) > 0 LOOP COMMIT; END LOOP; END $$;
            SELECT extract(epoch FROM clock_timestamp() - :'start') * 1000, :accounts - count(*) FROM {HOME}.credit_account""")[0]
        bench.emit("router_removal", f"{accounts:,} a call", "ms/1,000 accounts", number, float(milliseconds) * 1000 / int(gone))
