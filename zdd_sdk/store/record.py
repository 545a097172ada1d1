"""The frame around every value we keep: a format number, so that two releases can share it.

Layout: one byte format number (1…127), one byte flags, then the payload. Flag 1: the payload is encrypted
(`zdd_sdk.secrets.Seal`), bound to these two bytes and to the context the record lies in; any other set flag means
"newer". Readers accept format n and n−1; a newer format is a typed error, never "absent".
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from zdd_sdk.errors import RecordSealed, RecordTooNew, RecordUndecodable
from zdd_sdk.secrets import Seal

__all__ = ["decode", "encode", "frame", "is_sealed", "open_frame", "seal_frame", "unframe"]

T = TypeVar("T")
_HEADER = 2
_SEALED = 1


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
        RecordSealed: it is encrypted and was not opened (`open_frame`).
        RecordUndecodable: not a frame, or older than ``newest − 1``.
    """
    if len(data) < _HEADER or data[0] == 0 or data[0] < newest - 1:
        message = "the stored bytes are not a record of a known format"
        raise RecordUndecodable(message)
    if data[0] <= newest and data[1] == _SEALED:
        message = "the record is encrypted, and is read where nothing is"
        raise RecordSealed(message)
    if data[0] > newest or data[1]:
        message = f"the record has format {data[0]} (flags {data[1]:#x}); this release reads up to {newest}"
        raise RecordTooNew(message)
    return data[0], data[_HEADER:]


def is_sealed(data: bytes) -> bool:
    """Whether the payload of a frame is encrypted."""
    return len(data) >= _HEADER and data[0] != 0 and data[1] == _SEALED


def seal_frame(data: bytes, seal: Seal, context: bytes) -> bytes:
    """Encrypt the payload of a frame, whatever its format.

    Args:
        data: a frame.
        seal: the keys.
        context: where the record lies (service, environment, part, name); it opens nowhere else.
    """
    header = bytes((data[0], data[1] | _SEALED))
    return header + seal.close(data[_HEADER:], header + context)


def open_frame(data: bytes, seal: Seal, context: bytes) -> bytes:
    """Decrypt the payload of a frame; the inverse of `seal_frame`.

    Raises:
        RecordSealed: no key of it here, or it was changed, cut or moved.
    """
    header = data[:_HEADER]
    return bytes((data[0], data[1] & ~_SEALED)) + seal.open(data[_HEADER:], header + context)


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
