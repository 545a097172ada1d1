"""What lies around a whole application: its lifespan, its requests and its WebSockets, each in its half."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zdd_sdk.http.asgi import AsgiApp, Receive, Scope, Send
from zdd_sdk.web.asgi import ExchangeHalf
from zdd_sdk.web.lifespan import LifespanHalf
from zdd_sdk.web.stream import EventStreamHalf
from zdd_sdk.web.websocket import WebSocketHalf

if TYPE_CHECKING:
    from zdd_sdk.app import ZeroDowntime

__all__ = ["ServiceHalf"]


class ServiceHalf:
    """Gives each scope to its half and marks it with ``scope["zdd"]``; however often it is stacked, it acts once.

    An application of another service may be mounted within: its scopes get an exchange of their own,
    and it follows the lifecycle of the service around it.

    Args:
        app: the application below.
        zdd: the service.
    """

    def __init__(self, app: AsgiApp, zdd: ZeroDowntime) -> None:
        self.app = app
        self._zdd = zdd
        self._halves: dict[str, AsgiApp] = {
            "http": EventStreamHalf(ExchangeHalf(app, zdd.participants, zdd.aio_store), zdd.lifecycle),
            "websocket": WebSocketHalf(app, zdd.lifecycle, zdd.aio_store),
            "lifespan": LifespanHalf(app, zdd),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one scope."""
        around: ZeroDowntime | None = scope.get("zdd")
        if around is self._zdd:
            await self.app(scope, receive, send)
        elif around is None:
            await self._handle(scope, receive, send)
        else:
            await self._handle_within(around, scope, receive, send)

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind != "lifespan":
            self._zdd.on_request()
        scope["zdd"] = self._zdd
        await self._halves.get(kind, self.app)(scope, receive, send)

    async def _handle_within(self, around: ZeroDowntime, scope: Scope, receive: Receive, send: Send) -> None:
        self._zdd.follow(around)
        exchange = scope.get("zdd.exchange")
        try:
            await self._handle(scope, receive, send)
        finally:
            # Starlette hands one scope dict down and looks at it again on the way up.
            scope["zdd"], scope["zdd.exchange"] = around, exchange
