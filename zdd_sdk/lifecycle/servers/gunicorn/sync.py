"""gunicorn's ``sync`` worker: one request at a time, so a thread closes the listener while one runs."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
import time
from collections import deque
from types import FrameType
from typing import Any

from gunicorn import util

from zdd_sdk.lifecycle.model import Phase
from zdd_sdk.lifecycle.servers.gunicorn.lingering import close_in_background
from zdd_sdk.lifecycle.servers.gunicorn.worker import TICK, DrainingWorker, listening

__all__ = ["DrainingSync"]


class DrainingSync(DrainingWorker):
    """Mixed in before ``SyncWorker``."""

    keeps_alive = False

    def run(self) -> None:
        """Serve until told to stop."""
        self._queue: deque[tuple[Any, Any, Any]] = deque()
        # Held while the main thread is at the listening sockets, so that nobody closes them under its hands.
        self._gate = threading.Lock()
        self._woken, self._wake_by_signal = os.pipe()
        os.set_blocking(self._wake_by_signal, False)
        self._main = threading.get_ident()
        self._answering = self._over = False
        close_in_background()
        for listener in self.sockets:
            listener.setblocking(False)
        self.serving()
        threading.Thread(target=self._watch, name="zdd-watch", daemon=True).start()
        # Not the handler: gunicorn lets system calls go on at SIGTERM, so a request that waits in one holds it up.
        signal.set_wakeup_fd(self._wake_by_signal, warn_on_full_buffer=False)
        try:
            while self._alive:
                self._turn_once()
        finally:
            self._over = True
            self.lifecycle.stop()

    def _turn_once(self) -> None:
        self.notify()
        found = self._next()
        if found is not None:
            self._answering = True
            try:
                listener, client, address = found
                client.setblocking(True)
                util.close_on_exec(client)
                self.handle(listener, client, address)
            finally:
                self._answering = False
        else:
            self.is_parent_alive()

    def _next(self) -> tuple[Any, Any, Any] | None:
        """Return the next connection, or ``None`` after a while without one."""
        if self._queue:
            return self._queue.popleft()
        with self._gate:
            if self._departure().closed_at is not None:
                return None
            if (found := self._accept()) is not None:
                return found
            timeout = min(TICK, self.timeout or TICK) if self._departure().begun else self.timeout or 0.5
            ready = select.select(self.wait_fds, [], [], timeout)[0]
            if self.PIPE[0] in ready:
                os.read(self.PIPE[0], 64)
            return self._accept() if set(ready) - {self.PIPE[0]} else None

    def _accept(self) -> tuple[Any, Any, Any] | None:
        for listener in self.sockets:
            for client, address in listening(listener):
                return listener, client, address
        return None

    def accept_all(self, listener: Any) -> int:
        """Queue what waits for the main thread."""
        name = _Named(listener.getsockname())
        found = [(name, client, address) for client, address in listening(listener)]
        self._queue.extend(found)
        return len(found)

    def connections(self) -> int:
        """Return how many wait for an answer; there is no keep-alive."""
        return len(self._queue) + self._answering

    def busy(self) -> int:
        """Return the same: each of them gets an answer."""
        return self.connections()

    def close_listeners(self) -> None:
        """Close them, unless the other thread has."""
        with self._gate:
            if self._departure().closed_at is None:
                super().close_listeners()

    def wake(self) -> None:
        """Wake both threads."""
        with contextlib.suppress(OSError):
            os.write(self._wake_by_signal, b"x")
            os.write(self.PIPE[1], b"x")

    def handle_abort(self, sig: int, frame: FrameType | None) -> None:
        """End the request that runs: with 500, as at gunicorn's own timeout."""
        self._queue.clear()
        super().handle_abort(sig, frame)

    # The other thread

    def _watch(self) -> None:
        """Begin the drain, and do what the main thread cannot do while it answers a request."""
        departure = self._departure()
        while not departure.begun:
            if signal.SIGTERM in os.read(self._woken, 64):
                self.leave("SIGTERM")
        self.announce()
        while not (departure.late() and self.busy()):
            if self._over:
                return
            if departure.closed_at is None and departure.phase(0) is Phase.LINGER and self._answering:
                self.close_listeners()
            departure.over(self.connections(), self.busy())
            time.sleep(TICK / 2)
        self._abort()

    def _abort(self) -> None:
        """Break off the request that runs; if it cannot be broken off, end the process."""
        self.log.error("A request did not end in drain_timeout (%g s)", self.lifecycle.settings.drain_timeout)
        signal.pthread_kill(self._main, signal.SIGABRT)
        time.sleep(self.lifecycle.settings.hooks_timeout + 1.0)
        self.lifecycle.stop()
        os._exit(0)


class _Named:
    """Stands for a listening socket that is closed: its address."""

    def __init__(self, name: Any) -> None:
        self._name = name

    def getsockname(self) -> Any:
        """Return the address."""
        return self._name
