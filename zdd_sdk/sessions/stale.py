"""`StaleCopies`: what this process last saw of sessions, for ``on_unavailable = "stale"``; bounded in age and size."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

from zdd_sdk.sessions.stored import Stored

__all__ = ["MAX_AGE", "MAX_BYTES", "MAX_COPIES", "StaleCopies"]

MAX_AGE = 30.0
"""Seconds a copy may be used: a logout elsewhere is unknown here for that long while Redis is away."""

MAX_COPIES = 1024
"""Copies kept; the least recently loaded goes first."""

MAX_BYTES = 8 * 1024 * 1024
"""Encoded bytes kept, per process."""


class StaleCopies:
    """Copies of sessions by key.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._copies: OrderedDict[str, tuple[float, int, Stored]] = OrderedDict()
        self._bytes = 0

    def put(self, key: str, stored: Stored) -> None:
        """Keep a copy as of now."""
        size = stored.size
        with self._lock:
            self._remove(key)
            self._copies[key] = (self._clock(), size, stored)
            self._bytes += size
            while len(self._copies) > MAX_COPIES or self._bytes > MAX_BYTES:
                self._remove(next(iter(self._copies)))

    def get(self, key: str) -> Stored | None:
        """Return the copy if it is at most `MAX_AGE` old."""
        with self._lock:
            at, _, stored = self._copies.get(key, (float("-inf"), 0, None))
            return stored if self._clock() - at <= MAX_AGE else None

    def drop(self, key: str) -> None:
        """Forget a session: logged out, gone, or under a new id."""
        with self._lock:
            self._remove(key)

    def _remove(self, key: str) -> None:
        _, size, _ = self._copies.pop(key, (0.0, 0, None))
        self._bytes -= size
