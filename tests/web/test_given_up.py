"""A claim is settled also where nobody answers: an ASGI application that raises, a request that is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from fastapi import FastAPI

from zdd_fastapi import ZddMiddleware
from zdd_sdk import ZeroDowntime
from zdd_sdk.errors import IdempotencyOutcomeUnknown
from zdd_sdk.http import Answer
from zdd_sdk.store.engine import Engine
from zdd_sdk.web import InnerHalf, ServiceHalf

SCOPE = {
    "type": "http", "method": "POST", "path": "/orders", "raw_path": b"/orders", "query_string": b"", "root_path": "",
    "scheme": "http", "http_version": "1.1", "asgi": {"version": "3.0"}, "server": ("test", 80), "client": ("test", 1),
}  # fmt: skip


class Surface:
    """A framework of somebody's own."""

    def response(self, answer: Answer) -> Answer:
        return answer

    def answer_of(self, result: Any) -> Answer | None:
        return None

    def path_parameters(self) -> dict[str, object]:
        return {}

    def query(self) -> str:
        return ""

    def commits_late(self) -> bool:
        return False


@pytest.fixture
def zdd(engine: Engine) -> ZeroDowntime:
    return ZeroDowntime("shop", environment="test", redis_url=engine.url, secret=("s" * 40,), fleet={"enabled": False})


async def ask(app: Any, sent: list[Any]) -> None:
    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await app({**SCOPE, "headers": [(b"idempotency-key", b"k")]}, receive, send)


def test_a_bare_application_that_raises_is_settled(zdd: ZeroDowntime) -> None:
    done: list[int] = []

    @zdd.idempotent(operation="orders.create", effects="unsafe", principal="anonymous")
    async def handle() -> None:
        done.append(1)
        raise ZeroDivisionError

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await handle()

    async def twice() -> None:
        half = ServiceHalf(InnerHalf(app, lambda _: Surface()), zdd)
        with pytest.raises(ZeroDivisionError):
            await ask(half, [])
        assert len(zdd.idempotency.live) == 0
        answer: list[Any] = []
        await ask(half, answer)
        assert answer[0]["status"] == 409
        assert IdempotencyOutcomeUnknown.code.encode() in answer[1]["body"]

    asyncio.run(twice())
    assert done == [1]


def _fails() -> None:
    raise ZeroDivisionError


@pytest.mark.parametrize(("end", "status"), [(_fails, 409), (lambda: None, 200)], ids=["fails", "answers"])
def test_a_request_that_is_cancelled_is_settled_when_its_route_has_ended(
    zdd: ZeroDowntime, end: Callable[[], None], status: int
) -> None:
    """By then nobody is left above it: a server has cancelled what waited for the answer."""
    app, done = FastAPI(), []
    app.add_middleware(ZddMiddleware, zdd=zdd)
    begun, go = asyncio.Event(), asyncio.Event()

    @app.post("/orders")
    @zdd.idempotent(operation="orders.create", effects="unsafe", principal="anonymous")
    async def create() -> str:
        done.append(1)
        begun.set()
        await go.wait()
        end()
        return "done"

    async def cancel() -> None:
        running = asyncio.create_task(ask(app, []))
        await begun.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert len(zdd.idempotency.live) == 1, "its route goes on"
        go.set()
        await _until(lambda: len(zdd.idempotency.live) == 0)
        answer: list[Any] = []
        await _until_settled(lambda: ask(app, answer), answer)
        assert answer[0]["status"] == status

    asyncio.run(cancel())
    assert done == [1]


async def _until(true: Callable[[], bool]) -> None:
    for _ in range(1000):
        if true():
            return
        await asyncio.sleep(0.01)
    raise AssertionError


async def _until_settled(again: Callable[[], Awaitable[None]], answer: list[Any]) -> None:
    """The trip that settles is under way, when the claim is no longer this process's."""
    for _ in range(100):
        answer.clear()
        await again()
        if b"in-progress" not in answer[1]["body"]:
            return
        await asyncio.sleep(0.02)
