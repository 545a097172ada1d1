"""CPU per request with everything registered and nothing used, over bare FastAPI, in one run.

Run it with ``make bench``; it prints a table. Budget: 25 µs over bare FastAPI.
Peers in the same run: Starlette's own SessionMiddleware (a signed cookie, nothing used).
"""

from __future__ import annotations

import asyncio
import gc
import logging
import statistics
import time
from typing import Any

from fastapi import FastAPI
from starlette.middleware import Middleware

from zdd_fastapi import ZddMiddleware
from zdd_sdk import ZeroDowntime

ROUNDS = 15
REQUESTS = 2_000

SCOPE: dict[str, Any] = {
    "type": "http",
    "asgi": {"version": "3.0", "spec_version": "2.3"},
    "http_version": "1.1",
    "method": "GET",
    "scheme": "http",
    "path": "/",
    "raw_path": b"/",
    "query_string": b"",
    "root_path": "",
    "headers": [(b"host", b"localhost"), (b"accept", b"*/*"), (b"user-agent", b"bench"), (b"cookie", b"a=1; b=2")],
    "client": ("127.0.0.1", 1),
    "server": ("127.0.0.1", 80),
}


async def receive() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


async def send(message: Any) -> None:
    pass


def bare(*middleware: Middleware) -> FastAPI:
    app = FastAPI(middleware=list(middleware))

    @app.get("/")
    async def root() -> dict[str, str]:
        return {"hello": "world"}

    return app


def candidates() -> dict[str, FastAPI]:
    zdd = ZeroDowntime("bench", environment="test", secret=("s" * 32,), fleet={"enabled": False})
    found = {"bare FastAPI": bare(), "with zdd": bare(Middleware(ZddMiddleware, zdd=zdd)), "… and keys": keyed()}
    try:
        from starlette.middleware.sessions import SessionMiddleware
    except ImportError:
        return found
    return {**found, "with Starlette sessions": bare(Middleware(SessionMiddleware, secret_key="s" * 32))}


def keyed() -> FastAPI:
    """One with an idempotent endpoint beside, which nobody asks."""
    options: dict[str, Any] = {"fleet": {"enabled": False}, "idempotency": {"lease": "1m"}}
    zdd = ZeroDowntime("bench", environment="test", secret=("s" * 32,), **options)
    app = bare(Middleware(ZddMiddleware, zdd=zdd))

    @app.post("/orders")
    @zdd.idempotent(operation="orders.create", effects="external", principal="anonymous")
    async def create(order: dict[str, Any]) -> dict[str, Any]:
        return order

    return app


async def measure(app: FastAPI, requests: int) -> float:
    began = time.process_time()
    for _ in range(requests):
        await app(dict(SCOPE), receive, send)
    return (time.process_time() - began) / requests * 1e6


async def run() -> dict[str, list[float]]:
    apps = candidates()
    for app in apps.values():
        await measure(app, 200)
    figures: dict[str, list[float]] = {name: [] for name in apps}
    gc.disable()
    for _ in range(ROUNDS):
        for name, app in apps.items():
            figures[name].append(await measure(app, REQUESTS))
        gc.collect()
    return figures


def main() -> None:
    logging.disable(logging.WARNING)
    figures = asyncio.run(run())
    base = figures["bare FastAPI"]
    print(f"{'CPU µs per request':<28}{'min':>8}{'median':>8}{'over bare (median of pairs)':>30}")
    for name, values in figures.items():
        over = statistics.median(value - reference for value, reference in zip(values, base, strict=True))
        print(f"{name:<28}{min(values):>8.1f}{statistics.median(values):>8.1f}{over:>30.1f}")


if __name__ == "__main__":
    main()
