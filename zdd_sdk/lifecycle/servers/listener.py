"""Close a listening socket without losing a connection.

The kernel completes handshakes on its own and queues them; closing the listener resets the queue, and with it
requests already sent. So: let no new handshake begin (where the socket is ours alone), accept until the queue is
empty, close. Measured with 20 queued requests at SIGTERM, servers lose all of them (see docs/lifecycle.md).
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import socket
import struct
import sys
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

__all__ = ["Queue", "SocketFile", "refuse_handshakes"]

SETTLE = 0.005
"""Seconds for handshakes under way to complete once no new one can begin: inside a data centre they take < 2 ms.

Not longer, as whoever connects in this time is told so, by a refusal, only when the kernel tries again after 1 s.
"""

_SO_ATTACH_FILTER = 26
# Classic BPF over the TCP header: load byte 13 (flags); SYN set: keep 0 bytes, i.e. drop; else keep all.
_NO_SYN = b"".join(
    struct.pack("HBBI", *instruction)
    for instruction in ((0x30, 0, 0, 13), (0x45, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF))
)


def refuse_handshakes(listener: socket.socket) -> bool:
    """Make the kernel drop new connection attempts at this socket (they are sent again after 1 s, and refused then).

    Linux, TCP. It lasts as long as the socket, in every process that shares it: for sockets that end with this drain.

    Returns:
        whether the kernel does it.
    """
    if not sys.platform.startswith("linux") or listener.family not in (socket.AF_INET, socket.AF_INET6):
        return False
    code = ctypes.create_string_buffer(_NO_SYN, len(_NO_SYN))
    program = struct.pack("HP", len(_NO_SYN) // 8, ctypes.addressof(code))
    with contextlib.suppress(OSError):
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
        return True
    return False


class Queue:
    """The accept queues of some asyncio (or uvloop) servers, about to be closed.

    Args:
        servers: what ``loop.create_server`` returned.
        accept: takes over one accepted connection, as the servers would have.
        own: no process outside this drain shares the sockets.
    """

    def __init__(
        self,
        servers: Iterable[asyncio.base_events.Server],
        accept: Callable[[socket.socket], Awaitable[object]],
        *,
        own: bool,
    ) -> None:
        self._servers = list(servers)
        self._accept = accept
        self._own = own
        self._tasks: set[asyncio.Future[object]] = set()
        # Descriptors of our own on the same sockets: a server's sockets close with it, ours stay until we say.
        self._sockets = [
            socket.socket(fileno=os.dup(found.fileno())) for server in self._servers for found in server.sockets
        ]

    @property
    def pending(self) -> int:
        """Connections taken over that are not connected yet: their TLS handshakes go on."""
        return len(self._tasks)

    async def close(self) -> int:
        """Empty the queues and close the servers; return how many connections we took over."""
        taken = 0
        refused = [refuse_handshakes(listener) for listener in self._sockets] if self._own else []
        if any(refused):
            taken += await self._settle()
        taken += self._take()
        await self._detach()
        # Nothing is awaited from here to the close, so only microseconds remain for a connection to slip in.
        for server in self._servers:
            server.close()
        taken += self._take()
        for listener in self._sockets:
            listener.close()
        return taken

    async def _settle(self) -> int:
        loop, taken = asyncio.get_running_loop(), 0
        end = loop.time() + SETTLE
        while loop.time() < end:
            taken += self._take()
            await asyncio.sleep(SETTLE / 5)
        return taken

    async def _detach(self) -> None:
        """Take the servers' sockets off the loop, and let accepts under way reach their server while it is open.

        asyncio finishes an accept in a task of its own, which fails (and drops the connection) once the
        server is closed: how plain servers lose connections at shutdown.
        """
        loop = asyncio.get_running_loop()
        for server in self._servers:
            for found in server.sockets:
                with contextlib.suppress(NotImplementedError, ValueError, OSError, RuntimeError):
                    loop.remove_reader(found.fileno())
        for _ in range(3):
            await asyncio.sleep(0)

    def _take(self) -> int:
        return sum(self._take_from(listener) for listener in self._sockets)

    def _take_from(self, listener: socket.socket) -> int:
        taken = 0
        with contextlib.suppress(BlockingIOError, InterruptedError):
            while True:
                try:
                    connection, _ = listener.accept()
                except ConnectionAbortedError:
                    continue
                connection.setblocking(False)
                task = asyncio.ensure_future(self._accept(connection))
                self._tasks.add(task)
                task.add_done_callback(self._finish)
                taken += 1
        return taken

    def _finish(self, task: asyncio.Future[object]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            # A failed TLS handshake or a client gone: what a server ignores, too.
            task.exception()


class SocketFile:
    """A UNIX socket's file, so long as it is the one we bound: a successor may have put its own in its place.

    Args:
        path: where it was bound; ``None`` if there is none.
    """

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._identity = self._look()

    def remove(self) -> None:
        """Remove it; those who come later find nothing to connect to, instead of a queue nobody reads."""
        if self._path is not None and self._identity is not None and self._look() == self._identity:
            with contextlib.suppress(OSError):
                Path(self._path).unlink()

    def _look(self) -> tuple[int, int] | None:
        with contextlib.suppress(OSError, TypeError):
            found = os.lstat(self._path or "")
            return found.st_dev, found.st_ino
        return None
