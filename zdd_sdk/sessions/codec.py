"""One session field as bytes: a record frame, a codec byte, room for a schema, then MessagePack.

Layout inside the frame (`zdd_sdk.store.record`): one byte codec (1 is the only one so far), one byte
length of a schema identity and that many bytes of it (none where no typed model describes the field), then the
payload. A value either comes back equal or is refused: there is no pickle and no silent ``str()``.

MessagePack's own types travel as they are; the others as extensions whose numbers are fixed for ever
(`_TUPLE` and its neighbours). A subclass of a supported type (an `enum.IntEnum`, a `collections.OrderedDict`,
Django's safe string) comes back as the plain type it equals, except ``markupsafe.Markup``, which Flask's users keep
in sessions and templates must not escape; an aware datetime comes back with its fixed offset.
"""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Callable, Iterable
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import msgspec

from zdd_sdk.errors import RecordError, RecordTooNew, RecordUndecodable, SessionValueError
from zdd_sdk.store.record import frame, unframe

__all__ = ["CODEC", "FORMAT", "MAX_DEPTH", "decode", "encode", "is_settled", "schema_of", "shows_as"]

FORMAT = 1
"""Frame format of a field."""

CODEC = 1
"""MessagePack with the extensions below."""

MAX_DEPTH = 32
"""Containers inside containers; far below where msgspec's decoder meets Python's recursion limit on a deep stack."""

_TUPLE, _SET, _FROZENSET, _DECIMAL, _UUID, _DATE, _DATETIME, _TIME, _TIMEDELTA, _BIGINT, _PAIRS, _MARKUP = range(1, 13)

_HEADER = bytes((CODEC, 0))
_USUAL = frame(_HEADER, format=FORMAT)
"""What stands in front of every payload that no typed model describes."""

_MIN_INT, _MAX_INT = -(2**63), 2**64 - 1
_SETTLED = frozenset(
    {str, int, bool, float, bytes, type(None), Decimal, UUID, dt.date, dt.datetime, dt.time, dt.timedelta}
)

_encoder = msgspec.msgpack.Encoder()
_Ext = msgspec.msgpack.Ext


def encode(value: Any, schema: bytes = b"") -> bytes:
    """Encode one field.

    Args:
        value: what to encode.
        schema: identity of the shape it was declared to have, at most 255 bytes.

    Raises:
        SessionValueError: the value, or one inside it, is of a type that would not come back equal,
            is nested deeper than `MAX_DEPTH` (or contains itself), or is text that is not Unicode.
    """
    try:
        packed = _encoder.encode(_pack(value, 0))
    except UnicodeEncodeError:
        message = "it contains text with lone surrogates, which UTF-8 cannot carry"
        raise SessionValueError(message) from None
    header = bytes((CODEC, len(schema))) + schema if schema else _HEADER
    return frame(header + packed, format=FORMAT)


def decode(data: bytes) -> Any:
    """Decode one field.

    Raises:
        RecordTooNew: a newer release wrote it: an unknown frame format, codec or extension.
        RecordUndecodable: the bytes are not what the frame says.
    """
    return _unpack(data[len(_USUAL) :] if data.startswith(_USUAL) else _payload(data))


def _payload(data: bytes) -> bytes:
    _, body = unframe(data, newest=FORMAT)
    if body[:1] != _HEADER[:1]:
        message = f"codec {body[0] if body else 'missing'}; this release reads {CODEC}"
        raise (RecordTooNew(message) if body and body[0] > CODEC else RecordUndecodable(message))
    return body[2 + (body[1] if len(body) > 1 else 0) :]


def shows_as(value: Any, data: bytes) -> bool:
    """Whether a value looks as what these bytes hold; then it is still the same, types and all.

    Both are written by the interpreter itself, which takes a tenth of the time of encoding. The opposite says nothing:
    equal sets, for one, may look different.
    """
    try:
        return repr(value) == repr(decode(data))
    except (RecordError, ValueError, RecursionError):  # ValueError: a number of thousands of digits
        return False


def schema_of(data: bytes) -> bytes:
    """Return the identity of the shape a field that `decode` accepts was declared to have; empty if none was."""
    _, body = unframe(data, newest=FORMAT)
    return body[2 : 2 + body[1]]


def is_settled(value: Any) -> bool:
    """Whether the value cannot be changed in place, so that it need not be encoded again to see."""
    return type(value) in _SETTLED


def _pack(value: Any, depth: int) -> Any:
    packer = _PACKERS.get(type(value)) or _packer_of_base(value)
    if depth > MAX_DEPTH:
        message = f"it is nested deeper than {MAX_DEPTH} containers, or contains itself"
        raise SessionValueError(message)
    return packer(value, depth + 1)


def _packer_of_base(value: Any) -> Callable[[Any, int], Any]:
    # markupsafe is Flask's and Jinja's, not ours: who has a Markup in hand has imported it
    if (markupsafe := sys.modules.get("markupsafe")) is not None and isinstance(value, markupsafe.Markup):
        return _pack_markup
    for base, plain in _PLAIN.items():
        if isinstance(value, base):
            return lambda value, depth: _PACKERS[base](plain(value), depth)
    hint = "; store its .value" if isinstance(value, Enum) else ""
    message = f"a value of type {type(value).__qualname__} would not come back as it was{hint}"
    raise SessionValueError(message)


def _same(value: Any, _depth: int) -> Any:
    return value


def _pack_int(value: int, _depth: int) -> Any:
    if _MIN_INT <= value <= _MAX_INT:
        return value
    return _Ext(_BIGINT, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def _pack_items(values: Iterable[Any], depth: int) -> list[Any]:
    return [_pack(item, depth) for item in values]


def _pack_dict(value: dict[Any, Any], depth: int) -> Any:
    if all(type(key) is str for key in value):
        return {key: _pack(item, depth) for key, item in value.items()}
    pairs = [[_pack(key, depth), _pack(item, depth)] for key, item in value.items()]
    return _Ext(_PAIRS, _encoder.encode(pairs))


def _pack_tuple(value: tuple[Any, ...], depth: int) -> Any:
    return _Ext(_TUPLE, _encoder.encode(_pack_items(value, depth)))


def _pack_set(value: set[Any] | frozenset[Any], depth: int) -> Any:
    # sorted by their bytes: the order of a set depends on its history, and equal sets must give equal bytes
    items = sorted(_encoder.encode(_pack(item, depth)) for item in value)
    return _Ext(_SET if isinstance(value, set) else _FROZENSET, _encoder.encode([msgspec.Raw(item) for item in items]))


def _pack_text(code: int, write: Callable[[Any], str]) -> Callable[[Any, int], Any]:
    return lambda value, _depth: _Ext(code, write(value).encode("ascii"))


def _pack_markup(value: str, _depth: int) -> Any:
    return _Ext(_MARKUP, str.__str__(value).encode())


def _pack_timedelta(value: dt.timedelta, _depth: int) -> Any:
    return _Ext(_TIMEDELTA, _encoder.encode([value.days, value.seconds, value.microseconds]))


def _offset(value: dt.datetime | dt.time) -> dt.timedelta | None:
    offset = value.utcoffset()
    if offset is not None and offset.microseconds:
        # CPython (3.11 to 3.13) reads "+00:00:00.000001" back as UTC
        message = "an offset from UTC with a fraction of a second would not come back as it was"
        raise SessionValueError(message)
    return offset


def _pack_datetime(value: dt.datetime, _depth: int) -> Any:
    # the offset is written, not the zone: zone data may differ between the hosts of two releases
    offset = _offset(value)
    fixed = value.replace(tzinfo=None if offset is None else dt.timezone(offset))
    return _Ext(_DATETIME, fixed.isoformat().encode("ascii"))


def _pack_time(value: dt.time, _depth: int) -> Any:
    if _offset(value) is None and value.tzinfo is not None:
        message = "a time whose zone has no fixed offset would not come back as it was"
        raise SessionValueError(message)
    return _Ext(_TIME, value.isoformat().encode("ascii"))


_PACKERS: dict[type, Callable[[Any, int], Any]] = {
    str: _same,
    bool: _same,
    float: _same,
    bytes: _same,
    type(None): _same,
    int: _pack_int,
    list: _pack_items,
    dict: _pack_dict,
    tuple: _pack_tuple,
    set: _pack_set,
    frozenset: _pack_set,
    Decimal: _pack_text(_DECIMAL, str),
    UUID: lambda value, _depth: _Ext(_UUID, value.bytes),
    dt.date: _pack_text(_DATE, dt.date.isoformat),
    dt.datetime: _pack_datetime,
    dt.time: _pack_time,
    dt.timedelta: _pack_timedelta,
}

_PLAIN: dict[type, Callable[[Any], Any]] = {
    str: str.__str__,
    int: int.__int__,
    float: float.__float__,
    bytes: bytes.__bytes__,
    list: list,
    dict: dict,
    tuple: tuple,
    set: set,
    frozenset: frozenset,
}


def _unpack(payload: bytes) -> Any:
    try:
        return _decoder.decode(payload)
    except RecordTooNew:
        raise
    except (msgspec.MsgspecError, ValueError, TypeError, OverflowError, ArithmeticError, RecursionError) as error:
        message = f"its payload is not what the frame says: {type(error).__name__}"
        raise RecordUndecodable(message) from None


def _extension(code: int, data: memoryview) -> Any:
    reader = _READERS.get(code)
    if reader is None:
        message = f"its payload holds extension {code}, unknown to this release"
        raise RecordTooNew(message)
    return reader(bytes(data))


def _read_text(read: Callable[[str], Any]) -> Callable[[bytes], Any]:
    return lambda data: read(data.decode("ascii"))


def _read_markup(data: bytes) -> str:
    text = data.decode()
    try:
        from markupsafe import Markup
    except ImportError:
        return text  # a release without templates: nobody there asks whether it is safe
    return Markup(text)  # noqa: S704 - it was Markup when it was stored


def _unpack_inner(data: bytes) -> Any:
    return _decoder.decode(data)


_READERS: dict[int, Callable[[bytes], Any]] = {
    _TUPLE: lambda data: tuple(_unpack_inner(data)),
    _SET: lambda data: set(_unpack_inner(data)),
    _FROZENSET: lambda data: frozenset(_unpack_inner(data)),
    _DECIMAL: _read_text(Decimal),
    _UUID: lambda data: UUID(bytes=data),
    _DATE: _read_text(dt.date.fromisoformat),
    _DATETIME: _read_text(dt.datetime.fromisoformat),
    _TIME: _read_text(dt.time.fromisoformat),
    _TIMEDELTA: lambda data: dt.timedelta(*_unpack_inner(data)),
    _BIGINT: lambda data: int.from_bytes(data, "big", signed=True),
    _MARKUP: _read_markup,
    _PAIRS: lambda data: {key: item for key, item in _unpack_inner(data)},  # noqa: C416 - a pair must have two entries
}

_decoder = msgspec.msgpack.Decoder(ext_hook=_extension)
