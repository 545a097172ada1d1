"""Time limits for threads: a clock that runs on, and a socket on which nothing waits beyond it."""

from __future__ import annotations

import socket
import time
from math import inf
from typing import Any

__all__ = ["LAST_LOOK", "BoundedSocket", "Deadline"]

LAST_LOOK = 0.001
"""Seconds granted to a read whose deadline has passed: a thread that could not run finds its reply waiting."""


class Deadline:
    """A `Budget` by the monotonic clock."""

    __slots__ = ("end",)

    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds left, negative when used up."""
        return self.end - time.monotonic()

    def part(self, seconds: float) -> Deadline:
        """A budget of at most ``seconds`` inside this one."""
        return Deadline(min(seconds, self.left()))


class BoundedSocket:
    """A socket on which nothing waits beyond ``deadline``, however the bytes trickle in."""

    def __init__(self, inner: socket.socket, deadline: float) -> None:
        self.inner = inner
        self.deadline = deadline
        self.sendall = self._bounded(inner.sendall)
        self.recv = self._bounded(inner.recv)
        self.recv_into = self._bounded(inner.recv_into)
        self.close = inner.close
        self.shutdown = inner.shutdown
        self.fileno = inner.fileno

    def settimeout(self, seconds: float | None) -> None:
        """Ignored: the deadline rules. redis-py calls it."""

    def _bounded(self, method: Any) -> Any:
        settimeout, monotonic = self.inner.settimeout, time.monotonic

        def call(*arguments: Any) -> Any:
            settimeout(None if self.deadline == inf else max(self.deadline - monotonic(), LAST_LOOK))
            return method(*arguments)

        return call
