"""The drain of a granian worker: `load` wraps its application and stands before its signal handlers."""

from __future__ import annotations

import asyncio
import importlib
import logging
import math
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from granian.constants import Interfaces

from zdd_sdk.errors import ZddError
from zdd_sdk.http.asgi import Receive, Scope, Send
from zdd_sdk.lifecycle import asgi, wsgi
from zdd_sdk.lifecycle.core import Lifecycle
from zdd_sdk.lifecycle.model import MARGIN
from zdd_sdk.lifecycle.servers.native import NativeSockets
from zdd_sdk.lifecycle.servers.own import adopt_lifecycle
from zdd_sdk.lifecycle.servers.signals import at_terminal
from zdd_sdk.lifecycle.servers.told import Leaving, Told
from zdd_sdk.lifecycle.serving import begin_serving

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

__all__ = ["Worker", "current", "load"]

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
TICK = 0.02
CLOSING = 0.5
"""Seconds for the core to close what is idle, once it is told to stop."""

# granian's own: it is the one its users have configured and read.
_log = logging.getLogger("_granian")


class _Asgi(asgi.OuterHalf):
    """The outer half, which can cancel what runs too long."""

    def __init__(self, app: Any, lifecycle: Lifecycle) -> None:
        super().__init__(app, lifecycle, follow=True)
        self._tasks: set[asyncio.Task[Any]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        task = asyncio.current_task() if scope["type"] != "lifespan" else None
        if task is None:
            await super().__call__(scope, receive, send)
            return
        self._tasks.add(task)
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._tasks.discard(task)

    def cancel(self) -> None:
        """Cancel every request; called on the loop."""
        for task in tuple(self._tasks):
            task.cancel()


class _Wsgi(wsgi.OuterHalf):
    """The outer half, whose answers granian sends whole where they are whole."""

    def __init__(self, app: Any, lifecycle: Lifecycle) -> None:
        super().__init__(app, lifecycle, follow=True, close_header=True)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        body: Any = super().__call__(environ, start_response)
        if isinstance(body, list) or not hasattr(body, "__len__"):
            return body  # type: ignore[no-any-return]
        try:
            return [b"".join(body)]
        finally:
            body.close()


class Worker:
    """The drain of this worker process.

    Args:
        outer: around the application.
        sockets: those the core listens at.
        told: what the parent says about its SIGTERM.
        keep_alive: seconds the core keeps an idle connection.
    """

    def __init__(self, outer: _Asgi | _Wsgi, sockets: NativeSockets, told: Told, keep_alive: float) -> None:
        self.outer = outer
        self._sockets = sockets
        self._told = told
        self._keep_alive = keep_alive
        self._now = threading.Event()
        self._drop = threading.Event()
        self._core: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._drain: threading.Thread | None = None
        self._end_by = math.inf

    def watch(self, core: Any, loop: asyncio.AbstractEventLoop | None) -> None:
        """Stand before the core's signal handlers, and report ready when it listens.

        Args:
            core: granian's signal; setting it stops the core.
            loop: ``None`` for WSGI.
        """
        self._core, self._loop = core, loop
        if loop is None:
            self._handle_in_thread()
        else:
            for number in _SIGNALS:
                loop.add_signal_handler(number, self._handle, number)
        threading.Thread(target=self._await_listening, name="zdd-granian-ready", daemon=True).start()

    def _handle_in_thread(self) -> None:
        """Hear of signals through a pipe: the main thread sleeps on a lock, and wakes only if the kernel chose it."""
        hear, tell = socket.socketpair()
        tell.setblocking(False)
        signal.set_wakeup_fd(tell.fileno(), warn_on_full_buffer=False)
        for number in _SIGNALS:
            signal.signal(number, lambda *_: None)

        def listen() -> None:
            while numbers := hear.recv(64):
                for number in numbers:
                    self._handle(number)
            tell.close()

        threading.Thread(target=listen, name="zdd-granian-signals", daemon=True).start()

    def _await_listening(self) -> None:
        while not self._sockets.listening():
            time.sleep(TICK)
        if self._loop is None:
            self._ready()
        else:
            self._loop.call_soon_threadsafe(self._ready)

    def _ready(self) -> None:
        self.outer.start()
        lifecycle = self.outer.lifecycle
        lifecycle.check_keep_alive(self._keep_alive)
        lifecycle.mark_ready()
        self._told.serving = True
        if self._loop is not None:
            self._beat(self._loop)

    def _beat(self, loop: asyncio.AbstractEventLoop) -> None:
        self.outer.lifecycle.beat("loop")
        loop.call_later(1, self._beat, loop)

    def _handle(self, number: int) -> None:
        if number not in _SIGNALS:
            return
        if not self._told.serving:
            self._core.set()
            return
        if self._now.is_set() and number == signal.SIGINT:
            self._drop.set()
        # How often SIGTERM came says nothing, as one to the process group comes twice: the parent knows.
        if number == signal.SIGINT or self._told.leaving == Leaving.NOW or at_terminal():
            self._now.set()
        if self._drain is None:
            self._drain = threading.Thread(target=self._leave, args=(number,), name="zdd-drain", daemon=True)
            self._drain.start()

    def _leave(self, number: int) -> None:
        """Drain, then stop the core; it stops whatever goes wrong before."""
        try:
            self._empty(number)
        finally:
            self._stop_core()

    def _empty(self, number: int) -> None:
        lifecycle = self.outer.lifecycle
        if lifecycle.begin_drain(""):
            name = signal.Signals(number).name
            _log.info("Draining (%s): serving on for %.1f s", name, lifecycle.lag_left())
        if self._told.leaving != Leaving.ALONE:
            self._now.wait(lifecycle.lag_left())
        self._sockets.close_listeners(lifecycle.settings.drain_timeout)
        _log.info("Listener closed")
        self._wait(lifecycle.settings.linger, self._now, self._sockets.connections)
        lifecycle.mark_stopping()
        self._wait(lifecycle.settings.drain_timeout, self._drop, lambda: lifecycle.in_flight)

    def _wait(self, seconds: float, enough: threading.Event, busy: Callable[[], int]) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and busy() and not enough.wait(TICK):
            pass

    def _stop_core(self) -> None:
        seconds = CLOSING + self.outer.lifecycle.settings.hooks_timeout
        self._end_by = time.monotonic() + seconds
        if self._loop is not None and isinstance(self.outer, _Asgi):
            self._loop.call_soon_threadsafe(self.outer.cancel)
        self._core.set()
        time.sleep(seconds)
        # A thread that hangs in a request, or the application's shutdown: the core would wait for ever.
        _log.error("a request, or the application's shutdown, did not end in time and is left")
        self.outer.lifecycle.stop(MARGIN / 2)
        os._exit(0)

    def finish(self) -> None:
        """Run the stop hooks, after the application's shutdown."""
        left = max(0.0, min(self._end_by - time.monotonic(), self.outer.lifecycle.settings.hooks_timeout))
        if self._loop is None:
            self.outer.lifecycle.stop(left)
        else:
            self._loop.run_until_complete(asgi.stop(self.outer.lifecycle, left))


current: list[Worker] = []
"""This process's, once its application is loaded."""


def load(
    application: Callable[[], Any], address: int | str, keep_alive: float, interface: Interfaces, told: Told
) -> Any:
    """Load and wrap the application, in the worker, before granian sets its signal handlers."""
    _forget_parents_handlers(told)
    app = application()
    lifecycle = adopt_lifecycle("granian")
    try:
        begin_serving()
    except ZddError as error:
        sys.exit(f"zdd: {error}")
    outer = _Wsgi(app, lifecycle) if interface == Interfaces.WSGI else _Asgi(app, lifecycle)
    worker = Worker(outer, NativeSockets(address), told, keep_alive)
    current[:] = [worker]
    _watch_signals(worker)
    return outer


def _forget_parents_handlers(told: Told) -> None:
    """Let signals end this process while it starts: a fork keeps its parent's handlers, which only set flags here."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    if told.leaving is not Leaving.UNTOLD:
        sys.exit(0)  # told to before


def _watch_signals(worker: Worker) -> None:
    """Hear of granian's own handlers: a worker looks these functions up when it is about to serve."""
    signals: Any = importlib.import_module("granian._signals")
    set_loop_signals, set_sync_signals = signals.set_loop_signals, signals.set_sync_signals

    def watch_loop(loop: asyncio.AbstractEventLoop) -> Any:
        core = set_loop_signals(loop)
        worker.watch(core, loop)
        return core

    def watch_sync() -> Any:
        core = set_sync_signals()
        worker.watch(core, None)
        return core

    signals.set_loop_signals, signals.set_sync_signals = watch_loop, watch_sync
