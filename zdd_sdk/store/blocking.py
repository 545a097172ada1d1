"""The blocking store: coroutines that never suspend, so that `zdd_sdk.store.finish` runs a flow to its end."""

from __future__ import annotations

import inspect
import logging
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar, cast

from zdd_sdk.store.call import Call
from zdd_sdk.store.core import Core
from zdd_sdk.store.forklock import ForkLock
from zdd_sdk.store.protocol import finish

if TYPE_CHECKING:
    from zdd_sdk.store.blocking_link import BlockingNetwork

__all__ = ["BlockingStore"]

T = TypeVar("T")
_log = logging.getLogger("zdd.store")


class BlockingStore:
    """Redis for threads; see `zdd_sdk.store.Store` for what each method promises.

    Args:
        core: target, route, breaker and limits, shared with the asyncio store.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._flights: dict[str, tuple[int, Future[Any]]] = {}
        self._lock = ForkLock(self._flights.clear)

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
        return await self._core.ask(calls, self._core.blocking_network())

    async def wait(self, call: Call[T], timeout: float) -> T:
        """Run a blocking command for up to ``timeout`` seconds on a connection of its own."""
        self._core.breaker.admit()
        return cast("T", await self._core.wait(call, timeout, self._core.blocking_network()))

    def listen(self, *channels: str) -> AsyncIterator[tuple[str, bytes]]:
        """Yield ``(channel, payload)`` as published."""
        return self._core.listen(channels, self._network)

    async def run(self, function: Callable[..., T | Awaitable[T]], /, *args: Any, **kwargs: Any) -> T:
        """Call a user's function.

        Raises:
            TypeError: it returned an awaitable, which nothing here could await.
        """
        result = function(*args, **kwargs)
        if inspect.isawaitable(result):
            if inspect.iscoroutine(result):
                result.close()
            message = f"{getattr(function, '__name__', function)!s} is async: call it through the object's .aio twin"
            raise TypeError(message)
        return result

    def spawn(self, flow: Coroutine[Any, Any, Any], /) -> None:
        """Run a flow at once; its errors are logged, not raised."""
        try:
            finish(flow)
        except Exception:  # noqa: BLE001 - nobody waits for a background flow, so its error can only be logged
            _log.exception("a background flow failed")

    async def single_flight(self, key: str, flow: Callable[[], Coroutine[Any, Any, T]], /) -> T:
        """Run ``flow`` once per process for threads that come with the same key at the same time."""
        me = threading.get_ident()
        with self._lock:
            leader, future = self._flights.get(key, (me, Future[Any]()))
            if key not in self._flights:
                self._flights[key] = (me, future)
            elif leader == me:
                future = Future()  # a flow that asks for its own key would wait for itself
            else:
                leader = 0
        if not leader:
            return cast("T", future.result())
        return await self._lead(key, future, flow)

    async def _network(self) -> BlockingNetwork:
        return self._core.blocking_network()

    async def _lead(self, key: str, future: Future[Any], flow: Callable[[], Coroutine[Any, Any, T]]) -> T:
        try:
            result = await flow()
        except BaseException as error:
            self._land(key, future)
            future.set_exception(error)
            raise
        self._land(key, future)
        future.set_result(result)
        return result

    def _land(self, key: str, future: Future[Any]) -> None:
        with self._lock:
            if self._flights.get(key, (0, None))[1] is future:
                del self._flights[key]

    async def shield(self, flow: Coroutine[Any, Any, T], /) -> T:
        """Run ``flow``: nobody can cancel a thread."""
        return await flow

    async def sleep(self, seconds: float) -> None:
        """Pause this thread."""
        time.sleep(seconds)  # noqa: ASYNC251 - no event loop here

    def clock(self) -> float:
        """Monotonic seconds."""
        return time.monotonic()

    async def close(self) -> None:
        """Close every connection of this process; the next ask opens new ones."""
        self._core.close_blocking()
