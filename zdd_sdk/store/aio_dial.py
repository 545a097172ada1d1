"""Sockets for the asyncio store: a name looked up beside the loop, and its addresses tried in turn."""

from __future__ import annotations

import asyncio
import socket

from zdd_sdk.errors import StoreUnavailable
from zdd_sdk.store.resolve import Endpoint, Resolver
from zdd_sdk.store.url import Address

__all__ = ["dial", "resolve"]


async def resolve(resolver: Resolver, address: Address) -> tuple[Endpoint, ...]:
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


async def dial(endpoints: tuple[Endpoint, ...], loop: asyncio.AbstractEventLoop) -> socket.socket:
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
