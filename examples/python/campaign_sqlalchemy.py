#!/usr/bin/env python3
"""Sends a campaign and pays for it, with SQLAlchemy (1.4 or 2, on psycopg2): python3 campaign_sqlalchemy.py CAMPAIGN

The same as campaign.py, in a session of the ORM. Functions of the ledger are called in FROM, as table_valued().
"""

import random
import sys
import time

from sqlalchemy import (ARRAY, BigInteger, Column, ForeignKey, Identity, Text, UniqueConstraint, cast, create_engine,
                        func, select, update)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, declarative_base

engine = create_engine("postgresql+psycopg2://", pool_pre_ping=True)    # libpq's variables say where: PGHOST, …
Base = declarative_base()


class Campaign(Base):
    __tablename__ = "campaigns"
    id = Column(Text, primary_key=True)
    org_id = Column(Text, nullable=False)
    recipients = Column(ARRAY(Text), nullable=False)
    status = Column(Text, nullable=False)
    authorization_id = Column(Text)


class Mail(Base):
    __tablename__ = "outbox"
    __table_args__ = (UniqueConstraint("campaign_id", "recipient"),)
    id = Column(BigInteger, Identity(always=True), primary_key=True)
    campaign_id = Column(ForeignKey(Campaign.id), nullable=False)
    recipient = Column(Text, nullable=False)
    status = Column(Text, nullable=False, server_default="queued")


def in_transaction(work, *arguments):
    """Runs work in a transaction, and again after what a new attempt may cure."""
    for attempt in range(1, 6):
        try:
            with Session(engine) as session, session.begin():
                return work(session, *arguments)
        except DBAPIError as error:
            again = error.connection_invalidated or error.orig.pgcode in ("40001", "40P01", "57P01", "57P02", "57P03")
            if attempt == 5 or not again:
                raise
            time.sleep(random.random() * 0.05 * 2 ** attempt)


def submit(session, key):
    campaign = session.get(Campaign, key, with_for_update=True)
    call = func.credit_authorize(campaign.org_id, len(campaign.recipients), key)
    call = call.table_valued("authorization_id", "status")
    authorization, status = session.execute(select(call.c.authorization_id, cast(call.c.status, Text))).one()
    if status == "authorized":      # a repetition tells what became of it: committed, or reverted
        campaign.status, campaign.authorization_id = "sending", authorization
        session.execute(insert(Mail).on_conflict_do_nothing(),
                        [{"campaign_id": key, "recipient": recipient} for recipient in campaign.recipients])
    return status


def deliver_one(session, key):
    mail = session.execute(select(Mail).filter_by(campaign_id=key, status="queued").order_by(Mail.id).limit(1)
                           .with_for_update(skip_locked=True)).scalar()
    if mail is not None:
        mail.status = "bounced" if mail.recipient.startswith("bounce") else "sent"
    return mail is not None


def settle(session, key):
    campaign = session.get(Campaign, key, with_for_update=True)
    statuses = session.execute(select(Mail.status).filter_by(campaign_id=key)).scalars().all()
    if "queued" in statuses:
        return "others are still sending"
    campaign.status, sent = "sent", statuses.count("sent")
    session.flush()                 # the account is locked until the transaction ends: call the ledger last
    call = func.credit_commit(campaign.authorization_id, sent).table_valued("available")
    return f"{sent} of {len(statuses)} sent, {session.execute(select(call.c.available)).scalar()} credits left"


def main(key):
    try:
        status = in_transaction(submit, key)
    except DBAPIError as error:
        if error.orig.pgcode != "LC001":
            raise
        in_transaction(lambda session: session.execute(update(Campaign).filter_by(id=key).values(status="unpaid")))
        return f"not sent: {error.orig.diag.message_primary}"
    if status != "authorized":
        return f"{status} already"
    while in_transaction(deliver_one, key):
        pass
    return in_transaction(settle, key)


if __name__ == "__main__":
    print(f"{sys.argv[1]}: {main(sys.argv[1])}")
