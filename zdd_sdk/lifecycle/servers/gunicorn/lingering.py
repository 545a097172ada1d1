"""Close connections gracefully without waiting for the client.

From 26 on gunicorn half-closes a connection and reads for up to 2 s until the client closes its side (RFC 9112,
section 9.6: else unread bytes turn the close into a reset, which may overtake the answer). The ``sync`` worker
does so where it answers requests, ``gthread`` in its main loop: a client that keeps its socket open, or is merely
far away, holds up everybody else. While draining every answer ends in such a close.
"""

from __future__ import annotations

import collections
import selectors
import socket
import threading
import time

from gunicorn import util

__all__ = ["close_in_background"]

MOST = 1000
"""Connections lingering at once; beyond that they are closed as they are."""

SECONDS = 2.0
BYTES = 65536
"""gunicorn's own limits for one of them."""


def close_in_background() -> None:
    """From now on let a thread of this process do the waiting; nothing to do before gunicorn 26."""
    if hasattr(util, "close_graceful"):
        # Called as an attribute of its module, which is the only seam; this process runs nothing but gunicorn.
        util.close_graceful = _Lingering().close


class _Lingering:
    """Half-closed connections, read until their clients close, too."""

    def __init__(self) -> None:
        self._new: collections.deque[tuple[socket.socket, float]] = collections.deque()
        self._selector = selectors.DefaultSelector()
        self._woken, self._wake = socket.socketpair()
        self._wake.setblocking(False)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._left: dict[socket.socket, list[float]] = {}
        threading.Thread(target=self._run, name="zdd-linger", daemon=True).start()

    def close(self, sock: socket.socket, timeout: float = SECONDS) -> None:
        """Take over a connection; for its owner it is closed."""
        try:
            sock.shutdown(socket.SHUT_WR)
            connection = socket.socket(fileno=sock.detach())
        except OSError:
            sock.close()
            return
        if len(self._left) + len(self._new) >= MOST:
            connection.close()
            return
        connection.setblocking(False)
        self._new.append((connection, time.monotonic() + min(timeout, SECONDS)))
        try:
            self._wake.send(b"x")
        except BlockingIOError:
            return

    def _run(self) -> None:
        while True:
            timeout = 0.1 if self._left else None
            for key, _ in self._selector.select(timeout):
                if key.fileobj is self._woken:
                    self._welcome()
                elif isinstance(key.fileobj, socket.socket):
                    self._read(key.fileobj)
            self._end_late()

    def _welcome(self) -> None:
        self._woken.recv(4096)
        while self._new:
            connection, until = self._new.popleft()
            self._left[connection] = [until, BYTES]
            self._selector.register(connection, selectors.EVENT_READ)

    def _read(self, connection: socket.socket) -> None:
        left = self._left[connection]
        try:
            read = len(connection.recv(4096))
        except BlockingIOError:
            return
        except OSError:
            read = 0
        left[1] -= read
        if not read or left[1] <= 0:
            self._end(connection)

    def _end_late(self) -> None:
        now = time.monotonic()
        for connection in [found for found, (until, _) in self._left.items() if until <= now]:
            self._end(connection)

    def _end(self, connection: socket.socket) -> None:
        del self._left[connection]
        self._selector.unregister(connection)
        connection.close()
