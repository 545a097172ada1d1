"""Starlette's ``SessionMiddleware`` taken over: it stays where it is, and ours is kept beside its cookie."""

from __future__ import annotations

import json
import logging
from base64 import b64encode
from collections.abc import Mapping
from typing import Any, NoReturn

from starlette.middleware.sessions import SessionMiddleware

from zdd_sdk import ZeroDowntime
from zdd_sdk.errors import SessionUnavailable
from zdd_sdk.http import Exchange
from zdd_sdk.http.asgi import AsgiApp, Message, Receive, Scope, Send
from zdd_sdk.sessions.adopt_flow import Adopted, Adoption, LegacyRefused
from zdd_sdk.sessions.lifetime import Lifetime, choose_lifetime

__all__ = ["lay_adoption"]

_log = logging.getLogger("zdd.sessions")

USER_FIELD = "user"
"""Field that says who is logged in, unless ``sessions.adopt_user`` names another."""

_MOST = 4096
"""Bytes of a cookie's name and value that browsers keep (RFC 6265bis, 5.6)."""


def lay_adoption(stack: AsgiApp, zdd: ZeroDowntime) -> bool:
    """Lay the adoption right below Starlette's middleware, so that all else sees one session.

    Args:
        stack: the application's middleware, outermost first.
        zdd: the service.

    Returns:
        whether ``sessions.adopt`` is on and there is a ``SessionMiddleware`` to take over.
    """
    adoption = zdd.adoption(USER_FIELD)
    if adoption is None:
        return False
    below: object = stack
    while below is not None and not isinstance(below, SessionMiddleware):
        below = getattr(below, "app", None)
    if below is None:
        _log.error("sessions.adopt = %s, but there is no SessionMiddleware to take sessions over from", adoption.step)
        return False
    if below.session_cookie == adoption.name:
        _log.error("sessions.cookie_name is the name of Starlette's cookie, %s: choose another", adoption.name)
        return False
    if not isinstance(below.app, AdoptionHalf):
        below.app = AdoptionHalf(below.app, below, adoption)
    return True


class AdoptionHalf:
    """What the application sees as ``request.session`` is Starlette's own object, filled with what is right.

    Args:
        app: the application below.
        middleware: Starlette's, which reads and writes the cookie.
        adoption: the flow.
    """

    def __init__(self, app: AsgiApp, middleware: SessionMiddleware, adoption: Adoption) -> None:
        self.app = app
        self._middleware = middleware
        self._adoption = adoption

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one scope; a WebSocket reads its session only, as Starlette's does."""
        exchange: Exchange | None = scope.get("zdd.exchange")
        if exchange is None or "session" not in scope:
            await self.app(scope, receive, send)
            return
        cookie = _StarletteCookie(scope, self._middleware)
        try:
            one = await self._adoption.open(exchange, cookie)
        except SessionUnavailable as error:
            scope["session"] = _Unreachable(error)
            await self.app(scope, receive, send)
            return
        cookie.show(one.values)
        sending = send if scope["type"] == "websocket" else self._closing(exchange, one, cookie, send)
        await self.app(scope, receive, sending)

    def _closing(self, exchange: Exchange, one: Adopted, cookie: _StarletteCookie, send: Send) -> Send:
        async def closing(message: Message) -> None:
            if message["type"] == "http.response.start":
                cookie.leave()
                await self._adoption.close(exchange, one, cookie.left)
            await send(message)

        return closing


class _StarletteCookie:
    """One request's session in Starlette's cookie; Starlette itself has read it, and writes it when told to."""

    in_browser = True

    def __init__(self, scope: Scope, middleware: SessionMiddleware) -> None:
        self._scope = scope
        self._middleware = middleware
        self._read: dict[str, Any] = dict(scope["session"])
        self._modified = False
        self.left: dict[str, Any] = {}
        always = not hasattr(scope["session"], "modified")
        self.lifetime: float | None = middleware.max_age if always else None

    def show(self, values: Mapping[str, Any]) -> None:
        """Have the application see these values; that is no modification of its own."""
        session = self._scope["session"]
        dict.clear(session)
        dict.update(session, values)

    def leave(self) -> None:
        """Note what the application left, and put back what was read: before 1.0 Starlette writes it in any case."""
        session = self._scope["session"]
        self.left, self._modified = dict(session), bool(getattr(session, "modified", True))
        self._put(self._read, modified=False)

    async def read(self) -> dict[str, Any]:
        """Return what Starlette has read."""
        return dict(self._read)

    def as_read(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return what would come back."""
        try:
            text = json.dumps(dict(values)).encode()
        except (TypeError, ValueError) as error:
            raise LegacyRefused(str(error)) from None
        size = len(self._middleware.session_cookie) + len(self._middleware.signer.sign(b64encode(text)))
        if size > _MOST:
            message = f"its cookie would have {size} bytes; browsers keep {_MOST}"
            raise LegacyRefused(message)
        return dict(json.loads(text))

    def terms(self) -> Lifetime:
        """As long as the cookie."""
        life = self._middleware.max_age
        return choose_lifetime(life, None, browser=life is None)

    async def write(self, values: Mapping[str, Any] | None) -> None:
        """Have Starlette set the cookie; ``None``: if the application has modified its session."""
        if values is None:
            self._put(self.left, modified=self._modified)
        else:
            self._put(values, modified=True)

    async def end(self) -> None:
        """Have Starlette delete the cookie."""
        self._put({}, modified=True)

    def _put(self, values: Mapping[str, Any], *, modified: bool) -> None:
        self.show(values)
        if hasattr(self._scope["session"], "modified"):
            self._scope["session"].modified = modified


class _Unreachable(dict[str, Any]):
    """``request.session`` while Redis is away and ours is the truth: routes that do not need it do not notice."""

    accessed = modified = False

    def __init__(self, error: SessionUnavailable) -> None:
        super().__init__()
        self._error = error

    def _fail(self, *_: object, **__: object) -> NoReturn:
        raise self._error

    _refuse: Any = _fail
    __getitem__ = __setitem__ = __delitem__ = __contains__ = __iter__ = _refuse
    get = keys = values = items = pop = popitem = setdefault = update = clear = copy = _refuse
