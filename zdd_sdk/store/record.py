"""The frame around every value we keep: a format number, so that two releases can share it.

Layout: one byte format number (1…127), one byte flags (none defined yet; a set one means "newer"),
then the payload. Readers accept format n and n−1; a newer format is a typed error, never "absent".
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from zdd_sdk.errors import RecordTooNew, RecordUndecodable

__all__ = ["decode", "encode", "frame", "unframe"]

T = TypeVar("T")
_HEADER = 2


def frame(payload: bytes, *, format: int = 1) -> bytes:  # noqa: A002 - the design's word
    """Put a payload into a frame of the given format."""
    return bytes((format, 0)) + payload


def unframe(data: bytes, *, newest: int = 1) -> tuple[int, bytes]:
    """Return ``(format, payload)``.

    Args:
        data: the stored bytes.
        newest: the newest format this release reads; ``newest − 1`` is accepted too.

    Raises:
        RecordTooNew: written by a newer release.
        RecordUndecodable: not a frame, or older than ``newest − 1``.
    """
    if len(data) < _HEADER or data[0] == 0 or data[0] < newest - 1:
        message = "the stored bytes are not a record of a known format"
        raise RecordUndecodable(message)
    if data[0] > newest or data[1]:
        message = f"the record has format {data[0]} (flags {data[1]:#x}); this release reads up to {newest}"
        raise RecordTooNew(message)
    return data[0], data[_HEADER:]


def encode(value: Any) -> bytes:
    """Encode a value as MessagePack in a frame of format 1."""
    return frame(msgspec.msgpack.encode(value))


def decode(data: bytes, type: type[T]) -> T:  # noqa: A002 - msgspec's word
    """Decode a frame of format 1 into ``type``; unknown fields are ignored.

    Raises:
        RecordTooNew: see `unframe`.
        RecordUndecodable: see `unframe`, or the payload does not fit ``type``.
    """
    _, payload = unframe(data)
    try:
        return msgspec.msgpack.decode(payload, type=type)
    except (msgspec.MsgspecError, ValueError) as error:
        message = f"the record is not a {getattr(type, '__name__', type)}: {error}"
        raise RecordUndecodable(message) from None
