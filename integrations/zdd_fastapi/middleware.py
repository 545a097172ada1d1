"""The middleware: installs both halves of the exchange, wherever the user has put it."""

from __future__ import annotations

import logging

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.routing import Router

from zdd_fastapi.adopt import lay_adoption
from zdd_fastapi.openapi import describe_idempotency
from zdd_fastapi.surface import StarletteSurface, check_routes
from zdd_sdk import ZeroDowntime
from zdd_sdk.http.asgi import AsgiApp, Receive, Scope, Send
from zdd_sdk.lifecycle.asgi import OuterHalf
from zdd_sdk.web import InnerHalf, ProblemHalf, ServiceHalf

__all__ = ["ZddMiddleware"]

_log = logging.getLogger("zdd.web")

_RIVALS = {"SessionMiddleware": "it keeps a second session in a cookie of its own; use zdd_fastapi.UserSession instead"}


class ZddMiddleware:
    """Makes a FastAPI or Starlette application part of a fleet that can be replaced under load.

    ``app.add_middleware(ZddMiddleware, zdd=zdd)`` is all: when the first scope arrives (the lifespan)
    the outer half is laid around the whole application, outside even Starlette's own error handling,
    and the inner half around its router and those of mounted applications, below all user middleware.
    So the order in which middleware was added does not matter. ``ZddMiddleware(app, zdd=zdd)`` around
    an application does the same; around one that is not Starlette's there is only the outer half.

    Args:
        app: the application below; Starlette fills it in.
        zdd: the service's `ZeroDowntime`.
    """

    def __init__(self, app: AsgiApp, *, zdd: ZeroDowntime) -> None:
        self.app = app
        self._zdd = zdd
        self._here = _outer(app, zdd)
        self._installed = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one scope: in place, unless it came through the outer half that was laid around all."""
        if not self._installed:
            self._installed = True
            _install(self.app if isinstance(self.app, Starlette) else scope.get("app"), self._zdd)
        app = self.app if scope.get("zdd") is self._zdd else self._here
        await app(scope, receive, send)


def _outer(app: AsgiApp, zdd: ZeroDowntime) -> AsgiApp:
    # In stock mode the server's own SIGTERM handling stays: no drain and no health paths, as without zdd.
    return ServiceHalf(app, zdd) if zdd.stock else OuterHalf(ServiceHalf(app, zdd), zdd.lifecycle)


def _install(app: object, zdd: ZeroDowntime) -> None:
    if not isinstance(app, Starlette):
        return
    _lay_inner(app, set())
    zdd.before_serving(lambda: check_routes(app, zdd))
    if isinstance(app, FastAPI):
        describe_idempotency(app)
    stack = app.middleware_stack = app.middleware_stack or app.build_middleware_stack()
    if isinstance(stack, OuterHalf | ServiceHalf):
        return
    adopted = lay_adoption(stack, zdd)
    if isinstance(stack, ServerErrorMiddleware):
        stack.app = ProblemHalf(stack.app)
    if any(entry.kwargs.get("zdd") is zdd for entry in app.user_middleware):
        app.middleware_stack = _outer(stack, zdd)
    for entry in app.user_middleware:
        if (name := getattr(entry.cls, "__name__", "")) in _RIVALS and not adopted:
            _log.warning("%s is installed beside ZddMiddleware: %s", name, _RIVALS[name])


def _lay_inner(found: object, seen: set[int]) -> None:
    """Lay the inner half around the router of an application, and of each one mounted in it."""
    if id(found) in seen:
        return
    seen.add(id(found))
    if isinstance(found, Starlette) and not isinstance(found.router.middleware_stack, InnerHalf):
        found.router.middleware_stack = InnerHalf(found.router.middleware_stack, StarletteSurface)
    if isinstance(found, Starlette | Router):
        for route in found.routes:
            _lay_inner(route, seen)
    else:
        # A mount, an included router (FastAPI ≥ 0.140), or middleware around an application.
        for name in ("app", "original_router"):
            if (below := getattr(found, name, None)) is not None:
                _lay_inner(below, seen)
