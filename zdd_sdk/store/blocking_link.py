"""Blocking connections: sockets with a hard deadline that redis-py logs in, and their pool."""

from __future__ import annotations

import contextlib
import os
import queue
import select
import socket
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from math import inf
from typing import Any

from redis.connection import AbstractConnection
from redis.exceptions import RedisError

from zdd_sdk.errors import StoreUnavailable
from zdd_sdk.store.deadline import LAST_LOOK, BoundedSocket, Deadline, bind_deadline
from zdd_sdk.store.link import Budget, Limits, Link, Login, connection_options, unconnected
from zdd_sdk.store.resolve import Endpoint, Resolver
from zdd_sdk.store.url import Address
from zdd_sdk.store.wire import CHUNK, UNFINISHED, Replies

__all__ = ["BlockingNetwork"]


class BlockingConnection(AbstractConnection):
    """redis-py's connection over a socket we made, so that name resolution and TLS are inside the limit."""

    host = ""  # pyright: ignore[reportIncompatibleMethodOverride, reportAssignmentType]
    port = 0

    def __init__(self, address: Address, login: Login, resolver: Resolver, deadline: float) -> None:
        super().__init__(**connection_options(login))
        self.address = address
        self.login = login
        self.resolver = resolver
        self.deadline = deadline
        self.bounded: BoundedSocket | None = None

    def repr_pieces(self) -> list[tuple[str, Any]]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """What ``repr`` shows."""
        return [("address", self.address)]

    def _host_error(self) -> str:  # pyright: ignore[reportIncompatibleMethodOverride]
        return str(self.address)

    def _connect(self) -> BoundedSocket:  # pyright: ignore[reportIncompatibleMethodOverride]
        raw = _dial(_resolve(self.resolver, self.address, self.deadline), self.deadline)
        self.bounded = bind_deadline(_wrap(raw, self.login, self.address, self.deadline), self.deadline)
        return self.bounded


class BlockingLink:
    """One connection of the blocking store; see `zdd_sdk.store.link.Link`."""

    def __init__(self, connection: BlockingConnection, pool: BlockingPool) -> None:
        self.address = connection.address
        self.login = connection.login
        self._connection: Any = connection  # redis-py's own annotations are partial
        self.pool = pool
        self.ended = False
        assert connection.bounded is not None  # noqa: S101 - connect() has just returned
        self.socket = connection.bounded
        self._replies = Replies()
        self._poll = select.poll()
        self._poll.register(self.socket.fileno(), select.POLLIN)

    def send(self, packed: bytes) -> None:
        """Send packed commands in one write."""
        try:
            self.socket.sendall(packed)
        except OSError as error:
            raise _broken(self.address, error, self.socket.deadline) from error

    async def receive(self, replies: list[Any], count: int) -> None:
        """Read replies into a list until it has so many."""
        arriving = self._replies
        try:
            while len(replies) < count:
                if (reply := arriving.next()) is not UNFINISHED:
                    replies.append(reply)
                elif data := self.socket.recv(CHUNK):
                    arriving.feed(data)
                else:
                    raise ConnectionResetError
        except (OSError, ValueError) as error:
            raise _broken(self.address, error, self.socket.deadline) from error

    def fresh(self) -> bool:
        """Whether the server has neither closed the connection nor sent what nobody asked for."""
        return self._replies.empty and (not self._poll.poll(0) or self._only_tickets())

    def close(self) -> None:
        """Close at once."""
        self._connection.disconnect()

    def end(self) -> None:
        """Make a read that another thread is in end."""
        self.ended = True
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)

    def _only_tickets(self) -> bool:
        """A TLS server sends session tickets when it likes: no data, but the socket is readable."""
        if self.login.tls is None:
            return False
        inner = self.socket.inner
        inner.settimeout(0)
        with contextlib.suppress(OSError):
            inner.recv(1)
            return False
        return not self._poll.poll(0)


class BlockingPool:
    """At most ``size`` connections to one server; the one used last is taken first, so that the others age out."""

    def __init__(self, address: Address, size: int) -> None:
        self.address = address
        self.idle: list[BlockingLink] = []
        self.closed = False
        # A queue is C, a semaphore nine Python calls in every ask; looked up here, after gevent has patched it.
        self._places: queue.SimpleQueue[None] | None = queue.SimpleQueue() if size < sys.maxsize else None
        for _ in range(size if self._places is not None else 0):
            self.leave()

    def enter(self, budget: Budget, limits: Limits) -> None:
        """Wait for a place."""
        if self._places is None:
            return
        try:
            self._places.get_nowait()
        except queue.Empty:
            self._wait(self._places, limits.wait_for_place(budget), limits)

    def _wait(self, places: queue.SimpleQueue[None], seconds: float, limits: Limits) -> None:
        try:
            places.get(timeout=seconds)
        except queue.Empty:
            raise limits.crowded(self.address) from None

    def leave(self) -> None:
        """Free a place."""
        if self._places is not None:
            self._places.put(None)

    def take_idle(self) -> BlockingLink | None:
        """A pooled connection that still stands."""
        while True:
            try:
                link = self.idle.pop()
            except IndexError:
                return None
            if link.fresh():
                return link
            link.close()

    def close(self) -> None:
        """Close what is idle; what is in use is closed when it comes back."""
        self.closed = True
        self.empty()

    def empty(self) -> None:
        """Close what is idle; new connections may follow."""
        with contextlib.suppress(IndexError):
            while True:
                self.idle.pop().close()


class BlockingNetwork:
    """Blocking connections of one process; see `zdd_sdk.store.link.Network`.

    Args:
        logins: who to be, by role; ``""`` is the servers that hold the data.
        resolver: names to addresses.
        limits: on time and number.
    """

    def __init__(self, logins: dict[str, Login], resolver: Resolver, limits: Limits) -> None:
        self.resolver = resolver
        self._logins = logins
        self._limits = limits
        self._pools: dict[tuple[Address, str], BlockingPool] = {}
        self._listening: set[BlockingLink] = set()
        self._pid = os.getpid()

    def budget(self, seconds: float) -> Deadline:
        """Start the clock of one ask."""
        return Deadline(seconds)

    async def take(self, address: Address, budget: Budget, *, role: str = "") -> BlockingLink:
        """A free connection, pooled or new."""
        pool = self._pool(address, role)
        pool.enter(budget, self._limits)
        try:
            return pool.take_idle() or self._open(address, budget, pool, role)
        except BaseException:
            pool.leave()
            raise

    def _open(self, address: Address, budget: Budget, pool: BlockingPool, role: str) -> BlockingLink:
        deadline = time.monotonic() + min(self._limits.connect, budget.left())
        connection: Any = BlockingConnection(address, self._logins.get(role, self._logins[""]), self.resolver, deadline)
        try:
            connection.connect()
        except (RedisError, OSError) as error:
            connection.disconnect()
            self.resolver.doubt(address)
            raise unconnected(address, error) from error
        return BlockingLink(connection, pool)

    def give(self, link: Link) -> None:
        """Put back a connection that has no unread reply."""
        assert isinstance(link, BlockingLink)  # noqa: S101 - a network only meets its own links
        if link.pool.closed:
            link.close()
        else:
            link.pool.idle.append(link)
        link.pool.leave()

    def drop(self, link: Link) -> None:
        """Close a connection whose state is unknown."""
        assert isinstance(link, BlockingLink)  # noqa: S101
        link.close()
        link.pool.leave()

    def listening(self, link: Link, *, since: bool) -> None:
        """From now on, or no longer, this link is read without limit, until the network closes."""
        assert isinstance(link, BlockingLink)  # noqa: S101
        link.socket.deadline = inf
        (self._listening.add if since else self._listening.discard)(link)

    def forget(self, address: Address) -> None:
        """Close the idle connections to a server and look its name up again."""
        self.resolver.doubt(address)
        for pool in [pool for (owner, _), pool in self._pools.items() if owner == address]:
            pool.empty()

    def start(self, links: Sequence[Link], seconds: float, budget: Budget) -> None:
        """From now on these links fail after ``seconds``, or when the budget is used up."""
        end = time.monotonic() + min(seconds, budget.left())
        for link in links:
            link.socket.deadline = end  # type: ignore[attr-defined]

    def stop(self, budget: Budget) -> None:
        """End the limit of `start`: nothing to undo, the next one sets its own."""

    async def pause(self, seconds: float, _budget: Budget, /) -> None:
        """Sleep; the budget's clock runs on."""
        time.sleep(seconds)  # noqa: ASYNC251 - no event loop here

    def close(self) -> None:
        """Close every idle connection."""
        pools, self._pools = self._pools, {}
        for pool in pools.values():
            pool.close()
        for link in tuple(self._listening):
            link.end()

    def _pool(self, address: Address, role: str) -> BlockingPool:
        if self._pid != os.getpid():
            # The parent goes on using these sockets: forget them without a word on the wire.
            self._pid, self._pools, self._listening = os.getpid(), {}, set()
        pool = self._pools.get((address, role))
        if pool is None:
            pool = self._pools.setdefault((address, role), BlockingPool(address, self._limits.pool_size(role)))
        return pool


def _resolve(resolver: Resolver, address: Address, deadline: float) -> tuple[Endpoint, ...]:
    if known := resolver.known(address):
        return known
    future: Future[tuple[Endpoint, ...]] = resolver.look_up(address)
    old = resolver.remembered(address)
    # With an old answer at hand half the time goes to the resolver and half to the connection.
    left = deadline - time.monotonic()
    try:
        return future.result(timeout=max(left / 2 if old else left, 0))
    except (FutureTimeout, OSError) as error:
        if old:
            return old
        message = f"the name {address.host} was not resolved in time: {error}"
        raise StoreUnavailable(message, reason="unresolved") from error


def _dial(endpoints: tuple[Endpoint, ...], deadline: float) -> socket.socket:
    for left in range(len(endpoints), 0, -1):
        endpoint = endpoints[-left]
        raw = socket.socket(endpoint.family, socket.SOCK_STREAM)
        try:
            raw.settimeout(max((deadline - time.monotonic()) / left, LAST_LOOK))
            raw.connect(endpoint.address)
        except OSError:
            raw.close()
            if left == 1:
                raise
            continue
        if endpoint.family != socket.AF_UNIX:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return raw
    message = "the name has no address"
    raise OSError(message)


def _wrap(raw: socket.socket, login: Login, address: Address, deadline: float) -> socket.socket:
    if login.tls is None:
        return raw
    raw.settimeout(max(deadline - time.monotonic(), LAST_LOOK))
    try:
        return login.tls.wrap_socket(raw, server_hostname=address.host)
    except OSError:
        raw.close()
        raise


def _broken(address: Address, error: Exception, deadline: float) -> StoreUnavailable:
    """Name what broke a connection in use."""
    if "Timeout" in type(error).__name__ or time.monotonic() >= deadline:
        return StoreUnavailable(f"no answer from {address} in time", reason="timeout")
    return StoreUnavailable(f"the connection to {address} was lost", reason="lost")
