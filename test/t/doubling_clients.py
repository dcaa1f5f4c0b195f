"""Clients of 302_doubling.pl. Each makes calls of all kinds for organisations of its own and for one that all share, through a
router, and repeats what was not answered until it is. It keeps account of what the answers say, and prints at the end what
every organisation must have: org_id, balance, held; and as org_id "-" the longest time that an answer took, in milliseconds.

    doubling_clients.py --clients N --stop FILE --progress FILE CONNECTION

They end when FILE is there.
"""

import argparse
import collections
import os
import random
import sys
import threading
import time

import psycopg2

DEADLINE = 60  # seconds for one answer
SHARED = "shared"
FINAL = {"LC001", "LC006", "LC009"}  # refused for good, and nothing was done
LATER = "LC010"  # an item of a list of which nothing was done, since its organisation had just left the shard


class Client:
    def __init__(self, number, connection_string):
        self.number = number
        self.connection_string = connection_string
        self.connection = None
        self.random = random.Random(number)
        self.balance = collections.Counter()
        self.held = collections.Counter()
        self.open = []  # (authorization, organisation, amount)
        self.lots = []  # (organisation, lot_no)
        self.calls = 0
        self.longest = 0

    def ask(self, statement, *arguments):
        """The rows that answer a call, however often it has to be made; None if it is refused."""
        began = time.monotonic()
        while True:
            try:
                if self.connection is None:
                    self.connection = psycopg2.connect(self.connection_string)
                    self.connection.autocommit = True
                with self.connection.cursor() as cursor:
                    cursor.execute(statement, arguments)
                    rows = cursor.fetchall()
                if not any(LATER in row for row in rows):
                    break
            except psycopg2.Error as error:
                if error.pgcode in FINAL:
                    rows = None
                    break
                if self.connection and self.connection.closed:
                    self.connection = None
                reason = error
            else:
                reason = LATER
            if time.monotonic() > began + DEADLINE:
                raise SystemExit(f"client {self.number}: no answer to {statement}: {reason}")
            time.sleep(0.02)
        self.longest = max(self.longest, time.monotonic() - began)
        self.calls += 1
        # What was answered may be asked for again.
        if self.random.random() < 0.1 and rows is not None and self.calls % 2:
            self.ask(statement, *arguments)
        return rows

    def organisations(self):
        return [f"org-{self.number}-{n}" for n in range(8)]

    def organisation(self):
        return self.random.choice([SHARED] + self.organisations())

    def key(self):
        return f"{self.number}-{self.calls}-{self.random.random()}"

    def grant(self):
        org, amount = self.organisation(), self.random.randint(1, 100)
        self.ask("SELECT FROM credit_grant(%s, %s, %s)", org, amount, self.key())
        self.balance[org] += amount

    def grant_lot(self):
        org, amount = self.organisation(), self.random.randint(1, 100)
        rows = self.ask("SELECT entry_no FROM credit_grant(%s, %s, %s, expires_at => '2100-01-01', priority => %s)",
                        org, amount, self.key(), self.random.randint(0, 3))
        self.balance[org] += amount
        self.lots.append((org, rows[0][0]))

    def configure_lot(self):
        if self.lots:
            org, lot_no = self.random.choice(self.lots)
            self.ask("SELECT FROM credit_lot_configure(%s, %s, expires_at => '2099-01-01', priority => 4)", org, lot_no)

    def void(self):
        """A lot of an organisation that holds nothing, of which one or all of it was charged before."""
        org = f"void-{self.number}"
        lot_no = self.ask("SELECT entry_no FROM credit_grant(%s, 5, %s, expires_at => '2100-01-01')", org, self.key())[0][0]
        used = self.random.choice([1, 5])
        self.ask("SELECT FROM credit_charge(%s, %s, idempotency_key => %s)", org, used, self.key())
        self.balance[org] += 5 - used
        rows = self.ask("SELECT amount FROM credit_void(%s, %s, 'test')", org, lot_no)
        self.balance[org] += rows[0][0] if rows else 0

    def configure_account(self):
        org = self.random.choice(self.organisations())
        for frozen in True, False:
            rows = self.ask("SELECT frozen, low_balance_threshold FROM credit_account_configure(%s, frozen => %s, low_balance_threshold => 5)",
                            org, frozen)
            if rows != [(frozen, 5)]:
                raise SystemExit(f"client {self.number}: {org} was configured to {rows}")

    def look(self):
        """What was answered is there, whoever answers now."""
        org = self.random.choice(self.organisations())
        expected = (self.balance[org], sum(amount for _, of, amount in self.open if of == org))
        rows = self.ask("SELECT balance, held FROM credit_balance(%s)", org)
        if rows != [expected]:
            raise SystemExit(f"client {self.number}: {org} has {rows}, and should have {expected}")

    def adjust(self):
        org = self.organisation()
        if self.ask("SELECT org_id FROM credit_adjust(%s, -1, %s, 'test')", org, self.key()):
            self.balance[org] -= 1

    def authorize(self):
        org, amount = self.organisation(), self.random.randint(2, 20)
        rows = self.ask("SELECT authorization_id FROM credit_authorize(%s, %s, idempotency_key => %s, timeout => '1 hour')",
                        org, amount, self.key())
        if rows:
            self.held[org] += amount
            self.open.append((rows[0][0], org, amount))

    def authorize_many(self):
        orgs = [self.organisation() for _ in range(5)]
        rows = self.ask("SELECT ord, authorization_id, sqlstate FROM credit_authorize_many(%s, %s, idempotency_keys => %s, "
                        "timeout => '1 hour', skip_refused => true)", orgs, [3] * 5, [f"{self.key()}-{n}" for n in range(5)])
        for ord, authorization, refused in rows:
            if refused is None:
                self.held[orgs[ord - 1]] += 3
                self.open.append((authorization, orgs[ord - 1], 3))

    def settle(self):
        if not self.open:
            return
        authorization, org, amount = self.open.pop(self.random.randrange(len(self.open)))
        choice = self.random.randrange(5)
        if choice == 0:
            self.ask("SELECT FROM credit_revert(%s)", authorization)
            self.held[org] -= amount
        elif choice == 1:
            self.ask("SELECT FROM credit_commit(%s, 1, final => false)", authorization)
            self.ask("SELECT FROM credit_extend(%s, '2 hours')", authorization)
            self.balance[org] -= 1
            self.ask("SELECT FROM credit_revert(%s)", authorization)
            self.held[org] -= amount
        else:
            used = self.random.randint(1, amount)
            self.ask("SELECT FROM credit_commit(%s, %s)", authorization, used)
            self.held[org] -= amount
            self.balance[org] -= used
            if choice == 2 and self.ask("SELECT org_id FROM credit_refund(%s, %s, 1)", authorization, self.key()):
                self.balance[org] += 1
            if choice == 3 and self.ask("SELECT org_id FROM credit_correct(%s, %s, 'test')", authorization, 1):
                self.balance[org] += used - 1

    def commit_many(self):
        batch, self.open = self.open[:4], self.open[4:]
        if batch:
            self.ask("SELECT FROM credit_commit_many(%s)", [authorization for authorization, _, _ in batch])
        for _, org, amount in batch:
            self.held[org] -= amount
            self.balance[org] -= amount

    def revert_many(self):
        batch, self.open = self.open[:3], self.open[3:]
        if batch:
            self.ask("SELECT ord, sqlstate FROM credit_revert_many(%s, skip_refused => %s)",
                     [authorization for authorization, _, _ in batch], self.random.random() < 0.5)
        for _, org, amount in batch:
            self.held[org] -= amount

    def charge(self):
        org = self.organisation()
        if self.ask("SELECT org_id FROM credit_charge(%s, 2, idempotency_key => %s)", org, self.key()):
            self.balance[org] -= 2

    def charge_many(self):
        orgs = [self.organisation() for _ in range(5)] + ["nobody"]
        rows = self.ask("SELECT ord, sqlstate FROM credit_charge_many(%s, %s, idempotency_keys => %s, skip_refused => true)",
                        orgs, [2] * 6, [f"{self.key()}-{n}" for n in range(6)])
        for ord, refused in rows:
            if refused is None:
                self.balance[orgs[ord - 1]] -= 2

    def work(self, stop):
        for org in [SHARED] + self.organisations():
            self.ask("SELECT FROM credit_grant(%s, 10000, %s)", org, self.key())
            self.balance[org] += 10000
        verbs = [self.grant, self.grant_lot, self.configure_lot, self.void, self.configure_account, self.look, self.adjust,
                 self.authorize, self.authorize_many, self.settle, self.settle, self.commit_many, self.revert_many,
                 self.charge, self.charge_many]
        while not os.path.exists(stop):
            self.random.choice(verbs)()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--clients", type=int, required=True)
    parser.add_argument("--stop", required=True)
    parser.add_argument("--progress", required=True)
    parser.add_argument("connection")
    parsed = parser.parse_args()
    clients = [Client(number, parsed.connection) for number in range(parsed.clients)]
    failed = []

    def run(client):
        try:
            client.work(parsed.stop)
        except BaseException as error:
            failed.append(error)
            print(error, file=sys.stderr, flush=True)
            raise

    threads = [threading.Thread(target=run, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        with open(parsed.progress + ".new", "w") as file:
            file.write(str(sum(client.calls for client in clients)))
        os.rename(parsed.progress + ".new", parsed.progress)
        time.sleep(0.1)
    balance, held = collections.Counter(), collections.Counter()
    for client in clients:
        balance.update(client.balance)
        held.update(client.held)
    for org in balance:
        print(org, balance[org], held[org], sep="\t")
    print("-", int(1000 * max(client.longest for client in clients)), sum(client.calls for client in clients), sep="\t")
    sys.exit(1 if failed else 0)


main()
