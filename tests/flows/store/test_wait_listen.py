"""Blocking commands and publish/subscribe, each on connections no ask uses."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import pytest

from zdd_sdk.errors import StoreReplyError, StoreUnavailable
from zdd_sdk.store import finish
from zdd_sdk.store.connect import Stores
from zdd_sdk.store.engine import Engine
from zdd_sdk.testing.flow import Flow
from zdd_sdk.testing.tap import RespTap

from .conftest import command

OpenFlow = Callable[..., Flow]


def _later(seconds: float, engine: Engine, *words: Any) -> threading.Thread:
    thread = threading.Timer(seconds, lambda: engine.ask(*words))
    thread.start()
    return thread


def test_a_blocking_command_outlasts_the_limit_of_an_ask(open_flow: OpenFlow, real_engine: Engine) -> None:
    flow = open_flow(real_engine.url)
    thread = _later(0.6, real_engine, "RPUSH", "{l}", "x")
    assert flow(flow.store.wait(command("BLPOP", "{l}", 3), 3.0)) == [b"{l}", b"x"]
    thread.join()


def test_a_blocking_command_that_gets_nothing_returns_what_redis_returns(
    open_flow: OpenFlow, real_engine: Engine
) -> None:
    flow = open_flow(real_engine.url)
    began = time.perf_counter()
    assert flow(flow.store.wait(command("BLPOP", "{l}", 0.3), 0.3)) == None  # noqa: E711
    assert 0.25 < time.perf_counter() - began < 1.5


def test_a_frozen_engine_ends_a_wait_soon_after_its_timeout(open_flow: OpenFlow, real_engine: Engine) -> None:
    flow = open_flow(real_engine.url)
    flow(flow.store.wait(command("BLPOP", "{l}", 0.01), 0.01))
    real_engine.pause()
    began = time.perf_counter()
    try:
        with pytest.raises(StoreUnavailable) as caught:
            flow(flow.store.wait(command("BLPOP", "{l}", 0.5), 0.5))
    finally:
        real_engine.resume()
    assert (caught.value.reason, caught.value.sent) == ("timeout", True)
    assert 0.6 < time.perf_counter() - began < 1.5


def test_waiters_take_no_place_in_the_pool(open_flow: OpenFlow, real_engine: Engine) -> None:
    flow = open_flow(real_engine.url, pool_size=1)

    async def waiter() -> Any:
        return await flow.store.wait(command("BLPOP", "{l}", 3), 3.0)

    async def asker() -> Any:
        await flow.store.sleep(0.2)
        for _ in range(3):
            await flow.store.ask(command("RPUSH", "{l}", "x"))
        return None

    results = flow.gather(waiter(), waiter(), waiter(), asker())
    assert results == [[b"{l}", b"x"]] * 3 + [None]


def test_an_error_reply_to_a_wait_is_raised(open_flow: OpenFlow, real_engine: Engine) -> None:
    flow = open_flow(real_engine.url)
    flow(flow.store.ask(command("SET", "{k}", "1")))
    with pytest.raises(StoreReplyError, match="WRONGTYPE"):
        flow(flow.store.wait(command("BLPOP", "{k}", 0.1), 0.1))


def test_what_is_published_is_heard_until_the_listener_stops(flow: Flow, engine: Engine, tap: RespTap) -> None:
    def publish() -> None:
        for number in range(20):
            engine.ask("PUBLISH", "news" if number % 2 else "more", f"{number}")
            time.sleep(0.02)

    async def hear() -> list[tuple[str, bytes]]:
        async with aclosing(flow.store.listen("news", "more")) as messages:  # type: ignore[type-var]
            await flow.store.ask(command("PING"))
            thread = threading.Thread(target=publish)
            thread.start()
            heard = [await anext(messages) for _ in range(3)]
            thread.join()
        return heard

    heard = flow(hear())
    assert {channel for channel, _ in heard} == {"news", "more"}
    numbers = [int(payload) for _, payload in heard]
    assert numbers == sorted(numbers)
    assert flow(flow.store.ask(command("PING"))) == (b"PONG",)


def test_a_lost_connection_ends_listening_with_an_error(
    open_flow: OpenFlow, real_engine: Engine, open_tap: Callable[[str], RespTap]
) -> None:
    tap = open_tap(real_engine.url)
    flow = open_flow(tap.url)

    async def hear() -> None:
        threading.Timer(0.2, tap.refuse).start()
        async for _ in flow.store.listen("news"):
            pass

    with pytest.raises(StoreUnavailable) as caught:
        flow(hear())
    assert caught.value.reason == "lost"


def test_closing_the_store_ends_a_thread_that_listens(open_stores: Callable[..., Stores], real_engine: Engine) -> None:
    stores = open_stores(real_engine.url)
    ended: list[object] = []

    async def hear() -> None:
        async for message in stores.blocking.listen("news"):
            ended.append(message)  # noqa: PERF401 - looked at while listening goes on

    def run() -> None:
        try:
            finish(hear())
            ended.append("end")
        except BaseException as error:  # noqa: BLE001
            ended.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    _subscribed(real_engine)
    real_engine.ask("PUBLISH", "news", "1")
    time.sleep(0.1)
    stores.close()
    thread.join(5)
    assert ended == [("news", b"1"), "end"]


def test_closing_the_store_or_cancelling_ends_a_task_that_listens(
    open_stores: Callable[..., Stores], real_engine: Engine
) -> None:
    stores = open_stores(real_engine.url)

    async def hear() -> str:
        async for _ in stores.aio.listen("news"):
            pass
        return "end"

    async def main() -> None:
        closed, cancelled = asyncio.ensure_future(hear()), asyncio.ensure_future(hear())
        await asyncio.to_thread(_subscribed, real_engine, 2)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        await stores.aio.close()
        assert await asyncio.wait_for(closed, 5) == "end"

    asyncio.run(main())


def _subscribed(engine: Engine, number: int = 1) -> None:
    deadline = time.monotonic() + 5
    while engine.ask("PUBSUB", "NUMSUB", "news")[1] < number and time.monotonic() < deadline:
        time.sleep(0.01)
