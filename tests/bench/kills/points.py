"""Crash points: where a run stops, and waits for the others of its wave to be killed with it.

A request says where in its header ``X-Crash: POINT/WAVE/SIZE``. Whoever gets there waits; when as many are there as the
wave has, the process kills itself (SIGKILL), so that all of them die at that very point.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from zdd_sdk.http import Exchange, current_exchange
from zdd_sdk.idempotency.begin import Claimer
from zdd_sdk.idempotency.core import Idempotency
from zdd_sdk.store import may_suspend

__all__ = ["HEADER", "POINTS", "RANDOM", "arm", "reach", "waits_at"]

HEADER = "x-crash"
RANDOM = "random"
POINTS = ("before", "claimed", "doing", "done", "kept", "told")
"""Before the claim (T1); after it; in the transaction, or the call downstream in flight; the effect is there (``db``:
committed); its answer is kept in the guard row, if there is one, and Redis knows of nothing; Redis knows (T8), and no
byte of the answer has left."""

_FOREVER = 3600.0

_arrived: Counter[str] = Counter()
_counting = threading.Lock()


def waits_at(said: str | None, point: str) -> bool:
    """Whether a request with this header waits here; the last of its wave to do so ends the process."""
    wanted, _, wave = (said or "").partition("/")
    if not point or wanted != point:
        return False
    with _counting:
        _arrived[wave] += 1
        if _arrived[wave] >= int(wave.partition("/")[2]):
            os.kill(os.getpid(), signal.SIGKILL)
    return True


async def reach(point: str, exchange: Exchange | None = None) -> None:
    """Get to a point, on a loop or (with `finish`) in a thread."""
    exchange = exchange or current_exchange()
    if exchange is not None and waits_at(exchange.header(HEADER), point):
        await asyncio.sleep(_FOREVER) if may_suspend() else time.sleep(_FOREVER)  # noqa: ASYNC251 - not on a loop


def arm() -> None:
    """Put the points into this process that are ours; ``doing`` is the application's."""
    _around(Claimer, "begin", before="before")
    _around(Claimer, "_claim", after="claimed")
    attend, left = Idempotency.attend, Idempotency.left

    def attending(self: Idempotency, exchange: Exchange, claim: Any) -> None:
        attend(self, exchange, claim)
        keep = exchange._before_leave

        async def stopping() -> None:
            await reach("done", exchange)
            if keep is not None:
                await keep()
            await reach("kept", exchange)

        exchange.before_leave(stopping)

    def leaving(self: Idempotency, exchange: Exchange, results: Any) -> None:
        if waits_at(exchange.header(HEADER), "told"):
            exchange.hold() if _on_loop() else time.sleep(_FOREVER)
        left(self, exchange, results)

    Idempotency.attend, Idempotency.left = attending, leaving  # type: ignore[method-assign]


def _around(owner: type, name: str, *, before: str = "", after: str = "") -> None:
    original: Callable[..., Any] = getattr(owner, name)

    async def stopping(*arguments: Any) -> Any:
        await reach(before)
        result = await original(*arguments)
        await reach(after)
        return result

    setattr(owner, name, stopping)


def _on_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
