"""A bare ASGI application without any of our middleware, served by the tests of the uvicorn adapter."""

from __future__ import annotations

import asyncio
import os
import sys
from time import sleep as block
from typing import Any


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer by path: ``/slow`` takes 2 s, ``/stall`` blocks the loop 0.3 s, ``/grind`` goes on, ``/boom`` raises."""
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
    elif scope["type"] == "websocket":
        await _echo(receive, send)
    else:
        await _answer(scope, receive, send)


async def _lifespan(receive: Any, send: Any) -> None:
    while True:
        kind = (await receive())["type"]
        if kind == "lifespan.shutdown" and os.environ.get("APP_HANGS_AT_SHUTDOWN"):
            await asyncio.sleep(60)
        if kind == "lifespan.shutdown":
            print("application shutdown seen", file=sys.stderr, flush=True)
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return


async def _echo(receive: Any, send: Any) -> None:
    while (message := await receive())["type"] != "websocket.disconnect":
        if message["type"] == "websocket.connect":
            await send({"type": "websocket.accept"})
        else:
            await send({"type": "websocket.send", "text": message["text"]})


def _grind(pieces: int) -> None:
    """Compute for 0.3 s in every turn of the loop, as a job does that was cut into pieces."""
    block(0.3)
    if pieces > 1:
        asyncio.get_running_loop().call_soon(_grind, pieces - 1)


async def _answer(scope: Any, receive: Any, send: Any) -> None:
    path = scope["path"]
    if path == "/stall":
        block(0.3)  # noqa: ASYNC251
    elif path == "/grind":
        _grind(6)
    while (await receive()).get("more_body"):
        pass
    if path == "/slow":
        await asyncio.sleep(2)
    elif path == "/boom":
        message = "boom"
        raise RuntimeError(message)
    body = f"{os.getpid()}".encode()
    headers = [(b"content-length", b"%d" % len(body))]
    if path == "/says-keep-alive":
        headers.append((b"Connection", b"keep-alive"))
    await send({"type": "http.response.start", "status": 404 if path == "/missing" else 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
