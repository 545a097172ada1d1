"""Time limits for threads: a clock that runs on, and sockets on which nothing waits beyond it."""

from __future__ import annotations

import select
import socket
import ssl
import time
from math import ceil, inf
from typing import Any

__all__ = ["LAST_LOOK", "BoundedSocket", "Deadline", "bind_deadline"]

LAST_LOOK = 0.001
"""Seconds granted to a read whose deadline has passed: a thread that could not run finds its reply waiting."""

_SMALL = 4096
"""Bytes every socket's buffer has room for, so that writing them waits for nobody."""

_LAST_LOOK = ceil(LAST_LOOK * 1000)


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


def bind_deadline(inner: socket.socket, deadline: float) -> BoundedSocket:
    """Make a socket's reads and writes end by a deadline that can be moved."""
    return (BoundedSocket if isinstance(inner, ssl.SSLSocket) else _PlainSocket)(inner, deadline)


class BoundedSocket:
    """A socket on which nothing waits beyond ``deadline``, however the bytes trickle in."""

    def __init__(self, inner: socket.socket, deadline: float) -> None:
        self.inner = inner
        self.deadline = deadline
        self.close = inner.close
        self.shutdown = inner.shutdown
        self.fileno = inner.fileno

    def settimeout(self, seconds: float | None) -> None:
        """Ignored: the deadline rules. redis-py calls it."""

    def sendall(self, data: Any) -> None:
        """Write all of it."""
        self._limited().sendall(data)

    def recv(self, size: int) -> bytes:
        """Read what there is, or what comes first."""
        return self._limited().recv(size)

    def recv_into(self, buffer: Any, *arguments: int) -> int:
        """Do the same, into a buffer."""
        return self._limited().recv_into(buffer, *arguments)

    def _limited(self) -> socket.socket:
        self.inner.settimeout(None if self.deadline == inf else max(self.deadline - time.monotonic(), LAST_LOOK))
        return self.inner


class _PlainSocket(BoundedSocket):
    """One without TLS: a socket with a timeout would make twice as many system calls."""

    def __init__(self, inner: socket.socket, deadline: float) -> None:
        super().__init__(inner, deadline)
        inner.settimeout(None)
        self._poll = select.poll()  # looked up here, after gevent has patched it
        self._poll.register(inner.fileno(), select.POLLIN)

    def sendall(self, data: Any) -> None:
        sent = self._send_now(data) if len(data) <= _SMALL else 0
        if sent < len(data):
            super().sendall(memoryview(data)[sent:])
            self.inner.settimeout(None)

    def _send_now(self, data: Any) -> int:
        try:
            return self.inner.send(data, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return 0

    def recv(self, size: int) -> bytes:
        self._await_bytes()
        return self.inner.recv(size)

    def recv_into(self, buffer: Any, *arguments: int) -> int:
        self._await_bytes()
        return self.inner.recv_into(buffer, *arguments)

    def _await_bytes(self) -> None:
        deadline = self.deadline
        wait = None if deadline == inf else max(ceil((deadline - time.monotonic()) * 1000), _LAST_LOOK)
        if not self._poll.poll(wait):
            raise TimeoutError
