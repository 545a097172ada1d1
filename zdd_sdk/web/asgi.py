"""The outer half of the exchange on ASGI: it sees every answer, also errors and preflights.

It opens the exchange and, before the first byte, performs the leave.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from http import HTTPStatus

from zdd_sdk.errors import ZddError
from zdd_sdk.http import Answer, Exchange, Participant, exchange_variable, problem_of
from zdd_sdk.http.asgi import AsgiApp, Message, Receive, Scope, Send
from zdd_sdk.store import Store
from zdd_sdk.web.leave import cors_headers, give_up, leave, merge_headers

__all__ = ["ExchangeHalf", "ProblemHalf", "open_exchange", "send_answer", "severity"]

_log = logging.getLogger("zdd.web")


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


async def send_answer(send: Send, answer: Answer, *, prefix: str = "http", head: bool = False) -> None:
    """Send an answer of our own.

    Args:
        send: the server's.
        answer: what to send.
        prefix: of the messages' types; ``websocket.http`` refuses a WebSocket.
        head: the request's method was HEAD: send no body.
    """
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers]
    await send({"type": f"{prefix}.response.start", "status": answer.status, "headers": headers})
    await send({"type": f"{prefix}.response.body", "body": b"" if head else answer.body})


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
        """Handle one HTTP request."""
        exchange = open_exchange(scope, self._store())
        exchange.participants = self._participants
        departing = _Departure(exchange, send)
        token = exchange_variable.set(exchange)
        try:
            await self.app(scope, receive, departing)
        except ZddError as error:
            await _answer_problem(exchange, departing, error)
        finally:
            exchange.adrift = exchange.adrift or exchange.under_way
            if not exchange.adrift:
                # A route may end without an answer, too: Django's does where the client has gone.
                await give_up(exchange)
                exchange.participants = ()
            exchange_variable.reset(token)


class ProblemHalf:
    """Answers those of our errors that user middleware raises; lies just inside a framework's own error handling.

    Args:
        app: the user middleware.
    """

    def __init__(self, app: AsgiApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one scope."""
        try:
            await self.app(scope, receive, send)
        except ZddError as error:
            if scope["type"] != "http" or "zdd.exchange" not in scope:
                raise
            await _answer_problem(scope["zdd.exchange"], send, error)


def severity(error: ZddError) -> int:
    """How loudly to log an error that is answered: a 500 is somebody's mistake, anything else is foreseen."""
    return logging.ERROR if error.status == HTTPStatus.INTERNAL_SERVER_ERROR else logging.INFO


async def _answer_problem(exchange: Exchange, send: Send, error: ZddError) -> None:
    if exchange.status:
        raise error
    _log.log(severity(error), "%s %s answered %s: %s", exchange.method, exchange.path, error.code, error)
    await send_answer(send, problem_of(error), head=exchange.method == "HEAD")


class _Departure:
    """The ``send`` of the outer half: performs the leave when the answer's head comes by."""

    __slots__ = ("_exchange", "_replaced", "_send")

    def __init__(self, exchange: Exchange, send: Send) -> None:
        self._exchange = exchange
        self._send = send
        self._replaced = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            exchange = self._exchange
            exchange.status = message["status"]
            if exchange.parts or exchange.response_headers:
                message = await self._leave(message)
        if not self._replaced:
            await self._send(message)

    async def _leave(self, message: Message) -> Message:
        exchange = self._exchange
        answer = await leave(exchange, exchange.participants)
        headers: Sequence[tuple[bytes, bytes]] = message.get("headers", ())
        if answer is None:
            return {**message, "headers": merge_headers(headers, exchange.response_headers)}
        self._replaced = True
        exchange.status = answer.status
        answer.headers += cors_headers((name.decode("latin-1"), value.decode("latin-1")) for name, value in headers)
        await send_answer(self._send, answer, head=exchange.method == "HEAD")
        return message
