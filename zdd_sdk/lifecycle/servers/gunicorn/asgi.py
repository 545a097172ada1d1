"""gunicorn's own ``asgi`` worker: an event loop, on which the drain is a task."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import time
from typing import Any

from gunicorn.asgi.protocol import ASGIProtocol
from gunicorn.workers import gasgi

from zdd_sdk.lifecycle.asgi import OuterHalf, stop
from zdd_sdk.lifecycle.core import Lifecycle
from zdd_sdk.lifecycle.model import Phase
from zdd_sdk.lifecycle.servers.gunicorn.worker import TICK, DrainingWorker
from zdd_sdk.lifecycle.servers.listener import Queue

__all__ = ["DrainingAsgi"]


_Base: Any = ASGIProtocol


class _Protocol(_Base):  # type: ignore[misc]  # gunicorn has no types
    """A connection that ends with the answer that says so: what is pipelined after it, its client sends elsewhere.

    gunicorn asks for the end once for the header, and once more afterwards (since 26; before, connections stay open).
    """

    _decided: tuple[Any, bool] = (None, False)

    def _will_close(self, request: Any, *rest: Any) -> bool:
        if self._decided[0] is not request:
            self._decided = request, self.worker.lifecycle.draining
        return self._decided[1] or bool(super()._will_close(request, *rest))


class DrainingAsgi(DrainingWorker):
    """Mixed in before ``ASGIWorker``."""

    asgi: Any
    _queue: Queue | None = None

    def wrap(self, lifecycle: Lifecycle) -> OuterHalf:
        """Wrap the loaded application and return the wrapper."""
        outer = self.asgi = OuterHalf(self.asgi, lifecycle, follow=True)
        return outer

    def run(self) -> None:
        """Serve until told to stop."""
        module: Any = gasgi
        module.ASGIProtocol = _Protocol  # its only seam, in a process that runs nothing else
        # Not the mixin's: what it says and does before and after belongs on the loop.
        super(DrainingWorker, self).run()

    def notify(self) -> None:
        """Tell the arbiter that we live; the first time all servers listen, and we are ready."""
        super(DrainingWorker, self).notify()
        if self.departure is None:
            self._serve_task: Any = asyncio.current_task()
            self._recycle_at, self.max_requests = self.max_requests, sys.maxsize
            self.serving()
        self.lifecycle.beat("loop")
        # Counted here and not by the protocol, which closes connections it has just promised to keep.
        if self.nr >= self._recycle_at:
            self.alive = False

    def handle_exit_signal(self) -> None:
        """Leave: at SIGTERM."""
        if self._serves():
            self.leave("SIGTERM")
        else:
            super().handle_exit_signal()

    def handle_quit_signal(self) -> None:
        """End at once: at SIGINT and SIGQUIT."""
        self._quits = True
        super().handle_quit_signal()

    def wake(self) -> None:
        """Begin the drain's task."""
        self.loop.call_soon_threadsafe(self._begin)

    def _begin(self) -> None:
        self._drain_task = self.loop.create_task(self._drain())

    async def _drain(self) -> None:
        self.announce()
        departure = self._departure()
        while departure.phase(0) is Phase.LAG:  # noqa: ASYNC110 - time passes, nothing happens
            await asyncio.sleep(min(TICK, departure.seconds_to_serve()))
        await self._close()
        while departure.phase(self.connections()) is Phase.LINGER:  # noqa: ASYNC110
            await asyncio.sleep(TICK / 2)
        self._alive = False
        # Its loop sleeps for a second, and takes this for the end of it.
        self._serve_task.cancel()

    async def _close(self) -> None:
        departure = self._departure()
        self._queue = Queue(self.servers, self._accept, own=departure.own)
        taken = await self._queue.close()
        departure.closed_at = time.monotonic()
        self.forget_listeners()
        if departure.own:
            for file in self._files:
                file.remove()
        self.log.info("Listener closed, %d connections taken from its queue", taken)

    async def _accept(self, connection: socket.socket) -> object:
        ssl = self._get_ssl_context()
        return await self.loop.connect_accepted_socket(lambda: _Protocol(self), connection, ssl=ssl)

    def connections(self) -> int:
        """Return how many connections are open."""
        return int(self.nr_conns) + (self._queue.pending if self._queue is not None else 0)

    async def _shutdown(self) -> None:
        """Wait for what is in flight, then end the application and the hooks, within their times."""
        if self.departure is None:
            # Told to end while still starting.
            await super()._shutdown()
            return
        departure = self.departure
        if departure.closed_at is None:
            await self._close()
        while not self._quick_shutdown and not departure.over(0, self.busy()):
            super(DrainingWorker, self).notify()
            await asyncio.sleep(TICK / 2)
        end_by = time.monotonic() + self.lifecycle.settings.hooks_timeout
        await self._end_application(end_by)
        await stop(self.lifecycle, max(0.0, end_by - time.monotonic()))

    async def _end_application(self, end_by: float) -> None:
        if self.lifespan is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(end_by - time.monotonic()):
                    await self.lifespan.shutdown()
                return
            self.log.error("the application's shutdown did not end and is left")
