"""Asyncio connections: streams that redis-py logs in, limited by patience, and their pool."""

from __future__ import annotations

import asyncio
import select
from collections import deque
from collections.abc import Sequence
from typing import Any

from redis.asyncio.connection import AbstractConnection

from zdd_sdk.errors import StoreUnavailable
from zdd_sdk.store.aio_dial import dial, resolve
from zdd_sdk.store.link import Budget, Limits, Link, Login, connection_options, pack, unconnected
from zdd_sdk.store.patience import Patience
from zdd_sdk.store.resolve import Resolver
from zdd_sdk.store.url import Address
from zdd_sdk.store.wire import CHUNK, UNFINISHED, Replies

__all__ = ["AsyncioNetwork"]


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
        self.stream: asyncio.StreamReader | None = None
        self.writer: asyncio.StreamWriter | None = None

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
        raw = await dial(await resolve(self.resolver, self.address), loop)
        reader = asyncio.StreamReader(loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        tls, host = self.login.tls, self.address.host if self.login.tls else None
        try:
            transport, _ = await loop.create_connection(lambda: protocol, sock=raw, ssl=tls, server_hostname=host)
        except BaseException:
            raw.close()
            raise
        self.transport, self.stream, self._reader = transport, reader, reader
        self._writer = self.writer = asyncio.StreamWriter(transport, protocol, reader, loop)


class AsyncioLink:
    """One connection of the asyncio store; see `zdd_sdk.store.link.Link`."""

    def __init__(self, connection: AsyncioConnection, pool: AsyncioPool) -> None:
        self.connection = connection
        self.address = connection.address
        self.pool = pool
        self.ended = False
        assert connection.transport is not None  # noqa: S101 - connect() has just returned
        assert connection.stream is not None  # noqa: S101
        assert connection.writer is not None  # noqa: S101
        self.transport = connection.transport
        self.stream = connection.stream
        self.writer = connection.writer
        self._replies = Replies()
        self.timed_out = False
        self._poll = select.poll()
        self._poll.register(self.transport.get_extra_info("socket").fileno(), select.POLLIN)

    async def send(self, commands: Sequence[tuple[Any, ...]]) -> None:
        """Send commands in one write."""
        packed = pack(commands)
        try:
            self.writer.write(packed)
            await self.writer.drain()
        except OSError as error:
            raise self._broken() from error

    async def receive(self) -> Any:
        """Read one reply."""
        try:
            while (reply := self._replies.next()) is UNFINISHED:
                if not (data := await self.stream.read(CHUNK)):
                    raise ConnectionResetError
                self._replies.feed(data)
        except (OSError, ValueError) as error:
            raise self._broken() from error
        return reply

    async def fresh(self) -> bool:
        """Whether the server has neither closed the connection nor sent what nobody asked for."""
        if self.transport.is_closing() or self.stream.at_eof() or not self._replies.empty:
            return False
        if not self._poll.poll(0):
            return True
        # Something has arrived that the loop has not read: let it, then see whether it was a TLS ticket or the end.
        for _ in range(2):
            await asyncio.sleep(0)
        return not (self.transport.is_closing() or self.stream.at_eof() or self._poll.poll(0))

    def expire(self) -> None:
        """Time is up: readers and writers fail; what was read before stays readable."""
        self.timed_out = True
        self.transport.abort()

    def close(self) -> None:
        """Close at once."""
        self.connection.forget()

    def _broken(self) -> StoreUnavailable:
        if self.timed_out:
            return StoreUnavailable(f"no answer from {self.address} in time", reason="timeout")
        return StoreUnavailable(f"the connection to {self.address} was lost", reason="lost")


class AsyncioPool:
    """At most ``size`` connections to one server; the one used last is taken first, so that the others age out."""

    def __init__(self, address: Address, size: int) -> None:
        self.address = address
        self.idle: list[AsyncioLink] = []
        self.free = size
        self.waiting: deque[asyncio.Future[None]] = deque()
        self.closed = False

    async def enter(self, budget: Patience, limits: Limits) -> None:
        """Wait for a place, first come first served."""
        if self.free > 0:
            self.free -= 1
            return
        loop = asyncio.get_running_loop()
        place: asyncio.Future[None] = loop.create_future()
        self.waiting.append(place)

        def give_up() -> None:
            if not place.done():
                place.set_exception(limits.crowded(self.address))

        budget.arm(limits.wait_for_place(budget), give_up)
        try:
            await place
        except asyncio.CancelledError:
            # Cancelled in the same turn in which the place was handed over: pass it on.
            if place.done() and not place.cancelled() and place.exception() is None:
                self.leave()
            raise
        finally:
            budget.disarm()

    def leave(self) -> None:
        """Hand the place to who has waited longest."""
        while self.waiting:
            place = self.waiting.popleft()
            if not place.done():
                place.set_result(None)
                return
        self.free += 1

    async def take_idle(self) -> AsyncioLink | None:
        """A pooled connection that still stands."""
        while self.idle:
            link = self.idle.pop()
            fresh = False
            try:
                fresh = await link.fresh()
            finally:
                if not fresh:
                    link.close()
            if fresh:
                return link
        return None

    def empty(self) -> None:
        """Close what is idle; new connections may follow."""
        while self.idle:
            self.idle.pop().close()


class AsyncioNetwork:
    """Connections of one event loop; see `zdd_sdk.store.link.Network`.

    Args:
        logins: who to be, by role; ``""`` is the servers that hold the data.
        resolver: names to addresses.
        limits: on time and number.
    """

    def __init__(self, logins: dict[str, Login], resolver: Resolver, limits: Limits) -> None:
        self.resolver = resolver
        self.loop = asyncio.get_running_loop()
        self._logins = logins
        self._limits = limits
        self._pools: dict[tuple[Address, str], AsyncioPool] = {}
        self._listening: set[AsyncioLink] = set()

    def budget(self, seconds: float) -> Patience:
        """Start the clock of one ask."""
        return Patience(self.loop, seconds)

    async def take(self, address: Address, budget: Budget, *, role: str = "") -> AsyncioLink:
        """A free connection, pooled or new."""
        assert isinstance(budget, Patience)  # noqa: S101 - a network only meets its own budgets
        pool = self._pool(address, role)
        await pool.enter(budget, self._limits)
        try:
            return await pool.take_idle() or await self._open(address, budget, pool, role)
        except BaseException:
            pool.leave()
            raise

    async def _open(self, address: Address, budget: Patience, pool: AsyncioPool, role: str) -> AsyncioLink:
        connection: Any = AsyncioConnection(address, self._logins.get(role, self._logins[""]), self.resolver)
        attempt = self.loop.create_task(connection.connect())
        budget.arm(self._limits.connect, attempt.cancel)
        try:
            await asyncio.wait([attempt])
        except BaseException:
            # The caller is cancelled; the connection may have been made in this very turn.
            attempt.cancel()
            attempt.add_done_callback(connection.forget)
            raise
        finally:
            budget.disarm()
        if attempt.cancelled():
            connection.forget()
            self.resolver.doubt(address)
            message = f"no connection to {address} in time"
            raise StoreUnavailable(message, reason="timeout")
        if (error := attempt.exception()) is not None:
            connection.forget()
            self.resolver.doubt(address)
            raise unconnected(address, error) from error
        return AsyncioLink(connection, pool)

    def give(self, link: Link) -> None:
        """Put back a connection that has no unread reply."""
        assert isinstance(link, AsyncioLink)  # noqa: S101 - a network only meets its own links
        if link.timed_out or link.pool.closed:
            link.close()
        else:
            link.pool.idle.append(link)
        link.pool.leave()

    def drop(self, link: Link) -> None:
        """Close a connection whose state is unknown."""
        assert isinstance(link, AsyncioLink)  # noqa: S101
        link.close()
        link.pool.leave()

    def listening(self, link: Link, *, since: bool) -> None:
        """From now on, or no longer, this link is read without limit, until the network closes."""
        assert isinstance(link, AsyncioLink)  # noqa: S101
        (self._listening.add if since else self._listening.discard)(link)

    def forget(self, address: Address) -> None:
        """Close the idle connections to a server and look its name up again."""
        self.resolver.doubt(address)
        for (owner, _), pool in self._pools.items():
            if owner == address:
                pool.empty()

    def start(self, links: Sequence[Link], seconds: float, budget: Budget) -> None:
        """From now on these links fail after ``seconds`` of patience, or when the budget is used up."""
        assert isinstance(budget, Patience)  # noqa: S101

        def expire() -> None:
            for link in links:
                link.expire()  # type: ignore[attr-defined]

        budget.arm(seconds, expire)

    def stop(self, budget: Budget) -> None:
        """End the limit of `start`."""
        assert isinstance(budget, Patience)  # noqa: S101
        budget.disarm()

    async def pause(self, seconds: float, budget: Budget, /) -> None:
        """Sleep, on the budget's time."""
        assert isinstance(budget, Patience)  # noqa: S101
        budget.charge(seconds)
        await asyncio.sleep(seconds)

    async def close(self) -> None:
        """Close every connection; those in use when they come back."""
        for pool in self._pools.values():
            pool.closed = True
            pool.empty()
        for link in tuple(self._listening):
            link.ended = True
            link.transport.abort()
        # An aborted transport closes its socket in the next turn of the loop.
        for _ in range(2):
            await asyncio.sleep(0)

    def _pool(self, address: Address, role: str) -> AsyncioPool:
        pool = self._pools.get((address, role))
        if pool is None:
            pool = self._pools[address, role] = AsyncioPool(address, self._limits.pool_size(role))
        return pool
