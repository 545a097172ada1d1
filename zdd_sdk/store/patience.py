"""Time limits on an event loop that may stall: a stalled loop is not an absent Redis.

A timer that fires late has learnt nothing about the server: while one handler burnt 300 ms of CPU, the
replies lay in the sockets unread. So a limit is counted in slices, a late slice is charged only its own
length, and before a limit is declared passed, whatever has arrived gets read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Handle  # noqa: TID251 - for annotations only

__all__ = ["Patience"]

_SLICES = 8
"""A limit is counted in eighths, so that a stall costs at most one of them: 25 ms of an operation's 200 ms."""

_SHORTEST = 0.0005
"""Seconds; shorter timers would only spin."""

_ROUNDS = 3
"""Turns of the loop between "time is up" and giving up. uvloop runs timers before it polls, so the first turn
may still be the one in which the timer fired; the second polls; the third is for a TLS layer between."""


class Patience:
    """A budget of seconds during which the loop was awake; at most one limit is armed at a time.

    Args:
        loop: the running loop.
        seconds: the whole budget.
    """

    __slots__ = (
        "_expire", "_handle", "_limit", "_loop", "_parent", "_rounds", "_since", "_slice", "_spent", "_step", "_total",
        "expired",
    )  # fmt: skip

    def __init__(self, loop: AbstractEventLoop, seconds: float, parent: Patience | None = None) -> None:
        self._loop = loop
        self._parent = parent
        self._total = seconds
        self._spent = 0.0
        self._limit = 0.0
        self._since = 0.0
        self._slice = 0.0
        self._step = 0.0
        self._rounds = 0
        self._handle: Handle | None = None
        self._expire: Callable[[], object] | None = None
        self.expired = False

    def left(self) -> float:
        """Seconds left, negative when used up."""
        return self._total - self._spent

    def part(self, seconds: float) -> Patience:
        """A budget of at most ``seconds``; what is spent of it is spent of this one too."""
        return Patience(self._loop, min(seconds, self.left()), self)

    def charge(self, seconds: float) -> None:
        """Count seconds, here and in the budget this one is part of."""
        self._spent += seconds
        if self._parent is not None:
            self._parent.charge(seconds)

    def arm(self, seconds: float, expire: Callable[[], object]) -> None:
        """Call ``expire`` after ``seconds`` of patience, or when the budget is used up if that is earlier."""
        self.expired = False
        self._expire = expire
        self._limit = min(self._spent + seconds, self._total)
        self._step = max((self._limit - self._spent) / _SLICES, _SHORTEST)
        self._next_slice()

    def disarm(self) -> None:
        """What was waited for has come, or the caller has gone."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
            if self._slice:
                self._count()

    def _next_slice(self) -> None:
        self._slice = max(min(self._step, self._limit - self._spent), _SHORTEST)
        self._since = self._loop.time()
        self._handle = self._loop.call_later(self._slice, self._tick)

    def _count(self) -> None:
        self.charge(min(self._loop.time() - self._since, self._slice))
        self._slice = 0.0

    def _tick(self) -> None:
        self._count()
        if self._spent < self._limit - _SHORTEST / 2:
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
