"""A fake participant, a fake store and a client that keeps what was sent, in order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from zdd_sdk.errors import StoreUnavailable
from zdd_sdk.http import Answer, Exchange, Hold, current_exchange, problem_of
from zdd_sdk.http.asgi import AsgiApp, Message
from zdd_sdk.store import Call
from zdd_sdk.web import ExchangeHalf, InnerHalf


class FakeStore:
    """Counts trips and answers each call with its own name."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.trips: list[list[str]] = []
        self.failure = failure

    async def ask(self, *calls: Call[Any], probe: bool = False) -> tuple[Any, ...]:
        self.trips.append([call.name for call in calls])
        await asyncio.sleep(0)
        if self.failure:
            raise self.failure
        return tuple(call.read(call.name) for call in calls)

    async def shield(self, flow: Any) -> Any:
        return await asyncio.shield(asyncio.ensure_future(flow))


def question(name: str) -> Call[Any]:
    return Call(read=lambda reply: reply, command=(name,), keys=("k",))


class FakePart:
    """Asks ``waves`` one after the other, releases its hold when the last one is done."""

    def __init__(self, name: str, *waves: Sequence[str], fatal: bool = False) -> None:
        self.name = name
        self.waves = waves
        self.fatal = fatal
        self.results: list[Any] = []
        self.statuses: list[int] = []

    def use(self, exchange: Exchange, hold: Hold | None = None) -> None:
        exchange.parts[self.name] = [list(self.waves), hold]

    def leaving(self, exchange: Exchange) -> Sequence[Call[Any]]:
        waves, _ = exchange.parts.get(self.name, ([], None))
        self.statuses.append(exchange.status)
        return [question(name) for name in waves.pop(0)] if waves else ()

    def left(self, exchange: Exchange, results: Sequence[Any]) -> None:
        self.results.append(tuple(results))
        waves, hold = exchange.parts[self.name]
        exchange.response_headers.append(("set-cookie", f"{self.name}=1"))
        if hold and not waves:
            hold.release()

    def unavailable(self, exchange: Exchange, error: StoreUnavailable) -> Answer | None:
        return problem_of(error) if self.fatal else None


class Client:
    """Runs one request and keeps what was sent, in order, with what else happened."""

    def __init__(self, app: AsgiApp, method: str = "GET") -> None:
        self.app = app
        self.method = method
        self.events: list[Any] = []

    async def get(self, path: str = "/", headers: Sequence[tuple[bytes, bytes]] = ()) -> Client:
        async def receive() -> Message:
            return {"type": "http.request"}

        async def send(message: Message) -> None:
            self.events.append(message)

        scope = {"type": "http", "method": self.method, "path": path, "headers": list(headers), "scheme": "http"}
        await self.app(scope, receive, send)
        return self

    @property
    def messages(self) -> list[Message]:
        return [event for event in self.events if not isinstance(event, str)]

    @property
    def status(self) -> int:
        return int(self.messages[0]["status"])

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        return list(self.messages[0]["headers"])

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages[1:])


Handler = Callable[[Exchange], Awaitable[None]]


def route(handler: Handler | None = None, *bodies: bytes, status: int = 200) -> AsgiApp:
    """A route that runs ``handler`` and answers with one body, or a stream of several."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        exchange = current_exchange()
        assert exchange is not None
        if handler:
            await handler(exchange)
        await send({"type": "http.response.start", "status": status, "headers": [(b"x-route", b"1")]})
        chunks = bodies or (b"hello",)
        for index, chunk in enumerate(chunks):
            await send({"type": "http.response.body", "body": chunk, "more_body": index < len(chunks) - 1})

    return app


def build(app: AsgiApp, *parts: FakePart, store: FakeStore | None = None) -> Client:
    return Client(ExchangeHalf(InnerHalf(app), parts, lambda: store))  # type: ignore[arg-type,return-value]


def run(client: Client, **request: Any) -> Client:
    return asyncio.run(client.get(**request))


def using(*parts: FakePart, hold: bool = False) -> Handler:
    async def handler(exchange: Exchange) -> None:
        for part in parts:
            part.use(exchange, exchange.hold() if hold else None)

    return handler
