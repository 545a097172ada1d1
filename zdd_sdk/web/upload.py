"""Request bodies on their way into the application: shown to `RequestBody` as they pass, on ASGI and on WSGI.

What has to be known before the application has read it is read ahead and kept for it, beyond `MAX_KEPT` on disk.
Only requests with an ``Idempotency-Key`` are watched.
"""

from __future__ import annotations

import asyncio
import io
import weakref
from collections.abc import Callable, Mapping, MutableMapping
from tempfile import SpooledTemporaryFile
from typing import IO, TYPE_CHECKING, Any, NoReturn, Protocol, TypeVar

from zdd_sdk.errors import RequestIncomplete
from zdd_sdk.http import Exchange
from zdd_sdk.http.asgi import Message, Receive
from zdd_sdk.http.body import KEY_HEADER, MAX_KEPT, RequestBody

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["CHUNK", "Readable", "UploadInput", "UploadReceive", "wants_body", "watch_input", "watch_receive"]

T = TypeVar("T")

CHUNK = 64 * 1024
"""Bytes read ahead at a time, which is also what most servers read."""


class Readable(Protocol):
    """What PEP 3333 promises of ``wsgi.input``, as far as it is needed."""

    def read(self, size: int, /) -> bytes:
        """Return at most ``size`` bytes; none at the end."""
        ...


def wants_body(exchange: Exchange) -> bool:
    """Whether the body of a request is to be watched, and is not yet."""
    return exchange.body is None and exchange.header(KEY_HEADER) is not None


def watch_receive(exchange: Exchange, receive: Receive) -> UploadReceive | None:
    """Watch a body on ASGI; returns the ``receive`` to hand down, ``None`` if there is nothing to watch."""
    if not wants_body(exchange):
        return None
    upload = UploadReceive(receive, *_described(exchange))
    exchange.body = upload.body
    return upload


def watch_input(exchange: Exchange, environ: MutableMapping[str, Any], source: Readable | None = None) -> None:
    """Watch a body on WSGI: lay `UploadInput` around ``wsgi.input``, if there is something to watch.

    Args:
        exchange: of the request.
        environ: its environment.
        source: what to read instead of ``wsgi.input``.
    """
    if wants_body(exchange):
        server = environ["wsgi.input"] if source is None else source
        upload = UploadInput(server, *_described(exchange), length=_length(environ))
        exchange.body = upload.body
        environ["wsgi.input"] = io.BufferedReader(upload, CHUNK)


def _described(exchange: Exchange) -> tuple[str, str]:
    return exchange.header("content-type") or "", exchange.header("content-encoding") or ""


def _length(environ: Mapping[str, Any]) -> int | None:
    """How many bytes there are; ``None``: as many as the server gives (a chunked body)."""
    text = str(environ.get("CONTENT_LENGTH") or "")
    if text.isdecimal():
        return int(text)
    return None if environ.get("wsgi.input_terminated") else 0


class UploadReceive:
    """The ``receive`` of a request whose body is watched.

    Args:
        receive: the server's, or that of the middleware above; asked on after the body, for ``http.disconnect``.
        content_type: of the request.
        encoding: its ``Content-Encoding``.

    Attributes:
        body: what has passed.
    """

    __slots__ = ("_ahead", "_gone", "_loop", "_receive", "body")

    def __init__(self, receive: Receive, content_type: str, encoding: str = "") -> None:
        self.body = RequestBody(content_type, self._read_rest, encoding=encoding)
        self._receive = receive
        self._loop = asyncio.get_running_loop()
        self._ahead: _Ahead | None = None
        self._gone: Message | None = None

    async def __call__(self) -> Message:
        """Return the next message: of what was read ahead, then from the server."""
        ahead = self._ahead
        if ahead is not None and (ahead.left or self._gone is None):
            chunk = await _off_loop(ahead, ahead.read)
            more = bool(ahead.left) or self._gone is not None
            if not more:
                self.close()
            return {"type": "http.request", "body": chunk, "more_body": more}
        return self._gone or await self._next()

    def close(self) -> None:
        """Forget what nobody will read any more."""
        if self._ahead is not None:
            self._ahead.close()
            self._ahead = None

    async def _next(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._gone = message
        elif not self.body.complete:
            self.body.feed(message.get("body", b""))
            if not message.get("more_body"):
                self.body.end()
        return message

    async def _read_rest(self) -> None:
        if _running_loop() is self._loop:
            await self._read_ahead()
        else:  # an endpoint in the thread pool, whose flows never suspend
            asyncio.run_coroutine_threadsafe(self._read_ahead(), self._loop).result()

    async def _read_ahead(self) -> None:
        ahead = self._ahead = self._ahead or _Ahead()
        while not self.body.complete:
            message = self._gone or await self._next()
            if self._gone is not None:
                _raise_incomplete()
            await _off_loop(ahead, ahead.write, message.get("body", b""))


class UploadInput(io.RawIOBase):
    """The ``wsgi.input`` of a request whose body is watched; to be read through `io.BufferedReader`.

    It never reads beyond the body, and leaves closing to the server.

    Args:
        source: the server's.
        content_type: of the request.
        encoding: its ``Content-Encoding``.
        length: bytes of the body; ``None``: until the source ends.

    Attributes:
        body: what has passed.
    """

    def __init__(self, source: Readable, content_type: str, encoding: str = "", *, length: int | None) -> None:
        super().__init__()
        self.body = RequestBody(content_type, self._read_rest, encoding=encoding)
        self._source = source
        self._left = length
        self._ahead: _Ahead | None = None
        if length == 0:
            self.body.end()

    def readable(self) -> bool:
        """Return ``True``."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Read into a buffer; returns how many bytes, 0 at the end."""
        view = memoryview(buffer).cast("B")
        chunk = self._take(len(view)) if self._ahead is None else self._ahead.read(len(view))
        view[: len(chunk)] = chunk
        return len(chunk)

    def close(self) -> None:
        """Forget what nobody will read any more."""
        if self._ahead is not None:
            self._ahead.close()
        super().close()

    def _take(self, most: int) -> bytes:
        if self.body.complete:
            return b""
        chunk = self._source.read(most if self._left is None else min(most, self._left))
        self.body.feed(chunk)
        if self._left is not None:
            self._left -= len(chunk)
        if self._left == 0 or (self._left is None and not chunk):
            self.body.end()
        return chunk

    async def _read_rest(self) -> None:
        ahead = self._ahead = self._ahead or _Ahead()
        while not self.body.complete:
            chunk = self._take(CHUNK)
            ahead.write(chunk)
            if not chunk and not self.body.complete:
                _raise_incomplete()


class _Ahead:
    """Bytes read before the application has asked for them; beyond `MAX_KEPT` they lie on disk.

    Attributes:
        left: bytes the application has not read yet.
        close: gives the file up; so does the end of this object.
    """

    __slots__ = ("__weakref__", "_at", "_file", "_size", "close", "left")

    def __init__(self) -> None:
        self._file: IO[bytes] = SpooledTemporaryFile(MAX_KEPT)  # noqa: SIM115 - as long as this lives
        self.close = weakref.finalize(self, self._file.close)
        self._at = self.left = self._size = 0

    @property
    def on_disk(self) -> bool:
        """Whether reading and writing may block."""
        return self._size > MAX_KEPT

    def write(self, chunk: bytes) -> None:
        self._file.write(chunk)
        self._size += len(chunk)
        self.left += len(chunk)

    def read(self, most: int = CHUNK) -> bytes:
        self._file.seek(self._at)
        chunk = self._file.read(most)
        self._at += len(chunk)
        self.left -= len(chunk)
        return chunk


async def _off_loop(ahead: _Ahead, step: Callable[..., T], *arguments: object) -> T:
    return await asyncio.to_thread(step, *arguments) if ahead.on_disk else step(*arguments)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _raise_incomplete() -> NoReturn:
    message = "the client has gone before it had sent the whole request"
    raise RequestIncomplete(message)
