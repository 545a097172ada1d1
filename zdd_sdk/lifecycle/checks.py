"""Dependency checks: run in the background, judged with hysteresis, never waited for by anybody."""

from __future__ import annotations

import inspect
import logging
import threading
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from zdd_sdk.lifecycle.model import CheckState, after_result

if TYPE_CHECKING:
    from zdd_sdk.lifecycle.loops import LoopRunner

__all__ = ["CheckBoard", "CheckFunction"]

CheckFunction = Callable[[], Any]
"""Takes nothing; raising or returning ``False`` is a failure. May be ``async``."""

_log = logging.getLogger("zdd.lifecycle")


@dataclass(slots=True)
class _Check:
    name: str
    function: CheckFunction
    due: float = 0.0
    started: float = 0.0
    running: threading.Thread | None = None
    overdue: bool = False
    results: list[tuple[bool, str]] = field(default_factory=list)


class CheckBoard:
    """All checks of a process.

    Args:
        interval: seconds between the starts of two runs of one check.
        timeout: seconds one run may take; a longer one counts as a failure, and as another one every
            interval until it returns. It is never started twice at once.
    """

    def __init__(self, interval: float, timeout: float) -> None:
        self.interval = interval
        self.timeout = timeout
        self.run_on_loop: LoopRunner | None = None
        self.states: Mapping[str, CheckState] = {}
        self._checks: dict[str, _Check] = {}

    def add(self, name: str, function: CheckFunction, *, critical: bool) -> None:
        """Add a check, or replace the one of this name."""
        self._checks[name] = _Check(name, function)
        self.states = {**self.states, name: CheckState(critical)}

    def reset(self) -> None:
        """Forget runs under way: after a fork their threads exist only in the parent."""
        for name, check in list(self._checks.items()):
            self._checks[name] = _Check(name, check.function)

    def tick(self, now: float) -> None:
        """Take results, note overdue runs, start what is due. Returns at once; called every 0.1 s."""
        for check in list(self._checks.values()):
            self._collect(check, now)
            if check.running is None and now >= check.due:
                self._begin(check, now)

    def _collect(self, check: _Check, now: float) -> None:
        if check.running is None:
            return
        if check.results:
            ok, detail = check.results.pop()
            check.running = None
            if not check.overdue:
                self._note(check, ok, detail)
        elif now - check.started > self.timeout and (not check.overdue or now >= check.due):
            check.overdue = True
            check.due = now + self.interval
            self._note(check, False, f"no answer in {self.timeout:g} s")

    def _begin(self, check: _Check, now: float) -> None:
        check.due = now + self.interval
        check.started = now
        check.overdue = False
        check.results = []
        check.running = threading.Thread(target=self._run, args=(check, check.results), daemon=True)
        check.running.name = f"zdd-check-{check.name}"
        check.running.start()

    def _run(self, check: _Check, results: list[tuple[bool, str]]) -> None:
        try:
            value = check.function()
            if inspect.isawaitable(value):
                value = self._await(value)
            results.append((value is not False, "" if value is not False else "returned False"))
        except Exception as error:  # noqa: BLE001
            # The type only: a driver's message may hold a URL with its password.
            results.append((False, type(error).__name__))

    def _await(self, value: Awaitable[Any]) -> Any:
        if self.run_on_loop is None:
            from zdd_sdk.lifecycle.loops import run_alone

            return run_alone(value)
        future = self.run_on_loop(value)
        try:
            return future.result(self.timeout)
        except TimeoutError:
            future.cancel()
            raise

    def _note(self, check: _Check, ok: bool, detail: str) -> None:
        before = self.states[check.name]
        after = after_result(before, ok, detail)
        self.states = {**self.states, check.name: after}
        if after.ok != before.ok and not (before.ok is None and after.ok):
            _log.warning("check %s is %s", check.name, "good again" if after.ok else f"bad: {detail}")
