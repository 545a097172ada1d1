"""A uvicorn `Server` that drains."""

from __future__ import annotations

import asyncio
import logging
import math
import signal
import socket
import time
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.config import Config

from zdd_sdk.errors import LifecycleError, ZddError
from zdd_sdk.lifecycle.asgi import OuterHalf, stop
from zdd_sdk.lifecycle.core import Lifecycle, activate, active
from zdd_sdk.lifecycle.model import Phase, State, drain_phase
from zdd_sdk.lifecycle.servers.listener import Queue, SocketFile
from zdd_sdk.lifecycle.servers.own import own_lifecycle
from zdd_sdk.lifecycle.servers.signals import at_terminal
from zdd_sdk.lifecycle.serving import begin_serving

__all__ = ["ALONE", "INSTANCE", "NOW", "STARTUP_FAILURE", "ZddServer"]

STARTUP_FAILURE = 3
"""uvicorn's exit status when the application cannot start."""

NOW_LINGER = 0.05
"""Seconds for the requests of connections taken from the queue to be read, where there is no linger."""

ALONE = b"alone"
INSTANCE = b"instance"
NOW = b"now"
"""What a parent tells a worker beside its SIGTERM: this worker is replaced, or all leave, or without lag and linger."""

# uvicorn's own: it is the one its users have configured and read.
_log = logging.getLogger("uvicorn.error")


async def _let_requests_in() -> bool:
    """Let the loop read what has arrived, as uvicorn closes idle connections whatever lies in their buffers."""
    for _ in range(3):
        await asyncio.sleep(0)
    return True


class ZddServer(uvicorn.Server):
    """A uvicorn server that drains on SIGTERM and exits with status 0.

    Works for any ASGI application. First SIGTERM: drain. Second one, SIGINT, or SIGTERM at a terminal:
    uvicorn's own shutdown at once.

    Args:
        config: uvicorn's.
        lifecycle: default the one the application activates, else one from the settings.
    """

    def __init__(self, config: Config, lifecycle: Lifecycle | None = None) -> None:
        super().__init__(config)
        self._given = lifecycle
        self._outer: OuterHalf | None = None
        self._leaving = False
        self._signalled = False
        self._closed_at: float | None = None
        self._queue: Queue | None = None
        self._sockets: list[socket.socket] | None = None
        self._socket_file = SocketFile(None)
        self._told = b""
        self._end_by: float | None = None

    @property
    def lifecycle(self) -> Lifecycle:
        """The lifecycle that is driven; there from `startup` on."""
        if self._outer is None:
            message = "the server has not begun to start"
            raise LifecycleError(message)
        return self._outer.lifecycle

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Wrap the application, start it, listen, and be ready."""
        lifecycle = activate(self._given or active() or own_lifecycle())
        lifecycle.adapter = "uvicorn"
        application: Any = self.config.loaded_app
        self._outer = OuterHalf(application, lifecycle, follow=True, close=self.config.timeout_keep_alive == 0)
        self.config.loaded_app = self._outer
        self._sockets = sockets
        try:
            begin_serving()
        except ZddError as error:
            _log.error("zdd: %s", error)
            self.should_exit = True
            return
        await super().startup(sockets=sockets)
        if not self.started:
            return
        self._outer.start()
        self._socket_file = SocketFile(self.config.uds)
        self.lifecycle.check_keep_alive(self.config.timeout_keep_alive)
        self.lifecycle.mark_ready()

    def hear(self, message: bytes) -> None:
        """Take what the parent says about the SIGTERM it sends: `ALONE`, `INSTANCE` or `NOW`."""
        self._told = message

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin the drain at the first SIGTERM; anything else is uvicorn's.

        A second one means now; but a worker hears that from its parent, as a signal to the process group comes twice.
        """
        again, self._signalled = self._signalled and self._sockets is None, True
        if sig != signal.SIGTERM or again or not self._serving():
            super().handle_exit(sig, frame)
        elif at_terminal():
            _log.info("SIGTERM at a terminal: leaving now, without a drain")
            super().handle_exit(sig, frame)
        else:
            self._leave("SIGTERM")

    def _serving(self) -> bool:
        return self._outer is not None and self.lifecycle.state is not State.STARTING

    def _leave(self, reason: str) -> None:
        self._leaving = True
        if self.lifecycle.begin_drain(reason):
            _log.info("Draining (%s): serving on for %.1f s", reason, self.lifecycle.lag_left())

    async def on_tick(self, counter: int) -> bool:
        """Drain here, where the Date header and ``callback_notify`` go on, until it is time for `shutdown`."""
        leave = await super().on_tick(counter)
        self.lifecycle.beat("loop")
        self.should_exit = self.should_exit or self._told == NOW
        if self.should_exit:
            return True
        if leave:
            self._recycle()
        return self._leaving and await self._drained()

    def _recycle(self) -> None:
        """``limit_max_requests`` is reached: drain as well, and do not ask again at every tick."""
        self.config.limit_max_requests = None
        self.__dict__["limit_max_requests"] = None
        if self._sockets is not None:
            self._told = ALONE
        self._leave("limit_max_requests")

    async def _drained(self) -> bool:
        now = time.monotonic()
        phase = drain_phase(
            self.lifecycle.settings,
            # The others of the instance go on accepting for a worker that leaves alone: no router must move.
            drained_for=math.inf if self._told == ALONE else self.lifecycle.drained_for(),
            closed_for=None if self._closed_at is None else now - self._closed_at,
            connections=self._connections(),
        )
        if phase is Phase.LINGER and self._closed_at is None:
            await self._close_listeners()
        return phase is Phase.DONE and await _let_requests_in()

    def _connections(self) -> int:
        pending = self._queue.pending if self._queue is not None else 0
        return pending + len(self.server_state.connections) + len(self.server_state.tasks)

    async def _close_listeners(self) -> None:
        if self._own_sockets():
            self._socket_file.remove()
        self._queue = Queue(self.servers, self._accept, own=self._own_sockets())
        taken = await self._queue.close()
        for listener in self._sockets or ():
            listener.close()
        self._closed_at = time.monotonic()
        _log.info("Listener closed, %d connections taken from its queue", taken)

    def _own_sockets(self) -> bool:
        """Whether the listening sockets end with this drain, in all processes."""
        if self._sockets is None:
            return self.config.fd is None
        return self._told in (INSTANCE, NOW)

    async def _accept(self, connection: socket.socket) -> object:
        loop = asyncio.get_running_loop()
        return await loop.connect_accepted_socket(self._protocol, connection, ssl=self.config.ssl)

    def _protocol(self) -> asyncio.Protocol:
        make: Any = self.config.http_protocol_class
        made: asyncio.Protocol = make(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)
        return made

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End what is in flight within ``drain_timeout``, then the application and the hooks within theirs."""
        if self._closed_at is None:
            await self._close_listeners()
            await asyncio.sleep(NOW_LINGER)
        self.lifecycle.mark_stopping()
        if self.config.timeout_graceful_shutdown is None:
            self.config.timeout_graceful_shutdown = self.lifecycle.settings.drain_timeout  # type: ignore[assignment]
        self._bound_lifespan()
        await super().shutdown(sockets=sockets)
        await stop(self.lifecycle, self._left())

    def _left(self) -> float | None:
        """Seconds left of ``hooks_timeout``; ``None`` if the application's shutdown was skipped."""
        return None if self._end_by is None else max(0.0, self._end_by - time.monotonic())

    def _bound_lifespan(self) -> None:
        """Let the application's shutdown and our stop hooks share one ``hooks_timeout``."""
        end = self.lifespan.shutdown
        seconds = self.lifecycle.settings.hooks_timeout

        async def bounded() -> None:
            self._end_by = time.monotonic() + seconds
            try:
                await asyncio.wait_for(end(), seconds)
            except TimeoutError:
                _log.error("the application's shutdown did not end in %g s and is left", seconds)

        self.lifespan.shutdown = bounded
