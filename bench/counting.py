"""What counting the calls costs: two servers that differ in shared_preload_libraries alone.

One session commits pair after pair, nothing is flushed, so that the processor is all there is to wait for. The least
time of many short runs in turn is what the code needs; everything above it is the machine's.
"""

import contextlib
import os
import subprocess
import tempfile
from pathlib import Path

PAIRS = 2000
RUNS_A_ROUND = 20

SIDES = {"counted": "shared_preload_libraries = credit_ledger", "not counted": "shared_preload_libraries = ''"}

PREPARE = """
    CREATE EXTENSION credit_ledger;
    SELECT count(credit_grant('org-' || i, 1000000000, 'grant')) FROM generate_series(1, 100) i;
    CREATE PROCEDURE pairs(n int) LANGUAGE plpgsql AS $$
    DECLARE id text;
    BEGIN
      FOR i IN 1..n LOOP
        id := (credit_authorize('org-' || 1 + i % 100, 1, idempotency_key => gen_random_uuid()::text)).authorization_id;
        COMMIT;
        PERFORM credit_commit(id);
        COMMIT;
      END LOOP;
    END $$;"""

MEASURE = f"""
    SELECT clock_timestamp() AS start \\gset
    CALL pairs({PAIRS});
    SELECT extract(epoch FROM clock_timestamp() - :'start') * 1e6 / {PAIRS};"""


def counting(bench):
    with contextlib.ExitStack() as stack:
        servers = {side: stack.enter_context(server(setting)) for side, setting in SIDES.items()}
        for psql in servers.values():
            psql(PREPARE)
            psql(MEASURE)
        runs = [{side: float(psql(MEASURE)) for side, psql in servers.items()}
                for _ in range(bench.number_of_rounds * RUNS_A_ROUND)]
        for side in SIDES:
            bench.emit("counting", side, "us/pair, least", 1, min(run[side] for run in runs))


@contextlib.contextmanager
def server(setting):
    """A server of its own; gives a function that runs SQL there and returns what it prints."""
    with tempfile.TemporaryDirectory() as directory:
        data = Path(directory, "data")
        environment = dict(os.environ, PGHOST=directory, PGDATA=str(data), PGOPTIONS="-c client_min_messages=warning")
        call = dict(env=environment, check=True, text=True, stdout=subprocess.PIPE)
        subprocess.run(["initdb", "--auth=trust", "--no-sync", "--username=postgres", "--locale=C.UTF-8"], **call)
        with open(data / "postgresql.conf", "a") as conf:
            conf.write(f"listen_addresses = ''\nunix_socket_directories = '{directory}'\nfsync = off\n"
                       f"synchronous_commit = off\nautovacuum = off\nmax_wal_size = 8GB\n{setting}\n")
            if "credit_ledger" in setting:
                conf.write("credit_ledger.worker = off\n")
        subprocess.run(["pg_ctl", "start", "--wait", "--silent", f"--log={directory}/log"], **call)
        try:
            yield lambda sql: subprocess.run(["psql", "-XAtq", "-v", "ON_ERROR_STOP=1"], input=sql, **call).stdout.strip()
        finally:
            subprocess.run(["pg_ctl", "stop", "--wait", "--silent", "--mode=immediate"], **call)
