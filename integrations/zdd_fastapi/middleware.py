"""The middleware: installs both halves of the exchange, wherever the user has put it."""

from __future__ import annotations

import logging

from starlette.applications import Starlette

from zdd_sdk import ZeroDowntime
from zdd_sdk.http.asgi import AsgiApp, Receive, Scope, Send
from zdd_sdk.lifecycle.asgi import OuterHalf
from zdd_sdk.web import ExchangeHalf, InnerHalf, LifespanHalf, WebSocketHalf

__all__ = ["ZddMiddleware"]

_log = logging.getLogger("zdd.web")

_RIVALS = {"SessionMiddleware": "it keeps a second session in a cookie of its own; use zdd_fastapi.UserSession instead"}


class ZddMiddleware:
    """Makes a FastAPI or Starlette application part of a fleet that can be replaced under load.

    ``app.add_middleware(ZddMiddleware, zdd=zdd)`` is all: when the first scope arrives (the lifespan)
    the outer half is laid around the whole application, outside even Starlette's own error handling,
    and the inner half around the router, below all user middleware. So the order in which middleware
    was added does not matter. Around anything that is not a Starlette application it stays where it is.

    Args:
        app: the application below; Starlette fills it in.
        zdd: the service's `ZeroDowntime`.
    """

    def __init__(self, app: AsgiApp, *, zdd: ZeroDowntime) -> None:
        self.app = app
        self._zdd = zdd
        self._here = self._outer(app)
        self._installed = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one scope: in place until installed, from then on pass it through."""
        if not self._installed:
            self._install(scope.get("app"))
        if "zdd" in scope:
            await self.app(scope, receive, send)
            return
        scope["zdd"] = self._zdd
        await self._here(scope, receive, send)

    def _outer(self, app: AsgiApp) -> AsgiApp:
        exchange = ExchangeHalf(app, self._zdd.participants, self._zdd.aio_store)
        sockets = WebSocketHalf(exchange, self._zdd.lifecycle, self._zdd.aio_store)
        half = LifespanHalf(sockets, self._zdd)
        # In stock mode the server's own SIGTERM handling stays: no drain and no health paths, as without zdd.
        return half if self._zdd.stock else OuterHalf(half, self._zdd.lifecycle)

    def _install(self, app: object) -> None:
        self._installed = True
        if not isinstance(app, Starlette) or app.middleware_stack is None:
            return
        app.router.middleware_stack = InnerHalf(app.router.middleware_stack, self._zdd.participants)
        app.middleware_stack = _Marked(self._outer(app.middleware_stack), self._zdd)
        for entry in app.user_middleware:
            name = getattr(entry.cls, "__name__", "")
            if name in _RIVALS:
                _log.warning("%s is installed beside ZddMiddleware: %s", name, _RIVALS[name])


class _Marked:
    """Marks each scope as handled by this service's zdd, so that the middleware inside passes it through."""

    def __init__(self, app: AsgiApp, zdd: ZeroDowntime) -> None:
        self.app = app
        self._zdd = zdd

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["zdd"] = self._zdd
        await self.app(scope, receive, send)
