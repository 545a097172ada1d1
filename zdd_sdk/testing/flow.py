"""Run one flow on either store from the same test: no asyncio plugin, no second copy of the test."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from zdd_sdk.store.protocol import Store, finish

if TYPE_CHECKING:
    from zdd_sdk.store.connect import Stores

__all__ = ["AsyncioFlow", "BlockingFlow", "Flow"]

T = TypeVar("T")


class Flow(Protocol):
    """Runs flows over one store to their end.

    Attributes:
        kind: ``"blocking"`` or ``"asyncio"``.
        store: the store to give to the flows.
    """

    kind: str
    store: Store

    def __call__(self, coro: Coroutine[Any, Any, T], /) -> T:
        """Run one flow and return its result."""
        raise NotImplementedError

    def gather(self, *coros: Coroutine[Any, Any, Any]) -> list[Any]:
        """Run flows at the same time, in threads or tasks; return their results, raise the first error."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the store's connections."""


class BlockingFlow:
    """`Flow` over the blocking store; `gather` gives each flow a thread of its own."""

    kind = "blocking"

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self.store: Store = stores.blocking

    def __call__(self, coro: Coroutine[Any, Any, T], /) -> T:
        """Run one flow with a single ``send``."""
        return finish(coro)

    def gather(self, *coros: Coroutine[Any, Any, Any]) -> list[Any]:
        """Run flows in threads that set off together."""
        start = threading.Barrier(len(coros) or 1)

        def run(coro: Coroutine[Any, Any, Any]) -> Any:
            start.wait(10)
            return finish(coro)

        with ThreadPoolExecutor(len(coros) or 1) as pool:
            return list(pool.map(run, coros))

    def close(self) -> None:
        """Close the blocking store."""
        self._stores.close()


class AsyncioFlow:
    """`Flow` over the asyncio store, on one event loop that lives until `close`."""

    kind = "asyncio"

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self._runner = asyncio.Runner()
        self.store: Store = stores.aio

    def __call__(self, coro: Coroutine[Any, Any, T], /) -> T:
        """Run one flow on the loop."""
        return self._runner.run(coro)

    def gather(self, *coros: Coroutine[Any, Any, Any]) -> list[Any]:
        """Run flows as tasks of one loop."""

        async def together() -> list[Any]:
            return list(await asyncio.gather(*coros, return_exceptions=True))

        # All come to their end before one's error is raised, as threads do: none is left half-way on the loop.
        results = self._runner.run(together())
        for error in (result for result in results if isinstance(result, BaseException)):
            raise error
        return results

    def close(self) -> None:
        """Close the store's connections on their loop, then the loop."""
        self._runner.run(self.store.close())
        self._runner.close()
        self._stores.close()
