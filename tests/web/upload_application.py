"""A WSGI and an ASGI application for tests under real servers: they say what a body is."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

from fastapi import FastAPI, Request

from zdd_fastapi import ZddMiddleware
from zdd_sdk import ZeroDowntime
from zdd_sdk.http import Exchange, current_exchange
from zdd_sdk.store import finish
from zdd_sdk.web import WsgiServiceHalf

zdd = ZeroDowntime("uploads", redis_url=None, fleet={"enabled": False})
api = FastAPI()
api.add_middleware(ZddMiddleware, zdd=zdd)


def _exchange() -> Exchange:
    exchange = current_exchange()
    assert exchange is not None
    return exchange


def answer(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Read 3 bytes, ask what the body is, read the rest; the answer is both digests."""
    file, body = environ["wsgi.input"], _exchange().body
    assert body is not None
    part = file.read(3)
    content = finish(body.whole())
    said = f"{content.digest.hex()} {hashlib.sha256(part + file.read()).hexdigest()}".encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(said)))])
    return [said]


wsgi = WsgiServiceHalf(answer, zdd)


@api.post("/")
async def read_after(request: Request) -> str:
    """Ask what the body is, then read it."""
    body = _exchange().body
    assert body is not None
    content = await body.whole()
    return f"{content.digest.hex()} {hashlib.sha256(await request.body()).hexdigest()}"


@api.post("/thread")
def from_a_thread() -> str:
    """Ask what the body is, from the thread pool; nobody reads it."""
    body = _exchange().body
    assert body is not None
    digest = finish(body.whole()).digest.hex()
    return f"{digest} {digest}"
