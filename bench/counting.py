"""What counting the calls costs, and watching a threshold for an alert: the extension preloaded, so that it counts, and not.

A clock cannot tell one per cent on a shared machine; valgrind can: it counts the instructions of a server in single-user
mode, which runs the same code as any session, transactions and their ends included. A long run less a short one leaves
what a pair takes; the server's start and stop cancel out.
"""

import os
import re
import subprocess
import tempfile
from pathlib import Path

PAIRS = 2000

# What is preloaded, and a statement more of the preparation.
SIDES = {
    "not counted": ("", ""),
    "counted": ("credit_ledger", ""),
    "counted, watched": ("credit_ledger", """
SELECT count(credit_account_configure('org-' || i, low_balance_threshold => 1000)) FROM generate_series(1, 100) i;
"""),
}

# In single-user mode a line is a statement.
PREPARE = """
CREATE EXTENSION credit_ledger;
SELECT count(credit_grant('org-' || i, 1000000000, 'grant')) FROM generate_series(1, 100) i;
CREATE PROCEDURE pairs(first int, last int) LANGUAGE plpgsql AS $$ \
  DECLARE id text; \
  BEGIN \
    FOR i IN first .. last LOOP \
      id := (credit_authorize('org-' || 1 + i % 100, 1, 'campaign-' || i)).authorization_id; \
      COMMIT; \
      PERFORM credit_commit(id); \
      COMMIT; \
    END LOOP; \
  END $$;
CALL pairs(1, 1000);
"""


def counting(bench):
    for side, (preload, more) in SIDES.items():
        with tempfile.TemporaryDirectory() as directory:
            data = Path(directory, "data")
            subprocess.run(["initdb", "--auth=trust", "--no-sync", "--username=postgres", "--locale=C.UTF-8", data],
                           check=True, stdout=subprocess.DEVNULL)
            with open(data / "postgresql.conf", "a") as conf:
                conf.write(f"shared_preload_libraries = '{preload}'\nfsync = off\nmax_wal_size = 8GB\n")
            server(data, PREPARE + more)
            short = instructions(data, first=1001, pairs=PAIRS)
            long = instructions(data, first=1001 + PAIRS, pairs=2 * PAIRS)
            bench.emit("counting", side, "instructions/pair", 1, (long - short) / PAIRS)


def instructions(data, first, pairs):
    """How many a server takes to start, make so many pairs, and stop."""
    counts = data.with_name("callgrind.out")
    server(data, f"CALL pairs({first}, {first + pairs - 1});",
           "valgrind", "--quiet", "--tool=callgrind", f"--callgrind-out-file={counts}")
    return int(re.search(r"^(?:summary|totals): (\d+)", counts.read_text(), re.MULTILINE)[1])


def server(data, statements, *instrument):
    done = subprocess.run([*instrument, "postgres", "--single", "-D", data, "postgres"], input=statements, text=True,
                          capture_output=True, env=dict(os.environ, PGOPTIONS=""))
    if done.returncode != 0 or re.search(r"\b(ERROR|FATAL|PANIC):", done.stderr):
        raise SystemExit(f"counting: {done.stderr[-4000:]}")
