"""What each question makes of the record of a key: the reference for ``lua/*.lua``, which tests hold against it. Pure.

Each returns what lies there afterwards and what the caller is told. ``now`` is the server's time, ms.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeGuard

from msgspec.structs import replace

from zdd_sdk.idempotency.model import (
    DRAIN,
    ENTERED,
    LAPSED,
    Busy,
    Completion,
    Mismatch,
    Newer,
    Owned,
    Record,
    Request,
    Stored,
    Unknown,
    Verdict,
    replay,
)

__all__ = [
    "checkpoint",
    "claim",
    "complete",
    "handoff",
    "hold",
    "merged",
    "release",
    "renew",
    "resolve",
    "same_request",
]

_BY_NOBODY = frozenset({LAPSED, DRAIN})


def claim(record: Stored, request: Request, now: int, body: bytes | None = None) -> tuple[Stored, Verdict]:
    """T1 to T5: who runs, and who is told what; ``body``: what lies apart of an answer."""
    if record is None:
        made = _first_of(request, now)
        return made, _owned(made)
    if isinstance(record, Newer):
        return record, record
    if record.state == "P" and record.token == request.token:
        prolonged = _prolonged(record, request.lease, now)
        return prolonged, _owned(prolonged)
    if not same_request(record.fingerprints, request.fingerprints):
        return record, Mismatch()
    if record.state == "C":
        return record, replay(record.answer, body, record.holder.release, record.first, record.ends)
    return _of_another(record, request, now)


def _of_another(record: Record, request: Request, now: int) -> tuple[Record, Verdict]:
    """What becomes of a run that has not ended as it should."""
    if record.state == "P" and now < record.lease:
        return record, Busy(record.lease - now, record.holder)
    if request.take_unknown or _safe_to_run_again(record, request):
        taken = _taken_over(record, request, now)
        return taken, _owned(taken)
    return _unknown(record)


def _first_of(request: Request, now: int) -> Record:
    return Record(
        state="P",
        fingerprints=" ".join(request.fingerprints),
        token=request.token,
        generation=now,
        lease=now + request.lease,
        first=now,
        ends=now + max(request.lease, request.retention),
        holder=request.holder,
        operation=request.operation,
        effects=request.effects,
    )


def _owned(record: Record) -> Owned:
    return Owned(record.generation, record.first, record.ends, record.point, record.previous)


def same_request(stored: str, fingerprints: Sequence[str]) -> bool:
    """Whether some fingerprint is alike; algorithms and keys that only one side knows say nothing."""
    return not set(stored.split(" ")).isdisjoint(fingerprints)


def _safe_to_run_again(record: Record, request: Request) -> bool:
    """A second run is harmless where both runs meet the same fence, or where no effect has begun.

    Not what the run before has put on hold itself: it has seen its fence missing.
    """
    if record.state == "P" and record.point == ENTERED:
        return True
    fenced = request.effects != "unsafe" and request.effects == record.effects
    return fenced and (record.state == "P" or record.why in _BY_NOBODY)


def _taken_over(record: Record, request: Request, now: int) -> Record:
    return replace(
        _prolonged(record, request.lease, now),
        fingerprints=merged(record.fingerprints, request.fingerprints),
        token=request.token,
        generation=max(record.generation + 1, now),
        holder=request.holder,
        effects=request.effects,
        point="" if record.point == ENTERED else record.point,
        previous=record.holder,
    )


def merged(stored: str, fingerprints: Sequence[str]) -> str:
    """Add what the algorithms and keys say that the record has nothing of yet."""
    known = {fingerprint.rpartition(".")[0] for fingerprint in stored.split(" ")}
    return " ".join([stored, *(new for new in fingerprints if new.rpartition(".")[0] not in known)])


def _unknown(record: Record) -> tuple[Record, Unknown]:
    fresh = record.state == "P"
    held = replace(record, state="U", why=LAPSED) if fresh else record
    return held, Unknown(held.why, held.generation, held.first, held.holder, fresh)


def renew(record: Stored, token: bytes, lease: int, now: int) -> tuple[Stored, bool]:
    """T6. A run that has only stood still gets its key back from unknown; one that has handed it over does not."""
    if not _running(record, token):
        return record, False
    return _prolonged(record, lease, now), True


def _running(record: Stored, token: bytes) -> TypeGuard[Record]:
    if not _of(record, token):
        return False
    return record.lease > 0 and (record.state == "P" or (record.state == "U" and record.why == LAPSED))


def _of(record: Stored, token: bytes) -> TypeGuard[Record]:
    return isinstance(record, Record) and record.token == token


def _prolonged(record: Record, lease: int, now: int) -> Record:
    return replace(record, state="P", why="", lease=now + lease, ends=max(record.ends, now + lease))


def checkpoint(record: Stored, token: bytes, point: str, lease: int, now: int) -> tuple[Stored, bool]:
    """T7: a renewal that notes how far the run has come."""
    if not _running(record, token):
        return record, False
    return replace(_prolonged(record, lease, now), point=point), True


def complete(
    record: Stored, token: bytes, done: Completion, now: int, restore: Request | None = None
) -> tuple[Stored, bool]:
    """T8. Also by a late run that nobody has overtaken; and where Redis has lost the record, if it can be restored."""
    if record is None and restore is not None:
        record = _first_of(restore, now)
    if not _of(record, token):
        return record, False
    return (record if record.state == "C" else _completed(record, done)), True


def _completed(record: Record, done: Completion) -> Record:
    return replace(
        record, state="C", answer=done.answer, length=len(done.body), lease=0, point="", why="", previous=None
    )


def release(record: Stored, token: bytes) -> tuple[Stored, bool]:
    """T9: the run says that it has had no effect, so the attempt is forgotten."""
    if record is None:
        return None, True
    knows = _of(record, token) and (record.state == "P" or (record.state == "U" and record.why in _BY_NOBODY))
    return (None, True) if knows else (record, False)


def hold(record: Stored, token: bytes, why: str) -> tuple[Stored, bool]:
    """T10: the run cannot say whether it has had its effect."""
    if not _of(record, token) or record.state == "C":
        return record, False
    return replace(record, state="U", why=why, lease=0), True


def handoff(record: Stored, token: bytes) -> tuple[Stored, bool]:
    """A process that has to end gives the key up: to be run again at once where that is safe."""
    if not _of(record, token) or record.state == "C":
        return record, False
    if record.state == "U":
        return record, True
    if record.effects == "unsafe" and record.point != ENTERED:
        return replace(record, state="U", why=DRAIN, lease=0), True
    return replace(record, lease=0), True


def resolve(record: Stored, generation: int, done: Completion | None, by: str, now: int) -> tuple[Stored, bool]:
    """T11: a probe or an operator has found out: it was ``done``, or (``None``) it was not."""
    if record is None:
        return None, done is None
    if isinstance(record, Newer) or record.generation != generation:
        return record, False
    if record.state == "C":
        return record, done is not None and record.token == b"" and record.why == by
    if record.state == "P" and now < record.lease:
        return record, False
    return (None if done is None else replace(_completed(record, done), token=b"", why=by)), True
