"""What a rehearsal sees and reports (what it plans is in `zdd_sdk.rehearsal.plan`). Pure records: no I/O, no clock.

Every time is in seconds since the rehearsal's traffic began (``Result.began`` says when that was),
every duration of a request in milliseconds, every size in bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol

import msgspec

from zdd_sdk.rehearsal.plan import (
    PHASES,
    FaultKind,
    FaultPlan,
    PhaseName,
    Plan,
    ReleasePlan,
    RouterName,
    Side,
    Strategy,
)

__all__ = [
    "PHASES",
    "SAFE_METHODS",
    "FaultKind",
    "FaultPlan",
    "FaultRecord",
    "InstanceRecord",
    "Latency",
    "Phase",
    "PhaseName",
    "PhaseSummary",
    "Plan",
    "Progress",
    "ReleasePlan",
    "ReleaseSummary",
    "Result",
    "RouteSummary",
    "RouterName",
    "Sample",
    "Side",
    "Strategy",
    "Summary",
    "Usage",
    "Violation",
    "ViolationKind",
]

ViolationKind = Literal["login", "field", "effect", "assert"]

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
"""RFC 9110 §9.2.1: sending one again changes nothing."""


class Sample(msgspec.Struct, frozen=True, gc=False):
    """One HTTP request as the client saw it.

    Attributes:
        at: when it was sent.
        ms: until the last byte of the answer, or until it failed.
        method: the HTTP method.
        route: the path without its query, or the label the scenario gave.
        status: of the answer, 0 if there was none.
        failure: empty, ``refused``, ``reset`` (also an end of file before the answer), ``timeout``,
            ``protocol``, ``no-endpoint``, ``status-4xx`` or ``status-5xx`` (not expected by the scenario), or
            ``announced``: 503 with Retry-After while a fault of the plan was on, or ``cut``: cut off because a fault
            had killed the instance. The last two are not counted as failed.
        release: side of the instance the request went to, empty if it never reached one.
        backend: id of that instance, empty if unknown.
        user: number of the virtual user, from 0.
        phase: name of the phase it was sent in.
    """

    at: float
    ms: float
    method: str
    route: str
    status: int
    failure: str
    release: str
    backend: str
    user: int
    phase: str

    @property
    def failed(self) -> bool:
        """Whether it counts as a failed request."""
        return self.failure not in ("", "announced", "cut")


class Violation(msgspec.Struct, frozen=True):
    """An assertion of the scenario that did not hold.

    Attributes:
        kind: ``login`` (a user was logged out), ``field`` (of a session was lost or wrong),
            ``effect`` (happened not exactly once), or ``assert`` for any other.
        at: when it was noticed.
        user: number of the virtual user.
        text: the assertion's message, or its source line.
        phase: name of the phase.
        release: side of the instance that gave the last answer.
    """

    kind: ViolationKind
    at: float
    user: int
    text: str
    phase: str
    release: str = ""


class Phase(msgspec.Struct, frozen=True):
    """A stretch of the rehearsal; ``end`` is ``None`` while it runs."""

    name: PhaseName
    start: float
    end: float | None = None


class InstanceRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The life of one server process. Times before the traffic began are negative.

    Attributes:
        id: unique name, also its ``ZDD_INSTANCE``.
        release: its side.
        port: where it listened.
        pid: of its process.
        started: when its process was started.
        ready: when it first answered that it may take traffic.
        drain: when it was sent SIGTERM.
        exited: when it was gone.
        code: exit code, negative for a signal; ``None`` while it runs.
        killed: whether it had to be, or by a fault was, killed with SIGKILL.
        peak_rss: bytes of its process and its children.
        log: file with its output.
    """

    id: str
    release: Side
    port: int
    pid: int = 0
    started: float = 0.0
    ready: float | None = None
    drain: float | None = None
    exited: float | None = None
    code: int | None = None
    killed: bool = False
    peak_rss: int = 0
    log: str = ""

    @property
    def overdue(self) -> bool:
        """Whether it was told to stop, did not within the grace period, and had to be killed."""
        return self.killed and self.drain is not None


class Usage(msgspec.Struct, frozen=True, gc=False):
    """What all instances together used at one moment; ``cpu`` is in cores since the moment before."""

    at: float
    instances: int
    rss: int
    cpu: float = 0.0


class FaultRecord(msgspec.Struct, frozen=True):
    """A fault that was carried out; ``end`` equals ``start`` for one that is over at once."""

    kind: FaultKind
    start: float
    end: float
    text: str = ""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a rehearsal saw.

    Attributes:
        plan: what was rehearsed.
        began: when the traffic began, ISO 8601 in UTC.
        phases, samples, violations, instances, usage, faults: in the order of their times.
        audit: counts the scenario's ``audit`` found in the application's own data.
        engine: kind and version of the Redis used, such as ``redis 7.0.15``.
        versions: of what took part: ``zdd-sdk``, ``python`` …
        notes: remarks for the reader, such as an instance that had to be killed.
    """

    plan: Plan
    began: str
    phases: tuple[Phase, ...]
    samples: tuple[Sample, ...]
    violations: tuple[Violation, ...]
    instances: tuple[InstanceRecord, ...]
    usage: tuple[Usage, ...] = ()
    faults: tuple[FaultRecord, ...] = ()
    audit: Mapping[str, int] = {}
    engine: str = ""
    versions: Mapping[str, str] = {}
    notes: tuple[str, ...] = ()


class Latency(msgspec.Struct, frozen=True):
    """Of answered requests, in milliseconds; 0 if there were none."""

    p50: float = 0.0
    p95: float = 0.0
    p99: float = 0.0
    max: float = 0.0


class ReleaseSummary(msgspec.Struct, frozen=True):
    """One release: requests that went to its instances, how many failed, how fast the answers were."""

    label: str
    requests: int
    failed: int
    latency_ms: Latency


class PhaseSummary(msgspec.Struct, frozen=True):
    """One phase: its length in seconds, its requests, how many failed, broken invariants, how fast."""

    name: str
    seconds: float
    requests: int
    failed: int
    violations: int
    latency_ms: Latency


class RouteSummary(msgspec.Struct, frozen=True):
    """One route: requests, failed ones, and those refused with Retry-After during a fault."""

    method: str
    route: str
    requests: int
    failed: int
    announced: int
    latency_ms: Latency


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """``rehearsal.json``: documented and stable; fields are added, never renamed or removed.

    Attributes:
        schema: number of this layout.
        ok: nothing failed, no invariant was broken, no instance outlived its grace period.
        strategy, router, sdk: as planned.
        failed: requests that got no answer, or one the scenario did not expect.
        lost_logins, lost_fields: broken ``login`` and ``field`` invariants.
        duplicates: effects that did not happen exactly once: the audit's ``duplicates`` or the broken ``effect``
            invariants, whichever is more (both may have seen the same one).
        asserts: other assertions that did not hold.
        longest_gap_ms: longest time without a good answer while requests were waiting for one.
        requests: all of them.
        announced: answered 503 with Retry-After during a fault of the plan; not in ``failed``.
        cut: without an answer because a fault of the plan had killed the instance; not in ``failed``.
        failures: number by kind.
        mixed_version_window_s: both releases answered, while deploying; from the first answer of the new
            one to the last of the old one.
        rollback_mixed_version_window_s: the same for the rollback.
        deploy_s, rollback_s: from the first step until the last replaced instance was gone. Of several rounds these
            and the windows above are the longest.
        peak_instances: processes alive at once.
        peak_rss_bytes: of all instances together.
        killed: instances that did not stop within the grace period.
        releases, phases, routes: the same figures split up.
        faults: what was broken on purpose.
        audit: what the scenario counted.
        violations: the first 20 broken invariants; the page lists more.
        instances, users: as planned.
        began, seconds: when, and for how long, there was traffic.
        engine, versions, notes: see `Result`.
    """

    schema: int = 1
    ok: bool
    strategy: str
    router: str
    sdk: bool
    failed: int
    lost_logins: int
    lost_fields: int
    duplicates: int
    asserts: int
    longest_gap_ms: float
    requests: int
    announced: int
    cut: int = 0
    failures: dict[str, int]
    mixed_version_window_s: float
    rollback_mixed_version_window_s: float
    deploy_s: float
    rollback_s: float
    peak_instances: int
    peak_rss_bytes: int
    killed: int
    releases: dict[str, ReleaseSummary]
    phases: tuple[PhaseSummary, ...]
    routes: tuple[RouteSummary, ...]
    faults: tuple[FaultRecord, ...]
    audit: dict[str, int]
    violations: tuple[Violation, ...] = ()
    instances: int
    users: int
    began: str
    seconds: float
    engine: str
    versions: dict[str, str]
    notes: tuple[str, ...]


class Progress(Protocol):
    """Listens while a rehearsal runs. Called on its event loop: return at once, never raise."""

    def on_phase(self, phase: Phase) -> None:
        """A phase has begun."""

    def on_sample(self, sample: Sample) -> None:
        """A request has been answered or has failed."""

    def on_violation(self, violation: Violation) -> None:
        """An assertion did not hold."""

    def on_instance(self, instance: InstanceRecord) -> None:
        """An instance was started, became ready, is draining or is gone; carries its newest record."""

    def on_note(self, text: str) -> None:
        """Something worth a line has happened: a step of the deployment, a fault."""

    def finished(self, result: Result, summary: Summary) -> None:
        """The rehearsal is over."""
