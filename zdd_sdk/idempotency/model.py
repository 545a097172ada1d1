"""The record of a key, and what each question makes of it: the reference for ``lua/*.lua``. Pure.

States: absent; P, in progress, under a lease; C, completed; U, of unknown outcome. A lease only limits who runs at
the same time. What makes a second effect impossible is the resource refusing who was overtaken: by the guard row,
the child key or the generation (Kleppmann, "How to do distributed locking", 2016).

Times are milliseconds since 1970 by the clock of the Redis server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypeGuard, get_args

import msgspec
from msgspec.structs import replace

from zdd_sdk.errors import RecordSealed, RecordTooNew, RecordUndecodable
from zdd_sdk.idempotency.answer import StoredAnswer, decode

__all__ = [
    "ENTERED",
    "LAPSED",
    "RECORD_VERSION",
    "Busy",
    "Completion",
    "Effects",
    "Holder",
    "Mismatch",
    "Newer",
    "Owned",
    "Record",
    "Refused",
    "Replay",
    "Request",
    "State",
    "Unknown",
    "Verdict",
    "checkpoint",
    "claim",
    "complete",
    "handoff",
    "hold",
    "merged",
    "read_record",
    "release",
    "renew",
    "replay",
    "resolve",
    "same_request",
]

RECORD_VERSION = 1
"""Version of the record this release writes, and the newest it reads."""

Effects = Literal["db", "external", "unsafe", "pure"]
"""What an operation does: writes to the guarded database, calls others with child keys, neither, or nothing."""

State = Literal["P", "C", "U"]

ENTERED = "entered"
"""The recovery point of a run that says itself when its first effect begins, before it has."""

LAPSED, DRAIN = "lapsed", "drain"
_BY_NOBODY = frozenset({LAPSED, DRAIN})


class Holder(msgspec.Struct, frozen=True):
    """Who holds a key, or held it before."""

    instance: str
    release: str


class Owned(msgspec.Struct, frozen=True):
    """Run it: the key is ours.

    Attributes:
        generation: fence counter: the server's time of the claim, and more than every earlier one of this key.
        first: when the key was first claimed.
        ends: when the record goes.
        point: the recovery point an earlier run has reached.
        taken: from whom it was taken over.
    """

    generation: int
    first: int
    ends: int
    point: str = ""
    taken: Holder | None = None


class Busy(msgspec.Struct, frozen=True):
    """Another run holds the key, for ``left`` ms at least unless it ends before."""

    left: int
    holder: Holder


class Mismatch(msgspec.Struct, frozen=True):
    """The key came with another request before."""


class Replay(msgspec.Struct, frozen=True):
    """It was carried out.

    Attributes:
        answer: of the first run; ``None``: it was not kept, or its body no longer is, or it cannot be read.
        release: that answered.
        first: when the key was first claimed.
        ends: when the record goes.
    """

    answer: StoredAnswer | None
    release: str
    first: int
    ends: int


class Unknown(msgspec.Struct, frozen=True):
    """Nobody knows whether the run before had its effect.

    Attributes:
        why: ``lapsed``, ``drain``, or what `hold` was told.
        generation: of that run; what `resolve` wants.
        first: when the key was first claimed.
        holder: who ran it.
        fresh: it has become so just now; said once at most.
    """

    why: str
    generation: int
    first: int
    holder: Holder
    fresh: bool = False


class Newer(msgspec.Struct, frozen=True):
    """There is a record, or an answer, that this release cannot read; nothing was written."""

    version: str


class Refused(msgspec.Struct, frozen=True):
    """Redis took no claim: it is full, or another type lies there; nothing was done."""

    message: str


Verdict = Owned | Busy | Mismatch | Replay | Unknown | Newer | Refused


class Request(msgspec.Struct, frozen=True):
    """Who claims, for what.

    Attributes:
        token: of the run, 16 random bytes.
        fingerprints: ``algorithm.key.hash`` each; what else must be alike for it to be the same request.
        effects: of the operation.
        lease: ms.
        retention: ms the record is kept from the first claim on.
        holder: the claiming process.
        operation: its name.
        take_unknown: run it although the outcome of the run before is unknown.
    """

    token: bytes
    fingerprints: tuple[str, ...]
    effects: Effects
    lease: int
    retention: int
    holder: Holder
    operation: str
    take_unknown: bool = False


class Completion(msgspec.Struct, frozen=True):
    """What is kept of an answer: ``answer`` in the record, ``body`` apart if it is not empty."""

    answer: bytes = b""
    body: bytes = b""


class Record(msgspec.Struct, frozen=True):
    """A key, as it lies in Redis; `read_record` names the fields.

    Attributes:
        state: P, C or U.
        fingerprints: space-joined.
        token: of the run that holds it, or did; empty once an operator has decided.
        generation: fence counter.
        lease: until when it is held; 0 once it is handed over.
        first: when it was first claimed.
        ends: when it goes.
        holder: instance and release of that run.
        operation: its name.
        effects: of that run.
        point: recovery point.
        why: its outcome is unknown, or who decided it.
        answer: see `Completion`.
        length: bytes of the body kept apart; 0 if there is none.
        previous: from whom it was taken over.
        others: fields this release does not know; kept.
    """

    state: State
    fingerprints: str
    token: bytes
    generation: int
    lease: int
    first: int
    ends: int
    holder: Holder
    operation: str
    effects: Effects
    point: str = ""
    why: str = ""
    answer: bytes = b""
    length: int = 0
    previous: Holder | None = None
    others: Mapping[bytes, bytes] = msgspec.field(default_factory=dict)


Stored = Record | Newer | None
"""What may lie under a key's name."""


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


def replay(answer: bytes, body: bytes | None, release: str, first: int, ends: int) -> Replay | Newer:
    """Read the answer of a completed record; an answer in ruins is one that was not kept."""
    try:
        return Replay(decode(answer, body), release, first, ends)
    except (RecordTooNew, RecordSealed) as error:
        return Newer(str(error))
    except RecordUndecodable:
        return Replay(None, release, first, ends)


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


_LETTERS: dict[bytes, Effects] = {name[0].encode(): name for name in get_args(Effects)}
_KNOWN = frozenset(b"v st fp tok gen lu t0 end own rel op eff rp why ans len pown prel".split())


def read_record(fields: Mapping[bytes, bytes]) -> Stored:
    """Read the fields of a hash as the scripts do; what is not understood is `Newer`."""
    if not fields:
        return None
    try:
        record = _read(fields) if fields[b"v"] == b"%d" % RECORD_VERSION else None
    except (KeyError, ValueError):
        record = None
    return record or Newer(_text(fields.get(b"v", b"")[:16]))


def _read(fields: Mapping[bytes, bytes]) -> Record:
    return Record(
        state=_STATES[fields[b"st"]],
        fingerprints=_text(fields[b"fp"]),
        token=fields[b"tok"],
        generation=_number(fields[b"gen"]),
        lease=_number(fields.get(b"lu", b"0")),
        first=_number(fields[b"t0"]),
        ends=_number(fields[b"end"]),
        holder=Holder(_text(fields.get(b"own", b"")), _text(fields.get(b"rel", b""))),
        operation=_text(fields.get(b"op", b"")),
        effects=_LETTERS[fields[b"eff"]],
        point=_text(fields.get(b"rp", b"")),
        why=_text(fields.get(b"why", b"")),
        answer=fields.get(b"ans", b""),
        length=_number(fields.get(b"len", b"0")),
        previous=_holder(fields.get(b"pown"), fields.get(b"prel")),
        others={name: value for name, value in fields.items() if name not in _KNOWN},
    )


_STATES: dict[bytes, State] = {state.encode(): state for state in get_args(State)}


def _holder(instance: bytes | None, release: bytes | None) -> Holder | None:
    return None if instance is None else Holder(_text(instance), _text(release or b""))


def _number(written: bytes) -> int:
    """Whole and exact in Lua, too."""
    if not written.isdigit() or len(written) > _MOST_DIGITS:
        message = "not a number"
        raise ValueError(message)
    return int(written)


_MOST_DIGITS = 15


def _text(data: bytes) -> str:
    return data.decode(errors="replace")
