"""uvicorn: a `Server` and a supervisor that drain, and `run` and `main` like uvicorn's own."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import inspect
import logging
import math
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.config import Config
from uvicorn.supervisors import multiprocess

from zdd_sdk.errors import LifecycleError, ZddError
from zdd_sdk.lifecycle.asgi import OuterHalf, stop
from zdd_sdk.lifecycle.core import Lifecycle, activate, active
from zdd_sdk.lifecycle.model import Phase, State, drain_phase
from zdd_sdk.lifecycle.servers.listener import Queue, SocketFile
from zdd_sdk.lifecycle.servers.own import own_lifecycle
from zdd_sdk.lifecycle.servers.signals import at_terminal
from zdd_sdk.lifecycle.serving import begin_serving
from zdd_sdk.settings import load_settings

__all__ = ["ZddServer", "ZddSupervisor", "main", "run"]

STARTUP_FAILURE = 3
"""uvicorn's exit status when the application cannot start."""

NOW_LINGER = 0.05
"""Seconds for the requests of connections taken from the queue to be read, where there is no linger."""

ALONE = b"alone"
INSTANCE = b"instance"
"""What a parent tells a worker beside its SIGTERM: this worker is replaced, or the whole instance leaves."""

_WORKERS_HAVE_TARGET = "target" in inspect.signature(multiprocess.Multiprocess).parameters
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
        self._outer = OuterHalf(application, lifecycle, follow=True)
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
        self._socket_file = SocketFile(self.config.uds if sockets is None else None)
        self.lifecycle.check_keep_alive(self.config.timeout_keep_alive)
        self.lifecycle.mark_ready()

    def hear(self, message: bytes) -> None:
        """Take what the parent says about the SIGTERM it sends: `ALONE` or `INSTANCE`."""
        self._told = message

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin the drain at the first SIGTERM; anything else is uvicorn's."""
        if sig != signal.SIGTERM or self._leaving or not self._serving():
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
        return self._told == INSTANCE

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


class _Process(multiprocess.Process):
    """A worker process that runs our server, and hears on uvicorn's health pipe why it shall end."""

    def __init__(self, config: Config, *rest: Any) -> None:
        super().__init__(config, *rest)
        self.config = config

    def target(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve; called in the child. Defined here because older uvicorns run a server made in the parent."""
        self._ours = ZddServer(self.config)
        threading.Thread(target=self.always_pong, daemon=True).start()
        self._ours.run(sockets)

    def pong(self) -> None:
        """Answer one ping, or take one message for the server."""
        message = self.child_conn.recv()
        if message == b"ping":
            self.child_conn.send(self._ours.started)
        else:
            self._ours.hear(message)

    def terminate(self, message: bytes = ALONE) -> None:
        """Send SIGTERM, saying whether this worker leaves alone."""
        with contextlib.suppress(OSError):
            self.parent_conn.send(message)
        super().terminate()


class ZddSupervisor(multiprocess.Multiprocess):
    """uvicorn's ``--workers`` parent, which on SIGTERM first closes its own sockets, then tells its workers.

    While a parent keeps the listener, connections that come after the workers have closed theirs are
    queued for nobody and reset at its exit; closed, they are refused, which every proxy may retry.
    SIGHUP replaces the workers one by one; none of them waits for routers, as the instance stays.
    """

    def __init__(self, config: Config, sockets: list[socket.socket]) -> None:
        parent: Any = super()
        parent.__init__(*([config, run] if _WORKERS_HAVE_TARGET else [config]), sockets)
        self._socket_file = SocketFile(config.uds)
        self._wake, self._wake_by_signal = socket.socketpair()
        self._wake_by_signal.setblocking(False)
        # Not an Event set in the handler: the handler may run while this thread holds the Event's lock.
        signal.set_wakeup_fd(self._wake_by_signal.fileno(), warn_on_full_buffer=False)

    def run(self) -> None:
        """Supervise until a signal ends it, noticing signals at once."""
        _log.info("Started parent process [%d]", os.getpid())
        self.init_processes()
        while not self.should_exit.is_set():
            self._wait(0.5)
            self.handle_signals()
            if not self.should_exit.is_set():
                self.keep_subprocess_alive()
        self._end()
        _log.info("Stopping parent process [%d]", os.getpid())

    def _wait(self, seconds: float) -> None:
        if not self.signal_queue and select.select([self._wake], [], [], seconds)[0]:
            self._wake.recv(64)

    def _end(self) -> None:
        self._socket_file.remove()
        for listener in self.sockets:
            listener.close()
        self.terminate_all()
        while alive := [process for process in self.processes if process.process.is_alive()]:
            self._wait(0.1)
            self._pass_on(alive)

    def terminate_all(self) -> None:
        """Send every worker SIGTERM and say that the instance leaves."""
        for process in self.processes:
            process.terminate(INSTANCE) if isinstance(process, _Process) else process.terminate()

    def _pass_on(self, alive: list[multiprocess.Process]) -> None:
        """Second and further signals are for the workers, too."""
        while self.signal_queue:
            number = self.signal_queue.pop(0)
            for process in alive:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid or 0, number)


def _supervise(config: Config) -> None:
    os.environ.setdefault("ZDD_INSTANCE", own_lifecycle().instance)
    listener = config.bind_socket()
    # uvicorn's supervisor has no seam for the class of its workers; this process runs nothing else.
    multiprocess.Process = _Process  # type: ignore[assignment,misc]
    ZddSupervisor(config, sockets=[listener]).run()


def run(app: Any, **options: Any) -> None:
    """Run like ``uvicorn.run``, with the drain.

    Args:
        app: the ASGI application or ``"module:name"``.
        options: those of ``uvicorn.run``. With ``reload=True``, or with ``ZDD_MODE=stock``, this *is* ``uvicorn.run``.
    """
    if options.get("reload") or load_settings().values.mode == "stock":
        uvicorn.run(app, **options)
        return
    if (directory := options.pop("app_dir", None)) is not None:
        sys.path.insert(0, directory)
    config = Config(app, **options)
    if config.workers > 1 and not isinstance(app, str):
        sys.exit("several workers need the application as an import string, such as 'shop.app:app'")
    if config.workers > 1:
        _supervise(config)
        return
    server = ZddServer(config)
    with contextlib.suppress(KeyboardInterrupt):
        server.run()
    if not server.started:
        sys.exit(STARTUP_FAILURE)


def main(arguments: Sequence[str]) -> None:
    """Run the ``uvicorn`` command line with our `run`: its options, defaults, help and environment variables."""
    module: Any = importlib.import_module("uvicorn.main")
    # Its command ends in a call of its module's `run`, with exactly the arguments `run` takes.
    module.run = run
    module.main.main(args=list(arguments), prog_name="zdd serve uvicorn")
