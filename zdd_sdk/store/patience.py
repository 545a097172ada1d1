"""Time limits on an event loop that may stall: a stalled loop is not an absent Redis.

A timer that fires late has learnt nothing about the server: while one handler burnt 300 ms of CPU, the
replies lay in the sockets unread. So a limit is counted in slices, a late slice is charged only its own
length, and before a limit is declared passed, whatever has arrived gets read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Handle

__all__ = ["Patience"]

SLICE = 0.025
"""Seconds. Short against the 200 ms of an operation, so that a stall costs at most an eighth of it."""

_ROUNDS = 3
"""Turns of the loop between "time is up" and giving up. uvloop runs timers before it polls, so the first turn
may still be the one in which the timer fired; the second polls; the third is for a TLS layer between."""


class Patience:
    """A budget of seconds during which the loop was awake; at most one limit is armed at a time.

    Args:
        loop: the running loop.
        seconds: the whole budget.
    """

    __slots__ = ("_expire", "_handle", "_limit", "_loop", "_rounds", "_since", "_slice", "_spent", "_total", "expired")

    def __init__(self, loop: AbstractEventLoop, seconds: float) -> None:
        self._loop = loop
        self._total = seconds
        self._spent = 0.0
        self._limit = 0.0
        self._since = 0.0
        self._slice = 0.0
        self._rounds = 0
        self._handle: Handle | None = None
        self._expire: Callable[[], object] | None = None
        self.expired = False

    def left(self) -> float:
        """Seconds left, negative when used up."""
        return self._total - self._spent

    def charge(self, seconds: float) -> None:
        """Count a pause we made ourselves."""
        self._spent += seconds

    def arm(self, seconds: float, expire: Callable[[], object]) -> None:
        """Call ``expire`` after ``seconds`` of patience, or when the budget is used up if that is earlier."""
        self.expired = False
        self._expire = expire
        self._limit = min(self._spent + seconds, self._total)
        self._next_slice()

    def disarm(self) -> None:
        """What was waited for has come, or the caller has gone."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
            if self._slice:
                self._count()

    def _next_slice(self) -> None:
        self._slice = max(min(SLICE, self._limit - self._spent), 0.0005)
        self._since = self._loop.time()
        self._handle = self._loop.call_later(self._slice, self._tick)

    def _count(self) -> None:
        self._spent += min(self._loop.time() - self._since, self._slice)
        self._slice = 0.0

    def _tick(self) -> None:
        self._count()
        if self._spent < self._limit - 0.0001:
            self._next_slice()
            return
        self._rounds = _ROUNDS
        self._handle = self._loop.call_soon(self._last_look)

    def _last_look(self) -> None:
        self._rounds -= 1
        if self._rounds:
            self._handle = self._loop.call_soon(self._last_look)
            return
        self._handle = None
        self.expired = True
        if self._expire:
            self._expire()
