"""Clients of 013_failover.pl. Each authorizes and commits, again and again, on one of two organisations; what was not answered
it repeats until it is, through whatever happens to the server. Of every third authorization it leaves the settling to the
timeout, and every fifth call it repeats although it was answered. Answers are lines of standard output, for COPY.

    failover_clients.py --clients N --stop FILE --prepared by-client|by-pool CONNECTION

They end when FILE is there. Statements are prepared by the client, in the protocol; or the pool has prepared "hold" and
"settle", in SQL.
"""

import argparse
import os
import sys
import threading
import time

import psycopg

DEADLINE = 60  # seconds for one answer
STATEMENTS = {
    "by-client": {
        "hold": "SELECT authorization_id, replayed FROM credit_authorize(%s, 10, idempotency_key => %s, timeout => %s)",
        "settle": "SELECT authorization_id, replayed FROM credit_commit(%s, 7)",
    },
    "by-pool": {"hold": "EXECUTE hold (%s, 10, %s, %s)", "settle": "EXECUTE settle (%s, 7)"},
}
lock = threading.Lock()


class Client:
    def __init__(self, number, connection_string, prepared):
        self.number = number
        self.connection_string = connection_string
        self.statements = STATEMENTS[prepared]
        # EXECUTE takes no parameters of the protocol.
        self.options = {"prepare_threshold": 0} if prepared == "by-client" else {"cursor_factory": psycopg.ClientCursor}
        self.connection = None

    def ask(self, statement, *arguments):
        """The row that answers a call, however often it has to be made."""
        until = time.monotonic() + DEADLINE
        while True:
            try:
                if self.connection is None:
                    # Else text is bytes, where initdb chose SQL_ASCII.
                    self.connection = psycopg.connect(self.connection_string, client_encoding="UTF8", autocommit=True,
                                                      **self.options)
                return self.connection.execute(self.statements[statement], arguments).fetchone()
            except psycopg.OperationalError as error:
                if time.monotonic() > until:
                    raise SystemExit(f"client {self.number}: no answer: {error}") from error
                if self.connection is not None:
                    self.connection.close()
                self.connection = None
                time.sleep(0.02)

    def tell(self, operation, key, answer):
        with lock:
            print(self.number, operation, key, *(str(a) for a in answer), "", sep="\t", flush=True)

    def work(self, stop):
        n = 0
        while not os.path.exists(stop):
            n += 1
            key = f"{self.number}-{n}"
            organisation = "hot" if self.number % 2 else "cold"
            for _ in range(2 if n % 5 == 0 else 1):
                held = self.ask("hold", organisation, key, "200 ms" if n % 3 == 0 else "1 hour")
                self.tell("authorize", key, held)
            if n % 3 != 0:
                for _ in range(2 if n % 5 == 1 else 1):
                    self.tell("commit", key, self.ask("settle", held[0]))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--clients", type=int, required=True)
    parser.add_argument("--stop", required=True)
    parser.add_argument("--prepared", choices=STATEMENTS, required=True)
    parser.add_argument("connection")
    parsed = parser.parse_args()
    failed = []

    def run(client):
        try:
            client.work(parsed.stop)
        except BaseException as error:
            failed.append(error)
            print(error, file=sys.stderr, flush=True)
            raise

    clients = [Client(number, parsed.connection, parsed.prepared) for number in range(1, parsed.clients + 1)]
    threads = [threading.Thread(target=run, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.exit(1 if failed else 0)


main()
