"""WebSockets: the session is readable, saving is explicit, and a drain closes them with 1012, spread out.

A drain that cuts every socket at once makes every client reconnect at once. Each open socket gets a
moment of its own in the drain window (`Lifecycle.websocket_delay`) and is closed with 1012, "service
restart" (RFC 6455 registry), which clients answer by reconnecting, to another instance.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from zdd_sdk.errors import ZddError
from zdd_sdk.http import exchange_variable, problem_of
from zdd_sdk.http.asgi import AsgiApp, Message, Receive, Scope, Send
from zdd_sdk.lifecycle import Lifecycle
from zdd_sdk.store import Store
from zdd_sdk.web.asgi import open_exchange, send_answer
from zdd_sdk.web.leave import merge_headers

__all__ = ["SERVICE_RESTART", "TRY_AGAIN_LATER", "WebSocketHalf"]

SERVICE_RESTART = 1012
"""The close code a draining instance sends."""

TRY_AGAIN_LATER = 1013
"""The close code where Redis is away and the endpoint cannot do without."""

_INTERNAL_ERROR = 1011
_UNAVAILABLE = 503

_log = logging.getLogger("zdd.web")


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
        """Handle one WebSocket."""
        socket = _Socket(scope, send, self._store())
        token = exchange_variable.set(socket.exchange)
        self._open.add(socket)
        if self._lifecycle.draining:
            self._schedule(socket)
        try:
            await self.app(scope, receive, socket.send)
        except ZddError as error:
            await socket.refuse(error)
        finally:
            self._open.discard(socket)
            socket.done()
            await socket.settle()
            exchange_variable.reset(token)

    def _drain(self) -> None:
        for socket in tuple(self._open):
            try:
                socket.loop.call_soon_threadsafe(self._schedule, socket)
            except RuntimeError:  # its loop is closed, and the socket with it
                self._open.discard(socket)

    def _schedule(self, socket: _Socket) -> None:
        socket.restart_in(self._lifecycle.websocket_delay())


class _Socket:
    """One open WebSocket: adds our headers to its acceptance and can close it under the application."""

    def __init__(self, scope: Scope, send: Send, store: Store | None) -> None:
        self.exchange = open_exchange(scope, store)
        self.loop = asyncio.get_running_loop()
        self._can_answer = "websocket.http.response" in scope.get("extensions", ())
        self._send = send
        self._accepted = False
        self._closed = False
        self._due = False
        self._timer: asyncio.TimerHandle | None = None
        self._closing: asyncio.Task[None] | None = None

    async def send(self, message: Message) -> None:
        """Pass the application's message on.

        Raises:
            OSError: the drain has closed the socket (what ASGI prescribes for a client that is gone,
                so that an application which only sends comes to its end).
        """
        kind = message["type"]
        if self._closing is not None:
            await self._restarted(kind)
            return
        if kind == "websocket.accept":
            self._accepted, self.exchange.status = True, 101  # from here on no cookie can be set
            message = {**message, "headers": merge_headers(message.get("headers", ()), self.exchange.response_headers)}
        elif kind in {"websocket.close", "websocket.http.response.start"}:
            self._closed = True
        await self._send(message)
        if self._due:
            self._restart()

    async def _restarted(self, kind: str) -> None:
        # Not before our close is out: an application that ends first takes the connection with it.
        await self.settle()
        if kind != "websocket.close":
            message = f"this WebSocket was closed with {SERVICE_RESTART}: the instance is draining"
            raise OSError(message)

    async def settle(self) -> None:
        """Wait until a close of ours is out."""
        if self._closing is not None:
            await asyncio.wait({self._closing})

    def restart_in(self, delay: float) -> None:
        """Close with 1012 after ``delay`` seconds; the application then receives a disconnect."""
        if self._timer is None:
            self._timer = self.loop.call_later(delay, self._restart)

    def _restart(self) -> None:
        # One that is not accepted yet is closed as soon as it is.
        self._due = not self._accepted
        if self._accepted and not self._closed:
            self._closed = True
            self._closing = self.loop.create_task(self._close(SERVICE_RESTART, "service restart"))

    async def _close(self, code: int, reason: str) -> None:
        try:
            await self._send({"type": "websocket.close", "code": code, "reason": reason})
        except Exception as error:  # noqa: BLE001
            _log.debug("a WebSocket was gone before it could be closed: %r", error)

    async def refuse(self, error: ZddError) -> None:
        """Answer one of our errors: with problem+json before the acceptance, with a close code after it."""
        _log.info("WebSocket %s ended with %s: %s", self.exchange.path, error.code, error)
        if self._closed:
            return
        self._closed = True
        if self._can_answer and not self._accepted:
            await send_answer(self._send, problem_of(error), prefix="websocket.http")
        else:
            await self._close(TRY_AGAIN_LATER if error.status == _UNAVAILABLE else _INTERNAL_ERROR, error.code)

    def done(self) -> None:
        """Forget the timer: the application has ended the socket itself."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
