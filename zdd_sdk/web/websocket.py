"""WebSockets: the session is readable, saving is explicit, and a drain closes them with 1012, spread out.

A drain that cuts every socket at once makes every client reconnect at once. Each open socket gets a
moment of its own in the drain window (`Lifecycle.websocket_delay`) and is closed with 1012, "service
restart" (RFC 6455 registry), which clients answer by reconnecting, to another instance.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from zdd_sdk.http import exchange_variable
from zdd_sdk.http.asgi import AsgiApp, Message, Receive, Scope, Send
from zdd_sdk.lifecycle import Lifecycle
from zdd_sdk.store import Store
from zdd_sdk.web.asgi import open_exchange
from zdd_sdk.web.leave import merge_headers

__all__ = ["SERVICE_RESTART", "WebSocketHalf"]

SERVICE_RESTART = 1012
"""The close code a draining instance sends."""


class WebSocketHalf:
    """The outer half for WebSockets.

    Args:
        app: the application below.
        lifecycle: says when the drain begins and how the closes are spread.
        store: returns the store of the running loop, or ``None`` without one.
    """

    def __init__(self, app: AsgiApp, lifecycle: Lifecycle, store: Callable[[], Store | None]) -> None:
        self.app = app
        self._lifecycle = lifecycle
        self._store = store
        self._open: set[_Socket] = set()
        lifecycle.on_drain(self._drain)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one WebSocket; every other scope passes through."""
        if scope["type"] != "websocket" or "zdd.exchange" in scope:
            await self.app(scope, receive, send)
            return
        socket = _Socket(scope, send, self._store())
        token = exchange_variable.set(socket.exchange)
        self._open.add(socket)
        if self._lifecycle.draining:
            self._schedule(socket)
        try:
            await self.app(scope, receive, socket.send)
        finally:
            self._open.discard(socket)
            socket.done()
            exchange_variable.reset(token)

    def _drain(self) -> None:
        for socket in tuple(self._open):
            socket.loop.call_soon_threadsafe(self._schedule, socket)

    def _schedule(self, socket: _Socket) -> None:
        socket.restart_in(self._lifecycle.websocket_delay())


class _Socket:
    """One open WebSocket: adds our headers to its acceptance and can close it under the application."""

    def __init__(self, scope: Scope, send: Send, store: Store | None) -> None:
        self.exchange = open_exchange(scope, store)
        self.loop = asyncio.get_running_loop()
        self._send = send
        self._accepted = False
        self._closed = False
        self._timer: asyncio.TimerHandle | None = None
        self._closing: asyncio.Task[None] | None = None

    async def send(self, message: Message) -> None:
        """Pass the application's message on, unless the drain has closed the socket already."""
        if self._closed:
            return
        kind = message["type"]
        if kind == "websocket.accept":
            self._accepted, self.exchange.status = True, 101  # from here on no cookie can be set
            message = {**message, "headers": merge_headers(list(message.get("headers", ())), self._wanted())}
        elif kind in {"websocket.close", "websocket.http.response.start"}:
            self._closed = kind == "websocket.close"
        await self._send(message)

    def _wanted(self) -> list[tuple[str, str]]:
        return self.exchange.response_headers

    def restart_in(self, delay: float) -> None:
        """Close with 1012 after ``delay`` seconds; the application then receives a disconnect."""
        if self._timer is None:
            self._timer = self.loop.call_later(delay, self._restart)

    def _restart(self) -> None:
        if self._accepted and not self._closed:
            self._closed = True
            self._closing = self.loop.create_task(self._close())

    async def _close(self) -> None:
        await self._send({"type": "websocket.close", "code": SERVICE_RESTART, "reason": "service restart"})

    def done(self) -> None:
        """Forget the timer: the application has ended the socket itself."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
