"""`Store`: Redis as the flows see it, and `finish`, which runs a flow without an event loop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar, overload

from zdd_sdk.store.call import Call

__all__ = ["Store", "finish", "may_suspend"]

T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
E = TypeVar("E")
F = TypeVar("F")


class Store(Protocol):
    """One Redis, bounded in time. Flows are ``async def`` over this protocol, written once.

    Two implementations: `zdd_sdk.store.aio.AsyncioStore` (one pool per running loop) and
    `zdd_sdk.store.blocking.BlockingStore`, whose coroutines never suspend, so that `finish` runs
    a flow to its end with one ``send(None)``.
    """

    @property
    def cluster(self) -> bool:
        """Whether keys live in slots, so that one trip is one parallel wave over the nodes."""
        ...

    @property
    def available(self) -> bool:
        """``False`` while the breaker is open: an ordinary `ask` would raise at once."""
        ...

    @overload
    async def ask(self, a: Call[A], /, *, probe: bool = False) -> tuple[A]: ...
    @overload
    async def ask(self, a: Call[A], b: Call[B], /, *, probe: bool = False) -> tuple[A, B]: ...
    @overload
    async def ask(self, a: Call[A], b: Call[B], c: Call[C], /, *, probe: bool = False) -> tuple[A, B, C]: ...
    @overload
    async def ask(
        self, a: Call[A], b: Call[B], c: Call[C], d: Call[D], /, *, probe: bool = False
    ) -> tuple[A, B, C, D]: ...
    @overload
    async def ask(
        self, a: Call[A], b: Call[B], c: Call[C], d: Call[D], e: Call[E], /, *, probe: bool = False
    ) -> tuple[A, B, C, D, E]: ...
    @overload
    async def ask(
        self, a: Call[A], b: Call[B], c: Call[C], d: Call[D], e: Call[E], f: Call[F], /, *, probe: bool = False
    ) -> tuple[A, B, C, D, E, F]: ...
    @overload
    async def ask(self, /, *calls: Call[Any], probe: bool = False) -> tuple[Any, ...]: ...
    async def ask(self, /, *calls: Call[Any], probe: bool = False) -> tuple[Any, ...]:
        """Send all calls in one round trip and return their results in order.

        Reads every reply, then raises the first error that no ``on_error`` mapped. Re-sends once,
        after a jittered pause and inside the total budget, only if every call says ``again``.

        Args:
            calls: what to ask; none is legal and makes no trip.
            probe: go through an open breaker (the pulse does; a success closes it).

        Raises:
            StoreUnavailable: no answer inside the budget, or the breaker is open.
            StoreReplyError: an error reply that the call did not map.
        """
        ...

    async def wait(self, call: Call[T], timeout: float) -> T:
        """Run a blocking command (``BLPOP`` …) for up to ``timeout`` seconds on a connection of its own."""
        ...

    def listen(self, *channels: str) -> AsyncIterator[tuple[str, bytes]]:
        """Yield ``(channel, payload)`` as published, on a connection of its own, until closed."""
        ...

    async def run(self, function: Callable[..., T | Awaitable[T]], /, *args: Any, **kwargs: Any) -> T:
        """Call a user's function: awaited if it returns an awaitable (asyncio store only)."""
        ...

    def spawn(self, flow: Coroutine[Any, Any, Any], /) -> None:
        """Run a flow beside this one: a task on asyncio, at once on the blocking store."""

    async def single_flight(self, key: str, flow: Callable[[], Coroutine[Any, Any, T]], /) -> T:
        """Run ``flow`` once per process for callers that come with the same key at the same time."""
        ...

    async def shield(self, flow: Coroutine[Any, Any, T], /) -> T:
        """Run ``flow`` to its end even if this caller is cancelled."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Pause this flow for ``seconds``."""

    def clock(self) -> float:
        """Monotonic seconds, for intervals only; server time comes from scripts."""
        ...

    async def close(self) -> None:
        """Close every connection of this loop or process."""


_finishing: ContextVar[bool] = ContextVar("zdd_finishing", default=False)


def may_suspend() -> bool:
    """Whether the flow this code belongs to is awaited; ``False`` within `finish`, running loop or not."""
    return not _finishing.get()


def finish(flow: Coroutine[Any, Any, T]) -> T:
    """Run a flow over the blocking store to its end.

    Works inside a running event loop, keeps contextvars, needs no thread.

    Raises:
        RuntimeError: the flow really suspended, so it was given an asyncio store.
    """
    token = _finishing.set(True)
    try:
        flow.send(None)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    finally:
        _finishing.reset(token)
    flow.close()
    message = "this flow suspended: it was given an asyncio store where only the blocking one can be used"
    raise RuntimeError(message)
