"""What every worker class needs to drain: the application wrapped, the drain's steps, how the worker ends."""

from __future__ import annotations

import contextlib
import math
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, ClassVar

from gunicorn.errors import AppImportError

from zdd_sdk.errors import ZddError
from zdd_sdk.lifecycle.core import Lifecycle
from zdd_sdk.lifecycle.model import MARGIN, Phase, State, drain_phase
from zdd_sdk.lifecycle.servers.own import adopt_lifecycle
from zdd_sdk.lifecycle.servers.sockets import SETTLE, SocketFile, refuse_handshakes
from zdd_sdk.lifecycle.servers.told import SPAWN, Leaving, Told
from zdd_sdk.lifecycle.serving import begin_serving
from zdd_sdk.lifecycle.wsgi import OuterHalf

_GunicornWorker: Any = object
"""Stands for gunicorn's own class, which follows in the bases of every worker; it has no types."""

__all__ = ["Departure", "DrainingWorker", "GunicornTold", "listening", "longest", "says_close", "take_queue"]

TICK = 0.1
"""Seconds between two looks at what the parent says, once the worker is leaving."""


class GunicornTold(Told):
    """What worker and arbiter tell each other: also how long this worker's drain may take."""

    def __init__(self) -> None:
        super().__init__()
        self._seconds: Any = SPAWN.RawValue("d", 0.0)

    @property
    def seconds(self) -> float:
        """Seconds from SIGTERM to exit, at most; 0 before the worker has loaded its application."""
        return float(self._seconds.value)

    @seconds.setter
    def seconds(self, value: float) -> None:
        self._seconds.value = value


def longest(lifecycle: Lifecycle) -> float:
    """Seconds from SIGTERM to exit, at most."""
    settings = lifecycle.settings
    return settings.drain_lag + settings.linger + settings.drain_timeout + settings.hooks_timeout + MARGIN


class Departure:
    """How far one worker's drain is; no I/O.

    Attributes:
        begun: the worker has been told to leave.
        reason: why, until somebody has said so in the log.
        alone: others go on accepting: no router must move.
        own: the listening sockets end with this drain, in all processes.
        closed_at: when our descriptors of them were closed.
        done_at: when the linger was over, from which on only requests in flight are waited for.
    """

    def __init__(self, lifecycle: Lifecycle, told: Told, *, own: bool) -> None:
        self.lifecycle = lifecycle
        self.begun = False
        self.reason = ""
        self.alone = False
        self.own = own
        self.closed_at: float | None = None
        self.done_at: float | None = None
        self._told = told

    def begin(self, reason: str, *, alone: bool = False) -> bool:
        """Begin; return whether this call did. More SIGTERMs change nothing: gunicorn repeats its own."""
        self.alone = self.alone or alone
        if self.begun:
            return False
        self.begun, self.reason = True, reason
        self.lifecycle.begin_drain("")
        return True

    @property
    def now(self) -> bool:
        """Whether there is neither lag nor linger."""
        return self._told.leaving is Leaving.NOW

    def seconds_to_serve(self) -> float:
        """Seconds until the listener may be closed."""
        self.own = self.own or self._told.leaving is Leaving.INSTANCE
        without_lag = self.alone or self._told.leaving in (Leaving.ALONE, Leaving.NOW)
        return 0.0 if without_lag else self.lifecycle.lag_left()

    def phase(self, connections: int) -> Phase:
        """Return the step; ``connections`` are those that are open, kept-alive ones included."""
        if self.closed_at is None:
            return Phase.LAG if self.seconds_to_serve() > 0 else Phase.LINGER
        if self.now or self.done_at is not None:
            return Phase.DONE
        closed_for = time.monotonic() - self.closed_at
        return drain_phase(
            self.lifecycle.settings, drained_for=math.inf, closed_for=closed_for, connections=connections
        )

    def over(self, connections: int, busy: int) -> bool:
        """Whether the worker may end: nobody is being answered, or ``drain_timeout`` has passed."""
        if self.phase(connections) is not Phase.DONE:
            return False
        self.done_at = self.done_at or time.monotonic()
        self.lifecycle.mark_stopping()
        return not busy or self.late()

    def late(self) -> bool:
        """Whether requests in flight have had their ``drain_timeout``."""
        return self.done_at is not None and time.monotonic() - self.done_at >= self.lifecycle.settings.drain_timeout


class DrainingWorker(_GunicornWorker):  # type: ignore[misc]
    """Mixed in before a gunicorn worker class.

    Its main loop calls `notify` in every turn, and that is where the drain's steps are taken.
    """

    keeps_alive: ClassVar[bool] = True
    told: GunicornTold
    wsgi: Any
    _quits = False
    outer: Any = None
    departure: Departure | None = None
    cut: ClassVar[bool] = False
    """Whether requests were still running when their time was over, so that Python's own exit would wait for them."""

    def __init__(self, *args: Any, **options: Any) -> None:
        # Before gunicorn's own, which assigns `alive`. In the parent: shared memory has to be there before the fork.
        self._alive = True
        self.told = GunicornTold()
        super().__init__(*args, **options)

    @property
    def lifecycle(self) -> Lifecycle:
        """The lifecycle that is driven; there once the application is loaded."""
        found: Lifecycle = self.outer.lifecycle
        return found

    # What gunicorn calls

    def load_wsgi(self) -> None:
        """Load the application, wrap it, and let it start what it needs.

        Raises:
            AppImportError: it refuses to serve; gunicorn prints one line and ends, instead of trying again.
        """
        super().load_wsgi()
        self.outer = self.wrap(adopt_lifecycle("gunicorn", parent=os.getppid()))
        try:
            begin_serving()
        except ZddError as error:
            message = f"zdd: {error}"
            raise AppImportError(message) from error

    def wrap(self, lifecycle: Lifecycle) -> Any:
        """Wrap the loaded application and return the wrapper."""
        self.wsgi = OuterHalf(self.wsgi, lifecycle, follow=True)
        return self.wsgi

    def run(self) -> None:
        """Serve until told to stop; run the stop hooks however it ends."""
        self.serving()
        try:
            super().run()
        finally:
            self.lifecycle.stop()

    def serving(self) -> None:
        """Say that the worker is ready: its socket listens and its loop is about to turn."""
        self.outer.start()
        self.departure = Departure(self.lifecycle, self.told, own=bool(self.cfg.reuse_port))
        self._files = [SocketFile(_path(found)) for found in self.sockets]
        self.told.seconds = longest(self.lifecycle)
        if self.keeps_alive:
            self.lifecycle.check_keep_alive(self.cfg.keepalive)
        self.lifecycle.mark_ready()
        self.told.serving = True

    def notify(self) -> None:
        """Tell the arbiter that we live, and take the drain's next step."""
        super().notify()
        if self.departure is not None and self.departure.begun:
            self.turn()

    def turn(self) -> None:
        """Take the drain's next step, where the main loop is; to be called often enough."""
        self.announce()
        departure = self._departure()
        if departure.closed_at is None and departure.phase(0) is Phase.LINGER:
            self.close_listeners()
        if departure.over(self.connections(), self.busy()):
            self.depart()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Leave: at SIGTERM."""
        if self._serves():
            self.leave("SIGTERM")
        else:
            super().handle_exit(sig, frame)

    def handle_quit(self, sig: int, frame: FrameType | None) -> None:
        """End at once: at SIGINT and SIGQUIT."""
        self._quits = True
        super().handle_quit(sig, frame)

    @property
    def alive(self) -> bool:
        """Whether the main loop shall go on; what gunicorn sets to end it begins our drain."""
        return self._alive

    @alive.setter
    def alive(self, value: bool) -> None:
        if value or self._quits or not self._serves():
            self._alive = value
        else:
            self.leave("the worker is replaced", alone=True)

    def is_parent_alive(self) -> bool:
        """Leave if the arbiter is gone; what is in flight is answered first."""
        # The method is not there in all worker classes.
        ask: Callable[[], bool] | None = getattr(super(), "is_parent_alive", None)
        if ask is not None and not self._departure().begun and not ask():
            self.leave("the arbiter is gone", alone=True)
        return True

    # The drain

    def leave(self, reason: str, *, alone: bool = False) -> None:
        """Begin the drain; safe in a signal handler and in any thread."""
        if self._departure().begin(reason, alone=alone):
            # gunicorn counts requests on, and would say at each that it restarts.
            self.max_requests = sys.maxsize
            self.wake()

    def announce(self) -> None:
        """Say once that the drain has begun; not in a signal handler, which may have interrupted a log line."""
        departure = self._departure()
        reason, departure.reason = departure.reason, ""
        if reason:
            self.log.info("Draining (%s): serving on for %.1f s", reason, departure.seconds_to_serve())

    def wake(self) -> None:
        """Let the main loop turn soon."""

    def close_listeners(self) -> None:
        """Let no new connection in, take those the kernel has queued, and close the listening sockets."""
        departure = self._departure()
        taken = take_queue(self.sockets, self.accept_all) if departure.own else 0
        departure.closed_at = time.monotonic()
        self.forget_listeners()
        if departure.own:
            for file in self._files:
                file.remove()
        self.log.info("Listener closed, %d connections taken from its queue", taken)

    def accept_all(self, listener: Any) -> int:
        """Accept until nobody is waiting; return how many came."""
        raise NotImplementedError

    def forget_listeners(self) -> None:
        """Close our descriptors of the listening sockets."""
        for listener in self.sockets:
            listener.close()

    def connections(self) -> int:
        """Return how many connections are open, kept-alive ones included."""
        raise NotImplementedError

    def busy(self) -> int:
        """Return how many requests are being answered, or wait for it."""
        return self.lifecycle.in_flight

    def depart(self) -> None:
        """End the worker."""
        if left := self.busy():
            DrainingWorker.cut = True
            self.log.error(
                "%d requests did not end in drain_timeout (%g s) and are cut",
                left,
                self.lifecycle.settings.drain_timeout,
            )
        raise SystemExit(0)

    def _departure(self) -> Departure:
        found: Any = self.departure
        return found  # type: ignore[no-any-return]

    def _serves(self) -> bool:
        return self.departure is not None and self.lifecycle.state is not State.STARTING


def take_queue(listeners: list[Any], accept_all: Callable[[Any], int]) -> int:
    """Accept what the kernel has queued for sockets that end with this drain; return how many connections."""
    refused = [refuse_handshakes(listener) for listener in listeners]
    taken = sum(map(accept_all, listeners))
    if any(refused):
        time.sleep(SETTLE)
        taken += sum(map(accept_all, listeners))
    return taken


def listening(listener: Any) -> Iterator[tuple[socket.socket, Any]]:
    """Yield the connections that wait at a listening socket, until there are none."""
    listener.setblocking(False)
    with contextlib.suppress(BlockingIOError, InterruptedError):
        while True:
            with contextlib.suppress(ConnectionAbortedError):
                yield listener.accept()


def says_close(lifecycle: Lifecycle, request: Any) -> None:
    """Let gunicorn answer this request with ``Connection: close`` if the drain has begun when the answer starts.

    Applications cannot (PEP 3333), and the worker decides by ``should_close``: once for the header, and once
    whether to close. Both must be the same, or a client that was promised the connection loses its next request.
    """
    asks = request.should_close
    said: list[bool] = []

    def should_close() -> bool:
        if not said:
            said.append(lifecycle.draining or bool(asks()))
        return said[0]

    request.should_close = should_close


def _path(listener: Any) -> str | None:
    """Return the file of a UNIX socket that has one."""
    name = listener.getsockname()
    return name if isinstance(name, str) and name and not name.startswith("\0") else None
