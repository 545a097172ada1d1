"""Keeps what is seen, in order, on one clock, and tells whoever listens."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import msgspec

from zdd_sdk.rehearsal.model import (
    FaultRecord,
    InstanceRecord,
    Phase,
    PhaseName,
    Progress,
    Sample,
    Usage,
    Violation,
)

__all__ = ["Recorder"]

_AFTER_FAULT = 5.0
"""Seconds after a fault in which its 503s are still its own: the breaker closes with the next pulse, 2 s by default."""


class Recorder:
    """Everything seen so far.

    Attributes:
        phase: the phase that is on.
        samples, violations, phases, instances, usage, faults, notes: as in `zdd_sdk.rehearsal.model.Result`.
        killed: ids of the instances that a fault has killed.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._zero = time.monotonic()
        self.began = ""
        self.phase: PhaseName = "warm-up"
        self.samples: list[Sample] = []
        self.violations: list[Violation] = []
        self.phases: list[Phase] = []
        self.instances: dict[str, InstanceRecord] = {}
        self.usage: list[Usage] = []
        self.faults: list[FaultRecord] = []
        self.notes: list[str] = []
        self.killed: set[str] = set()
        self._fault_until = 0.0

    def begin(self) -> None:
        """The traffic begins now: this is second 0; what was recorded before gets a negative time."""
        shift = self.now()
        self._zero += shift
        self.began = datetime.now(UTC).isoformat(timespec="milliseconds")
        self.instances = {name: _shifted(record, shift) for name, record in self.instances.items()}

    def now(self) -> float:
        """Seconds since the traffic began."""
        return time.monotonic() - self._zero

    def enter(self, name: PhaseName) -> None:
        """End the phase that is on and begin another."""
        self.leave()
        self.phase = name
        self.phases.append(Phase(name, self.now()))
        self._progress.on_phase(self.phases[-1])

    def leave(self) -> None:
        """End the phase that is on."""
        if self.phases and self.phases[-1].end is None:
            self.phases[-1] = msgspec.structs.replace(self.phases[-1], end=self.now())

    def sample(self, sample: Sample) -> None:
        """A request has been answered or has failed."""
        self.samples.append(sample)
        self._progress.on_sample(sample)

    def violation(self, violation: Violation) -> None:
        """An assertion did not hold."""
        self.violations.append(violation)
        self._progress.on_violation(violation)

    def instance(self, record: InstanceRecord, *, quiet: bool = False) -> None:
        """The newest record of an instance; ``quiet`` for a figure nobody waits for."""
        self.instances[record.id] = record
        if not quiet:
            self._progress.on_instance(record)

    def note(self, text: str, *, keep: bool = False) -> None:
        """Something worth a line; ``keep`` puts it into the report."""
        if keep:
            self.notes.append(text)
        self._progress.on_note(text)

    def fault_begins(self, seconds: float) -> None:
        """503 with Retry-After is what a client should get for so long and a little longer."""
        self._fault_until = max(self._fault_until, self.now() + seconds + _AFTER_FAULT)

    @property
    def fault_is_on(self) -> bool:
        """Whether something is broken on purpose right now, or was a moment ago."""
        return self.now() < self._fault_until


def _shifted(record: InstanceRecord, seconds: float) -> InstanceRecord:
    ready = None if record.ready is None else record.ready - seconds
    return msgspec.structs.replace(record, started=record.started - seconds, ready=ready)
