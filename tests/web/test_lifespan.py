"""The lifespan: started after the application, stopped after it, refused with a reason."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from zdd_sdk.errors import StoreNotConfigured
from zdd_sdk.http.asgi import AsgiApp, Message
from zdd_sdk.web import LifespanHalf


class FakeService:
    """Notes what is asked of it."""

    def __init__(self, refusal: Exception | None = None) -> None:
        self.events: list[str] = []
        self.refusal = refusal

    def start(self) -> None:
        if self.refusal:
            raise self.refusal
        self.events.append("zdd started")

    async def shutdown(self) -> None:
        self.events.append("zdd stopped")


def live(app: AsgiApp, service: FakeService) -> list[Message]:
    """Run one lifespan as a server does; returns what it heard."""
    heard: list[Message] = []

    async def whole() -> None:
        told = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

        async def receive() -> Message:
            return next(told)

        async def send(message: Message) -> None:
            heard.append(message)
            service.events.append(message["type"].removeprefix("lifespan."))

        await LifespanHalf(app, service)({"type": "lifespan"}, receive, send)  # type: ignore[arg-type]

    asyncio.run(whole())
    return heard


async def careful(scope: Any, receive: Any, send: Any) -> None:
    """What frameworks do: report what goes wrong at the start."""
    await receive()
    try:
        await send({"type": "lifespan.startup.complete"})
    except Exception:
        await send({"type": "lifespan.startup.failed", "message": "Traceback …"})
        raise
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def careless(scope: Any, receive: Any, send: Any) -> None:
    """What people write by hand."""
    while (await receive())["type"] == "lifespan.startup":
        await send({"type": "lifespan.startup.complete"})
    await send({"type": "lifespan.shutdown.complete"})


async def unaware(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http"


async def indifferent(scope: Any, receive: Any, send: Any) -> None:
    """Returns where it does not care."""


@pytest.mark.parametrize("app", [careful, careless, unaware, indifferent])
def test_zdd_starts_after_the_application_and_stops_after_it(app: AsgiApp) -> None:
    service = FakeService()

    live(app, service)

    assert ["zdd started", "startup.complete", "zdd stopped", "shutdown.complete"] == service.events


@pytest.mark.parametrize("app", [careful, careless, unaware, indifferent])
def test_a_refusal_is_told_once_with_its_reason_and_nothing_else(app: AsgiApp) -> None:
    service = FakeService(StoreNotConfigured("no ZDD_REDIS_URL"))

    try:
        heard = live(app, service)
    except StoreNotConfigured:
        assert app in {careful, careless}
        heard = []

    assert ["startup.failed"] == service.events
    assert not heard or "zdd: no ZDD_REDIS_URL" == heard[0]["message"]


def test_an_application_that_fails_by_itself_keeps_its_own_words() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})
        raise RuntimeError("no database")

    service = FakeService()
    with pytest.raises(RuntimeError, match="no database"):
        live(app, service)
    assert ["startup.failed"] == service.events
