"""Records and snapshots of the fleet: workers, instances, releases, the view of them all."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import msgspec

from zdd_sdk.errors import FleetUnknown, RecordError
from zdd_sdk.release import Release
from zdd_sdk.store import Call
from zdd_sdk.store.record import decode, encode

__all__ = [
    "FleetView",
    "InstanceRow",
    "PulsePart",
    "ReleaseRow",
    "WorkerRow",
    "group_instances",
    "new_id",
    "read_row",
    "resolve_role",
    "write_row",
]

_MAX_ROW = 64 * 1024
_SEVERITY = ("stopping", "draining", "joining", "starting", "ready")


class PulsePart(Protocol):
    """A part whose questions ride on the pulse's round trip. Called on the pulse thread, never twice at once."""

    name: str

    def capabilities(self) -> Sequence[str]:
        """Return what this worker can read, such as ``("v1", "v2")``; published under `name`."""
        ...

    def calls(self) -> Sequence[Call[Any]]:
        """Return what to ask in this pulse; a call that fails arrives in `applied` as its exception."""
        ...

    def applied(self, results: Sequence[Any]) -> None:
        """Take the results of the calls just returned, in order; not called if the trip failed."""


class ReleaseRow(msgspec.Struct, frozen=True, omit_defaults=True):
    """A release as a worker's row carries it; see `zdd_sdk.release.Release`."""

    id: str = "unknown"
    label: str = "unknown"
    version: str | None = None
    commit: str | None = None
    build: str | None = None

    @classmethod
    def of(cls, release: Release) -> ReleaseRow:
        """Take from a `Release` what the fleet needs to know."""
        return cls(release.id, release.label, release.version.value, release.commit.value, release.build.value)


class WorkerRow(msgspec.Struct, frozen=True, omit_defaults=True):
    """One live worker. The record's golden bytes are in ``tests/golden/fleet``; fields are only ever added.

    Attributes:
        worker: random id of the process.
        instance: the server it belongs to.
        role: ``web``, ``worker``, ``beat`` or ``job``.
        state: ``joining`` until its second pulse was answered, then its lifecycle's state.
        release: what it runs.
        fingerprint: of its effective settings.
        capabilities: part → what it can read.
        mode: ``thread``, or ``request``: idle between requests, so silence says little.
        ttl: seconds of silence after which it is gone.
        pid: process id on its machine.
        opaque: not stored; the record has a newer format or cannot be read, so that only ``worker`` is known.
    """

    worker: str
    instance: str = ""
    role: str = "web"
    state: str = "joining"
    release: ReleaseRow = ReleaseRow()
    fingerprint: str = ""
    capabilities: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    mode: str = "thread"
    ttl: float = 10.0
    pid: int = 0
    opaque: bool = False


def write_row(row: WorkerRow) -> bytes:
    """Encode a row as a framed record."""
    return encode(row)


def read_row(worker: str, data: bytes) -> WorkerRow:
    """Decode a row; one that a newer release wrote, or garbage, is a live worker of which nothing else is known."""
    try:
        row = decode(data, WorkerRow) if len(data) <= _MAX_ROW else None
    except RecordError:
        row = None
    if row and row.worker == worker:
        return row
    return WorkerRow(worker, state="unreadable", opaque=True)


@dataclass(frozen=True, slots=True)
class InstanceRow:
    """One server and its workers.

    Attributes:
        instance: its name.
        release: what its workers run; an instance that runs two releases is two rows.
        role: of its first worker.
        state: the least ready of its workers' states.
        workers: its workers.
    """

    instance: str
    release: ReleaseRow
    role: str
    state: str
    workers: tuple[WorkerRow, ...]

    @property
    def states(self) -> dict[str, int]:
        """How many workers are in each state."""
        return dict(Counter(row.state for row in self.workers))


@dataclass(frozen=True, slots=True)
class FleetView:
    """Who is alive, as last heard. Immutable; a new one replaces it after every pulse.

    While ``known`` is false, ``workers`` holds whoever was last seen: those in it may live, and others may too.

    Attributes:
        known: whether ``workers`` is complete. If not, nothing may be concluded from an absence.
        why: why it is not known; empty if it is.
        epoch: of the registry.
        generation: of the registry.
        workers: live workers, by instance and id.
        until: own clock until which this can be believed; then a later pulse should have replaced it.
    """

    known: bool = False
    why: str = "no pulse was answered yet"
    epoch: str = ""
    generation: int = 0
    workers: tuple[WorkerRow, ...] = ()
    until: float = 0.0

    def at(self, clock: float) -> FleetView:
        """Return this view as it is to be read at ``clock`` (monotonic seconds): unknown if it has grown old."""
        old = self.known and clock > self.until
        return self.unknown("the last answered pulse is older than the TTL") if old else self

    def unknown(self, why: str) -> FleetView:
        """Return this view with nothing claimed."""
        return replace(self, known=False, why=why)

    def require(self) -> FleetView:
        """Return this view if it is known who is alive.

        Raises:
            FleetUnknown: it is not; says why.
        """
        if not self.known:
            message = f"it is unknown who is alive: {self.why}"
            raise FleetUnknown(message)
        return self

    def instances(self) -> tuple[InstanceRow, ...]:
        """Return the workers grouped by instance and release; unreadable ones are one instance each."""
        return group_instances(self.workers)

    def releases(self) -> tuple[ReleaseRow, ...]:
        """Return the distinct releases that have a live, readable worker, by label."""
        found = {row.release.id: row.release for row in self.workers if not row.opaque}
        return tuple(sorted(found.values(), key=lambda release: (release.label, release.id)))

    def common(self, part: str) -> frozenset[str] | None:
        """Return what every live worker can read for ``part``, or ``None`` if that cannot be known.

        Unknown: the view is not known, a worker's row is unreadable, or there is no worker. A worker
        that does not name the part can read nothing of it.
        """
        if not self.known or not self.workers or any(row.opaque for row in self.workers):
            return None
        return frozenset.intersection(*(frozenset(row.capabilities.get(part, ())) for row in self.workers))


def group_instances(workers: Iterable[WorkerRow]) -> tuple[InstanceRow, ...]:
    """Group workers by instance and release, in order of release label and instance."""
    groups: dict[tuple[str, str], list[WorkerRow]] = {}
    for row in workers:
        groups.setdefault((row.instance or row.worker, row.release.id), []).append(row)
    rows = [
        InstanceRow(name, rows[0].release, rows[0].role, _least_ready(rows), tuple(rows))
        for (name, _), rows in groups.items()
    ]
    return tuple(sorted(rows, key=lambda row: (row.release.label, row.release.id, row.instance)))


def _least_ready(rows: Sequence[WorkerRow]) -> str:
    states = {row.state for row in rows}
    return next((state for state in _SEVERITY if state in states), rows[0].state)


def resolve_role(
    role: str,
    *,
    modules: Mapping[str, Any] | None = None,
    environ: Container[str] | None = None,
    interactive: bool | None = None,
) -> str:
    """Say what this process does: ``auto`` is ``shell`` at a prompt, ``test`` under a test runner, else ``web``.

    In doubt it is a worker: a test that counts as one does no harm, a worker that nobody sees does. So pytest
    must both be imported and have set its variable, which servers started by a test inherit without the import.
    Reload parents need no rule: a pulse starts with the lifespan or the first request, and they see neither.
    """
    if role != "auto":
        return role
    modules = sys.modules if modules is None else modules
    environ = os.environ if environ is None else environ
    if _is_tested(modules, environ):
        return "test"
    at_prompt = hasattr(sys, "ps1") or bool(sys.flags.interactive) if interactive is None else interactive
    return "shell" if at_prompt else "web"


def _is_tested(modules: Mapping[str, Any], environ: Container[str]) -> bool:
    """Whether pytest, ``manage.py test`` (or whatever else has set Django's test environment up) or unittest runs."""
    if "_pytest" in modules and ("PYTEST_VERSION" in environ or "PYTEST_CURRENT_TEST" in environ):
        return True
    program = getattr(getattr(modules.get("__main__"), "__spec__", None), "name", "")
    django = getattr(modules.get("django.test.utils"), "_TestState", None)
    return program == "unittest.__main__" or hasattr(django, "saved_data")


def new_id() -> str:
    """Return 16 random hex digits: a worker's id, an epoch."""
    return os.urandom(8).hex()
