"""The two middleware: the exchange around everything, and Django's session within it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from contextvars import Token
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self, TypeVar

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.apps import apps
from django.conf import settings
from django.contrib.sessions import middleware as django_sessions
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.exceptions import SessionInterrupted
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.cache import patch_vary_headers

from zdd_django.adopt import adopting, begin_adopted, keep_adopted, keep_adopted_async
from zdd_django.capture import CaptureMiddleware
from zdd_django.cookies import exchange_of, presented, remove_cookie, write_cookie
from zdd_django.problems import mended, problem_response, replaced, respond
from zdd_django.service import get_zdd, start
from zdd_django.sessions import SessionStore
from zdd_django.uploads import watch_body
from zdd_sdk import ZeroDowntime
from zdd_sdk.errors import ZddError
from zdd_sdk.http import Exchange, exchange_variable
from zdd_sdk.http.body import KEY_HEADER
from zdd_sdk.lifecycle.servers.signals import chain_sigterm
from zdd_sdk.sessions.cookies import is_cross_site, put_cookie
from zdd_sdk.sessions.turn import Turn
from zdd_sdk.store import Store, finish
from zdd_sdk.web import environ_exchange, leave
from zdd_sdk.web.leave import give_up

__all__ = ["CaptureMiddleware", "SessionMiddleware", "ZddMiddleware"]

_OUTER = "zdd.outer"
"""Where the outer half of a server adapter has marked the request: it answers health, counts, and says close."""


Response = TypeVar("Response", bound=HttpResponseBase)


class ZddMiddleware:
    """Makes a Django application part of a fleet that can be replaced under load; the first in ``MIDDLEWARE``.

    It answers health before anything can refuse the probe, opens the exchange, performs the leave before the
    answer's first byte, and turns our errors into problem+json. Native in both of Django's modes.

    Args:
        get_response: the middleware below, sync or async.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        if not apps.is_installed("zdd_django"):
            message = (
                "zdd_django.middleware.ZddMiddleware needs 'zdd_django' in INSTALLED_APPS, which starts the service"
            )
            raise ImproperlyConfigured(message)
        self.get_response = get_response
        self._async = iscoroutinefunction(get_response)
        if self._async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        """Handle one request."""
        if self._async:
            return self._respond(request)
        passage = _Passage(get_zdd(), request)
        if (answer := passage.arrive(passage.zdd.blocking_store)) is not None:
            return answer
        with passage:
            try:
                response = self.get_response(request)
            except BaseException:
                finish(passage.fail())
                raise
            return finish(passage.depart(response))

    async def _respond(self, request: HttpRequest) -> HttpResponseBase:
        passage = _Passage(get_zdd(), request)
        if (answer := passage.arrive(passage.zdd.aio_store)) is not None:
            return answer
        passing = self._pass(passage, request)
        return await (to_its_end(passing) if passage.keyed else passing)

    async def _pass(self, passage: _Passage, request: HttpRequest) -> HttpResponseBase:
        with passage:
            try:
                response = await self.get_response(request)
            except BaseException:
                await passage.fail()
                raise
            return await passage.depart(response)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Answer those of our errors that views and templates raise, below all other middleware."""
        return problem_response(request, exception) if isinstance(exception, ZddError) else None


async def to_its_end(passing: Coroutine[Any, Any, HttpResponseBase]) -> HttpResponseBase:
    """Await what goes on when its caller is cancelled, as Django does where a client hangs up.

    The caller is cancelled only then: the threads of a request, and their transactions, live as long as its handler.
    """
    running, cancelled = asyncio.ensure_future(passing), None
    while not running.done():
        try:
            await asyncio.wait({running})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
    return running.result()


class _Passage:
    """One request on its way in and its answer on its way out."""

    __slots__ = ("_asgi", "_carrier", "_counted", "_exchange", "_request", "_response", "_token", "zdd")

    def __init__(self, zdd: ZeroDowntime, request: HttpRequest) -> None:
        self.zdd = zdd
        self._request = request
        scope: MutableMapping[str, Any] | None = getattr(request, "scope", None)
        self._asgi = scope is not None
        self._carrier: MutableMapping[str, Any] = request.META if scope is None else scope
        self._counted = _OUTER not in self._carrier and not zdd.stock
        self._exchange: Exchange | None = None
        self._response: HttpResponseBase | None = None
        self._token: Token[Exchange | None] | None = None

    def arrive(self, store: Callable[[], Store | None]) -> HttpResponse | None:
        """Open the exchange, unless a half around Django has; or answer a probe."""
        zdd, request = self.zdd, self._request
        if zdd.lifecycle.started:
            zdd.on_request()
        else:
            _start_late(zdd)
        if self._counted and (answer := self._health()) is not None:
            return answer
        if self._carrier.get("zdd") is not zdd:
            self._exchange = environ_exchange(request.META, store(), scheme=request.scheme)
            self._exchange.participants = zdd.participants
        if (exchange := self._exchange or self._carrier.get("zdd.exchange")) is not None:
            watch_body(request, exchange)
        return None

    @property
    def keyed(self) -> bool:
        """Whether what the request does may have to be remembered, also if its client hangs up."""
        exchange = self._exchange or self._carrier.get("zdd.exchange")
        return exchange is not None and exchange.header(KEY_HEADER) is not None

    def _health(self) -> HttpResponse | None:
        path = self._request.path_info
        if not path.endswith("z") or self._request.method not in ("GET", "HEAD"):
            return None
        if self._asgi:
            self.zdd.lifecycle.beat("loop")
        answer = self.zdd.lifecycle.health(path)
        return None if answer is None else self._say_close(respond(answer))

    def __enter__(self) -> Self:
        if self._exchange is not None:
            self._token = exchange_variable.set(self._exchange)
        if self._counted:
            self.zdd.lifecycle.enter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        if self._token is not None:
            exchange_variable.reset(self._token)
        if not self._counted:
            return
        response, done = self._response, self.zdd.lifecycle.leave
        # Django closes an answer once it is sent, but under ASGI not if the client has gone: only a stream waits.
        if response is None or (self._asgi and not response.streaming):
            done()
        else:
            response._resource_closers.append(done)  # type: ignore[attr-defined]  # noqa: SLF001

    async def depart(self, response: HttpResponseBase) -> HttpResponseBase:
        """Perform the leave, before the first byte."""
        response, exchange = mended(self._request, response), self._exchange
        if exchange is not None:
            exchange.status = response.status_code
            if exchange.parts or exchange.response_headers:
                response = await self._leave(exchange, response)
        self._response = self._say_close(response) if self._counted else response
        return self._response

    async def fail(self) -> None:
        """Settle what is held, where no answer will come: a worker is told to exit, or Django lets errors pass."""
        if self._exchange is not None:
            await give_up(self._exchange)

    async def _leave(self, exchange: Exchange, response: HttpResponseBase) -> HttpResponseBase:
        answer = await leave(exchange, exchange.participants)
        if answer is not None:
            exchange.status = answer.status
            return replaced(response, respond(answer))
        for name, value in exchange.response_headers:
            _add_header(response, name, value)
        return response

    def _say_close(self, response: Response) -> Response:
        # Not under WSGI: PEP 3333 forbids it, and gunicorn drops it.
        if self._asgi and self.zdd.lifecycle.draining and self._carrier.get("http_version", "1").startswith("1"):
            response.headers["Connection"] = "close"
        return response


def _start_late(zdd: ZeroDowntime) -> None:
    """Start at the first request, where no server adapter did."""
    start(zdd)
    # Only in front of a server's handler: where there is none we are in a shell, a script or a test.
    if not zdd.stock and zdd.lifecycle.adapter is None and callable(signal.getsignal(signal.SIGTERM)):
        chain_sigterm(zdd.lifecycle)


def _add_header(response: HttpResponseBase, name: str, value: str) -> None:
    if name == "set-cookie":
        response.cookies.load(value)
    elif name == "vary":
        patch_vary_headers(response, [value])
    else:
        response.headers[name.title()] = value


class SessionMiddleware(django_sessions.SessionMiddleware):
    """Django's, except where a deployment or an outage would log users out.

    The cookie is deleted only after Redis has confirmed a logout, and set only for what Redis has saved. Native in
    both of Django's modes. With another engine than ``zdd_django.sessions`` it is Django's own.
    """

    def process_request(self, request: HttpRequest) -> None:
        """Give the request its session; asks nothing."""
        if (adoption := adopting()) is not None:
            begin_adopted(request, adoption)
            return
        values = presented(request)
        session = self.SessionStore(values[0] if values else None)
        if isinstance(session, SessionStore):
            session.attend(
                values,
                asgi=hasattr(request, "scope"),
                label=lambda: request.META.get("HTTP_USER_AGENT", ""),
                cross_site=lambda: is_cross_site(exchange_of(request)),
                deliver=lambda turn: _deliver(request, session, turn),
            )
        request.session = session

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:  # type: ignore[override]
        """Save the session, then set or delete its cookie."""
        session: Any = getattr(request, "session", None)
        if hasattr(session, "adopted"):
            return keep_adopted(request, response)
        if not isinstance(session, SessionStore):
            return super().process_response(request, response)  # type: ignore[arg-type]
        if _untouched(session):
            return response
        return finish(_depart(request, response, session, get_zdd().blocking_store()))

    def __call__(self, request: HttpRequest) -> Any:
        """Handle one request."""
        if self.async_mode:
            return self.__acall__(request)
        self.process_request(request)
        return self.process_response(request, self.get_response(request))  # type: ignore[arg-type]

    async def __acall__(self, request: HttpRequest) -> HttpResponseBase:
        self.process_request(request)
        response: HttpResponseBase = await self.get_response(request)  # type: ignore[misc]
        session: Any = getattr(request, "session", None)
        if hasattr(session, "adopted"):
            return await keep_adopted_async(request, response)
        if not isinstance(session, SessionStore):
            return await sync_to_async(super().process_response)(request, response)  # type: ignore[arg-type]
        if _untouched(session):
            return response
        return await _depart(request, response, session, session.here())


def _untouched(session: SessionStore) -> bool:
    return not (session.accessed or session.modified or settings.SESSION_SAVE_EVERY_REQUEST)


async def _depart(
    request: HttpRequest, response: HttpResponseBase, session: SessionStore, store: Store | None
) -> HttpResponseBase:
    try:
        await _save(request, response, session, store)
    except UpdateError as error:
        message = (
            "The request's session was deleted before the request completed. "
            "The user may have logged out in a concurrent request, for example."
        )
        raise SessionInterrupted(message) from error
    except ZddError as error:
        response = replaced(response, problem_response(request, error))
    if session.accessed or session.modified:
        patch_vary_headers(response, ("Cookie",))
    return response


async def _save(request: HttpRequest, response: HttpResponseBase, session: SessionStore, store: Store | None) -> None:
    saves = response.status_code < HTTPStatus.INTERNAL_SERVER_ERROR or get_zdd().settings.sessions.save_on_error
    wanted = saves and (session.changed or settings.SESSION_SAVE_EVERY_REQUEST)
    if wanted and not session.is_empty() and await session.keep(store):
        _set_cookie(request, response, session)
    elif session.ended and session.is_empty() and presented(request):
        remove_cookie(request, response)
    elif session.renewed and await session.leads(store):
        _set_cookie(request, response, session)


def _set_cookie(request: HttpRequest, response: HttpResponseBase, session: SessionStore) -> None:
    age = None if session.get_expire_at_browser_close() else session.get_expiry_age()
    write_cookie(request, response, session.session_key or "", age)


def _deliver(request: HttpRequest, session: SessionStore, turn: Turn) -> None:
    """Set or delete the cookie as the leave has found it: with the headers the parts add."""
    scratch, exchange = HttpResponse(), exchange_of(request)
    if turn.issued is not None:
        _set_cookie(request, scratch, session)
    elif turn.ended:
        remove_cookie(request, scratch)
    for name, cookie in scratch.cookies.items():
        put_cookie(exchange, name, cookie.OutputString())
