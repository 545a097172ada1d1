"""The outer half of the exchange on WSGI (PEP 3333): it sees every answer, also errors and preflights.

It opens the exchange over the blocking store and performs the leave when the application calls
``start_response``: before the first byte, in the thread of the request.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from http import HTTPStatus
from types import TracebackType
from typing import TYPE_CHECKING, Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from zdd_sdk.errors import ZddError
from zdd_sdk.http import Answer, Exchange, exchange_variable, problem_of
from zdd_sdk.store import Store, finish
from zdd_sdk.web.asgi import severity
from zdd_sdk.web.leave import cors_headers, leave, merge_text_headers

if TYPE_CHECKING:
    from zdd_sdk.app import ZeroDowntime

__all__ = ["WsgiServiceHalf", "environ_exchange"]

_log = logging.getLogger("zdd.web")

Headers = list[tuple[str, str]]
ExcInfo = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None] | None


def environ_exchange(environ: Mapping[str, Any], store: Store | None, *, scheme: str | None = None) -> Exchange:
    """Create the exchange of a WSGI environment, or of what looks like one (Django's ``request.META``).

    Args:
        environ: the environment.
        store: the store of this driver.
        scheme: default ``wsgi.url_scheme``.
    """

    def values(name: str) -> Iterable[str]:
        key = name.upper().replace("-", "_")
        value = environ.get(key if key in {"CONTENT_TYPE", "CONTENT_LENGTH"} else f"HTTP_{key}")
        return () if value is None else (value,)

    path = str(environ.get("PATH_INFO", "")).encode("latin-1", "replace").decode("utf-8", "replace")
    scheme = scheme or environ.get("wsgi.url_scheme", "http")
    return Exchange(environ["REQUEST_METHOD"], path, scheme, values, store)


class WsgiServiceHalf:
    """Lies around a whole WSGI application; however often it is stacked, it acts once.

    An application of another service may be mounted within: its requests get an exchange of their own,
    and it follows the lifecycle of the service around it.

    Args:
        app: the application below.
        zdd: the service.
    """

    def __init__(self, app: WSGIApplication, zdd: ZeroDowntime) -> None:
        self.app = app
        self._zdd = zdd

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Handle one request."""
        around: ZeroDowntime | None = environ.get("zdd")
        if around is self._zdd:
            return self.app(environ, start_response)
        if around is not None:
            self._zdd.follow(around)
        self._zdd.on_request()
        exchange = environ_exchange(environ, self._zdd.blocking_store())
        exchange.participants = self._zdd.participants
        environ["zdd"], environ["zdd.exchange"] = self._zdd, exchange
        return _Departure(exchange, start_response).run(self.app, environ)


class _Departure:
    """One answer: performs the leave when its head comes by."""

    __slots__ = ("_answer", "_exchange", "_start_response", "_started")

    def __init__(self, exchange: Exchange, start_response: StartResponse) -> None:
        self._exchange = exchange
        self._start_response = start_response
        self._started = False
        self._answer: Answer | None = None

    def run(self, app: WSGIApplication, environ: WSGIEnvironment) -> Iterable[bytes]:
        """Call the application and follow its answer to the end."""
        token = exchange_variable.set(self._exchange)
        try:
            body = app(environ, self._start)
        except ZddError as error:
            return self._problem(error)
        finally:
            exchange_variable.reset(token)
        if self._answer is not None:
            _close(body)
            return [self._body(self._answer)]
        wrapper = environ.get("wsgi.file_wrapper")
        if self._started and (isinstance(body, list) or (isinstance(wrapper, type) and isinstance(body, wrapper))):
            return body  # nothing is left to do, and a server knows how to send a file itself
        return _Body(self, body)

    def _start(self, status: str, headers: Headers, exc_info: ExcInfo = None, /) -> Callable[[bytes], object]:
        exchange = self._exchange
        exchange.status = int(status[:3])
        if not self._started and (exchange.parts or exchange.response_headers):
            self._answer = finish(leave(exchange, exchange.participants))
        self._started = True
        if self._answer is not None:
            self._answer.headers += cors_headers(headers)
            return self._replace(self._answer)
        if exchange.response_headers:
            headers = merge_text_headers(headers, exchange.response_headers)
        return self._start_response(status, headers, exc_info) if exc_info else self._start_response(status, headers)

    def _replace(self, answer: Answer) -> Callable[[bytes], object]:
        self._exchange.status = answer.status
        self._start_response(_status_line(answer.status), [(name.title(), value) for name, value in answer.headers])
        return lambda _: None

    def _problem(self, error: ZddError) -> Iterable[bytes]:
        if self._started:
            raise error
        exchange = self._exchange
        _log.log(severity(error), "%s %s answered %s: %s", exchange.method, exchange.path, error.code, error)
        answer = problem_of(error)
        self._start(_status_line(answer.status), answer.headers)
        return [self._body(self._answer or answer)]

    def chunks(self, body: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the body; an application may call ``start_response`` as late as with its first chunk."""
        chunks = iter(body)
        try:
            while self._answer is None and (chunk := self._next(chunks)) is not None:
                yield chunk
        except ZddError as error:
            yield from self._problem(error)
            return
        if self._answer is not None:
            yield self._body(self._answer)

    def _next(self, chunks: Iterator[bytes]) -> bytes | None:
        # Set for each chunk anew: a server may ask for each in another thread.
        token = exchange_variable.set(self._exchange)
        try:
            chunk = next(chunks, None)
        finally:
            exchange_variable.reset(token)
        return None if self._answer is not None else chunk

    def _body(self, answer: Answer) -> bytes:
        return b"" if self._exchange.method == "HEAD" else answer.body


class _Body:
    """The body of an answer that is not complete when the application returns."""

    __slots__ = ("_body", "_departure")

    def __init__(self, departure: _Departure, body: Iterable[bytes]) -> None:
        self._departure = departure
        self._body = body

    def __iter__(self) -> Iterator[bytes]:
        return self._departure.chunks(self._body)

    def close(self) -> None:
        """Close the application's iterable."""
        _close(self._body)


def _close(body: object) -> None:
    close = getattr(body, "close", None)
    if close is not None:
        close()


def _status_line(status: int) -> str:
    return f"{status} {HTTPStatus(status).phrase}"
