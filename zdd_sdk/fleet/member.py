"""`Fleet`: this process as a member of the fleet."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Mapping

from zdd_sdk.fleet.core import Pulser
from zdd_sdk.fleet.model import FleetView, PulsePart, ReleaseRow, WorkerRow, new_id, resolve_role
from zdd_sdk.fleet.thread import PulseThread
from zdd_sdk.fleet.watch import Timing
from zdd_sdk.release import Release
from zdd_sdk.settings import FleetSettings
from zdd_sdk.store import Keys, Store

__all__ = ["Fleet"]

_SILENT_ROLES = frozenset({"shell", "test"})
_GOODBYE = 2.0
_members: weakref.WeakSet[Fleet] = weakref.WeakSet()


class Fleet:
    """Tells the fleet that this worker lives, and knows who else does. Nothing starts before `start`.

    Args:
        settings: intervals and role.
        keys: names of keys.
        store: gives the blocking store; called on the pulse thread.
        release: what this process runs.
        instance: the server it belongs to.
        fingerprint: of its effective settings (`Loaded.fingerprint`).
        shown: its settings as people may see them (`Loaded.shown`).
        lifecycle_state: says this worker's state; asked up to four times a second, so it must be cheap.
            A change is published at once.

    Raises:
        SettingsError: the TTL is shorter than four pulses.
    """

    def __init__(
        self,
        settings: FleetSettings,
        keys: Keys,
        store: Callable[[], Store],
        *,
        release: Release,
        instance: str,
        fingerprint: str,
        shown: Mapping[str, str],
        lifecycle_state: Callable[[], str],
    ) -> None:
        self.role = resolve_role(settings.role)
        self._settings = settings
        self._timing = Timing.of(settings)
        self._keys = keys
        self._store = store
        self._release = release
        self._instance = instance
        self._fingerprint = fingerprint
        self._shown = dict(shown)
        self._lifecycle_state = lifecycle_state
        self._parts: list[PulsePart] = []
        self._reset()
        _members.add(self)

    def _reset(self) -> None:
        """Forget the thread and who we were; after a fork neither is this process's."""
        self._lock = threading.Lock()
        self._thread: PulseThread | None = None
        self._stopped = False
        self._pulser = self._new_pulser()

    @property
    def silent(self) -> bool:
        """Whether this process is a shell or a test."""
        return self.role in _SILENT_ROLES

    @property
    def pulses(self) -> bool:
        """Whether this process takes part: switched on, and neither a shell nor a test."""
        return self._settings.enabled and not self.silent

    @property
    def steady(self) -> bool:
        """Whether it pulses by time, also while no request comes."""
        return self.pulses and self._settings.pulse_mode == "thread"

    @property
    def running(self) -> bool:
        """Whether the pulse thread has been started in this process."""
        return self._thread is not None

    @property
    def worker(self) -> str:
        """Random id of this process; a forked child has its own."""
        return self._pulser.worker

    @property
    def view(self) -> FleetView:
        """Who is alive, as last heard. An immutable snapshot; reading it takes no lock and asks nobody."""
        return self._pulser.view.at(time.monotonic())

    def add(self, part: PulsePart) -> None:
        """Let a part publish its capabilities and send its calls with every pulse; before `start`."""
        self._parts.append(part)
        self._pulser.add(part)

    def start(self) -> bool:
        """Start pulsing, if this process takes part and does not yet; returns whether it pulses now.

        Call it where serving begins: lifespan start, a post-fork hook, worker init.
        """
        if not self.pulses:
            return False
        with self._lock:
            if self._thread is None:
                on_demand = self._settings.pulse_mode == "request"
                thread = PulseThread(self._pulser, self._store, interval=self._timing.pulse, on_demand=on_demand)
                thread.start()
                self._thread = thread
                self._stopped = False
        return True

    def stop(self) -> None:
        """Say goodbye and end the thread, waiting at most 2 s; `start` begins anew, as a new worker."""
        with self._lock:
            thread, self._thread = self._thread, None
            self._stopped = True
        if thread:
            thread.stop(_GOODBYE)
            self._pulser = self._new_pulser()

    def wake(self) -> None:
        """Pulse soon: a state has changed, or the store's breaker has opened and wants to be probed."""
        if thread := self._thread:
            thread.wake()

    def on_request(self) -> None:
        """Note that a request came; cheap (a comparison), never blocks, never raises for an absent store.

        The first one starts the pulse where nothing else did (a forked worker without a hook); one after
        `stop` does not. In
        request mode it wakes the pulse thread when a pulse is due, while the CPU is not frozen.
        """
        thread = self._thread
        if thread is None:
            if not self._stopped:
                self.start()
        elif self._settings.pulse_mode == "request":
            thread.wake_if_due()

    def _new_pulser(self) -> Pulser:
        settings = self._settings
        row = WorkerRow(
            new_id(),
            instance=self._instance,
            role=self.role,
            release=ReleaseRow.of(self._release),
            fingerprint=self._fingerprint,
            mode=settings.pulse_mode,
            ttl=self._timing.ttl,
            pid=os.getpid(),
        )
        return Pulser(
            self._keys,
            self._timing,
            row=row,
            shown=self._shown,
            lifecycle_state=self._lifecycle_state,
            parts=self._parts,
        )


def _forked() -> None:
    for fleet in list(_members):
        fleet._reset()  # noqa: SLF001 - this module's own


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
