"""What an idempotency key adds to an endpoint on loopback: latency, CPU and round trips, first run and replay.

Run it with ``python -m tests.bench.bench_idempotency_latency``. Targets: 1 ms at the median, two trips for a first run,
one for a replay; leases cost none (``tests/idempotency_faults``). The control asks one thing at a time, over redis-py's
asyncio client: SET NX, GET, SET and EXPIRE. "Quietest" is the best of the rounds, on a machine that does other things.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from redis.asyncio import Redis

from tests.bench.bench_fastapi import SCOPE
from zdd_fastapi import ZddMiddleware
from zdd_sdk import ZeroDowntime
from zdd_sdk.http.asgi import AsgiApp
from zdd_sdk.store.engine import start_engine
from zdd_sdk.testing.tap import RespTap

ROUNDS, REQUESTS = 9, 400
BODY = b'{"sku": "tea", "amount": 7}'


class Bench:
    """One application, with an endpoint in each manner."""

    def __init__(self, url: str, **options: Any) -> None:
        self.zdd = ZeroDowntime(
            "bench", environment="test", redis_url=url, secret=("s" * 32,),
            store={"operation_timeout": "5s", "total_timeout": "10s"}, **{"fleet": {"role": "test"}, **options},
        )  # fmt: skip
        self.app = FastAPI()
        self.app.add_middleware(ZddMiddleware, zdd=self.zdd)
        self.plain = FastAPI()
        self._redis = Redis.from_url(url)
        self.plain.post("/naive")(self._naive)

        async def bare(order: dict[str, Any]) -> dict[str, Any]:
            return order

        async def kept(order: dict[str, Any]) -> dict[str, Any]:
            return order

        self.plain.post("/bare")(bare)
        for effects in ("external", "unsafe"):
            decorated = self.zdd.idempotent(operation=effects, effects=effects, principal="anonymous")(_copy(kept))
            self.app.post(f"/{effects}")(decorated)

    async def _naive(self, order: dict[str, Any]) -> dict[str, Any]:
        key = os.urandom(16)
        await self._redis.set(key, b"P", nx=True, ex=60)
        await self._redis.get(key)
        await self._redis.set(key, BODY)
        await self._redis.expire(key, 86_400)
        return order


def _copy(function: Callable[..., Any]) -> Callable[..., Any]:
    async def kept(order: dict[str, Any]) -> Any:
        return await function(order)

    return kept


async def send(app: AsgiApp, path: str, key: bytes | None) -> float:
    """Send one request; returns the milliseconds until its last byte."""
    headers = [*SCOPE["headers"], (b"content-type", b"application/json"), (b"content-length", b"%d" % len(BODY))]
    if key is not None:
        headers.append((b"idempotency-key", key))
    scope = {**SCOPE, "method": "POST", "path": path, "raw_path": path.encode(), "headers": headers}
    statuses = []
    ended = 0.0

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": BODY, "more_body": False}

    async def take(message: Any) -> None:
        nonlocal ended
        if message["type"] == "http.response.start":
            statuses.append(message["status"])
        else:
            ended = time.perf_counter()

    began = time.perf_counter()
    await app(scope, receive, take)
    assert statuses == [200], statuses
    return (ended - began) * 1e3


async def measure(bench: Bench, manner: str, requests: int = REQUESTS) -> tuple[float, float]:
    """Return median milliseconds and CPU µs per request of one round."""
    path, _, how = manner.partition(" ")
    app = bench.app if how else bench.plain
    replayed = b"replayed" if how == "replay" else None
    began = time.process_time()
    took = []
    for _ in range(requests):
        key = None if app is bench.plain else replayed or os.urandom(16).hex().encode()
        took.append(await send(app, f"/{path}", key))
    return statistics.median(took), (time.process_time() - began) / requests * 1e6


MANNERS = ("bare", "external first", "external replay", "unsafe first", "unsafe replay", "naive")


async def rounds(bench: Bench) -> dict[str, list[tuple[float, float]]]:
    for manner in MANNERS:
        await measure(bench, manner)
    figures: dict[str, list[tuple[float, float]]] = {manner: [] for manner in MANNERS}
    gc.disable()
    for _ in range(ROUNDS):
        for manner in MANNERS:
            figures[manner].append(await measure(bench, manner))
        gc.collect()
    return figures


async def trips(bench: Bench, tap: RespTap, manner: str) -> float:
    """Round trips of one request, counted on the wire."""
    await measure(bench, manner, 5)
    tap.reset()
    await measure(bench, manner, 20)
    return tap.trips / 20


def main() -> None:
    logging.disable(logging.WARNING)
    with start_engine("real") as engine:
        figures = asyncio.run(rounds(Bench(engine.url)))
        with RespTap(engine.url) as tap:
            counted = {manner: asyncio.run(trips(Bench(tap.url), tap, manner)) for manner in MANNERS}
    bare = figures["bare"]
    print(f"{'':<18}{'p50 ms':>8}{'added':>8}{'quietest':>10}{'CPU µs':>9}{'added':>8}{'quietest':>10}{'trips':>7}")
    for manner, values in figures.items():
        words = [f"{manner:<18}"]
        for column, places, width in ((0, 2, 8), (1, 0, 9)):
            over = [one[column] - other[column] for one, other in zip(values, bare, strict=True)]
            words += [f"{statistics.median(one[column] for one in values):>{width}.{places}f}"]
            words += [f"{statistics.median(over):>8.{places}f}", f"{min(over):>10.{places}f}"]
        print("".join(words) + f"{counted[manner]:>7.0f}")


if __name__ == "__main__":
    main()
