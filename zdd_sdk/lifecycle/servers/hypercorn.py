"""hypercorn: `run` and `main` like its own, for ASGI and WSGI applications; one process or several.

hypercorn serves until its *shutdown trigger* returns. Ours returns when the drain is done.
"""

from __future__ import annotations

import asyncio
import importlib
import math
import os
import random
import signal
import ssl
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from hypercorn.asyncio.run import worker_serve
from hypercorn.config import Config, Sockets
from hypercorn.run import run as run_stock
from hypercorn.utils import LifespanTimeoutError, load_application, write_pid_file

from zdd_sdk.errors import LifecycleError, ZddError
from zdd_sdk.http.asgi import Scope
from zdd_sdk.lifecycle.asgi import OuterHalf, stop
from zdd_sdk.lifecycle.core import Lifecycle
from zdd_sdk.lifecycle.model import Phase, drain_phase
from zdd_sdk.lifecycle.servers.hypercorn_connections import Connections
from zdd_sdk.lifecycle.servers.listener import SocketFile
from zdd_sdk.lifecycle.servers.own import adopt_lifecycle, own_lifecycle
from zdd_sdk.lifecycle.servers.signals import at_terminal
from zdd_sdk.lifecycle.servers.supervisor import Supervisor
from zdd_sdk.lifecycle.servers.told import Leaving, Told
from zdd_sdk.lifecycle.serving import begin_serving
from zdd_sdk.settings import load_settings

__all__ = ["Worker", "main", "run"]

TICK = 0.05
"""Seconds between two looks at the drain."""

NOW_LINGER = 0.05
"""Seconds for the requests of connections taken from the queue to be read, where there is no linger."""

FIRST_REQUEST = 5.0
"""Seconds for the only request of a connection, where none is kept: hypercorn takes a new connection for an idle one,
and with a keep-alive of 0 closes it before its request has come."""

CLOSING = 0.5
"""Seconds hypercorn gets to close what is idle; then connections are aborted, and after as long tasks cancelled."""


class _Application:
    """hypercorn's wrapper of an ASGI or WSGI application, with the outer half around either.

    Args:
        app: what ``load_application`` returned.
        lifecycle: the adapter's.
        limit: requests after which `exhausted` is called; ``None``: never.
        close: no connection is kept.
    """

    def __init__(self, app: Any, lifecycle: Lifecycle, limit: int | None, *, close: bool) -> None:
        self.outer = OuterHalf(self._call, lifecycle, follow=True, close=close)
        self._app = app
        self._left = math.inf if limit is None else limit
        self._threads: tuple[Any, ...] = ()
        self.exhausted: Callable[[], None] = _nothing

    async def __call__(self, scope: Scope, receive: Any, send: Any, *threads: Any) -> None:
        """Serve one scope; ``threads`` are hypercorn's ways into and out of threads, the same for a whole loop."""
        self._threads = threads
        if scope["type"] != "lifespan":
            self._left -= 1
            if self._left < 0:
                self.exhausted()
        await self.outer(scope, receive, send)

    async def _call(self, scope: Scope, receive: Any, send: Any) -> None:
        await self._app(scope, receive, send, *self._threads)


def _nothing() -> None:
    pass


class Worker:
    """One process that serves.

    Args:
        config: hypercorn's.
        sockets: bound.
        told: what the parent says about its SIGTERM, and where this worker says that it serves; ``None``: no parent.
    """

    def __init__(self, config: Config, sockets: Sockets, told: Told | None = None) -> None:
        self.config = config
        self._sockets = sockets
        self._told = told
        self._files = socket_files(config)
        limit = config.max_requests
        limit = None if limit is None else limit + random.randint(0, config.max_requests_jitter)  # noqa: S311
        config.max_requests = None  # hypercorn would stop at once
        app = load_application(config.application_path, config.wsgi_max_body_size)
        self._keep_alive = config.keep_alive_timeout
        config.keep_alive_timeout = config.keep_alive_timeout or FIRST_REQUEST
        self._application = _Application(app, adopt_lifecycle("hypercorn"), limit, close=not self._keep_alive)
        self._application.exhausted = self._recycle
        begin_serving()
        self._connections = Connections(self._listeners, lambda: self.lifecycle)
        self._leaving = asyncio.Event()
        self._now = False
        self._drop = False
        self._alone = False
        self._signalled = False
        self._closed_at: float | None = None
        self._end_by = 0.0

    @property
    def lifecycle(self) -> Lifecycle:
        """The lifecycle that is driven."""
        return self._application.outer.lifecycle

    @property
    def _listeners(self) -> list[Any]:
        return [*self._sockets.secure_sockets, *self._sockets.insecure_sockets]

    def run(self) -> None:
        """Serve until told to stop, and drain."""
        factory = importlib.import_module("uvloop").new_event_loop if self.config.worker_class == "uvloop" else None
        with asyncio.Runner(debug=self.config.debug, loop_factory=factory) as runner:
            runner.get_loop().set_exception_handler(_report)
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._bound_timeouts()
        self._connections.watch(asyncio.get_running_loop())
        application: Any = self._application
        try:
            await worker_serve(application, self.config, sockets=self._sockets, shutdown_trigger=self._trigger)
        except LifespanTimeoutError:
            if not self._end_by:
                raise
            await self._say("the application's shutdown did not end in %g s and is left", self.config.shutdown_timeout)
        await stop(self.lifecycle, max(0.0, self._end_by - time.monotonic()))

    def _bound_timeouts(self) -> None:
        """Requests in flight are waited for in the drain; let hypercorn itself only close what is left."""
        settings = self.lifecycle.settings
        self._drain_timeout = vars(self.config).get("graceful_timeout", settings.drain_timeout)
        self.config.graceful_timeout = 2 * CLOSING
        self.config.shutdown_timeout = min(self.config.shutdown_timeout, settings.hooks_timeout)

    async def _trigger(self) -> None:
        """Be ready, and return when the drain is done; hypercorn awaits it from when it listens."""
        loop = asyncio.get_running_loop()
        # First of all, as the default is to end at once.
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._handle, number)
        self._application.outer.start()
        lifecycle = self.lifecycle
        lifecycle.on_drain(lambda: loop.call_soon_threadsafe(self._connections.say_goaway))
        lifecycle.check_keep_alive(self._keep_alive)
        lifecycle.mark_ready()
        if self._told is not None:
            self._told.serving = True
        while not (self._leaving.is_set() and await self._drained()):
            lifecycle.beat("loop")
            await asyncio.sleep(TICK)
        await self._finish()

    def _handle(self, number: int) -> None:
        self._drop = number == signal.SIGINT and self._now
        if number == signal.SIGINT or self._hurries() or at_terminal():
            self._now = True
        self._signalled = True
        self._leave("SIGTERM" if number == signal.SIGTERM else "SIGINT")

    def _hurries(self) -> bool:
        """Whether a SIGTERM means now: the second one, which a parent knows, as a signal to the group comes twice."""
        return self._signalled if self._told is None else self._told.leaving is Leaving.NOW

    def _recycle(self) -> None:
        self._alone = self._told is not None
        self._leave("max_requests")

    def _leave(self, reason: str) -> None:
        self._leaving.set()
        if self.lifecycle.begin_drain(""):
            text = "Draining (%s): serving on for %.1f s"
            self._saying = asyncio.ensure_future(self._say(text, reason, self.lifecycle.lag_left()))

    async def _drained(self) -> bool:
        alone = self._alone or (self._told is not None and self._told.leaving == Leaving.ALONE)
        phase = drain_phase(
            self.lifecycle.settings,
            # The others of the instance go on accepting for a worker that leaves alone: no router must move.
            drained_for=math.inf if alone or self._now else self.lifecycle.drained_for(),
            closed_for=None if self._closed_at is None else time.monotonic() - self._closed_at,
            connections=len(self._connections),
        )
        if phase is Phase.LINGER and self._closed_at is None:
            await self._close_listeners()
        return phase is Phase.DONE or (self._now and self._closed_at is not None)

    async def _close_listeners(self) -> None:
        for file in self._files if self._own_sockets() else ():
            file.remove()
        taken = await self._connections.close_listeners(own=self._own_sockets())
        self._closed_at = time.monotonic()
        await self._say("Listener closed, %d connections taken from its queue", taken)

    def _own_sockets(self) -> bool:
        """Whether the listening sockets end with this drain, in all processes."""
        if any(bind.startswith("fd://") for bind in self.config.bind):
            return False
        return self._told is None or self._told.leaving in {Leaving.INSTANCE, Leaving.NOW}

    async def _finish(self) -> None:
        """Wait for what is in flight, ``drain_timeout`` at most; then hypercorn closes what is left."""
        if self._now:
            await asyncio.sleep(NOW_LINGER)
        self.lifecycle.mark_stopping()
        end = time.monotonic() + self._drain_timeout
        while self.lifecycle.in_flight and time.monotonic() < end and not self._drop:  # noqa: ASYNC110
            await asyncio.sleep(TICK)
        await self._connections.let_requests_in()
        # Since Python 3.12 closing a server waits for its connections, and for ever.
        asyncio.get_running_loop().call_later(CLOSING, self._connections.abort)
        self._end_by = time.monotonic() + CLOSING + self.lifecycle.settings.hooks_timeout

    async def _say(self, text: str, *values: object) -> None:
        await self.config.log.info(text, *values)


def _report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Leave out failed TLS handshakes, as hypercorn does."""
    if not isinstance(context.get("exception"), ssl.SSLError):
        loop.default_exception_handler(context)


def socket_files(config: Config) -> list[SocketFile]:
    """Return the UNIX sockets' files a configuration has bound."""
    binds = [*config.bind, *config.insecure_bind]
    return [SocketFile(bind.removeprefix("unix:")) for bind in binds if bind.startswith("unix:")]


def _work(config: Config, sockets: Sockets, told: Told | None = None) -> None:
    try:
        worker = Worker(config, sockets, told)
    except ZddError as error:
        sys.exit(f"zdd: {error}")
    worker.run()


def run(config: Config) -> int:
    """Serve like ``hypercorn.run.run``, with the drain; returns the exit status.

    With ``use_reloader``, or with ``ZDD_MODE=stock``, this *is* ``hypercorn.run.run``.

    Raises:
        LifecycleError: for trio, whose worker has no adapter.
    """
    if config.use_reloader or load_settings().values.mode == "stock":
        return run_stock(config)
    if config.worker_class not in {"asyncio", "uvloop"}:
        message = (
            f"hypercorn's {config.worker_class} worker has no adapter, so SIGTERM would lose requests; use "
            "--worker-class asyncio or uvloop, or run `hypercorn` itself and drain by `zdd drain`"
        )
        raise LifecycleError(message)
    if config.pid_path is not None:
        write_pid_file(config.pid_path)
    os.environ.setdefault("ZDD_INSTANCE", own_lifecycle().instance)
    sockets = config.create_sockets()
    if config.workers == 0:
        _work(config, sockets)
        return 0
    listeners = [*sockets.secure_sockets, *sockets.insecure_sockets, *sockets.quic_sockets]
    return Supervisor(_work, (config, sockets), config.workers, listeners, socket_files(config)).run()


def main(arguments: Sequence[str]) -> None:
    """Run the ``hypercorn`` command line with our `run`: its options, defaults and help."""
    module: Any = importlib.import_module("hypercorn.__main__")
    # Its command ends in a call of its module's `run` with the configuration.
    module.run = run
    sys.argv[0] = "zdd serve hypercorn"
    sys.exit(module.main(list(arguments)))
