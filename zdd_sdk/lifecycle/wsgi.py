"""The outer half of the exchange for WSGI: health, requests in flight, ``Connection: close`` where servers allow it."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from zdd_sdk.http import Answer
from zdd_sdk.lifecycle.core import Lifecycle, active
from zdd_sdk.lifecycle.servers.signals import chain_sigterm, running_server

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

__all__ = ["OuterHalf"]

_MARK = "zdd.outer"
_CLOSE = ("Connection", "close")


class OuterHalf:
    """Wraps a WSGI application. However often it is stacked, the outermost one acts.

    Without an adapter the lifecycle starts at the first request: WSGI knows no start and no end.

    Args:
        app: the application.
        lifecycle: whose state counts.
        follow: let the lifecycle that is active at `start` take over; for adapters, which wrap
            applications they know nothing of.
        close_header: answer with ``Connection: close`` while draining. PEP 3333 forbids applications
            hop-by-hop headers: granian and uWSGI pass it on, gunicorn drops it, waitress and wsgiref fail.
    """

    def __init__(
        self, app: WSGIApplication, lifecycle: Lifecycle, *, follow: bool = False, close_header: bool = False
    ) -> None:
        self.app = app
        self.lifecycle = lifecycle
        self._follow = follow
        self._close_header = close_header

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        if _MARK in environ:
            return self.app(environ, start_response)
        environ[_MARK] = True
        if not self.lifecycle.started:
            self._start_late()
        if self._close_header and environ.get("SERVER_PROTOCOL", "HTTP/1").startswith("HTTP/1"):
            start_response = _closing(self.lifecycle, start_response)
        if (answer := self._health(environ)) is not None:
            return _send_answer(start_response, answer, head=environ["REQUEST_METHOD"] == "HEAD")
        return self._counted(environ, start_response)

    def _counted(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        lifecycle = self.lifecycle
        lifecycle.enter()
        try:
            body = self.app(environ, start_response)
        except BaseException:
            lifecycle.leave()
            raise
        return _until_closed(body, lifecycle.leave, environ.get("wsgi.file_wrapper"))

    def _health(self, environ: WSGIEnvironment) -> Answer | None:
        path: str = environ.get("PATH_INFO", "")
        if not path.endswith("z") or environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return None
        return self.lifecycle.health(path)

    def start(self) -> None:
        """Start the lifecycle: the one the application has activated by now, if we follow it."""
        if self._follow:
            self.lifecycle = active() or self.lifecycle
        self.lifecycle.start()

    def _start_late(self) -> None:
        """Start at the first request, where no adapter did."""
        if self.lifecycle.draining:
            return
        self.start()
        if self.lifecycle.adapter is None:
            # Only under a server: where there is none we are in a shell, a script or a test.
            if running_server() or callable(signal.getsignal(signal.SIGTERM)):
                chain_sigterm(self.lifecycle)
            self.lifecycle.mark_ready()


def _closing(lifecycle: Lifecycle, start_response: StartResponse) -> StartResponse:
    def start_closing(status: str, headers: list[tuple[str, str]], *rest: Any) -> Callable[[bytes], object]:
        # Looked up when the answer starts, not when the request came: requests in flight say close, too.
        if lifecycle.draining:
            headers = [pair for pair in headers if pair[0].lower() != "connection"]
            headers.append(_CLOSE)
        return start_response(status, headers, *rest)

    return start_closing


def _send_answer(start_response: StartResponse, answer: Answer, *, head: bool) -> list[bytes]:
    start_response(f"{answer.status} {HTTPStatus(answer.status).phrase}", answer.headers)
    return [b"" if head else answer.body]


class _Body:
    """A response body that says when the server is done with it."""

    def __init__(self, body: Iterable[bytes], close: Callable[[], None]) -> None:
        self._body = body
        self.close = close

    def __iter__(self) -> Iterator[bytes]:
        # The body's own iterator: not a step more for each chunk.
        return iter(self._body)


class _SizedBody(_Body):
    """One whose length is known: servers derive a Content-Length from a length of 1 (PEP 3333)."""

    def __len__(self) -> int:
        return len(self._body)  # type: ignore[arg-type]


def _until_closed(body: Iterable[bytes], done: Callable[[], None], file_wrapper: object) -> Iterable[bytes]:
    """Return the body such that ``done`` is called when the server closes it."""
    close = _closing_once(getattr(body, "close", None), done)
    if isinstance(file_wrapper, type) and isinstance(body, file_wrapper):
        # Servers know what the kernel can send by its type, so a file stays what it is.
        file: Any = body
        with contextlib.suppress(AttributeError, TypeError):
            file.close = close
            return body
    return (_SizedBody if hasattr(body, "__len__") else _Body)(body, close)


def _closing_once(close: Callable[[], object] | None, done: Callable[[], None]) -> Callable[[], None]:
    left = [done]

    def close_and_say() -> None:
        try:
            if close is not None:
                close()
        finally:
            if left:
                left.pop()()

    return close_and_say
