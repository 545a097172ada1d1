"""Host names to addresses, in a bounded time: ``getaddrinfo`` has no timeout (6.05 s were measured).

Each lookup runs in a daemon thread of its own, one per name at a time; whoever waits for it waits no longer
than its own budget. What was found once survives a resolver that fails later.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from zdd_sdk.store.forklock import ForkLock
from zdd_sdk.store.url import Address

__all__ = ["Endpoint", "Resolver"]

FRESH = 30.0
"""Seconds a name is not looked up again; a failed connection ends them early (DNS failover)."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One socket address of a server: what ``socket.socket`` and ``connect`` need."""

    family: int
    address: Any


@dataclass(slots=True)
class _Entry:
    endpoints: tuple[Endpoint, ...] = ()
    expires: float = 0.0
    lookup: Future[tuple[Endpoint, ...]] | None = None


class Resolver:
    """Resolves and remembers; shared by all stores of a process, thread-safe.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = ForkLock(self._forget_lookups)
        self._entries: dict[Address, _Entry] = {}

    def known(self, address: Address) -> tuple[Endpoint, ...]:
        """What needs no lookup: a numeric host, a Unix socket, or a name looked up less than 30 s ago."""
        if address.path:
            return (Endpoint(socket.AF_UNIX, address.path),)
        entry = self._entries.get(address)
        if entry is not None and self._clock() < entry.expires:
            return entry.endpoints
        return _numeric(address)

    def remembered(self, address: Address) -> tuple[Endpoint, ...]:
        """What an earlier lookup found, however old; empty if none ever did."""
        entry = self._entries.get(address)
        return entry.endpoints if entry else ()

    def look_up(self, address: Address) -> Future[tuple[Endpoint, ...]]:
        """Start a lookup, or join the one under way; its result also goes into the memory.

        The future fails with ``OSError`` (``socket.gaierror``) if the name cannot be resolved.
        """
        with self._lock:
            entry = self._entries.setdefault(address, _Entry())
            if entry.lookup is not None:
                return entry.lookup
            future = entry.lookup = Future()
        thread = threading.Thread(target=self._run, args=(address, entry, future), daemon=True, name="zdd-resolve")
        thread.start()
        return future

    def doubt(self, address: Address) -> None:
        """Look the name up again before the next connection: nobody answered where it pointed to."""
        if (entry := self._entries.get(address)) is not None:
            entry.expires = 0.0

    def _run(self, address: Address, entry: _Entry, future: Future[tuple[Endpoint, ...]]) -> None:
        try:
            found = _resolve(address)
        except (OSError, UnicodeError) as error:
            entry.lookup = None
            future.set_exception(error if isinstance(error, OSError) else OSError(str(error)))
            return
        entry.endpoints, entry.expires, entry.lookup = found, self._clock() + FRESH, None
        future.set_result(found)

    def _forget_lookups(self) -> None:
        for entry in self._entries.values():
            entry.lookup = None


def _resolve(address: Address) -> tuple[Endpoint, ...]:
    rows = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(Endpoint(row[0], row[4]) for row in rows))


def _numeric(address: Address) -> tuple[Endpoint, ...]:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, address.host)
        except (OSError, ValueError):
            continue
        return (Endpoint(family, (address.host, address.port)),)
    return ()
