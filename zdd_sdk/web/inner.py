"""The inner half of the exchange on ASGI: at the router, below all user middleware.

It turns our own errors into problem+json there (so that CORS middleware still sees them) and, while a
hold is on, keeps the identity-encoded bytes back until the commit has been observed and the leave is done.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from zdd_sdk.errors import ZddError
from zdd_sdk.http import Exchange, Surface, problem_of
from zdd_sdk.http.asgi import AsgiApp, Message, Receive, Scope, Send
from zdd_sdk.http.body import KEY_HEADER
from zdd_sdk.web.asgi import send_answer, severity
from zdd_sdk.web.leave import give_up, leave
from zdd_sdk.web.upload import watch_receive

__all__ = ["InnerHalf"]

_log = logging.getLogger("zdd.web")

_HOLD_AFTER_RETURN = 5.0
"""Seconds a hold may outlive its route before it is taken for forgotten."""

_flights: set[asyncio.Future[None]] = set()
"""Answers under way, whose request may have been cancelled: the loop keeps tasks only weakly."""


class InnerHalf:
    """The inner half. Where one lies within another (a mounted application), the innermost acts.

    Args:
        app: the router.
        surface: returns what the framework knows of a request, from its scope.
    """

    def __init__(self, app: AsgiApp, surface: Callable[[Scope], Surface] | None = None) -> None:
        self.app = app
        self._surface = surface

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request that reached the router."""
        exchange: Exchange | None = scope.get("zdd.exchange") if scope["type"] == "http" else None
        if exchange is None:
            await self.app(scope, receive, send)
            return
        if exchange.header(KEY_HEADER) is None:
            await self._handle(exchange, scope, receive, send)
            return
        exchange.surface = self._surface(scope) if self._surface else None
        # Whoever hangs up must not cancel what may have had its effect: it goes on, and its outcome is kept.
        await _beyond_cancel(exchange, self._handle(exchange, scope, receive, _answering(exchange, send)))

    async def _handle(self, exchange: Exchange, scope: Scope, receive: Receive, send: Send) -> None:
        around: tuple[Exchange, _Capture] | None = scope.get("zdd.capture")
        if around is not None and around[0] is exchange:
            around[1].passing = True
        upload = watch_receive(exchange, receive)
        capture = _Capture(exchange, send)
        scope["zdd.capture"] = (exchange, capture)
        try:
            await self.app(scope, upload or receive, capture)
        except ZddError as error:
            if not capture.abandon():
                await capture.land()
                raise
            _log.log(severity(error), "%s %s answered %s: %s", exchange.method, exchange.path, error.code, error)
            await send_answer(send, problem_of(error), head=exchange.method == "HEAD")
        except BaseException:
            if not capture.abandon():
                await capture.land()
            raise
        else:
            exchange.committed()
            if capture.launch():
                await capture.land()
        finally:
            if upload is not None:
                upload.close()


class _Capture:
    """The ``send`` of the inner half: keeps a held answer back until the commit and the leave.

    An answer is a stream if its first body message says that more follows: at the router nothing but
    the handler's own response can say so. A stream passes through live. The departure runs beside the
    route, so that background tasks and late dependencies do not delay the bytes.

    Args:
        exchange: whose answer it is.
        send: towards the user middleware.

    Attributes:
        passing: a router within has a capture of its own, so this one lets everything pass.
    """

    __slots__ = ("_body", "_exchange", "_flight", "_left", "_send", "_start", "_started", "passing")

    def __init__(self, exchange: Exchange, send: Send) -> None:
        self._exchange = exchange
        self._send = send
        self._start: Message | None = None
        self._body: Message | None = None
        self._flight: asyncio.Future[None] | None = None
        self.passing = False
        self._left = False
        self._started = False

    async def __call__(self, message: Message) -> None:
        """Take one message of the route."""
        if self._body is not None:
            return
        if message["type"] == "http.response.start":
            if not self.passing and (self._exchange.held or self._exchange.wants_final_bytes):
                self._start = message
                return
            self._started = True
        elif self._start is not None:
            await self._first(self._start, message)
            return
        await self._send(message)

    async def _first(self, start: Message, message: Message) -> None:
        if message["type"] == "http.response.body" and not (message.get("more_body") or start.get("trailers")):
            self._keep(start, message)
            return
        self._start, self._started = None, True
        await self._send(start)
        await self._send(message)

    def _keep(self, start: Message, body: Message) -> None:
        exchange, self._body = self._exchange, body
        exchange.status = start["status"]
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in start.get("headers", ())]
        exchange.final_bytes(start["status"], headers, bytes(body.get("body", b"")))
        if exchange.awaits_commit:
            loop = asyncio.get_running_loop()
            exchange.after_commit(lambda: loop.call_soon_threadsafe(self.launch))
        else:
            exchange.committed()
            self.launch()

    def launch(self) -> bool:
        """Let the kept answer go, if there is one; returns whether it is under way."""
        if self._flight is None and self._start is not None and self._body is not None:
            self._started = True
            self._flight = asyncio.ensure_future(self._depart(self._start, self._body))
            _flights.add(self._flight)
            self._flight.add_done_callback(_landed)
        return self._flight is not None

    def abandon(self) -> bool:
        """The route has failed: forget an answer that is still kept, unless its commit has been observed.

        Returns:
            whether another answer may be sent.
        """
        if self._exchange.commit_observed:
            self.launch()
        if not self._started and self._body is not None:
            self._start = self._body = None
            self._exchange.status = 0
        return not self._started

    async def land(self) -> None:
        """Wait until the bytes are out; the route has ended, so a hold that is left is soon forgotten."""
        if self._flight is None:
            return
        try:
            done: set[asyncio.Future[None]] = set()
            while not (done or self._left):  # the store bounds the leave itself
                done, _ = await asyncio.wait(
                    {self._flight}, timeout=_HOLD_AFTER_RETURN if self._exchange.held else None
                )
            if self._exchange.held and not done:
                _log.error("%s %s: a hold was never released", self._exchange.method, self._exchange.path)
        finally:
            # Also if this request is cancelled: its flight goes on alone, and must not wait for ever.
            self._exchange.let_go()
        await asyncio.wait({self._flight})
        self._flight.result()

    async def _depart(self, start: Message, body: Message) -> None:
        self._exchange.under_way = False
        answer = await leave(self._exchange, self._exchange.participants)
        self._left = True
        await self._released()
        if answer is not None:
            await send_answer(self._send, answer, head=self._exchange.method == "HEAD")
            return
        await self._send(start)
        await self._send(body)

    async def _released(self) -> None:
        if self._exchange.held:
            loop = asyncio.get_running_loop()
            free = asyncio.Event()
            self._exchange.when_released(lambda: loop.call_soon_threadsafe(free.set))
            await free.wait()


def _answering(exchange: Exchange, send: Send) -> Send:
    """Note with a route's first message that it has answered."""

    async def answering(message: Message) -> None:
        exchange.under_way = False
        await send(message)

    exchange.under_way = True
    return answering


async def _beyond_cancel(exchange: Exchange, flow: Coroutine[Any, Any, None]) -> None:
    running = asyncio.ensure_future(_attended(exchange, flow))
    _flights.add(running)
    running.add_done_callback(_landed)
    try:
        await asyncio.shield(running)
    except asyncio.CancelledError:
        exchange.adrift = not running.done()
        raise


async def _attended(exchange: Exchange, flow: Coroutine[Any, Any, None]) -> None:
    """Run a route to its end, and settle it here if nobody is left above who could."""
    try:
        await flow
    finally:
        exchange.under_way = False
        if exchange.adrift:
            await give_up(exchange)


def _landed(flight: asyncio.Future[None]) -> None:
    _flights.discard(flight)
    # Looking at the error keeps asyncio from reporting it where the request was cancelled and nobody waits.
    if not flight.cancelled() and (error := flight.exception()) is not None:
        _log.debug("an answer did not reach its client: %r", error)
