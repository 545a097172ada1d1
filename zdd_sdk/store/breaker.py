"""The breaker: answers at once while Redis is away, and lets a probe find out when it is back.

A refused connection opens it at once: nobody is there. A timeout opens it only when it is the third in a
row without a success between, because one slow script is not an absent Redis.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from zdd_sdk.errors import StoreUnavailable
from zdd_sdk.store.forklock import ForkLock

__all__ = ["CLOSED", "Breaker", "BreakerState", "admit", "note_failure", "note_success"]

_log = logging.getLogger("zdd.store")

PATIENCE = 3
"""Failures in a row, without a success, that open the breaker."""

PROBE_EVERY = 1.0
"""Seconds without a probe after which one ordinary ask is let through as the probe."""

_AT_ONCE = frozenset({"refused", "unresolved", "rejected", "loading"})
_IGNORED = frozenset({"busy", "open"})


@dataclass(frozen=True, slots=True)
class BreakerState:
    """What the breaker remembers.

    Attributes:
        failures: asks that failed since the last success.
        opened: whether ordinary asks are refused.
        probed: monotonic seconds of the last probe let through.
    """

    failures: int = 0
    opened: bool = False
    probed: float = 0.0


CLOSED = BreakerState()


def admit(state: BreakerState, now: float, *, probe: bool) -> tuple[BreakerState, bool]:
    """Whether an ask may go through, and the state after it."""
    if not state.opened:
        return state, True
    if probe or now - state.probed >= PROBE_EVERY:
        return replace(state, probed=now), True
    return state, False


def note_failure(state: BreakerState, reason: str, now: float, *, lenient: bool = False) -> BreakerState:
    """The state after an ask was given up for ``reason`` (of `StoreUnavailable`).

    Args:
        state: the state before.
        reason: ``"busy"`` (our own pool) and ``"open"`` say nothing about Redis.
        now: monotonic seconds.
        lenient: only failures in a row open it: on a Cluster one refusing node is not an absent Redis.
    """
    if reason in _IGNORED:
        return state
    failures = state.failures + 1
    opened = state.opened or failures >= PATIENCE or (reason in _AT_ONCE and not lenient)
    return BreakerState(failures, opened, now if opened and not state.opened else state.probed)


def note_success(_state: BreakerState) -> BreakerState:
    """The state after an answer: closed."""
    return CLOSED


class Breaker:
    """The breaker of one process, shared by its blocking and asyncio stores; thread-safe.

    Closed, it costs one attribute read per ask and takes no lock.

    Args:
        on_open: called once each time it opens, by whoever opened it (wakes the pulse).
        lenient: see `note_failure`.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        on_open: Callable[[], None] | None = None,
        *,
        lenient: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._on_open = on_open
        self.lenient = lenient
        self._clock = clock
        self._lock = ForkLock()
        self.state = CLOSED

    @property
    def closed(self) -> bool:
        """Whether ordinary asks go through."""
        return not self.state.opened

    def admit(self, *, probe: bool = False) -> None:
        """Let an ask through, or raise.

        Raises:
            StoreUnavailable: the breaker is open and this ask is not the probe.
        """
        if self.state is CLOSED or not self.state.opened:
            return
        with self._lock:
            self.state, admitted = admit(self.state, self._clock(), probe=probe)
        if not admitted:
            message = "Redis is away (the breaker is open); the next probe will tell when it is back"
            raise StoreUnavailable(message, reason="open", retry_after=PROBE_EVERY)

    def succeeded(self) -> None:
        """An ask was answered."""
        if self.state is not CLOSED:
            with self._lock:
                before, self.state = self.state, note_success(self.state)
            if before.opened:
                _log.warning("Redis is back")

    def failed(self, reason: str) -> None:
        """An ask was given up."""
        with self._lock:
            before, self.state = self.state, note_failure(self.state, reason, self._clock(), lenient=self.lenient)
            opens = self.state.opened and not before.opened
        if opens:
            _log.warning("Redis is away (%s): asks fail at once until a probe succeeds", reason)
            self._tell()

    def _tell(self) -> None:
        try:
            if self._on_open:
                self._on_open()
        except Exception:  # noqa: BLE001 - whoever opened the breaker gets its ask's error, not a listener's
            _log.exception("a listener to the breaker failed")
