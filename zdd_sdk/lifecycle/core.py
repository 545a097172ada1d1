"""`Lifecycle`: one per process; knows the state, answers health from memory, begins the drain."""

from __future__ import annotations

import logging
import multiprocessing
import os
import random as _random
import socket
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, overload

from zdd_sdk.errors import LifecycleError
from zdd_sdk.http import Answer
from zdd_sdk.lifecycle.agent import start_agent
from zdd_sdk.lifecycle.checks import CheckBoard, CheckFunction
from zdd_sdk.lifecycle.flag import InstanceDirectory, instance_root
from zdd_sdk.lifecycle.health import PROBES, health_answer
from zdd_sdk.lifecycle.hooks import Hooks
from zdd_sdk.lifecycle.model import (
    State,
    grace_finding,
    keep_alive_finding,
    next_state,
    readiness,
    serves_while_terminating,
)
from zdd_sdk.settings import LifecycleSettings

if TYPE_CHECKING:
    from zdd_sdk.lifecycle.loops import LoopRunner

__all__ = ["Lifecycle", "activate", "active"]

TICK = 0.1
"""Seconds between two looks at the flag: one `stat`, 2 µs."""

WEDGED_AFTER = 10.0
"""A heartbeat older than this fails ``/livez``: longer than any pause a healthy process makes (GC, a slow import)."""

_log = logging.getLogger("zdd.lifecycle")
_F = TypeVar("_F", bound=CheckFunction)
_lifecycles: weakref.WeakSet[Lifecycle] = weakref.WeakSet()
_active: list[Lifecycle] = []


def activate(lifecycle: Lifecycle) -> Lifecycle:
    """Make this the process's lifecycle: the one server adapters drive. Returns it."""
    before = active()
    if before is not None and before is not lifecycle:
        lifecycle.adapter = lifecycle.adapter or before.adapter
        lifecycle.parent = lifecycle.parent or before.parent
    _active[:] = [lifecycle]
    return lifecycle


def active() -> Lifecycle | None:
    """Return the process's lifecycle, or ``None`` if nothing has activated one."""
    return _active[0] if _active else None


def _parent() -> int | None:
    """Return the process id of the parent, in a child started by multiprocessing."""
    parent = multiprocessing.parent_process()
    return parent.pid if parent else None


class Lifecycle:
    """State, health and drain of one process. Starting nothing at construction, safe in threads and after a fork.

    Args:
        settings: lag, timeouts, check interval, run directory, names.
        service: name of the service.
        environment: name of the deployment environment.
        release: what health shows as the release, such as ``{"id": …, "label": …}``.

    Attributes:
        state: where the process is in its life.
        draining: whether it is DRAINING or STOPPING; a plain attribute, for use in every request.
        instance: name of the instance this process belongs to.
        in_flight: requests being answered now.
        drained_at: ``time.monotonic()`` of the drain's begin, or ``None``.
        adapter: name of the server adapter that carries out the drain, or ``None``.
        parent: process id of who started this worker, and would start another one; ``None``: nobody.
        directory: the instance's run directory.
    """

    def __init__(
        self,
        settings: LifecycleSettings,
        *,
        service: str,
        environment: str,
        release: Mapping[str, str | None] | None = None,
    ) -> None:
        self.settings = settings
        self.service = service
        self.environment = environment
        self.release = dict(release or {})
        self.parent = _parent()
        self.instance = settings.instance or f"{socket.gethostname()}-{self.parent or os.getpid()}"
        self.directory = InstanceDirectory(instance_root(settings, service, environment), self.instance)
        self.adapter: str | None = None
        self.draining = False
        self.drained_at: float | None = None
        self.in_flight = 0
        self.state = State.STARTING
        self.checks = CheckBoard(settings.check_interval, settings.check_timeout)
        self._serves = serves_while_terminating(settings.readyz_while_terminating, os.environ)
        self._probes = {f"{settings.health_prefix}/{name}": name for name in PROBES}
        self._hooks = Hooks()
        self._renew()
        _lifecycles.add(self)

    def _renew(self) -> None:
        # Re-entrant, because a signal handler may begin the drain while this very thread is doing so.
        self._lock = threading.RLock()
        self._count_lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._quit = threading.Event()
        self._beats: dict[str, float] = {}
        self._joined = False
        self._stopped = False

    # States

    def mark_ready(self) -> None:
        """Say that the application has started and its server accepts connections; no way back from a drain."""
        self._move(State.READY)

    def begin_drain(self, reason: str) -> bool:
        """Begin the drain: readiness flips and every HTTP/1 answer says close; all is served as before.

        Idempotent, and callable from any thread and from a signal handler.

        Args:
            reason: what asked for it, for the log; empty: say nothing.

        Returns:
            whether this call began it.
        """
        with self._lock:
            if self.draining or not self._move(State.DRAINING):
                return False
            self.drained_at = time.monotonic()
            self.draining = True
        self._hooks.run_drain()
        if reason:
            _log.info("draining (%s): serving on for %.1f s", reason, self.lag_left())
        return True

    def mark_stopping(self) -> None:
        """Say that the server is leaving: the listener is closed and no request will follow."""
        self.begin_drain("")
        self._move(State.STOPPING)

    def _move(self, wanted: State) -> bool:
        with self._lock:
            before, self.state = self.state, next_state(self.state, wanted)
            return self.state is not before

    # Drain

    def drained_for(self) -> float:
        """Seconds since the drain began; 0 if it has not."""
        return 0.0 if self.drained_at is None else time.monotonic() - self.drained_at

    def lag_left(self) -> float:
        """Seconds to serve on before the listener may be closed; what passed since ``zdd drain`` is deducted."""
        return max(0.0, self.settings.drain_lag - self.drained_for())

    def websocket_delay(self, random: Callable[[], float] = _random.random) -> float:
        """Seconds after which to close one WebSocket: uniform over what is left of the lag and an adapter's linger.

        Args:
            random: returns a number in [0, 1).
        """
        window = self.settings.drain_lag + (self.settings.linger if self.adapter else 0.0)
        return random() * max(0.0, window - self.drained_for())

    def on_drain(self, callback: Callable[[], Any]) -> None:
        """Call ``callback()`` once when the drain begins.

        In whichever thread notices, maybe inside a signal handler: do no more than
        ``loop.call_soon_threadsafe`` or setting a flag.
        """
        self._hooks.on_drain.append(callback)

    def on_stop(self, callback: Callable[[], Any]) -> None:
        """Call ``callback()`` when the process stops, after the application's own shutdown; last added first."""
        self._hooks.on_stop.append(callback)

    # Requests

    def enter(self) -> None:
        """Count a request in."""
        with self._count_lock:
            self.in_flight += 1

    def leave(self) -> None:
        """Count a request out."""
        with self._count_lock:
            self.in_flight -= 1

    # Health

    @property
    def started(self) -> bool:
        """Whether the background thread runs in this process."""
        return self._thread is not None

    @overload
    def check(self, function: _F, *, critical: bool = False, name: str | None = None) -> _F: ...

    @overload
    def check(
        self, function: None = None, *, critical: bool = False, name: str | None = None
    ) -> Callable[[_F], _F]: ...

    def check(self, function: Any = None, *, critical: bool = False, name: str | None = None) -> Any:
        """Register a dependency check: a function without arguments, sync or async; usable as a decorator.

        It fails by raising or by returning ``False``, and runs in the background every ``check_interval``.

        Args:
            function: the check.
            critical: readiness depends on it. Leave it off for what all instances share: one sick
                database would take every instance out of rotation at once.
            name: as shown by health; default the function's name.
        """

        def register(chosen: _F) -> _F:
            self.checks.add(name or str(getattr(chosen, "__name__", chosen)), chosen, critical=critical)
            return chosen

        return register if function is None else register(function)

    def health(self, path: str) -> Answer | None:
        """Answer ``/livez``, ``/readyz`` or ``/startupz`` (below ``health_prefix``); ``None`` for any other path."""
        probe = self._probes.get(path)
        return None if probe is None else self._answer(self._good(probe))

    def _good(self, probe: str) -> bool:
        if probe == "livez":
            return not self.wedged()
        if probe == "startupz":
            return self.state is not State.STARTING
        return readiness(self.state, self.checks.states, serve=self._serves)

    def _answer(self, good: bool) -> Answer:
        known = {"state": self.state.value, "instance": self.instance, "adapter": self.adapter, "release": self.release}
        return health_answer(good, known, self.checks.states)

    def beat(self, source: str) -> None:
        """Note that a thread or an event loop turned; once it has, it must go on doing so."""
        self._beats[source] = time.monotonic()

    def wedged(self) -> bool:
        """Whether a heartbeat stopped 10 s ago or more; Redis or any check has no say in it."""
        oldest = min(self._beats.values(), default=None)
        return oldest is not None and time.monotonic() - oldest > WEDGED_AFTER

    # The background thread

    def start(self, *, run_on_loop: LoopRunner | None = None) -> None:
        """Start the thread that watches the drain flag, runs the checks and beats; a second call changes nothing.

        Args:
            run_on_loop: runs ``async`` checks on the application's loop; without it each gets a loop of its own.
        """
        with self._lock:
            self.checks.run_on_loop = run_on_loop or self.checks.run_on_loop
            if self._thread is not None and self._thread.is_alive():
                return
            self._begin_again()
            self._thread = threading.Thread(target=self._watch, args=(self._quit,), name="zdd-lifecycle", daemon=True)
            self._thread.start()
            start_agent(self, self._quit)
            if finding := grace_finding(self.settings):
                _log.error(finding)

    def _begin_again(self) -> None:
        if self.state is State.STOPPING:
            self.state, self.draining, self.drained_at = State.STARTING, False, None
        self._quit = threading.Event()
        self._beats = {}
        self._stopped = False
        self.checks.reset()
        self._join_directory()

    def _join_directory(self) -> None:
        try:
            self.directory.join(self.parent)
            self._joined = True
        except (OSError, LifecycleError) as error:
            _log.warning("no drain flag for this instance (`zdd drain` will not find it): %s", error)

    def check_keep_alive(self, seconds: float) -> None:
        """Warn if the server's keep-alive is not above ``proxy_idle_timeout``; for adapters."""
        if finding := keep_alive_finding(seconds, self.settings.proxy_idle_timeout):
            _log.warning(finding)

    def _watch(self, quit_event: threading.Event) -> None:
        while not quit_event.is_set():
            self.beat("thread")
            flagged = self.directory.reason() if self._joined and not self.draining else None
            if flagged is not None and self.begin_drain(""):
                _log.warning("draining (%s): serving on until SIGTERM", flagged)
            if self._joined and self.draining:
                self.directory.note_quiet(not self.in_flight and not self.lag_left())
            self.checks.tick(time.monotonic())
            quit_event.wait(TICK)

    def stop(self, seconds: float | None = None) -> None:
        """Run the stop hooks, last added first, and end the background thread; a second call returns at once.

        Blocks; inside an event loop use `zdd_sdk.lifecycle.asgi.stop`.

        Args:
            seconds: for all hooks together; default ``hooks_timeout``.
        """
        with self._lock:
            if self._stopped:
                return
            self._stopped = True
        self.mark_stopping()
        seconds = self.settings.hooks_timeout if seconds is None else seconds
        self._hooks.run_stop(seconds, self.checks.run_on_loop)
        self._quit.set()
        self._thread = None
        if self._joined:
            self.directory.leave()

    def reset_after_fork(self) -> None:
        """Forget the parent's thread and locks; the server glue or the first request starts the child's own."""
        self._renew()
        self.in_flight = 0
        self.checks.reset()


def _after_fork() -> None:
    for lifecycle in list(_lifecycles):
        lifecycle.reset_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
