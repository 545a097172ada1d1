"""Connecting for the asyncio store: a name looked up beside the loop, its addresses tried in turn, and the login."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from redis.asyncio.connection import AbstractConnection

from zdd_sdk.errors import StoreUnavailable
from zdd_sdk.store.link import Login, connection_options
from zdd_sdk.store.resolve import Endpoint, Resolver
from zdd_sdk.store.url import Address

__all__ = ["AsyncioConnection"]


class AsyncioConnection(AbstractConnection):
    """redis-py's connection over a stream we made, so that name resolution and TLS are inside the limit."""

    host = ""
    port = 0

    def __init__(self, address: Address, login: Login, resolver: Resolver) -> None:
        super().__init__(**connection_options(login))
        self.address = address
        self.login = login
        self.resolver = resolver
        self.transport: asyncio.Transport | None = None
        self.stream = asyncio.StreamReader(loop=asyncio.get_running_loop())

    def repr_pieces(self) -> list[tuple[str, Any]]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """What ``repr`` shows."""
        return [("address", self.address)]

    def _host_error(self) -> str:
        return str(self.address)

    def forget(self, attempt: asyncio.Task[None] | None = None) -> None:
        """Close at once, nothing is written; also a callback of the task that tried to connect."""
        if attempt is not None and not attempt.cancelled():
            attempt.exception()  # looked at, so that asyncio does not report it as lost
        if self.transport is not None:
            self.transport.abort()
        self._reader = self._writer = None

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        raw = await _dial(await _resolve(self.resolver, self.address), loop)
        protocol = asyncio.StreamReaderProtocol(self.stream, loop=loop)
        tls, host = self.login.tls, self.address.host if self.login.tls else None
        try:
            transport, _ = await loop.create_connection(lambda: protocol, sock=raw, ssl=tls, server_hostname=host)
        except BaseException:
            raw.close()
            raise
        self.transport, self._reader = transport, self.stream
        self._writer = asyncio.StreamWriter(transport, protocol, self.stream, loop)


async def _resolve(resolver: Resolver, address: Address) -> tuple[Endpoint, ...]:
    """Find where a server is, without blocking the loop.

    Raises:
        StoreUnavailable: nobody knows the name.
    """
    if known := resolver.known(address):
        return known
    lookup = asyncio.wrap_future(resolver.look_up(address))
    old = resolver.remembered(address)
    # With an old answer at hand the resolver gets a moment only: connecting needs the rest of the time.
    await asyncio.wait([lookup], timeout=0.05 if old else None)
    if lookup.done() and not lookup.exception():
        return lookup.result()
    if old:
        return old
    message = f"the name {address.host} was not resolved: {lookup.exception()}"
    raise StoreUnavailable(message, reason="unresolved")


async def _dial(endpoints: tuple[Endpoint, ...], loop: asyncio.AbstractEventLoop) -> socket.socket:
    """Connect to the first endpoint that answers; all but the last get 50 ms each.

    Raises:
        OSError: none does.
    """
    for left in range(len(endpoints), 0, -1):
        endpoint = endpoints[-left]
        raw = socket.socket(endpoint.family, socket.SOCK_STREAM)
        raw.setblocking(False)
        try:
            await asyncio.wait_for(loop.sock_connect(raw, endpoint.address), None if left == 1 else 0.05)
        except OSError:
            raw.close()
            if left == 1:
                raise
            continue
        except BaseException:
            raw.close()
            raise
        if endpoint.family != socket.AF_UNIX:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return raw
    message = "the name has no address"
    raise OSError(message)
