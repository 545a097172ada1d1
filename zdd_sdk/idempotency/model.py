"""The record of a key, as it lies in Redis, and the verdicts on a claim. Pure; `transitions` says what leads where.

States: absent; P, in progress, under a lease; C, completed; U, of unknown outcome. A lease only limits who runs at
the same time. What makes a second effect impossible is the resource refusing who was overtaken: by the guard row,
the child key or the generation (Kleppmann, "How to do distributed locking", 2016).

Times are milliseconds since 1970 by the clock of the Redis server.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import count, takewhile
from typing import Literal, get_args

import msgspec

from zdd_sdk.errors import RecordSealed, RecordTooNew, RecordUndecodable
from zdd_sdk.idempotency.answer import StoredAnswer, decode

__all__ = [
    "DRAIN",
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
    "Stored",
    "Unknown",
    "Verdict",
    "read_record",
    "replay",
]

RECORD_VERSION = 1
"""Version of the record this release writes, and the newest it reads."""

Effects = Literal["db", "external", "unsafe", "pure"]
"""What an operation does: writes to the guarded database, calls others with child keys, neither, or nothing."""

State = Literal["P", "C", "U"]

ENTERED = "entered"
"""The recovery point of a run that says itself when its first effect begins, before it has."""

LAPSED, DRAIN = "lapsed", "drain"
"""Why an outcome is unknown of which no run has said so."""


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
    """Redis took no claim: it is full, or another type lies there; nothing was done.

    Attributes:
        message: why.
        granted: it did take it, but might forget it (``idempotency.durability``): it is to be released.
    """

    message: str
    granted: bool = False


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


def replay(answer: bytes, body: bytes | None, release: str, first: int, ends: int) -> Replay | Newer:
    """Read the answer of a completed record; an answer in ruins is one that was not kept."""
    try:
        return Replay(decode(answer, body), release, first, ends)
    except (RecordTooNew, RecordSealed) as error:
        return Newer(str(error))
    except RecordUndecodable:
        return Replay(None, release, first, ends)


_LETTERS: dict[bytes, Effects] = {name[0].encode(): name for name in get_args(Effects)}
_KNOWN = re.compile(rb"v|st|fp|tok|gen|lu|t0|end|own|rel|op|eff|rp|why|a\d+|len|pown|prel")


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
        answer=b"".join(_parts(fields)),
        length=_number(fields.get(b"len", b"0")),
        previous=_holder(fields.get(b"pown"), fields.get(b"prel")),
        others={name: value for name, value in fields.items() if not _KNOWN.fullmatch(name)},
    )


_STATES: dict[bytes, State] = {state.encode(): state for state in get_args(State)}


def _parts(fields: Mapping[bytes, bytes]) -> Iterator[bytes]:
    """An answer lies in parts, so that the hash stays a small one."""
    names = takewhile(fields.__contains__, (b"a%d" % number for number in count()))
    return (fields[name] for name in names)


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
