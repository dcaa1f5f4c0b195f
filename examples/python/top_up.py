#!/usr/bin/env python3
"""Buys credits for organisations that run low, with psycopg 3. As many may run as there are servers: each alert buys
once.

A notification only says that there is something to look at. What is to be done is in the table, so one that was missed
is made up for at the next look, and the alert's id is the key that both the payment and the grant are made with.
"""

import time

import psycopg

PACKAGE = 1000

LOW = """SELECT alert_id::text, org_id FROM credit_alert
         WHERE kind = 'low_balance' AND closed_at IS NULL ORDER BY opened_at, org_id"""


def buy(connection, alert, org):
    key = f"top-up:{alert}"
    # Here the card is charged, with the same key for the payment provider.
    replayed, balance = connection.execute(
        "SELECT replayed, balance_after FROM credit_grant(%s, %s, %s, reason => 'top-up')",
        [org, PACKAGE, key]).fetchone()
    print(f"{org}: {'was topped up' if replayed else f'bought {PACKAGE}'}, balance {balance}", flush=True)


def watch():
    with psycopg.connect(autocommit=True) as connection:
        connection.execute("LISTEN credit_ledger_alert")    # first listen, then look: nothing falls in between
        while True:
            for alert, org in connection.execute(LOW).fetchall():
                buy(connection, alert, org)
            for _ in connection.notifies():     # of what came together, one is enough
                break


while True:
    try:
        watch()
    except psycopg.OperationalError as error:
        print(f"again in a second: {error}", flush=True)
        time.sleep(1)
