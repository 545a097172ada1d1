"""The outer half of the exchange on WSGI (PEP 3333): it sees every answer, also errors and preflights.

It opens the exchange over the blocking store and performs the leave when the application calls
``start_response``: before the first byte, in the thread of the request.
"""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from http import HTTPStatus
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from zdd_sdk.errors import ZddError
from zdd_sdk.http import Answer, Exchange, Surface, exchange_variable, problem_of
from zdd_sdk.lifecycle import Lifecycle
from zdd_sdk.store import Store, finish
from zdd_sdk.web.asgi import severity
from zdd_sdk.web.leave import cors_headers, give_up, leave, merge_text_headers
from zdd_sdk.web.stream import EventStream, is_event_stream
from zdd_sdk.web.upload import watch_input

if TYPE_CHECKING:
    from zdd_sdk.app import ZeroDowntime

__all__ = ["WsgiServiceHalf", "environ_exchange"]

_log = logging.getLogger("zdd.web")

T = TypeVar("T")
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
        value = environ.get(_variable(name))
        return () if value is None else (value,)

    path = str(environ.get("PATH_INFO", "")).encode("latin-1", "replace").decode("utf-8", "replace")
    scheme = scheme or str(environ.get("wsgi.url_scheme", "http"))
    return Exchange(environ["REQUEST_METHOD"], path, scheme, values, store)


@functools.lru_cache(maxsize=256)
def _variable(header: str) -> str:
    """What an environment calls a header."""
    name = header.upper().replace("-", "_")
    return name if name in {"CONTENT_TYPE", "CONTENT_LENGTH"} else f"HTTP_{name}"


class WsgiServiceHalf:
    """Lies around a whole WSGI application; however often it is stacked, it acts once.

    An application of another service may be mounted within: its requests get an exchange of their own,
    and it follows the lifecycle of the service around it.

    Args:
        app: the application below.
        zdd: the service.
        surface: what its framework knows of the request at work.
    """

    def __init__(self, app: WSGIApplication, zdd: ZeroDowntime, surface: Surface | None = None) -> None:
        self.app = app
        self._zdd = zdd
        self._surface = surface

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Handle one request."""
        around: ZeroDowntime | None = environ.get("zdd")
        if around is self._zdd:
            if self._surface is not None:
                environ["zdd.exchange"].surface = self._surface
            return self.app(environ, start_response)
        if around is not None:
            self._zdd.follow(around)
            environ = dict(environ)  # whoever is around looks at its own again on the way up
        self._zdd.on_request()
        exchange = environ_exchange(environ, self._zdd.blocking_store())
        exchange.participants, exchange.surface = self._zdd.participants, self._surface
        watch_input(exchange, environ)
        environ["zdd"], environ["zdd.exchange"] = self._zdd, exchange
        return _Departure(exchange, start_response, self._zdd.lifecycle).run(self.app, environ)


class _Departure:
    """One answer: performs the leave when its head comes by."""

    __slots__ = ("_answer", "_exchange", "_lifecycle", "_start_response", "_started", "_stream")

    def __init__(self, exchange: Exchange, start_response: StartResponse, lifecycle: Lifecycle) -> None:
        self._exchange = exchange
        self._lifecycle = lifecycle
        self._stream: EventStream | None = None
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
        except BaseException:
            finish(give_up(self._exchange))
            raise
        finally:
            exchange_variable.reset(token)
        if self._answer is not None:
            self.close(body)
            return [self._body(self._answer)]
        wrapper = environ.get("wsgi.file_wrapper")
        if self._started and (isinstance(body, list) or (isinstance(wrapper, type) and isinstance(body, wrapper))):
            return body  # nothing is left to do, and a server knows how to send a file itself
        return (_SizedBody if hasattr(body, "__len__") else _Body)(self, body)

    def _start(self, status: str, headers: Headers, exc_info: ExcInfo = None, /) -> Callable[[bytes], object]:
        exchange = self._exchange
        exchange.status = int(status[:3])
        if not self._started:
            self._started = True
            exchange.committed()
            if exchange.parts or exchange.response_headers:
                self._answer = finish(leave(exchange, exchange.participants))
                if self._answer is not None:
                    self._answer.headers += cors_headers(headers)
        if self._answer is not None:
            return self._replace(self._answer, exc_info)
        if exchange.response_headers:
            headers = merge_text_headers(headers, exchange.response_headers)
        self._stream = EventStream(self._lifecycle) if is_event_stream(headers) else None
        return self._begin(status, headers, exc_info)

    def _begin(self, status: str, headers: Headers, exc_info: ExcInfo) -> Callable[[bytes], object]:
        # With exc_info a server that has sent the head already raises that error (PEP 3333).
        return self._start_response(status, headers, exc_info) if exc_info else self._start_response(status, headers)

    def _replace(self, answer: Answer, exc_info: ExcInfo) -> Callable[[bytes], object]:
        self._exchange.status = answer.status
        self._begin(*_head(answer), exc_info)
        return lambda _: None

    def _problem(self, error: ZddError) -> Iterable[bytes]:
        """Answer with a problem; if the head is out already, the server raises the error again."""
        exchange, again = self._exchange, sys.exc_info() if self._started else None
        answer = problem_of(error)
        self._start(*_head(answer), again)
        _log.log(severity(error), "%s %s answered %s: %s", exchange.method, exchange.path, error.code, error)
        return [self._body(self._answer or answer)]

    def chunks(self, body: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the body; an application may call ``start_response`` as late as with its first chunk."""
        try:
            chunks = self._within(lambda: iter(body))
            while (chunk := self._within(lambda: next(chunks, None))) is not None and self._answer is None:
                yield chunk
                if self._stream is not None and (last := self._stream.after(chunk)):
                    yield last
                    return
        except ZddError as error:
            yield from self._problem(error)
            return
        if self._answer is not None:
            yield self._body(self._answer)

    def close(self, body: Iterable[bytes]) -> None:
        """Close the application's iterable."""
        try:
            self._within(lambda: _close(body))
        finally:
            finish(give_up(self._exchange))

    def _within(self, step: Callable[[], T]) -> T:
        # Set for each step anew: a server may take each in another thread.
        token = exchange_variable.set(self._exchange)
        try:
            return step()
        finally:
            exchange_variable.reset(token)

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
        self._departure.close(self._body)


class _SizedBody(_Body):
    """One whose length is known: servers derive a Content-Length from a length of 1 (PEP 3333)."""

    __slots__ = ()

    def __len__(self) -> int:
        return len(self._body)  # type: ignore[arg-type]


def _close(body: object) -> None:
    close = getattr(body, "close", None)
    if close is not None:
        close()


def _head(answer: Answer) -> tuple[str, Headers]:
    status = f"{answer.status} {HTTPStatus(answer.status).phrase}"
    return status, [(name.title(), value) for name, value in answer.headers]
