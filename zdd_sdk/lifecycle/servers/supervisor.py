"""A parent of worker processes that closes its own sockets first, then lets its workers drain.

While a parent keeps the listener, connections that come after the workers have closed theirs are queued
for nobody and reset at its exit; closed, they are refused, which every proxy may retry.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import connection
from types import FrameType
from typing import Any

from zdd_sdk.lifecycle.servers.listener import SocketFile
from zdd_sdk.lifecycle.servers.signals import at_terminal
from zdd_sdk.lifecycle.servers.told import SPAWN, Leaving, Told

__all__ = ["Supervisor"]

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_TICK = 0.1
_log = logging.getLogger("zdd.lifecycle")


class _Child:
    """One worker process."""

    def __init__(self, work: Callable[..., None], arguments: Sequence[Any]) -> None:
        self.told = Told()
        self.process: Any = SPAWN.Process(target=work, args=(*arguments, self.told), daemon=True)
        self.process.start()

    @property
    def alive(self) -> bool:
        return self.process.exitcode is None

    def leave(self, how: Leaving) -> None:
        """Send SIGTERM, saying why."""
        self.told.leaving = how
        with contextlib.suppress(ProcessLookupError):
            self.process.terminate()


class Supervisor:
    """Keeps workers running until a signal ends it, or until one ends before it has served.

    One that crashes later is started anew; one that cannot even start would do so for ever.

    SIGHUP replaces the workers one by one; none of them waits for routers, as the instance stays.

    Args:
        work: what a worker runs: ``work(*arguments, told)``; importable, as workers are spawned.
        arguments: picklable.
        count: how many workers.
        sockets: the listening sockets, for us to close.
        files: those of UNIX sockets.
    """

    def __init__(
        self,
        work: Callable[..., None],
        arguments: Sequence[Any],
        count: int,
        sockets: Sequence[socket.socket],
        files: Sequence[SocketFile] = (),
    ) -> None:
        self._work = work
        self._arguments = arguments
        self._count = count
        self._sockets = sockets
        self._files = files
        self._children: list[_Child] = []
        self._pending: list[int] = []
        self._failure = 0

    def run(self) -> int:
        """Supervise; return 0, or the exit status of the worker that could not start."""
        with self._listening():
            self._children = [self._start() for _ in range(self._count)]
            while (number := self._next()) is None or number == signal.SIGHUP:
                if number == signal.SIGHUP:
                    self._replace()
                if not self._mend():
                    break
            self._end(number)
        return self._failure

    def _start(self) -> _Child:
        return _Child(self._work, self._arguments)

    @contextlib.contextmanager
    def _listening(self) -> Iterator[None]:
        """Collect signals, waking the wait at once."""
        self._wake, wake = socket.socketpair()
        wake.setblocking(False)
        before = {number: signal.signal(number, self._collect) for number in _SIGNALS}
        descriptor = signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(descriptor)
            for number, handler in before.items():
                signal.signal(number, handler)
            self._wake.close()
            wake.close()

    def _collect(self, number: int, _frame: FrameType | None) -> None:
        self._pending.append(number)

    def _wait(self, children: Sequence[_Child], seconds: float | None = None) -> None:
        """Wait for a signal or the end of one of some workers: at once, if one has ended already."""
        if self._wake in connection.wait([*(child.process.sentinel for child in children), self._wake], seconds):
            self._wake.recv(64)

    def _next(self) -> int | None:
        """Wait, and return a signal, or ``None`` if a worker has ended."""
        if not self._pending:
            self._wait(self._children)
        return self._pending.pop(0) if self._pending else None

    def _mend(self) -> bool:
        """Start anew who has ended; return whether nobody failed."""
        for child in [child for child in self._children if not child.alive]:
            self._children.remove(child)
            if not child.told.serving:
                self._failure = self._failure or _status(child) or 1
                continue
            if child.process.exitcode:
                _log.error("a worker has ended with status %d: another one takes its place", _status(child))
            self._children.append(self._start())
        return not self._failure

    def _replace(self) -> None:
        for old in list(self._children):
            if self._told_to_end():
                return
            new = self._start()
            while new.alive and not new.told.serving and not self._told_to_end():
                self._wait([new], _TICK)
            self._children.append(new)
            if self._told_to_end():
                return
            if not new.told.serving:
                _log.error("a new worker did not begin to serve: the old ones stay")
                self._children.remove(new)
                return
            old.leave(Leaving.ALONE)
            while old.alive and not self._told_to_end():
                self._wait([old], _TICK)
            self._children = [child for child in self._children if child is not old or child.alive]

    def _told_to_end(self) -> bool:
        return any(number != signal.SIGHUP for number in self._pending)

    def _end(self, number: int | None) -> None:
        for listener in self._sockets:
            listener.close()
        how = Leaving.NOW if number == signal.SIGINT or at_terminal() else Leaving.INSTANCE
        for child in self._children:
            child.leave(how)
        while alive := [child for child in self._children if child.alive]:
            self._pass_on(alive)
            self._wait(alive, _TICK)
        for file in self._files:  # not before: workers serve on there, and remove them themselves, unless killed
            file.remove()

    def _pass_on(self, children: Sequence[_Child]) -> None:
        """Second and further signals are for the workers, too: they mean now."""
        while self._pending:
            number = self._pending.pop(0)
            for child in children:
                child.told.leaving = Leaving.NOW
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child.process.pid, number)


def _status(child: _Child) -> int:
    """Return the exit status as a shell shows it: 128 and the number for a signal."""
    code = int(child.process.exitcode)
    return code if code >= 0 else 128 - code
