"""`Shielded`: a flow that its caller's cancellation does not stop, at no cost where nobody cancels.

`asyncio.shield` needs a task and four turns of the loop, each with a system call, for every request. Here the
flow runs inside the caller's task; only when that is cancelled does the flow move into a task of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar

__all__ = ["Arrival", "Shielded"]

T = TypeVar("T")


class Arrival(asyncio.Future[None]):
    """Something to read, perhaps. Who waits for it looks for itself afterwards, and may wait for another one.

    So `Shielded` can hand it to its caller's task, which cancels it, and the flow goes on elsewhere.
    """

    def __await__(self) -> Generator[Any, None, None]:
        self._asyncio_future_blocking = True
        yield self


class Shielded(Generic[T]):
    """Await it once.

    Args:
        flow: what is run to its end.
        adopt: called with the task the flow has moved into; must keep a reference to it.
    """

    __slots__ = ("_adopt", "_flow")

    def __init__(self, flow: Coroutine[Any, Any, T], adopt: Callable[[asyncio.Task[T]], object]) -> None:
        self._flow = flow
        self._adopt = adopt

    def __await__(self) -> Generator[Any, None, T]:
        loop = asyncio.get_running_loop()
        while True:
            try:
                awaited: Any = self._flow.send(None)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]
            try:
                if isinstance(awaited, Arrival):
                    yield awaited
                else:
                    yield from _step(awaited, loop)
            except asyncio.CancelledError:
                self._adopt(loop.create_task(_rest(self._flow, awaited)))
                raise


def _step(awaited: Any, loop: asyncio.AbstractEventLoop) -> Generator[Any, None, None]:
    """Have the caller's task wait for another future than the flow's own, which it would cancel."""
    if awaited is None:  # a bare yield: one turn of the loop
        yield
        return
    awaited._asyncio_future_blocking = False
    step: asyncio.Future[None] = loop.create_future()

    def arrived(_: object) -> None:
        if not step.done():
            step.set_result(None)

    awaited.add_done_callback(arrived)
    yield from step


class _Started(Generic[T]):
    """A coroutine that has begun; `await` refuses those that somebody has awaited before."""

    def __init__(self, flow: Coroutine[Any, Any, T]) -> None:
        self._flow = flow

    def __await__(self) -> Generator[Any, None, T]:
        return self._flow.__await__()


async def _rest(flow: Coroutine[Any, Any, T], awaited: asyncio.Future[Any] | None) -> T:
    if awaited is not None and not awaited.cancelled():
        await asyncio.wait([awaited])
    return await _Started(flow)
