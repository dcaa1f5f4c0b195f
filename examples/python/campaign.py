#!/usr/bin/env python3
"""Sends a campaign and pays for it, with psycopg 3: python3 campaign.py CAMPAIGN

May be started again whenever it ended, and twice at once: no mail is paid for twice.
"""

import random
import sys
import time

import psycopg

connection = None


def in_transaction(work, *arguments):
    """Runs work in a transaction, and again after what a new attempt may cure: others in the way, a lost connection.
    What the ledger refuses (class LC) or cannot read (22) stays refused however often it is said."""
    global connection
    for attempt in range(1, 6):
        try:
            if connection is None or connection.closed:
                connection = psycopg.connect()      # libpq's variables say where: PGHOST, PGDATABASE, …
            with connection.transaction():
                return work(*arguments)
        except psycopg.OperationalError as error:   # class 40 is one of these, too
            lost = connection is None or connection.broken or (error.sqlstate or "08").startswith(("08", "57P"))
            if attempt == 5 or not (lost or error.sqlstate in ("40001", "40P01")):
                raise
            if lost and connection is not None:
                connection.close()
            time.sleep(random.random() * 0.05 * 2 ** attempt)


def submit(campaign):
    """Holds the credits and writes the mails to the outbox: both, or neither."""
    org, recipients = connection.execute(
        "SELECT org_id, recipients FROM campaigns WHERE id = %s FOR UPDATE", [campaign]).fetchone()
    authorization, status = connection.execute(
        "SELECT authorization_id, status::text FROM credit_authorize(%s, %s, campaign_id => %s)",
        [org, len(recipients), campaign]).fetchone()
    if status == "authorized":      # a repetition tells what became of it: committed, or reverted
        connection.execute("UPDATE campaigns SET status = 'sending', authorization_id = %s WHERE id = %s",
                           [authorization, campaign])
        connection.execute("""INSERT INTO outbox (campaign_id, recipient) SELECT %s, unnest(%s::text[])
                              ON CONFLICT DO NOTHING""", [campaign, recipients])
    return status


def unpaid(campaign):
    connection.execute("UPDATE campaigns SET status = 'unpaid' WHERE id = %s", [campaign])


def deliver_one(campaign):
    """Takes a mail that nobody else has taken. Its id makes a good Message-ID: a crash right here sends it again."""
    row = connection.execute("""SELECT id, recipient FROM outbox WHERE campaign_id = %s AND status = 'queued'
                                ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED""", [campaign]).fetchone()
    if row is None:
        return False
    delivered = not row[1].startswith("bounce")
    connection.execute("UPDATE outbox SET status = %s WHERE id = %s", ["sent" if delivered else "bounced", row[0]])
    return True


def settle(campaign):
    """Charges what was sent, together with the campaign's end. Whoever delivered the last mail does it."""
    authorization, = connection.execute(
        "SELECT authorization_id FROM campaigns WHERE id = %s FOR UPDATE", [campaign]).fetchone()
    mails, sent, queued = connection.execute("""
        SELECT count(*), count(*) FILTER (WHERE status = 'sent'), count(*) FILTER (WHERE status = 'queued')
        FROM outbox WHERE campaign_id = %s""", [campaign]).fetchone()
    if queued > 0:
        return "others are still sending"
    connection.execute("UPDATE campaigns SET status = 'sent' WHERE id = %s", [campaign])
    available, = connection.execute("SELECT available FROM credit_commit(%s, %s)", [authorization, sent]).fetchone()
    return f"{sent} of {mails} sent, {available} credits left"


def main(campaign):
    try:
        status = in_transaction(submit, campaign)
    except psycopg.Error as error:
        if error.sqlstate != "LC001":
            raise
        in_transaction(unpaid, campaign)    # the failed transaction has used up no key: top up, start again
        return f"not sent: {error.diag.message_primary}"
    if status != "authorized":
        return f"{status} already"
    while in_transaction(deliver_one, campaign):
        pass
    return in_transaction(settle, campaign)


if __name__ == "__main__":
    print(f"{sys.argv[1]}: {main(sys.argv[1])}")
