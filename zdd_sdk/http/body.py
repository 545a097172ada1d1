"""What a request's body says, taken while the application reads it.

`RequestBody` is fed by the driver. What it keeps is bounded: digests of everything, and the bytes themselves only of
JSON and forms up to `MAX_KEPT`, which have to be understood rather than only compared.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Awaitable, Callable
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Inexact, InvalidOperation, Overflow
from email.message import Message
from typing import Any
from urllib.parse import parse_qs

import msgspec

__all__ = ["KEY_HEADER", "MAX_KEPT", "Content", "RequestBody", "canonical_json"]

KEY_HEADER = "idempotency-key"
"""Bodies of requests with this header are watched; others cost nothing."""

MAX_KEPT = 1024 * 1024
"""Bytes of a body that are kept to be understood; of a larger one there are only digests."""

_FORM = "application/x-www-form-urlencoded"
_GZIP = frozenset({"gzip", "x-gzip"})
_PIECE, _MEMBER = 16 * 1024, 1024
_GZIP_WINDOW = 16 + zlib.MAX_WBITS


class Content(msgspec.Struct, frozen=True):
    """What a whole body says.

    Attributes:
        digest: SHA-256 of the bytes; of multipart without its random boundary.
        length: bytes.
        media_type: in lower case, without parameters.
        kept: all of it, if it is JSON or a form and not larger than `MAX_KEPT`.
    """

    digest: bytes
    length: int = 0
    media_type: str = ""
    kept: bytes | None = None

    def canonical(self) -> bytes | None:
        """Return its canonical JSON (`canonical_json`); ``None`` if it is none."""
        return canonical_json(self.kept) if self.kept is not None and _is_json(self.media_type) else None

    def decoded(self) -> Any:
        """Return JSON as it is, numbers with a fraction as canonical text in `msgspec.Raw`; a form as lists by name.

        Raises:
            ValueError: it is neither, too large, or malformed.
        """
        if self.kept is None:
            message = f"a body of {self.length} bytes of {self.media_type or 'no type'} has no fields"
            raise ValueError(message)
        if self.media_type == _FORM:
            return parse_qs(self.kept.decode("utf-8", "surrogateescape"), keep_blank_values=True)
        return _decode(self.kept)


class RequestBody:
    """The body of one request, as it passes by.

    Args:
        content_type: the request's ``Content-Type``.
        read_rest: feeds what the application has not yet read, and keeps it for the application; never suspends
            outside an event loop.
        encoding: the request's ``Content-Encoding``. A client may compress anew for each attempt, and gzip writes the
            time of day: so what lies within counts, if that is not more than ``cap``, else the bytes as they came.
        cap: bytes to keep, and to decompress.

    Attributes:
        complete: the whole body has been fed.
    """

    __slots__ = ("_cap", "_digest", "_kept", "_length", "_media_type", "_read_rest", "_within", "complete")

    def __init__(
        self,
        content_type: str,
        read_rest: Callable[[], Awaitable[None]] | None = None,
        *,
        encoding: str = "",
        cap: int = MAX_KEPT,
    ) -> None:
        self._media_type = content_type.partition(";")[0].strip().lower()
        boundary = _boundary(content_type) if self._media_type.startswith("multipart/") else None
        self._digest = _Parts(boundary) if boundary else hashlib.sha256()
        zipped = encoding.strip().lower() in _GZIP
        self._within = _Inflated(RequestBody(content_type, cap=cap), cap) if zipped else None
        understood = not zipped and (_is_json(self._media_type) or self._media_type == _FORM)
        self._kept = bytearray() if understood else None
        self._read_rest = read_rest
        self._cap = cap
        self._length = 0
        self.complete = False

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes."""
        self._digest.update(chunk)
        self._length += len(chunk)
        if self._length > self._cap:
            self._kept = None
        elif self._kept is not None:
            self._kept += chunk
        if self._within is not None and not self._within.feed(chunk):
            self._within = None

    def end(self) -> None:
        """Note that nothing more will come."""
        self.complete = True
        if self._within is not None and not self._within.ended:
            self._within = None
        self._read_rest = None

    async def whole(self) -> Content:
        """Return what all of it says; what the application has not yet read is read now, and kept for it.

        Raises:
            RequestIncomplete: the client has gone before it had sent all.
        """
        if not self.complete and self._read_rest is not None:
            await self._read_rest()
        if self._within is not None:
            return await self._within.body.whole()
        kept = None if self._kept is None else bytes(self._kept)
        return Content(self._digest.digest(), self._length, self._media_type, kept)


def canonical_json(data: bytes) -> bytes | None:
    """Return one spelling for all JSON texts that mean the same; ``None`` for what is no JSON (RFC 8259).

    Keys are sorted, whitespace and escapes are gone; numbers are compared by their exact value, never rounded to a
    double as in RFC 8785, which would make two amounts one. Of equal keys the last one counts, as in Python.
    """
    try:
        return _encoder.encode(_decode(data))
    except ValueError:
        return None


def _decode(data: bytes) -> Any:
    try:
        return _decoder.decode(data)
    except (msgspec.MsgspecError, RecursionError) as error:
        message = "the body is no JSON"
        raise ValueError(message) from error


_exact = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[InvalidOperation, Inexact, Overflow])
_LONGEST = 20
"""Digits up to which a whole number is written out, so that 1e2 is 100; 1e999999999 stays as it is."""


def _number(text: str) -> msgspec.Raw:
    if len(text) < _LONGEST and "." in text and not ("e" in text or "E" in text or "0.0000" in text):
        short = text.rstrip("0").rstrip(".")  # most of them, ten times as fast
        return msgspec.Raw(b"0" if short == "-0" else short.encode())
    return _exactly(text)


def _exactly(text: str) -> msgspec.Raw:
    try:
        value = _exact.create_decimal(text).normalize(_exact)
    except ArithmeticError:
        return msgspec.Raw(text.encode())
    whole = value.adjusted() < _LONGEST and value == value.to_integral_value()
    return msgspec.Raw(b"%d" % int(value) if whole else str(value).encode())


_decoder = msgspec.json.Decoder(float_hook=_number)
_encoder = msgspec.json.Encoder(order="deterministic")


def _is_json(media_type: str) -> bool:
    return media_type.endswith(("/json", "+json"))


def _boundary(content_type: str) -> str | None:
    header = Message()
    header["content-type"] = content_type
    try:
        boundary = header.get_boundary()
    except ValueError:  # in an encoding that cannot be decoded
        return None
    return boundary if boundary and boundary.isascii() else None


class _Inflated:
    """What lies in a body of gzip members (RFC 1952), as long as it is not too much.

    Args:
        body: takes it.
        most: bytes of it; what is sent may be a thousandth of what it becomes. Each member counts as `_MEMBER`
            more, as it costs what so many bytes do, and what lies behind it is copied.
    """

    __slots__ = ("_left", "_stream", "body")

    def __init__(self, body: RequestBody, most: int) -> None:
        self.body = body
        self._left = most
        self._stream = zlib.decompressobj(_GZIP_WINDOW)

    @property
    def ended(self) -> bool:
        """Whether the last member is complete."""
        return self._stream.eof

    def feed(self, chunk: bytes) -> bool:
        """Take the next bytes; ``False``: they are no gzip, or too much lies in them."""
        try:
            for at in range(0, len(chunk), _PIECE):
                rest = chunk[at : at + _PIECE]
                while rest and self._left >= 0:
                    rest = self._take(rest)
        except zlib.error:
            return False
        return self._left >= 0

    def _take(self, chunk: bytes) -> bytes:
        if self._stream.eof:
            self._left -= _MEMBER
            if self._left < 0:
                return b""
            self._stream = zlib.decompressobj(_GZIP_WINDOW)
        inflated = self._stream.decompress(chunk, self._left + 1)
        self._left -= len(inflated)
        self.body.feed(inflated)
        return self._stream.unused_data or self._stream.unconsumed_tail


class _Parts:
    """SHA-256 over what lies between the boundaries of a multipart body (RFC 2046, 5.1), each with its length behind.

    Clients draw a new boundary for each attempt. Lengths keep bytes from moving from one part to the next unseen.

    Args:
        boundary: of the ``Content-Type``.
    """

    __slots__ = ("_delimiter", "_hash", "_length", "_tail")

    def __init__(self, boundary: str) -> None:
        self._delimiter = b"--" + boundary.encode()
        self._hash = hashlib.sha256()
        self._tail = b""
        self._length = 0

    def update(self, chunk: bytes) -> None:
        """Take the next bytes; what may be the begin of a boundary waits for the next ones."""
        *closed, rest = (self._tail + chunk).split(self._delimiter)
        for part in closed:
            self._close(part)
        ready = max(0, len(rest) - len(self._delimiter) + 1)
        self._add(rest[:ready])
        self._tail = rest[ready:]

    def digest(self) -> bytes:
        """Return the digest; may be called more than once."""
        whole = self._hash.copy()
        whole.update(self._tail + (self._length + len(self._tail)).to_bytes(8))
        return whole.digest()

    def _add(self, data: bytes) -> None:
        self._hash.update(data)
        self._length += len(data)

    def _close(self, part: bytes) -> None:
        self._add(part)
        self._hash.update(self._length.to_bytes(8))
        self._length = 0
