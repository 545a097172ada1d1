"""`Clock`: lets hours pass in Redis without waiting for them."""

from __future__ import annotations

from datetime import timedelta

from zdd_sdk.settings.units import parse_duration
from zdd_sdk.store.call import load_script
from zdd_sdk.store.engine import Engine

__all__ = ["Clock"]

_SPARED = "fleet"
"""Live workers renew their entries every two seconds; hours of silence would say that all of them had died."""


class Clock:
    """Ages what an engine holds: whatever would have expired meanwhile is gone.

    All deadlines zdd-sdk keeps are in Redis, by its clock, so ageing the keys is the same as waiting. What
    the test itself reads from `time` or `datetime` does not change, nor does the registry of live workers.

    Args:
        engine: the engine of a test; never one whose data matters.

    Attributes:
        advanced: seconds that have passed by `advance`.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.advanced = 0.0

    def advance(self, by: str | float | timedelta) -> None:
        """Let time pass.

        Args:
            by: ``"2h"``, ``"1d12h"``, seconds, or a timedelta; never negative.

        Raises:
            ValueError: not a duration.
        """
        seconds = parse_duration(by.total_seconds() if isinstance(by, timedelta) else by)
        script = load_script("zdd_sdk.testing", "age")
        self._engine.ask("EVAL", script.source, 0, round(seconds * 1000), _SPARED)
        self.advanced += seconds
