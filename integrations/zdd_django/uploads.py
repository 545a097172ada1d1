"""The body of a Django request, watched as the view reads it; below what servers and our own halves do."""

from __future__ import annotations

import io
from typing import Any

from django.http import HttpRequest

from zdd_sdk.http import Exchange
from zdd_sdk.http.body import RequestBody
from zdd_sdk.web.upload import CHUNK, wants_body, watch_input

__all__ = ["watch_body"]


def watch_body(request: HttpRequest, exchange: Exchange) -> None:
    """Watch the body of a request that nothing outside Django watches.

    What a middleware above has consumed as a stream cannot be known any more: such a request has no ``exchange.body``.
    """
    if not wants_body(exchange):
        return
    inside: Any = request
    if hasattr(request, "_body") or inside._stream.seekable():  # noqa: SLF001 - where Django keeps what it reads from
        exchange.body = _Received(inside).body
    elif not inside._read_started:  # noqa: SLF001
        watch_input(exchange, request.META, inside._stream)  # noqa: SLF001
        inside._stream = request.META["wsgi.input"]  # noqa: SLF001


class _Received:
    """A body that Django has as a whole: under ASGI it receives all of it, into a file, before it calls anything."""

    def __init__(self, request: Any) -> None:
        self._request = request
        said = request.META
        encoding = said.get("HTTP_CONTENT_ENCODING", "")
        self.body = RequestBody(said.get("CONTENT_TYPE", ""), self._read_all, encoding=encoding)

    async def _read_all(self) -> None:
        request, body = self._request, self.body
        file = io.BytesIO(request._body) if hasattr(request, "_body") else request._stream  # noqa: SLF001
        position = file.tell()
        file.seek(0)
        while chunk := file.read(CHUNK):
            body.feed(chunk)
        file.seek(position)
        body.end()
