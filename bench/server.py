"""The throwaway server that scripts/with-server started, through its own clients: psql and pgbench; and more of its kind."""

import contextlib
import itertools
import os
import re
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent

# Every pgbench run gets a number of its own, so that no two of them use the same idempotency key.
_runs = itertools.count(1)


@dataclass(frozen=True)
class PgbenchResult:
    per_second: float
    latencies_ms: list      # of each script execution, sorted
    statements_ms: list     # the average of each SQL statement of the script, in its order
    cpu_us: float           # processor time of the server a script execution
    cpu_us_of: list         # that of each of the servers


@dataclass(frozen=True)
class Server:
    """A server beside the one of scripts/with-server, which removes it in the end."""
    directory: str
    connection: str


def start_server(name, port):
    """The first one serves as template of the others: that is faster than initdb."""
    home = Path(os.environ["PGDATA"]).parent
    directory = home / name
    if not (home / "template").exists():
        _run(["initdb", "--auth=trust", "--no-sync", "--locale=C.UTF-8", "--encoding=UTF8", str(home / "template")], None, {})
    shutil.copytree(home / "template", directory, copy_function=shutil.copy)
    with open(directory / "postgresql.conf", "a") as settings:
        settings.write((HERE / "postgresql.conf").read_text())
        settings.write(f"""
            listen_addresses = ''
            unix_socket_directories = '{os.environ["PGHOST"]}'
            port = {port}
            shared_buffers = 256MB
            max_wal_size = 4GB
            max_connections = 200""")
    _run(["pg_ctl", "start", "--wait", "--silent", f"--pgdata={directory}", f"--log={home / name}.log"], None, {})
    return Server(str(directory), f"host={os.environ['PGHOST']} port={port}")


def psql(database, sql=None, file=None, search_path=None, **variables):
    """Runs sql or a file of this directory, stopping at the first error; returns the rows as lists of strings."""
    command = ["psql", "-X", "-q", "-A", "-t", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-d", database]
    for name, value in variables.items():
        command += ["-v", f"{name}={value}"]
    command += ["-f", str(HERE / file)] if file else ["-f", "-"]
    output = _run(command, search_path, {}, sql)
    return [line.split("\t") for line in output.splitlines()]


def value(database, sql, search_path=None):
    """The single value that a query gives."""
    return psql(database, sql, search_path=search_path)[0][0]


def pgbench(database, script, clients, search_path, settings=None, seconds=None, transactions=None, servers=None, settling=0,
            **variables):
    """Runs a script of pgbench/ for so many seconds, or so many transactions a client. What happens in the first seconds,
    settling, does not count. The processor time is that of the servers in these directories, by default of the one of
    scripts/with-server."""
    servers = servers or [os.environ["PGDATA"]]
    start = {}

    def begin():
        start.update(time=time.time(), cpu=[_cpu_seconds(server) for server in servers])

    with tempfile.TemporaryDirectory() as directory:
        command = ["pgbench", "-n", "-M", "prepared", "-c", str(clients), "-j", str(min(clients, os.cpu_count())),
                   "-f", str(HERE / "pgbench" / script), "-D", f"run={next(_runs)}", "-D", "n=0",
                   "-r", "-l", f"--log-prefix={directory}/log"]
        command += ["-T", str(settling + seconds)] if seconds else ["-t", str(transactions)]
        for name, setting in variables.items():
            command += ["-D", f"{name}={setting}"]
        timer = threading.Timer(settling, begin)
        timer.start() if settling else begin()
        output = _run(command + [database], search_path, settings or {})
        cpu = [_cpu_seconds(server) - before for server, before in zip(servers, start["cpu"], strict=True)]
        executions = [[int(field) for field in line.split()]
                      for log in Path(directory).iterdir() for line in log.read_text().splitlines()]
    latencies = sorted(fields[2] / 1000 for fields in executions if fields[4] + fields[5] / 1e6 >= start["time"])
    statements = re.findall(r"^ +([0-9.]+) +[0-9]+ +(\S)", output, re.MULTILINE)
    return PgbenchResult(
        per_second=len(latencies) / seconds if settling else float(re.search(r"^tps = ([0-9.]+)", output, re.MULTILINE)[1]),
        latencies_ms=latencies,
        statements_ms=[float(ms) for ms, first in statements if first != "\\"],
        cpu_us=sum(cpu) * 1e6 / len(latencies),
        cpu_us_of=[seconds * 1e6 / len(latencies) for seconds in cpu])


def percentile(ordered, percent):
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


def median_of(repetitions, measure):
    return statistics.median(measure() for _ in range(repetitions))


def _cpu_seconds(directory):
    """Processor time that the postmaster's children, running and ended, have used so far; see proc(5)."""
    postmaster = Path(directory, "postmaster.pid").read_text().split()[0]
    while True:
        ended = _ticks_of_ended_children(postmaster)
        running = 0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                _, parent, *fields = _stat_fields(stat)
                if parent == postmaster:
                    running += int(fields[9]) + int(fields[10])
        if ended == _ticks_of_ended_children(postmaster):
            return (ended + running) / os.sysconf("SC_CLK_TCK")


def _ticks_of_ended_children(process):
    fields = _stat_fields(Path(f"/proc/{process}/stat"))
    return int(fields[13]) + int(fields[14])


def _stat_fields(stat):
    """The fields from the third on, the state; the second, the command, may hold anything."""
    return stat.read_text().rpartition(")")[2].split()


def _run(command, search_path, settings, stdin=None):
    options = dict(settings)
    if search_path:
        options["search_path"] = search_path
    environment = dict(os.environ, PGOPTIONS=" ".join(
        f"-c {name}={setting}" for name, setting in {"client_min_messages": "warning", **options}.items()))
    done = subprocess.run(command, input=stdin, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return done.stdout
