"""Close a listening socket without losing a connection.

The kernel completes handshakes on its own and queues them; closing the listener resets the queue, and with it
requests already sent. So: let no new handshake begin (where the socket is ours alone), accept until the queue is
empty, close. Measured with 20 queued requests at SIGTERM, servers lose all of them (see docs/lifecycle.md).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable, Iterable

from zdd_sdk.lifecycle.servers.sockets import SETTLE, SocketFile, refuse_handshakes

__all__ = ["SETTLE", "Queue", "SocketFile", "refuse_handshakes"]


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
