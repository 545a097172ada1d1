"""`StoredAnswer`: what is kept of an answer, to be given again byte for byte.

Two values: what lies in the record (status, headers, a small body), and a larger body apart, which has a shorter life.
Both are framed (`zdd_sdk.store.record`), so that encryption can become a property of the frame.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterable

import msgspec

from zdd_sdk.errors import RecordUndecodable, SettingsError
from zdd_sdk.store.record import decode as decode_record
from zdd_sdk.store.record import encode as encode_record
from zdd_sdk.store.record import frame, unframe

__all__ = [
    "INLINE",
    "NEVER_REPLAYED",
    "REPLAYED",
    "StoredAnswer",
    "check_replayed",
    "decode",
    "encode",
    "is_pair",
    "keep",
]

REPLAYED = frozenset(
    {
        "cache-control",
        "content-disposition",
        "content-encoding",
        "content-language",
        "content-type",
        "etag",
        "last-modified",
        "link",
        "location",
    }
)
"""Headers of the answer that are kept; an application may name more."""

NEVER_REPLAYED = frozenset(
    {
        "alt-svc",
        "authentication-info",
        "authorization",
        "connection",
        "content-length",
        "cookie",
        "date",
        "idempotency-key",
        "idempotency-stored",
        "idempotent-replayed",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "server",
        "set-cookie",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "vary",
        "www-authenticate",
    }
)
"""Headers that belong to one exchange: of a caller, a connection or a moment."""

INLINE = 512
"""Bytes of a body that still lie in the record."""

_EMPTY = frozenset({204, 304})
_COMPRESSED_FROM = 1024
_MOST = 64 * 1024 * 1024


class StoredAnswer(msgspec.Struct, frozen=True):
    """An answer as it is given again.

    Attributes:
        status: of the answer.
        headers: names in lower case.
        body: in the encoding its headers say; usually identity.
    """

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    def under(self, status: int) -> StoredAnswer:
        """Return the same with another status; without a body where that has none (RFC 9110, 6.4.1)."""
        return msgspec.structs.replace(self, status=status, body=b"" if status in _EMPTY else self.body)

    def to_bytes(self) -> bytes:
        """Return the whole answer as one value, for a guard row."""
        return encode(self, inline=len(self.body))[0]

    @classmethod
    def of_bytes(cls, data: bytes) -> StoredAnswer:
        """Read what `to_bytes` has written.

        Raises:
            RecordTooNew: a newer release wrote it.
            RecordSealed: it is encrypted.
            RecordUndecodable: it is no such value.
        """
        answer = decode(data, None)
        if answer is None:
            message = "the stored answer has no body"
            raise RecordUndecodable(message)
        return answer


class _Kept(msgspec.Struct, frozen=True, omit_defaults=True, rename={"status": "s", "headers": "h", "body": "b"}):
    """The payload in the record; fields are only ever added.

    Attributes:
        status: of the answer.
        headers: as in `StoredAnswer`.
        length: of the body, bytes, as it is given again.
        body: if it is small; ``None``: it lies apart.
        deflated: the body is compressed, wherever it lies.
    """

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    length: int = msgspec.field(default=0, name="l")
    body: bytes | None = None
    deflated: bool = msgspec.field(default=False, name="z")


def is_pair(found: object) -> bool:
    """Whether it is a status and a result, as ``answer=`` and probes may return."""
    return isinstance(found, tuple) and len(found) == len(("status", "result")) and type(found[0]) is int


def check_replayed(names: Iterable[str]) -> frozenset[str]:
    """Return all headers that are kept, with those an application names.

    Raises:
        SettingsError: one of them belongs to one exchange only.
    """
    wanted = frozenset(name.lower() for name in names)
    if wrong := wanted & NEVER_REPLAYED:
        message = f"{', '.join(sorted(wrong))}: belongs to one answer only and is never replayed"
        raise SettingsError(message)
    return REPLAYED | wanted


def keep(
    status: int, headers: Iterable[tuple[str, str]], body: bytes, names: Collection[str] = REPLAYED
) -> StoredAnswer:
    """Return what is kept of an answer; of its headers those in ``names`` (lower case), in their order."""
    lowered = ((name.lower(), value) for name, value in headers)
    return StoredAnswer(status, tuple(pair for pair in lowered if pair[0] in names), body)


def encode(answer: StoredAnswer, inline: int = INLINE) -> tuple[bytes, bytes]:
    """Return what to write into the record, and apart; the latter is empty if the body is small.

    Args:
        answer: to be kept.
        inline: bytes of the body, compressed if that pays, that still go into the record.
    """
    body = _deflate(answer.body)
    deflated, small = body is not answer.body, len(body) <= inline
    kept = _Kept(answer.status, answer.headers, len(answer.body), body if small else None, deflated)
    return encode_record(kept), b"" if small else frame(body)


def decode(answer: bytes, body: bytes | None) -> StoredAnswer | None:
    """Read what `encode` has written.

    Args:
        answer: from the record.
        body: from apart; ``None`` if it is not there.

    Returns:
        the answer, or ``None``: its body lies apart and is gone, or nothing was kept.

    Raises:
        RecordTooNew: a newer release wrote it.
        RecordSealed: it is encrypted.
        RecordUndecodable: it is no such record, or the body is not this answer's.
    """
    if not answer:
        return None
    kept = decode_record(answer, _Kept)
    if kept.body is None and body is None:
        return None
    raw = unframe(body or b"")[1] if kept.body is None else kept.body
    return StoredAnswer(kept.status, kept.headers, _inflate(raw, kept))


def _deflate(body: bytes) -> bytes:
    if len(body) < _COMPRESSED_FROM:
        return body
    deflated = zlib.compress(body)
    return deflated if len(deflated) < len(body) else body


def _inflate(raw: bytes, kept: _Kept) -> bytes:
    try:
        body = zlib.decompressobj().decompress(raw, min(kept.length, _MOST) + 1) if kept.deflated else raw
    except zlib.error:
        body = b""
    if len(body) != kept.length:
        message = "the stored body is not the one that belongs to the answer"
        raise RecordUndecodable(message)
    return body
