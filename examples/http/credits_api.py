"""The ledger over HTTP: each call is one function of the ledger, and a body has the names of its arguments.

    PGDATABASE=app PGUSER=credits_api CREDITS_API_KEYS=keys uvicorn credits_api:app

CREDITS_API_KEYS names a file with a line for each key: a role, and the SHA-256 of the key. Every statement of a request
runs as the role of its key, so PostgreSQL refuses what the key may not do. libpq's variables say where the database is.
"""

import asyncio
import hashlib
import hmac
import inspect
import logging
import os
import random
from datetime import datetime
from typing import Any, Literal, Optional
from urllib.parse import unquote

import psycopg
from fastapi import Depends, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import APIKeyHeader
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool
from pydantic import BaseModel, StrictBool, StrictStr, conint
from starlette.exceptions import HTTPException

logger = logging.getLogger("uvicorn.error")
LARGEST_BODY = 65536    # bytes
ATTEMPTS = 5            # of a call that has to be made again
POOL_SIZE = int(os.environ.get("CREDITS_API_CONNECTIONS", "10"))    # for each role

STATUS = {
    "LC001": 402, "LC002": 404, "LC003": 404, "LC004": 409, "LC005": 422, "LC006": 409, "LC007": 403, "LC008": 409,
    "LC009": 409, "LC010": 421,
    "42501": 403,                                                   # what this key may not do
    "40001": 503, "40P01": 503,                                     # still in the way after all attempts
    "25006": 503, "55P03": 503, "57014": 503, "57P01": 503, "57P02": 503, "57P03": 503,
}
LOST = {"57P01", "57P02", "57P03"}    # the server goes, or comes
STATUS_OF_CLASS = {"08": 503, "22": 422, "23": 422, "53": 503}


class Refusal(Exception):
    """What a client is told instead of an answer, as application/problem+json (RFC 9457)."""

    def __init__(self, status: int, title: str, **more: Any):
        self.status, self.title, self.more = status, title, more


def refusal_of(error: Exception) -> Refusal:
    """What a client may know of an error of the database, or of the way to it."""
    code = getattr(error, "sqlstate", None)
    if code is None:
        if isinstance(error, (psycopg.DataError, UnicodeError)):
            return Refusal(422, "the database cannot keep this text")
        if isinstance(error, psycopg.OperationalError):
            return Refusal(503, "the database does not answer")
    status = STATUS.get(code) or STATUS_OF_CLASS.get((code or "")[:2]) or 500
    if status == 500:
        logger.error("unexpected error %s", code, exc_info=error)
        return Refusal(500, "internal error", sqlstate=code)
    return Refusal(status, error.diag.message_primary or str(error), sqlstate=code,
                   detail=error.diag.message_detail, hint=error.diag.message_hint)


def problem(refusal: Refusal) -> JSONResponse:
    code = refusal.more.get("sqlstate")
    kind = f"urn:sqlstate:{code}" if code else "about:blank"
    content = {"type": kind, "title": refusal.title, "status": refusal.status}
    content.update({name: value for name, value in refusal.more.items() if value is not None})
    headers = {503: {"Retry-After": "1"}, 401: {"WWW-Authenticate": "X-API-Key"}}.get(refusal.status)
    return JSONResponse(content, refusal.status, headers, "application/problem+json")


# The keys. What a caller sends is compared with all of them, in the same time whatever it is.

def read_keys(path: str) -> list[tuple[str, bytes]]:
    with open(path, encoding="ascii") as lines:
        return [(role, bytes.fromhex(digest)) for role, digest in (line.split() for line in lines if line.strip())]


def role_of(key: Optional[str] = Depends(APIKeyHeader(name="X-API-Key", auto_error=False))) -> str:
    digest = hashlib.sha256((key or "").encode()).digest()
    found = [role for role, known in keys if hmac.compare_digest(digest, known)]
    if not found:
        raise Refusal(401, "a valid X-API-Key is needed")
    return found[0]


# The database: a pool of connections for each role, which is set once a connection, so that a call is one round trip. A
# statement is prepared when a connection meets it first.

def pool_of(role: str) -> AsyncConnectionPool:
    async def become(connection: psycopg.AsyncConnection) -> None:
        connection.prepare_threshold = 0
        await connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
        await connection.execute("SET statement_timeout = '10s'")

    return AsyncConnectionPool(
        kwargs={"autocommit": True, "row_factory": dict_row, "application_name": "credits_api", "connect_timeout": 2},
        configure=become, min_size=1, max_size=POOL_SIZE, timeout=3, reconnect_timeout=3, max_waiting=1000, open=False)


async def call(role: str, statement: str, arguments: dict) -> list[dict]:
    """Makes a call, and makes it again where that is right: every function replays, so that nothing is done twice."""
    pool = pools[role]
    for attempt in range(1, ATTEMPTS + 1):
        connection = None
        try:
            async with pool.connection() as connection:
                return await (await connection.execute(statement, arguments)).fetchall()
        except (psycopg.Error, UnicodeError) as error:
            lost = connection is not None and (connection.broken or getattr(error, "sqlstate", None) in LOST)
            again = lost or isinstance(error, (psycopg.errors.SerializationFailure, psycopg.errors.DeadlockDetected))
            if not again or attempt == ATTEMPTS:
                raise refusal_of(error) from error
        if lost:
            await pool.check()      # the server was restarted: the other connections are dead, too
        await asyncio.sleep(random.random() * 0.02 * 2 ** attempt)
    raise AssertionError


# What is sent and answered. The names are those of the functions' arguments and columns; what they may be is the
# database's to say.

# pydantic is 1 on Debian 12, 2 on 13: what follows means the same to both.
Bigint = conint(strict=True, ge=-2 ** 63, le=2 ** 63 - 1)


class Body(BaseModel, extra="forbid"):
    pass


class Charge(Body):
    org_id: StrictStr
    amount: Bigint
    campaign_id: Optional[StrictStr] = None
    idempotency_key: Optional[StrictStr] = None
    metadata: Optional[Any] = None


class Authorize(Charge):
    timeout: Optional[StrictStr] = None
    timeout_action: Optional[Literal["commit", "revert"]] = None


class Commit(Body):
    authorization_id: StrictStr
    amount_used: Optional[Bigint] = None
    final: StrictBool = True


class Revert(Body):
    authorization_id: StrictStr
    reason: Optional[StrictStr] = None


class Refund(Body):
    authorization_id: StrictStr
    idempotency_key: StrictStr
    amount: Optional[Bigint] = None
    reason: Optional[StrictStr] = None


class Authorization(BaseModel):
    authorization_id: str
    org_id: str
    campaign_id: Optional[str] = None
    status: str
    amount: int
    authorized_amount: int
    refunded_amount: int
    created_at: datetime
    expires_at: datetime
    settled_at: Optional[datetime] = None
    settled_by: Optional[str] = None
    reason: Optional[str] = None
    available: int
    replayed: bool


class Movement(BaseModel):
    org_id: str
    entry_no: Optional[int] = None
    kind: str
    amount: int
    authorization_id: Optional[str] = None
    balance_after: Optional[int] = None     # of a repetition whose entry was put away
    available: int
    created_at: datetime
    replayed: bool


class Balance(BaseModel):
    org_id: str
    balance: int
    held: int
    credit_limit: int
    available: int
    frozen: bool


class Line(BaseModel):
    entry_no: int
    kind: str
    amount: int
    balance_after: int
    authorization_id: Optional[str] = None
    campaign_id: Optional[str] = None
    settled_by: Optional[str] = None        # timeout: nobody committed it
    idempotency_key: Optional[str] = None
    reason: Optional[str] = None
    created_at: Optional[datetime] = None   # of what left a lot at its end, and the next call will write
    effective_at: Optional[datetime] = None
    metadata: Optional[Any] = None
    lots: Optional[list[list[int]]] = None


class Page(BaseModel):
    entries: list[Line]
    next_after_entry_no: Optional[int] = None


class Problem(BaseModel):
    type: str
    title: str
    status: int
    detail: Optional[str] = None
    hint: Optional[str] = None
    sqlstate: Optional[str] = None


app = FastAPI(title="credits", version="1", responses={
    "default": {"model": Problem, "description": "application/problem+json with the SQLSTATE"}})


def post(path: str, function: str, body: type, answer: type) -> None:
    names = list(inspect.signature(body).parameters)
    statement = f"SELECT * FROM {function}({', '.join(f'{name} => %({name})s' for name in names)})"

    async def endpoint(body, role: str = Depends(role_of)):
        arguments = {name: getattr(body, name) for name in names}
        if arguments.get("metadata") is not None:
            arguments["metadata"] = Jsonb(arguments["metadata"])
        return (await call(role, statement, arguments))[0]

    endpoint.__annotations__["body"] = body
    app.post(path, response_model=answer, name=function)(endpoint)


post("/credits/authorize", "credit_authorize", Authorize, Authorization)
post("/credits/charge", "credit_charge", Charge, Authorization)
post("/credits/commit", "credit_commit", Commit, Authorization)
post("/credits/revert", "credit_revert", Revert, Authorization)
post("/credits/refund", "credit_refund", Refund, Movement)


@app.get("/credits/{org_id}", response_model=Balance)
async def credit_balance(org_id: str, role: str = Depends(role_of)):
    return (await call(role, "SELECT * FROM credit_balance(%(org_id)s)", {"org_id": unquote(org_id)}))[0]


@app.get("/credits/{org_id}/statement", response_model=Page)
async def credit_statement(org_id: str, since: Optional[datetime] = None, until: Optional[datetime] = None,
                           after_entry_no: Optional[int] = Query(None, ge=0, lt=2 ** 63),
                           max_rows: int = Query(100, ge=1, le=1000), role: str = Depends(role_of)):
    """A page of the lines, oldest first. The next page begins after next_after_entry_no; it is null on the last one."""
    lines = await call(role, """
        SELECT * FROM credit_statement(%(org_id)s, since => %(since)s, until => %(until)s,
                                       after_entry_no => %(after_entry_no)s, max_rows => %(max_rows)s)
        ORDER BY entry_no""", {"org_id": unquote(org_id), "since": since, "until": until,
                               "after_entry_no": after_entry_no, "max_rows": max_rows})
    return {"entries": lines, "next_after_entry_no": lines[-1]["entry_no"] if len(lines) == max_rows else None}


@app.exception_handler(Refusal)
async def refused(request: Request, error: Refusal):
    return problem(error)


@app.exception_handler(RequestValidationError)
async def bad_input(request: Request, error: RequestValidationError):
    return problem(Refusal(422, "bad input", detail="; ".join(
        f"{'.'.join(str(part) for part in e['loc'])}: {e['msg']}" for e in error.errors()[:10])))


# A body that is no JSON at all is 400 to FastAPI.
@app.exception_handler(HTTPException)
async def bad_request(request: Request, error: HTTPException):
    return problem(Refusal(422 if error.status_code == 400 else error.status_code, str(error.detail)))


@app.on_event("startup")
async def open_pools():
    global keys, pools
    keys = read_keys(os.environ["CREDITS_API_KEYS"])
    pools = {role: pool_of(role) for role, _ in keys}
    for pool in pools.values():
        await pool.open()


@app.on_event("shutdown")
async def close_pools():
    for pool in pools.values():
        await pool.close()


class Door:
    """Lets no body in that is larger than any call needs, and leaves %2F in a path, as in acme%2Fsms, where it is."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                return
            body, more = body + message.get("body", b""), message.get("more_body", False)
            if len(body) > LARGEST_BODY:
                answer = problem(Refusal(413, f"a body has at most {LARGEST_BODY} bytes"))
                answer.headers["Connection"] = "close"
                return await answer(scope, receive, send)
        messages = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive_again():
            return messages.pop() if messages else await receive()

        scope = dict(scope, path=scope.get("raw_path", scope["path"].encode()).decode("ascii", "replace"))
        await self.app(scope, receive_again, send)


app.add_middleware(Door)
