"""Asyncio connections: redis-py logs them in, patience limits them; and their pool."""

from __future__ import annotations

import asyncio
import select
from collections import deque
from collections.abc import Sequence
from typing import Any

from zdd_sdk.errors import StoreUnavailable
from zdd_sdk.store.aio_dial import AsyncioConnection
from zdd_sdk.store.link import Budget, Limits, Link, Login, unconnected
from zdd_sdk.store.patience import Patience, Ticker
from zdd_sdk.store.resolve import Resolver
from zdd_sdk.store.shield import Arrival
from zdd_sdk.store.url import Address
from zdd_sdk.store.wire import CHUNK, UNFINISHED, Replies

__all__ = ["AsyncioNetwork"]


def _read_now(stream: asyncio.StreamReader) -> bytes:
    """Return what has come already."""
    reading = stream.read(CHUNK)
    try:
        reading.send(None)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    reading.close()
    return b""


class AsyncioLink(asyncio.Protocol):
    """One connection of the asyncio store, once redis-py has logged it in; see `zdd_sdk.store.link.Link`."""

    def __init__(self, connection: AsyncioConnection, pool: AsyncioPool) -> None:
        assert connection.transport is not None  # noqa: S101 - connect() has just returned
        self.connection = connection
        self.address = connection.address
        self.pool = pool
        self.transport = connection.transport
        self.ended = self.timed_out = False
        self._replies = Replies()
        self._arrival: Arrival | None = None
        self._closed = self._paused = False
        self._loop = asyncio.get_running_loop()
        self._poll = select.poll()
        self._poll.register(self.transport.get_extra_info("socket").fileno(), select.POLLIN)
        self.transport.set_protocol(self)
        self._take_over()

    def _take_over(self) -> None:
        """Take what has come since the login: a server that has too many clients says so, and goes."""
        stream = self.connection.stream
        try:
            self._replies.feed(_read_now(stream))
            self._closed = stream.at_eof()
        except OSError:
            self._closed = True

    def data_received(self, data: bytes) -> None:
        """Keep what has come for who waits for it; while nobody does, let the server wait."""
        self._replies.feed(data)
        if self._arrival is None:
            self._paused = True
            self.transport.pause_reading()
        else:
            self._arrived()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Tell who waits."""
        self._closed = True
        self._arrived()

    def _arrived(self) -> None:
        arrival, self._arrival = self._arrival, None
        if arrival is not None and not arrival.done():
            arrival.set_result(None)

    def send(self, packed: bytes) -> None:
        """Send packed commands in one write."""
        self.transport.write(packed)

    async def receive(self, replies: list[Any], count: int) -> None:
        """Read replies into a list until it has so many; cancelled and awaited anew, it goes on."""
        arriving = self._replies
        try:
            while len(replies) < count:
                if (reply := arriving.next()) is not UNFINISHED:
                    replies.append(reply)
                else:
                    await self._more()
        except ValueError as error:
            raise self._broken() from error

    def _more(self) -> Arrival:
        """Wait for what comes next.

        Raises:
            StoreUnavailable: nothing will.
        """
        if self._closed:
            raise self._broken()
        if self._paused:
            self._paused = False
            self.transport.resume_reading()
        self._arrival = arrival = Arrival(loop=self._loop)
        return arrival

    async def fresh(self) -> bool:
        """Whether the server has neither closed the connection nor sent what nobody asked for."""
        if self.transport.is_closing() or not self._replies.empty:
            return False
        if not self._poll.poll(0):
            return True
        # Something has arrived that the loop has not read: let it, then see whether it was a TLS ticket or the end.
        for _ in range(2):
            await asyncio.sleep(0)
        return not (self.transport.is_closing() or self._poll.poll(0)) and self._replies.empty

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

    async def wait_for_place(self, budget: Patience, limits: Limits) -> None:
        """Wait until somebody leaves, first come first served."""
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
        self._ticker = Ticker(self.loop)

    def budget(self, seconds: float) -> Patience:
        """Start the clock of one ask."""
        return Patience(self._ticker, seconds)

    async def take(self, address: Address, budget: Budget, *, role: str = "") -> AsyncioLink:
        """A free connection, pooled or new."""
        assert isinstance(budget, Patience)  # noqa: S101 - a network only meets its own budgets
        pool = self._pools.get((address, role)) or self._pool(address, role)
        if pool.free > 0:
            pool.free -= 1
        else:
            await pool.wait_for_place(budget, self._limits)
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
        pool = self._pools[address, role] = AsyncioPool(address, self._limits.pool_size(role))
        return pool
