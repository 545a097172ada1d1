"""The servers and connections of hypercorn: it keeps both to itself, so they are noted where its loop makes them."""

from __future__ import annotations

import asyncio
import socket
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import hypercorn.protocol
from hypercorn.events import RawData
from hypercorn.protocol.h2 import H2Protocol
from hyperframe.frame import GoAwayFrame

from zdd_sdk.lifecycle.core import Lifecycle
from zdd_sdk.lifecycle.servers.listener import Queue

__all__ = ["Connections"]

GOAWAY = GoAwayFrame(0, last_stream_id=2**31 - 1).serialize()
"""HTTP/2's ``Connection: close``: begin no further stream here; all begun until now are answered (RFC 9113, 6.8)."""

Factory = Callable[[], asyncio.StreamReaderProtocol]


class Connections:
    """The servers made for some sockets, and every connection accepted by them.

    Args:
        sockets: hypercorn's listening sockets.
        lifecycle: returns whose drain counts.
    """

    def __init__(self, sockets: list[socket.socket], lifecycle: Callable[[], Lifecycle]) -> None:
        self.lifecycle = lifecycle
        self._sockets = sockets
        self._open: set[asyncio.Transport] = set()
        self._http2: weakref.WeakSet[_Http2] = weakref.WeakSet()
        self._queues: list[Queue] = []
        self._farewells: list[asyncio.Future[None]] = []
        self._servers: list[tuple[asyncio.base_events.Server, Factory, dict[str, Any]]] = []

    def __len__(self) -> int:
        return len(self._open) + sum(queue.pending for queue in self._queues)

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Note what hypercorn makes from now on, in this process."""
        create_server: Any = loop.create_server

        async def create_and_note(factory: Factory, *rest: Any, **options: Any) -> Any:
            if not any(options.get("sock") is found for found in self._sockets):
                return await create_server(factory, *rest, **options)
            factory = partial(self._connect, factory)
            server = await create_server(factory, *rest, **options)
            tls: dict[str, Any] = {name: options[name] for name in ("ssl", "ssl_handshake_timeout") if name in options}
            self._servers.append((server, factory, tls))
            return server

        noting: Any = create_and_note
        loop.create_server = noting  # type: ignore[method-assign]
        protocols: Any = hypercorn.protocol
        protocols.H2Protocol = partial(_Http2, self)

    def _connect(self, factory: Factory) -> asyncio.StreamReaderProtocol:
        protocol: Any = factory()
        made, lost, transports = protocol.connection_made, protocol.connection_lost, []

        def connection_made(transport: asyncio.Transport) -> None:
            transports.append(transport)
            self._open.add(transport)
            made(transport)

        def connection_lost(error: Exception | None) -> None:
            self._open.difference_update(transports)
            lost(error)

        protocol.connection_made, protocol.connection_lost = connection_made, connection_lost
        return protocol  # type: ignore[no-any-return]

    async def close_listeners(self, *, own: bool) -> int:
        """Empty the queues and close; return how many connections were taken over.

        Args:
            own: no process outside this drain shares the sockets.
        """
        self._queues = [
            Queue([server], partial(_accept, factory, tls), own=own) for server, factory, tls in self._servers
        ]
        taken = sum(await asyncio.gather(*(queue.close() for queue in self._queues)))
        for listener in self._sockets:
            listener.close()
        return taken

    async def let_requests_in(self) -> None:
        """Let the loop read what has arrived: hypercorn closes idle connections whatever lies in their buffers."""
        for _ in range(5):
            await asyncio.sleep(0)

    def add_http2(self, protocol: _Http2) -> None:
        """Note an HTTP/2 connection."""
        self._http2.add(protocol)

    def say_goaway(self) -> None:
        """Tell every HTTP/2 connection that it is the last one here; called on the loop."""
        self._farewells = [asyncio.ensure_future(protocol.say_goaway()) for protocol in tuple(self._http2)]

    def abort(self) -> None:
        """Drop the connections that are left."""
        for transport in tuple(self._open):
            transport.abort()


async def _accept(factory: Factory, tls: dict[str, Any], connection: socket.socket) -> object:
    return await asyncio.get_running_loop().connect_accepted_socket(factory, connection, **tls)


class _Http2(H2Protocol):
    """hypercorn's HTTP/2 connection, which says GOAWAY while draining and serves on."""

    def __init__(self, connections: Connections, *rest: Any) -> None:
        super().__init__(*rest)
        self._connections = connections

    async def initiate(self, headers: Any = None, settings: bytes | None = None) -> None:
        await super().initiate(headers, settings)
        self._connections.add_http2(self)
        if self._connections.lifecycle().draining:
            await self.say_goaway()

    async def say_goaway(self) -> None:
        """Send the frame; h2 itself would take the connection for closed afterwards."""
        if not self.closed:
            await self.send(RawData(GOAWAY))
