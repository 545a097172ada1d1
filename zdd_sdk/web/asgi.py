"""The exchange on ASGI: its two halves.

The outer half sees every answer, also errors and preflights: it opens the exchange and, before the
first byte, performs the leave. The inner half lies at the router, below all user middleware: it turns
our own errors into problem+json (so that CORS middleware still sees them) and, while a hold is on,
keeps the identity-encoded bytes back until the commit has been observed and the leave is done.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence

from zdd_sdk.errors import ZddError
from zdd_sdk.http import Answer, Exchange, Participant, exchange_variable, problem_of
from zdd_sdk.http.asgi import AsgiApp, Message, Receive, Scope, Send
from zdd_sdk.store import Store
from zdd_sdk.web.leave import leave, merge_headers

__all__ = ["ExchangeHalf", "InnerHalf", "open_exchange", "send_answer"]

_log = logging.getLogger("zdd.web")

_HOLD_AFTER_RETURN = 5.0
"""Seconds a hold may outlive its route before it is taken for forgotten."""


def open_exchange(scope: Scope, store: Store | None) -> Exchange:
    """Create the exchange of an ASGI scope and keep it in ``scope["zdd.exchange"]``."""
    raw: Sequence[tuple[bytes, bytes]] = scope["headers"]

    def values(name: str) -> Iterable[str]:
        wanted = name.encode("latin-1")
        return [value.decode("latin-1") for key, value in raw if key == wanted]

    method = scope.get("method", "WEBSOCKET")
    exchange = Exchange(method, scope["path"], scope.get("scheme", "http"), values, store)
    scope["zdd.exchange"] = exchange
    return exchange


async def send_answer(send: Send, answer: Answer) -> None:
    """Send an answer of our own."""
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


class ExchangeHalf:
    """The outer half for HTTP: opens the exchange, and leaves before the first byte.

    Args:
        app: the application below.
        participants: the parts, in their fixed order.
        store: returns the store of the running loop, or ``None`` without one.
    """

    def __init__(self, app: AsgiApp, participants: Sequence[Participant], store: Callable[[], Store | None]) -> None:
        self.app = app
        self._participants = participants
        self._store = store

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one HTTP request; every other scope passes through."""
        if scope["type"] != "http" or "zdd.exchange" in scope:
            await self.app(scope, receive, send)
            return
        exchange = open_exchange(scope, self._store())
        token = exchange_variable.set(exchange)
        try:
            await self.app(scope, receive, _Departure(exchange, self._participants, send))
        finally:
            exchange_variable.reset(token)


class _Departure:
    """The ``send`` of the outer half: performs the leave when the answer's head comes by."""

    __slots__ = ("_exchange", "_participants", "_replaced", "_send")

    def __init__(self, exchange: Exchange, participants: Sequence[Participant], send: Send) -> None:
        self._exchange = exchange
        self._participants = participants
        self._send = send
        self._replaced = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._exchange.status = message["status"]
            if self._exchange.parts:
                message = await self._leave(message)
        if not self._replaced:
            await self._send(message)

    async def _leave(self, message: Message) -> Message:
        answer = await leave(self._exchange, self._participants)
        if answer is not None:
            await send_answer(self._send, answer)
            self._replaced = True
        elif self._exchange.response_headers:
            merged = merge_headers(list(message.get("headers", ())), self._exchange.response_headers)
            return {**message, "headers": merged}
        return message


class InnerHalf:
    """The inner half: at the router, below all user middleware.

    Args:
        app: the router.
        participants: the parts, in their fixed order.
    """

    def __init__(self, app: AsgiApp, participants: Sequence[Participant]) -> None:
        self.app = app
        self._participants = participants

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request that reached the router."""
        exchange: Exchange | None = scope.get("zdd.exchange") if scope["type"] == "http" else None
        if exchange is None:
            await self.app(scope, receive, send)
            return
        capture = _Capture(exchange, self._participants, send)
        try:
            await self.app(scope, receive, capture.send)
        except ZddError as error:
            if capture.decided:
                raise
            _log.info("%s %s answered %s: %s", exchange.method, exchange.path, error.code, error)
            await send_answer(send, problem_of(error))
        else:
            await capture.finish()
        finally:
            await capture.landed()


class _Capture:
    """Keeps a held answer back until the commit has been observed and the leave is done.

    An answer is a stream if its first body message says that more follows: at the router nothing but
    the handler's own response can say so. A stream passes through live. The departure runs beside the
    route, so that background tasks and late dependencies do not delay the bytes.
    """

    __slots__ = ("_body", "_exchange", "_flight", "_participants", "_send", "_start", "decided")

    def __init__(self, exchange: Exchange, participants: Sequence[Participant], send: Send) -> None:
        self._exchange = exchange
        self._participants = participants
        self._send = send
        self._start: Message | None = None
        self._body: Message | None = None
        self._flight: asyncio.Future[None] | None = None
        self.decided = False

    async def send(self, message: Message) -> None:
        """Take one message of the route."""
        kind = message["type"]
        if kind == "http.response.start" and (self._exchange.held or self._exchange.wants_final_bytes):
            self._start = message
        elif kind == "http.response.body" and self._start is not None and self._body is None:
            await self._first_body(self._start, message)
        elif self._body is None:
            self.decided = True
            await self._send(message)

    async def _first_body(self, start: Message, message: Message) -> None:
        if message.get("more_body"):
            self._start, self.decided = None, True
            await self._send(start)
            await self._send(message)
            return
        self._body = message
        self._exchange.status = start["status"]
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in start.get("headers", ())]
        self._exchange.final_bytes(start["status"], headers, bytes(message.get("body", b"")))
        if self._exchange.awaits_commit:
            loop = asyncio.get_running_loop()
            self._exchange.after_commit(lambda: loop.call_soon_threadsafe(self._launch))
        else:
            self._exchange.committed()
            self._launch()

    def _launch(self) -> None:
        if self._flight is None and self._start is not None and self._body is not None:
            self.decided = True
            self._flight = asyncio.ensure_future(self._depart(self._start, self._body))

    async def finish(self) -> None:
        """Send what is still kept: the route has returned, so there is no commit left to wait for."""
        self._exchange.committed()
        self._launch()
        if self._flight is not None and self._exchange.held and not await _soon(self._flight):
            _log.error("%s %s: a hold was never released", self._exchange.method, self._exchange.path)
            while self._exchange.held:
                self._exchange.let_go()

    async def landed(self) -> None:
        """Wait until the bytes are out, if they were let go."""
        if self._flight is not None:
            await self._flight

    async def _depart(self, start: Message, body: Message) -> None:
        answer = await leave(self._exchange, self._participants)
        await self._released()
        if answer is not None:
            await send_answer(self._send, answer)
            return
        await self._send(start)
        await self._send(body)

    async def _released(self) -> None:
        loop = asyncio.get_running_loop()
        free = asyncio.Event()
        self._exchange.when_released(lambda: loop.call_soon_threadsafe(free.set))
        await free.wait()


async def _soon(flight: asyncio.Future[None]) -> bool:
    done, _ = await asyncio.wait({flight}, timeout=_HOLD_AFTER_RETURN)
    return bool(done)
