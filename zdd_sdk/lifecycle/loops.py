"""Awaitables from threads: on the application's event loop, or on one of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from typing import Any

__all__ = ["LoopRunner", "loop_runner", "run_alone"]

LoopRunner = Callable[[Awaitable[Any]], "Future[Any]"]
"""Runs an awaitable on the application's event loop, from another thread."""


def loop_runner() -> LoopRunner:
    """Return what runs awaitables on the loop that runs now, from any thread."""
    loop = asyncio.get_running_loop()

    def run_on_loop(awaitable: Awaitable[Any]) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(_coroutine(awaitable), loop)

    return run_on_loop


def run_alone(awaitable: Awaitable[Any]) -> Any:
    """Run an awaitable to its end on a loop of its own, in this thread."""
    return asyncio.run(_coroutine(awaitable))


def _coroutine(awaitable: Awaitable[Any]) -> Coroutine[Any, Any, Any]:
    async def wait() -> Any:
        return await awaitable

    return wait()
