"""Time limits on an event loop that may stall: a stalled loop is not an absent Redis.

A timer that fires late has learnt nothing about the server: while one handler burnt 300 ms of CPU, the
replies lay in the sockets unread. So a limit is counted in slices, a late slice is charged only its own
length, and before a limit is declared passed, whatever has arrived gets read.

Nearly every limit is taken back long before it has passed. So there is one timer per loop, not one per limit: it
goes on while anything is limited, and finds most of the time that nothing is.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Handle, TimerHandle  # noqa: TID251 - for annotations only

__all__ = ["Patience", "Ticker"]

_SLICES = 8
"""A limit is counted in eighths, so that a stall costs at most one of them: 25 ms of an operation's 200 ms."""

_SHORTEST = 0.0005
"""Seconds; shorter timers would only spin."""

_ROUNDS = 3
"""Turns of the loop between "time is up" and giving up. uvloop runs timers before it polls, so the first turn
may still be the one in which the timer fired; the second polls; the third is for a TLS layer between."""


class Ticker:
    """The timer of one loop, which counts every limit that is armed.

    Args:
        loop: the running loop.
    """

    __slots__ = ("_armed", "_handle", "_when", "loop", "time")

    def __init__(self, loop: AbstractEventLoop) -> None:
        self.loop = loop
        self.time = loop.time
        self._armed: set[Patience] = set()
        self._handle: TimerHandle | None = None
        self._when = inf

    def add(self, patience: Patience, when: float) -> None:
        """Count a limit, for the first time at ``when``."""
        self._armed.add(patience)
        if when < self._when:
            self._wake(when)

    def remove(self, patience: Patience) -> bool:
        """Count a limit no longer; returns whether it was counted. The timer may run on for nothing, once."""
        if patience in self._armed:
            self._armed.discard(patience)
            return True
        return False

    def _wake(self, when: float) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._when = when
        self._handle = self.loop.call_later(when - self.time(), self._tick)

    def _tick(self) -> None:
        self._handle, self._when = None, inf
        now = self.time()
        waits = [wait for patience in tuple(self._armed) if (wait := patience.count(now)) > 0]
        if waits:
            self._wake(now + min(waits))


class Patience:
    """A budget of seconds during which the loop was awake; at most one limit is armed at a time.

    Args:
        ticker: of the running loop.
        seconds: the whole budget.
        parent: the budget this one is part of.
    """

    __slots__ = (
        "_expire",
        "_last_look",
        "_limit",
        "_parent",
        "_since",
        "_slice",
        "_spent",
        "_ticker",
        "_total",
        "expired",
    )

    def __init__(self, ticker: Ticker, seconds: float, parent: Patience | None = None) -> None:
        self._ticker = ticker
        self._parent = parent
        self._total = seconds
        self._spent = 0.0
        self._last_look: Handle | None = None
        self.expired = False

    def left(self) -> float:
        """Seconds left, negative when used up."""
        return self._total - self._spent

    def part(self, seconds: float) -> Patience:
        """A budget of at most ``seconds``; what is spent of it is spent of this one too."""
        return Patience(self._ticker, min(seconds, self.left()), self)

    def charge(self, seconds: float) -> None:
        """Count seconds, here and in the budget this one is part of."""
        self._spent += seconds
        if self._parent is not None:
            self._parent.charge(seconds)

    def arm(self, seconds: float, expire: Callable[[], object]) -> None:
        """Call ``expire`` after ``seconds`` of patience, or when the budget is used up if that is earlier."""
        ticker, spent = self._ticker, self._spent
        self.expired = False
        self._expire = expire
        self._limit = limit = min(spent + seconds, self._total)
        self._slice = step = max((limit - spent) / _SLICES, _SHORTEST)
        self._since = now = ticker.time()
        ticker.add(self, now + step)

    def disarm(self) -> None:
        """What was waited for has come, or the caller has gone."""
        if self._ticker.remove(self):
            self.charge(min(self._ticker.time() - self._since, self._slice))
        elif self._last_look is not None:
            self._last_look.cancel()
            self._last_look = None

    def count(self, now: float) -> float:
        """Charge what has passed, at most a slice; return the seconds until the next count, 0 if time is up."""
        self.charge(min(now - self._since, self._slice))
        self._since = now
        left = self._limit - self._spent
        if left >= _SHORTEST / 2:
            return max(min(self._slice, left), _SHORTEST)
        self._ticker.remove(self)
        self._look(_ROUNDS)
        return 0.0

    def _look(self, rounds: int) -> None:
        if rounds:
            self._last_look = self._ticker.loop.call_soon(self._look, rounds - 1)
            return
        self._last_look = None
        self.expired = True
        self._expire()
