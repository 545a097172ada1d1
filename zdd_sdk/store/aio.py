"""The asyncio store: one pool per running loop, closed with it."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, TypeVar, cast

from zdd_sdk.store.aio_link import AsyncioNetwork
from zdd_sdk.store.call import Call
from zdd_sdk.store.core import Core
from zdd_sdk.store.shield import Shielded

__all__ = ["AsyncioStore"]

T = TypeVar("T")
_log = logging.getLogger("zdd.store")


class _LoopState:
    """What belongs to one event loop: its connections and flights, and what closes them."""

    def __init__(self, network: AsyncioNetwork) -> None:
        self.network = network
        self.flights: dict[str, asyncio.Task[Any]] = {}
        self.closer: AsyncGenerator[None, None]


class AsyncioStore:
    """Redis for coroutines; see `zdd_sdk.store.Store` for what each method promises.

    Args:
        core: target, route, breaker and limits, shared with the blocking store.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._states: dict[asyncio.AbstractEventLoop, _LoopState] = {}

    @property
    def cluster(self) -> bool:
        """Whether keys live in slots."""
        return self._core.cluster

    @property
    def available(self) -> bool:
        """``False`` while the breaker is open."""
        return self._core.breaker.closed

    async def ask(self, /, *calls: Call[Any], probe: bool = False) -> tuple[Any, ...]:
        """Send all calls in one round trip and return their results in order."""
        if not calls:
            return ()
        self._core.breaker.admit(probe=probe)
        return await self._core.ask(calls, await self._network())

    async def wait(self, call: Call[T], timeout: float) -> T:
        """Run a blocking command for up to ``timeout`` seconds on a connection of its own."""
        self._core.breaker.admit()
        return cast("T", await self._core.wait(call, timeout, await self._network()))

    def listen(self, *channels: str) -> AsyncIterator[tuple[str, bytes]]:
        """Yield ``(channel, payload)`` as published."""
        return self._core.listen(channels, self._network)

    async def run(self, function: Callable[..., T | Awaitable[T]], /, *args: Any, **kwargs: Any) -> T:
        """Call a user's function and await what it returns, if that can be awaited."""
        result = function(*args, **kwargs)
        return cast("T", await result if inspect.isawaitable(result) else result)

    def spawn(self, flow: Coroutine[Any, Any, Any], /) -> None:
        """Run a flow as a task of the running loop; its errors are logged."""
        self._keep(asyncio.get_running_loop().create_task(flow))

    async def single_flight(self, key: str, flow: Callable[[], Coroutine[Any, Any, T]], /) -> T:
        """Run ``flow`` once per loop for tasks that come with the same key at the same time.

        It runs as a task of its own: a caller that is cancelled takes nothing from the others.
        """
        flights = (await self._state()).flights
        task = flights.get(key)
        if task is None:
            task = flights[key] = asyncio.get_running_loop().create_task(flow())
            task.add_done_callback(functools.partial(_land, flights, key))
        return cast("T", await asyncio.shield(task))

    async def shield(self, flow: Coroutine[Any, Any, T], /) -> T:
        """Run ``flow`` to its end even if this caller is cancelled."""
        return await Shielded(flow, self._keep)

    async def sleep(self, seconds: float) -> None:
        """Pause this task."""
        await asyncio.sleep(seconds)

    def clock(self) -> float:
        """Monotonic seconds."""
        return time.monotonic()

    async def close(self) -> None:
        """Close every connection of the running loop; the next ask opens new ones."""
        if (state := self._states.get(asyncio.get_running_loop())) is not None:
            await state.closer.aclose()

    async def _network(self) -> AsyncioNetwork:
        return (await self._state()).network

    async def _state(self) -> _LoopState:
        loop = asyncio.get_running_loop()
        state = self._states.get(loop)
        if state is None:
            if not self._core.ready:
                # Finding Redis may start an engine, which takes longer than a loop should stand still.
                await asyncio.to_thread(lambda: self._core.target)
            state = self._states.get(loop) or await self._open(loop)
        return state

    async def _open(self, loop: asyncio.AbstractEventLoop) -> _LoopState:
        for other in [other for other in self._states if other.is_closed()]:
            # Closed without shutting down its generators: nothing can be closed on it any more.
            del self._states[other]
        state = self._states[loop] = _LoopState(self._core.build(AsyncioNetwork))
        state.closer = self._closer(loop, state)
        await anext(state.closer)
        return state

    async def _closer(self, loop: asyncio.AbstractEventLoop, state: _LoopState) -> AsyncGenerator[None, None]:
        """Left suspended, so that the loop closes it, and with it our connections, in ``shutdown_asyncgens``."""
        try:
            yield
        finally:
            self._states.pop(loop, None)
            await state.network.close()

    def _keep(self, task: asyncio.Task[Any]) -> None:
        """Hold a reference, as the loop itself keeps tasks only weakly, and log how it fails: nobody waits for it."""
        _kept.add(task)
        task.add_done_callback(_kept.discard)
        task.add_done_callback(_log_failure)


def _land(flights: dict[str, asyncio.Task[Any]], key: str, task: asyncio.Task[Any]) -> None:
    flights.pop(key, None)
    # Looking at the error keeps asyncio from reporting it as lost when every caller was cancelled.
    _ = task.cancelled() or task.exception()


_kept: set[asyncio.Task[Any]] = set()


def _log_failure(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("a background flow failed", exc_info=error)
