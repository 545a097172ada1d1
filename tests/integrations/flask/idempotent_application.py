"""One service on two frameworks, for tests under real servers: each effect is a line in a file, however often it came.

The operations are the same ones, so that what Flask has begun FastAPI may answer.
"""

from __future__ import annotations

import asyncio
import os
import time

from fastapi import FastAPI
from flask import Flask, request

from zdd_fastapi import ZddMiddleware
from zdd_flask import Zdd
from zdd_sdk import ZeroDowntime
from zdd_sdk.idempotency import Effects, current

app = Flask(__name__)
zdd = ZeroDowntime("orders")
Zdd(app, zdd)

asgi = FastAPI()
asgi_zdd = ZeroDowntime("orders")
asgi.add_middleware(ZddMiddleware, zdd=asgi_zdd)


def act(name: str) -> None:
    """Have an effect."""
    context = current()
    assert context is not None
    line = f"{name} {context.child_key('charge')} {os.getpid()}\n"
    descriptor = os.open(os.environ["EFFECTS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, line.encode())
    os.close(descriptor)


def add(effects: Effects) -> None:
    """Add the same endpoint to both applications."""

    @app.post(f"/{effects}/<name>", endpoint=effects)
    @zdd.idempotent(operation=f"orders.{effects}", effects=effects, principal="anonymous", fingerprint=("name",))
    def create(name: str) -> dict[str, str]:
        act(name)
        _busy_until(time.monotonic() + float(request.args.get("seconds", 0)))
        return {"name": name}

    @asgi.post(f"/{effects}/{{name}}")
    @asgi_zdd.idempotent(operation=f"orders.{effects}", effects=effects, principal="anonymous", fingerprint=("name",))
    async def create_async(name: str, seconds: float = 0.0) -> dict[str, str]:
        act(name)
        await asyncio.sleep(seconds)
        return {"name": name}


def _busy_until(end: float) -> None:
    while time.monotonic() < end:
        time.sleep(0.05)


add("external")
add("unsafe")
