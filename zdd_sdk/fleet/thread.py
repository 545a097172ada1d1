"""The daemon thread that pulses: when, how soon again, and how it ends."""

from __future__ import annotations

import contextlib
import logging
import random
import threading
import time
from collections.abc import Callable

from zdd_sdk.errors import SettingsError
from zdd_sdk.fleet.core import Pulser
from zdd_sdk.store import Store, finish

__all__ = ["PulseThread"]

logger = logging.getLogger("zdd.fleet")

JITTER = 0.2
"""Each interval is up to this much shorter, so that a fleet started together does not pulse together."""

_PROBE = 0.5
_POLL = 0.25
_SPACING = 0.05


class PulseThread:
    """Pulses on a thread of its own until stopped, then says goodbye.

    Args:
        pulser: the worker's side of the conversation; used by this thread only.
        store: gives the blocking store; called on the thread, so that importing the app connects nothing.
        interval: seconds between pulses.
        on_demand: pulse only when woken (request mode), not by time.
    """

    def __init__(self, pulser: Pulser, store: Callable[[], Store], *, interval: float, on_demand: bool = False) -> None:
        self._pulser = pulser
        self._store = store
        self._interval = interval
        self._on_demand = on_demand
        self._wake = threading.Event()
        self._stopping = False
        self._hurried = False
        self._failed: type[Exception] | None = None
        self._due = 0.0
        self._thread = threading.Thread(target=self._run, name="zdd-pulse", daemon=True)

    def start(self) -> None:
        """Start pulsing; the first pulse goes out at once."""
        self._thread.start()

    def wake(self) -> None:
        """Pulse soon."""
        self._wake.set()

    def wake_if_due(self) -> None:
        """Pulse soon if the interval is over; costs a comparison otherwise."""
        if time.monotonic() >= self._due:
            self._wake.set()

    def stop(self, timeout: float) -> None:
        """Say goodbye and wait for that up to ``timeout`` seconds."""
        self._stopping = True
        self._wake.set()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def _run(self) -> None:
        while not self._stopping:
            self._turn()
        with contextlib.suppress(Exception):
            finish(self._pulser.goodbye(self._store()))

    def _turn(self) -> None:
        """Pulse once and wait; nothing that goes wrong may end the thread, or the fleet would think us dead."""
        self._wake.clear()
        self._due = time.monotonic() + self._interval
        try:
            finish(self._pulser.pulse(self._store()))
            self._sleep(self._pause(), patient=self._on_demand and not (self._pulser.away or self._hurried))
        except SettingsError as error:
            logger.warning("no pulse: %s", error)
            self._pulser.give_up(str(error))
            self._stopping = True
        except Exception as error:  # noqa: BLE001 - see above
            self._say_once(error)
            self._pulser.give_up(f"the pulse failed: {error}")
            self._wake.wait(self._interval)

    def _say_once(self, error: Exception) -> None:
        if type(error) is not self._failed:
            self._failed = type(error)
            logger.error("the pulse failed; each next one tries again", exc_info=error)

    def _pause(self) -> float:
        """Return the seconds until the next pulse."""
        if self._pulser.away:
            self._hurried = False
            return _between(_PROBE / 2, _PROBE)
        self._hurried = self._pulser.wanted and not self._hurried
        return _SPACING if self._hurried else _between(self._interval * (1 - JITTER), self._interval)

    def _sleep(self, seconds: float, *, patient: bool) -> None:
        """Wait until the next pulse is due (unless ``patient``), somebody wakes us or the worker's state changes."""
        start = time.monotonic()
        self._due = start + seconds
        while not self._wake.is_set() and self._pulser.state == self._pulser.sent_state:
            remaining = _POLL if patient else self._due - time.monotonic()
            if remaining <= 0:
                return
            self._wake.wait(min(remaining, _POLL))
        if not self._stopping:
            time.sleep(max(0.0, start + _SPACING - time.monotonic()))


def _between(low: float, high: float) -> float:
    return random.uniform(low, high)  # noqa: S311 - jitter is no secret
