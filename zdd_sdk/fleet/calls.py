"""What the fleet asks Redis. All its keys share the tag ``{fleet}``, so a pulse is one script on one node."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from zdd_sdk.errors import RecordError, StoreReplyError
from zdd_sdk.fleet.model import WorkerRow, new_id, read_row
from zdd_sdk.fleet.watch import Timing
from zdd_sdk.store import Call, Keys, load_script
from zdd_sdk.store.record import decode, encode

__all__ = [
    "PulseReply",
    "RegistryReply",
    "goodbye_call",
    "look_call",
    "pulse_call",
    "settings_call",
    "settings_record",
]

PAGE = 128
"""Rows per reply; a fleet that changes faster than that is read in several pulses. Bounds ``unpack`` in Lua."""

_KEEP = 3600.0
_DIGEST = 16
"""Hex digits before each stored row, by which a pulse without the row sees that the registry still has it."""

_MAX_SETTINGS = 256 * 1024


@dataclass(frozen=True, slots=True)
class PulseReply:
    """What a pulse learned.

    Attributes:
        now: the server's milliseconds.
        wanted: the registry has not got our row or settings; send them next time.
        epoch: of the registry; empty if nothing changed since what we said we had seen.
        born: the server's milliseconds at which the epoch began.
        generation: of the registry.
        upto: the generation this reply brings us to; less than `generation` if there is more to read.
        alive: ids of all live workers.
        rows: new or changed rows by worker.
    """

    now: int
    wanted: bool
    epoch: str = ""
    born: int = 0
    generation: int = 0
    upto: int = 0
    alive: frozenset[str] = frozenset()
    rows: Mapping[str, WorkerRow] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RegistryReply:
    """The whole registry, as somebody sees it who is no worker.

    Attributes:
        now: the server's milliseconds.
        epoch: empty if there is no registry.
        born: the server's milliseconds at which the epoch began.
        last: the server's milliseconds at the last pulse of anybody.
        hold: the server's milliseconds before which nobody is declared dead.
        workers: rows with the server's milliseconds at which each is gone.
    """

    now: int
    epoch: str
    born: int
    last: int
    hold: int
    workers: tuple[tuple[WorkerRow, int], ...]


def pulse_call(
    keys: Keys,
    timing: Timing,
    worker: str,
    *,
    row: bytes,
    fingerprint: str,
    settings: bytes = b"",
    send_row: bool,
    epoch: str,
    generation: int,
) -> Call[PulseReply | StoreReplyError]:
    """Ask the registry to keep this worker for another TTL and to say what changed.

    Safe to send twice: it leaves what sending it once leaves. A failure is returned, not raised, so that it
    cannot hide what the calls of other parts in the same trip have done.

    Args:
        keys: names of keys.
        timing: intervals.
        worker: our id.
        row: our record.
        fingerprint: of our settings.
        settings: the framed settings.
        send_row: send row and settings, not only the digest.
        epoch: of the registry when last seen, or empty.
        generation: of the registry when last seen.
    """
    digest = hashlib.sha1(row, usedforsecurity=False).hexdigest()[:_DIGEST]
    return Call(
        read=_read_pulse,
        script=load_script("zdd_sdk.fleet", "pulse"),
        keys=(*_names(keys, "meta", "alive", "rows", "changed"), _settings_key(keys, fingerprint)),
        args=(
            worker,
            digest,
            digest.encode() + row if send_row else b"",
            settings if send_row else b"",
            new_id(),
            epoch,
            generation,
            _milliseconds(timing.ttl),
            _milliseconds(timing.quiet),
            _milliseconds(max(_KEEP, 10 * timing.ttl)),
            PAGE,
        ),
        again=True,
        on_error=_as_value,
    )


def goodbye_call(keys: Keys, worker: str) -> Call[bool]:
    """Take this worker out of the registry; says whether it was there."""
    return Call(
        read=lambda reply: _checked(reply)[0] == 1,
        script=load_script("zdd_sdk.fleet", "goodbye"),
        keys=_names(keys, "meta", "alive", "rows", "changed"),
        args=(worker,),
        again=True,
    )


def look_call(keys: Keys) -> Call[RegistryReply]:
    """Read the whole registry and change nothing."""
    return Call(
        read=_read_registry,
        script=load_script("zdd_sdk.fleet", "look"),
        keys=_names(keys, "meta", "alive", "rows"),
        again=True,
    )


def settings_call(keys: Keys, fingerprint: str) -> Call[dict[str, str] | None]:
    """Read the settings behind a fingerprint; ``None`` if they are gone or a newer release wrote them."""
    key = _settings_key(keys, fingerprint)
    return Call(read=_read_settings, command=("GET", key), keys=(key,), again=True)


def settings_record(shown: Mapping[str, str]) -> bytes:
    """Encode settings as people may see them (`Loaded.shown`: secrets only as set or unset)."""
    return encode(dict(shown))


def _names(keys: Keys, *names: str) -> tuple[str, ...]:
    return tuple(keys.name("fleet", "fleet", name) for name in names)


def _settings_key(keys: Keys, fingerprint: str) -> str:
    return keys.name("fleet", "fleet", "settings", fingerprint)


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def _failure(reply: Sequence[Any]) -> StoreReplyError | None:
    return StoreReplyError(_text(reply[1])) if reply[0] == -1 else None


def _checked(reply: Sequence[Any]) -> Sequence[Any]:
    if failure := _failure(reply):
        raise failure
    return reply


def _as_value(error: StoreReplyError) -> StoreReplyError:
    return error


def _read_pulse(reply: Sequence[Any]) -> PulseReply | StoreReplyError:
    if failure := _failure(reply):
        return failure
    status, wanted, now, *rest = reply
    return _news(int(now), bool(wanted), rest) if status else PulseReply(int(now), bool(wanted))


def _news(now: int, wanted: bool, rest: Sequence[Any]) -> PulseReply:
    epoch, born, generation, upto, alive, ids, records = rest
    rows = {_text(worker): _row(worker, record) for worker, record in zip(ids, records, strict=True)}
    return PulseReply(
        now, wanted, _text(epoch), int(born), int(generation), int(upto), frozenset(map(_text, alive)), rows
    )


def _read_registry(reply: Sequence[Any]) -> RegistryReply:
    _, now, epoch, born, last, hold, alive, rows = _checked(reply)
    expiry = {_text(worker): int(float(score)) for worker, score in _pairs(alive)}
    workers = [(_row(worker, record), expiry.get(_text(worker), 0)) for worker, record in _pairs(rows)]
    return RegistryReply(int(now), _text(epoch), int(born), int(last), int(hold), tuple(workers))


def _row(worker: bytes, stored: bytes | None) -> WorkerRow:
    return read_row(_text(worker), (stored or b"")[_DIGEST:])


def _pairs(flat: Sequence[Any]) -> zip[tuple[Any, Any]]:
    return zip(flat[::2], flat[1::2], strict=True)


def _read_settings(data: bytes | None) -> dict[str, str] | None:
    if data is None or len(data) > _MAX_SETTINGS:
        return None
    try:
        return decode(data, dict[str, str])
    except RecordError:
        return None


def _text(data: bytes | str) -> str:
    return data.decode("utf-8", "replace") if isinstance(data, bytes) else data
