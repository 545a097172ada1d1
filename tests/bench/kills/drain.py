"""How long the next release waits for a key whose handler the one before could not end: drained, and killed."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.kills.clients import Order, once
from tests.bench.kills.surroundings import Databases, Downstream, downstream, environ
from tests.servers.start import ZDD, free_port, starting
from tests.servers.uvicorn.harness import Server

__all__ = ["LEASE", "Waits", "handover"]

LEASE = 6.0
SLOW = "60"

WORDS = {
    "fastapi": ("uvicorn", "--port", "{port}", "--log-level", "warning", "{app}"),
    "flask": ("gunicorn", "--bind", "127.0.0.1:{port}", "--worker-class", "gthread", "--threads", "8", "{app}"),
    "django": ("gunicorn", "--bind", "127.0.0.1:{port}", "--worker-class", "gthread", "--threads", "8", "{app}"),
}


@dataclass(frozen=True)
class Waits:
    """Seconds until the next release has answered.

    Attributes:
        drained: the one before was asked to end (SIGTERM), and could not wait for the handler.
        killed: it was killed (SIGKILL): the control, which waits for the lease.
    """

    drained: float
    killed: float

    def row(self) -> str:
        """Return a line of the table."""
        return f"{self.drained * 1000:>14,.0f} ms{self.killed * 1000:>14,.0f} ms"


@contextmanager
def _release(framework: str, around: dict[str, str]) -> Iterator[Server]:
    port = free_port()
    words = [word.format(port=port, app=f"tests.bench.kills.{framework}_app:app") for word in WORDS[framework]]
    times = {"ZDD_LIFECYCLE_DRAIN_TIMEOUT": "1s", "ZDD_LIFECYCLE_LINGER": "100ms", "ZDD_LIFECYCLE_HOOKS_TIMEOUT": "5s"}
    with (
        tempfile.TemporaryDirectory() as directory,
        starting([*ZDD, "serve", *words], Path(directory), port=port, environ={**around, **times}, lag="0s") as server,
    ):
        yield server


async def handover(framework: str, found: Databases, redis: str) -> Waits:
    """Measure one framework."""
    async with downstream() as (called, port):
        around = environ(framework, found, redis, port, f"{LEASE}s")
        with _release(framework, around) as after:
            await once(after.port, "/external", Order(uuid.uuid4().hex))
            waits = []
            for number in (signal.SIGTERM, signal.SIGKILL):
                with _release(framework, around) as before:
                    key = uuid.uuid4().hex
                    await _cut_off(before, key, called, number)
                    waits.append(await _until_answered(after.port, Order(key)))
    return Waits(*waits)


async def _cut_off(before: Server, key: str, called: Downstream, number: signal.Signals) -> None:
    """Send a request that takes too long, and end its server meanwhile."""
    slow = asyncio.create_task(once(before.port, "/external", Order(key), attempts=1, x_seconds=SLOW))
    await called.heard_of[key].wait()
    if number == signal.SIGKILL:
        os.killpg(before.process.pid, number)
    else:
        before.signal(number)
    await asyncio.to_thread(before.wait, 60)
    await slow


async def _until_answered(port: int, order: Order) -> float:
    begun = time.monotonic()
    while order.told != "done":
        await once(port, "/external", order, attempts=1)
        assert order.told in ("done", "in-progress"), order.answer
        assert time.monotonic() < begun + 10 * LEASE, order.answer
        await asyncio.sleep(0.01 if order.told != "done" else 0.0)
    return time.monotonic() - begun
