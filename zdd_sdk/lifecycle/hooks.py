"""Callbacks at the drain's begin and at the stop: one that fails or hangs stands in nobody's way."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zdd_sdk.lifecycle.loops import LoopRunner

__all__ = ["Hook", "Hooks"]

Hook = Callable[[], Any]
"""Takes nothing; its result is awaited if it can be."""

_log = logging.getLogger("zdd.lifecycle")


class Hooks:
    """What to call when.

    Attributes:
        on_drain: called once, in order, in the thread that noticed.
        on_stop: called last added first.
    """

    def __init__(self) -> None:
        self.on_drain: list[Hook] = []
        self.on_stop: list[Hook] = []

    def run_drain(self) -> None:
        """Call the drain hooks."""
        for hook in list(self.on_drain):
            _call(hook, None)

    def run_stop(self, seconds: float, run_on_loop: LoopRunner | None) -> None:
        """Call the stop hooks, last added first, and return when they have ended or after ``seconds``.

        Args:
            seconds: for all of them together; one that hangs is left behind with those after it.
            run_on_loop: where results that can be awaited are awaited.
        """
        left = list(self.on_stop)

        def run() -> None:
            while left:
                _call(left[-1], run_on_loop)
                left.pop()

        runner = threading.Thread(target=run, name="zdd-stop", daemon=True)
        runner.start()
        runner.join(seconds)
        if left:
            _log.error("stop hooks not ended in %g s and left: %s", seconds, ", ".join(map(_name, reversed(left))))


def _call(hook: Hook, run_on_loop: LoopRunner | None) -> None:
    try:
        result = hook()
        if run_on_loop is not None and hasattr(result, "__await__"):
            run_on_loop(result).result()
    except Exception:  # noqa: BLE001
        _log.exception("hook %s failed", _name(hook))


def _name(hook: Hook) -> str:
    return str(getattr(hook, "__qualname__", hook))
