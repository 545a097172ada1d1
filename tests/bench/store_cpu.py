"""CPU time of one ask against redis-py's own client, in the same run: ``python -m tests.bench.store_cpu``.

Each row asks one GET and one script (``INCR``) in one round trip, first with redis-py's pipeline as it comes and
then with the store. CPU time of this process only; nothing is gated on it, because machines differ: read the ratio.
"""

from __future__ import annotations

import asyncio
import hashlib
import statistics
import time
from collections.abc import Callable, Coroutine
from typing import Any

from zdd_sdk.settings import StoreSettings
from zdd_sdk.store import Call, Keys, Script, finish
from zdd_sdk.store.connect import Stores
from zdd_sdk.store.engine import Engine, start_engine

__all__ = ["main", "measure"]

SOURCE = "#!lua\nreturn redis.call('INCR', KEYS[1])"
SCRIPT = Script("count", SOURCE, hashlib.sha1(SOURCE.encode(), usedforsecurity=False).hexdigest())
CALLS: tuple[Call[Any], Call[Any]] = (
    Call(lambda reply: reply, ("GET", "{k}"), keys=("{k}",)),
    Call(lambda reply: reply, script=SCRIPT, keys=("{n}",)),
)


def _blocking(ask: Callable[[], Any], asks: int) -> float:
    """CPU microseconds per call."""
    began = time.process_time()
    for _ in range(asks):
        ask()
    return (time.process_time() - began) / asks * 1e6


async def _asyncio(ask: Callable[[], Coroutine[Any, Any, Any]], asks: int) -> float:
    began = time.process_time()
    for _ in range(asks):
        await ask()
    return (time.process_time() - began) / asks * 1e6


def _blocking_pair(engine: Engine, stores: Stores, asks: int) -> tuple[float, float]:
    import redis

    client = redis.Redis(port=engine.port)
    sha = client.script_load(SOURCE)

    def theirs() -> Any:
        with client.pipeline(transaction=False) as pipeline:
            return pipeline.get("{k}").evalsha(sha, 1, "{n}").execute()

    pair = _blocking(theirs, asks), _blocking(lambda: finish(stores.blocking.ask(*CALLS)), asks)
    client.close()
    return pair


async def _asyncio_pair(engine: Engine, stores: Stores, asks: int) -> tuple[float, float]:
    import redis.asyncio as redis

    client = redis.Redis(port=engine.port)
    sha = await client.script_load(SOURCE)

    async def theirs() -> Any:
        async with client.pipeline(transaction=False) as pipeline:
            return await pipeline.get("{k}").evalsha(sha, 1, "{n}").execute()

    pair = await _asyncio(theirs, asks), await _asyncio(lambda: stores.aio.ask(*CALLS), asks)
    await client.aclose()
    return pair


def measure(asks: int = 2000, rounds: int = 5) -> dict[str, tuple[float, float]]:
    """Median CPU microseconds per ask, redis-py's and ours, by store."""
    results: dict[str, list[tuple[float, float]]] = {"blocking": [], "asyncio": []}
    with start_engine("auto") as engine:
        stores = Stores(StoreSettings(redis_url=engine.url, total_timeout=5.0, operation_timeout=5.0), Keys("b", "dev"))
        for _ in range(rounds):
            results["blocking"].append(_blocking_pair(engine, stores, asks))
            results["asyncio"].append(asyncio.run(_asyncio_pair(engine, stores, asks)))
        stores.close()
    return {
        name: (statistics.median(theirs for theirs, _ in pairs), statistics.median(ours for _, ours in pairs))
        for name, pairs in results.items()
    }


def main() -> None:
    """Print the table."""
    print("| store | redis-py pipeline | zdd-sdk store | ratio |")
    print("| --- | --- | --- | --- |")
    for name, (theirs, ours) in measure().items():
        print(f"| {name} | {theirs:.0f} us | {ours:.0f} us | {ours / theirs:.2f} |")


if __name__ == "__main__":
    main()
