"""The exchange with both halves, over a fake participant and a fake store."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.web.harness import Client, FakePart, FakeStore, build, route, run, using
from zdd_sdk.errors import SessionUnavailable, StoreUnavailable
from zdd_sdk.http import Exchange, current_exchange
from zdd_sdk.http.asgi import AsgiApp, Message
from zdd_sdk.web import ExchangeHalf, InnerHalf, merge_headers


def test_nothing_used_makes_no_trip() -> None:
    store = FakeStore()

    client = run(build(route(), FakePart("a", ["A"]), store=store))

    assert [] == store.trips
    assert b"hello" == client.body


def test_all_parts_share_one_trip_and_each_gets_its_own_results() -> None:
    store, a, b = FakeStore(), FakePart("a", ["A1", "A2"]), FakePart("b", ["B"])

    client = run(build(route(using(a, b)), a, b, store=store))

    assert [["A1", "A2", "B"]] == store.trips
    assert [("A1", "A2")] == a.results
    assert [("B",)] == b.results
    assert [(b"x-route", b"1"), (b"set-cookie", b"a=1"), (b"set-cookie", b"b=1")] == client.headers


def test_a_second_wave_comes_after_the_first() -> None:
    store, a, b = FakeStore(), FakePart("a", ["create"], ["mark"]), FakePart("b", ["B"])

    run(build(route(using(a, b)), a, b, store=store))

    assert [["create", "B"], ["mark"]] == store.trips


def test_the_status_is_known_when_the_leave_begins() -> None:
    part = FakePart("a", ["A"])

    run(build(route(using(part), status=418), part, store=FakeStore()))

    assert 418 == part.statuses[0]


def test_a_part_that_cannot_live_without_its_trip_replaces_the_answer() -> None:
    store, part = FakeStore(StoreUnavailable("away", retry_after=2)), FakePart("a", ["A"], fatal=True)

    client = run(build(route(using(part)), part, store=store))

    assert 503 == client.status
    assert (b"retry-after", b"2") in client.headers
    assert b"hello" not in client.body


def test_a_part_that_can_lets_the_answer_go_as_it_is() -> None:
    store, part = FakeStore(StoreUnavailable("away")), FakePart("a", ["A"])

    client = run(build(route(using(part)), part, store=store))

    assert (200, b"hello") == (client.status, client.body)
    assert [(b"x-route", b"1")] == client.headers


@pytest.mark.parametrize("late", [False, True])
def test_held_bytes_wait_for_the_commit_and_the_leave(late: bool) -> None:
    store, part = FakeStore(), FakePart("a", ["A"])

    async def app(scope: Any, receive: Any, send: Any) -> None:
        exchange = scope["zdd.exchange"]
        exchange.awaits_commit = late
        part.use(exchange, exchange.hold())
        exchange.after_commit(lambda: client.events.append("commit"))
        await route()(scope, receive, send)
        for _ in range(1 if late else 500):
            await asyncio.sleep(0.01)
            if len(client.events) > 1:
                break
        client.events.append("dependency closed")

    client = build(app, part, store=store)
    run(client)

    order = [event if isinstance(event, str) else event["type"] for event in client.events]
    start = order.index("http.response.start")
    assert order.index("commit") < start
    assert (order.index("dependency closed") < start) is late
    assert [["A"]] == store.trips


def test_a_commit_reported_early_lets_the_bytes_go_before_background_tasks_end() -> None:
    part = FakePart("a", ["A"])

    async def app(scope: Any, receive: Any, send: Any) -> None:
        exchange = scope["zdd.exchange"]
        exchange.awaits_commit = True
        part.use(exchange, exchange.hold())
        await route()(scope, receive, send)
        exchange.committed()
        await asyncio.sleep(0.02)
        client.events.append("background done")

    client = build(app, part, store=FakeStore())
    run(client)

    kinds = [event if isinstance(event, str) else event["type"] for event in client.events]
    assert ["http.response.start", "http.response.body", "background done"] == kinds


def test_a_commit_that_fails_sends_none_of_the_held_bytes() -> None:
    part = FakePart("a", ["A"])

    async def app(scope: Any, receive: Any, send: Any) -> None:
        exchange = scope["zdd.exchange"]
        exchange.awaits_commit = True
        part.use(exchange, exchange.hold())
        await route()(scope, receive, send)
        raise RuntimeError("commit failed")

    client = build(app, part, store=FakeStore())

    with pytest.raises(RuntimeError, match="commit failed"):
        run(client)
    assert [] == client.events


def test_the_control_without_a_hold_sends_before_a_failing_commit() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await route()(scope, receive, send)
        raise RuntimeError("commit failed")

    client = build(app, FakePart("a", ["A"]), store=FakeStore())

    with pytest.raises(RuntimeError, match="commit failed"):
        run(client)
    assert 200 == client.status


def test_final_bytes_are_the_routes_own() -> None:
    seen: list[Any] = []

    async def handler(exchange: Exchange) -> None:
        exchange.on_final_bytes(lambda *answer: seen.append(answer))

    run(build(route(handler)))

    assert [(200, [("x-route", "1")], b"hello")] == seen


def test_a_stream_passes_through_live_and_has_no_final_bytes() -> None:
    seen: list[Any] = []
    part = FakePart("a", ["A"])

    async def handler(exchange: Exchange) -> None:
        part.use(exchange, exchange.hold())
        exchange.on_final_bytes(lambda *answer: seen.append(answer))

    client = run(build(route(handler, b"one", b"two", b"three"), part, store=FakeStore()))

    assert [] == seen
    assert [b"one", b"two", b"three"] == [message["body"] for message in client.messages[1:]]


def test_our_own_errors_become_problems_below_user_middleware() -> None:
    async def handler(exchange: Exchange) -> None:
        raise SessionUnavailable("the session store is away", retry_after=3)

    seen: list[int] = []

    def user_middleware(app: AsgiApp) -> AsgiApp:
        async def call(scope: Any, receive: Any, send: Any) -> None:
            async def spy(message: Message) -> None:
                if message["type"] == "http.response.start":
                    seen.append(message["status"])
                await send(message)

            await app(scope, receive, spy)

        return call

    client = Client(ExchangeHalf(user_middleware(InnerHalf(route(handler))), (), lambda: None))
    run(client)

    assert [503] == seen
    assert (b"content-type", b"application/problem+json") in client.headers


def test_a_forgotten_hold_is_said_and_does_not_hang(monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    monkeypatch.setattr("zdd_sdk.web.inner._HOLD_AFTER_RETURN", 0.01)

    async def handler(exchange: Exchange) -> None:
        exchange.hold()

    client = run(build(route(handler)))

    assert 200 == client.status
    assert "a hold was never released" in caplog.text


def test_requests_do_not_see_each_others_exchange() -> None:
    async def handler(exchange: Exchange) -> None:
        await asyncio.sleep(0.001)
        assert current_exchange() is exchange

    async def both() -> None:
        await asyncio.gather(*(build(route(handler)).get(f"/{index}") for index in range(20)))

    asyncio.run(both())
    assert current_exchange() is None


def test_headers_are_merged_replaced_or_added() -> None:
    present = [(b"Vary", b"Accept, Cookie"), (b"cache-control", b"public"), (b"set-cookie", b"a=1")]
    wanted = [("vary", "cookie"), ("vary", "Origin"), ("cache-control", "no-store"), ("set-cookie", "b=2")]

    merged = merge_headers(present, wanted)

    assert [b"Accept, cookie, Origin"] == [value for name, value in merged if name == b"vary"]
    assert [b"no-store"] == [value for name, value in merged if name == b"cache-control"]
    assert [b"a=1", b"b=2"] == [value for name, value in merged if name == b"set-cookie"]
