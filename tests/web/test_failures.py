"""The exchange where something fails: parts, callbacks, routes, threads, and clients that hang up."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from tests.web.harness import Client, FakePart, FakeStore, build, route, run, using
from zdd_sdk.errors import SessionTooLarge, SessionUnavailable, StoreUnavailable
from zdd_sdk.http import Exchange, Hold
from zdd_sdk.http.asgi import AsgiApp
from zdd_sdk.store import Call
from zdd_sdk.web import ExchangeHalf, InnerHalf, ProblemHalf, merge_headers


class RefusingPart(FakePart):
    """Raises when asked what it wants."""

    def __init__(self, error: Exception) -> None:
        super().__init__("refusing", ["R"])
        self.error = error

    def leaving(self, exchange: Exchange) -> Sequence[Call[Any]]:
        if self.name in exchange.parts:
            raise self.error
        return ()


@pytest.mark.parametrize(
    ("error", "status"), [(SessionTooLarge("the session is too large"), 413), (KeyError("a bug"), 500)]
)
@pytest.mark.parametrize("hold", [False, True])
def test_a_part_that_refuses_is_a_problem_and_the_others_leave_all_the_same(
    error: Exception, status: int, hold: bool
) -> None:
    store, refusing, other = FakeStore(), RefusingPart(error), FakePart("a", ["A"])

    async def handler(exchange: Exchange) -> None:
        refusing.use(exchange)
        other.use(exchange, exchange.hold() if hold else None)

    client = run(build(route(handler), refusing, other, store=store))

    assert status == client.status
    assert (b"content-type", b"application/problem+json") in client.headers
    assert [["A"]] == store.trips
    assert b"a bug" not in client.body


def test_an_answer_that_replaces_another_keeps_what_a_browser_needs_to_see_it() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        part.use(scope["zdd.exchange"])
        headers = [(b"access-control-allow-origin", b"https://a.example"), (b"vary", b"Origin"), (b"x-route", b"1")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"hello"})

    part = FakePart("a", ["A"], fatal=True)
    client = run(build(app, part, store=FakeStore(StoreUnavailable("away"))))

    assert 503 == client.status
    assert (b"access-control-allow-origin", b"https://a.example") in client.headers
    assert (b"vary", b"Origin") in client.headers
    assert b"x-route" not in dict(client.headers)


def test_a_store_that_is_not_there_is_away() -> None:
    part = FakePart("a", ["A"], fatal=True)

    assert 503 == run(build(route(using(part)), part, store=None)).status


def test_a_problem_has_no_body_where_head_was_asked() -> None:
    async def handler(exchange: Exchange) -> None:
        raise SessionUnavailable("away")

    client = Client(ExchangeHalf(InnerHalf(route(handler)), (), lambda: None), method="HEAD")

    assert (503, b"") == (run(client).status, client.body)


def test_our_errors_in_user_middleware_become_problems() -> None:
    def failing(app: AsgiApp) -> AsgiApp:
        async def call(scope: Any, receive: Any, send: Any) -> None:
            raise SessionUnavailable("away")

        return call

    def framework(app: AsgiApp) -> AsgiApp:
        async def call(scope: Any, receive: Any, send: Any) -> None:
            try:
                await app(scope, receive, send)
            except Exception:
                await send({"type": "http.response.start", "status": 500, "headers": []})
                raise

        return call

    app = framework(ProblemHalf(failing(InnerHalf(route()))))
    assert 503 == run(Client(ExchangeHalf(app, (), lambda: None))).status
    assert 503 == run(Client(ExchangeHalf(failing(route()), (), lambda: None))).status, "without a framework"


def test_our_errors_after_the_first_byte_are_the_servers_to_report() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise SessionUnavailable("late")

    client = Client(ExchangeHalf(ProblemHalf(InnerHalf(app)), (), lambda: None))

    with pytest.raises(SessionUnavailable):
        run(client)
    assert [200] == [message["status"] for message in client.messages]


def test_a_callback_that_fails_stops_nothing_and_is_logged(caplog: Any) -> None:
    seen: list[str] = []

    async def handler(exchange: Exchange) -> None:
        for register in (exchange.after_commit, exchange.on_final_bytes, exchange.when_released):
            register(lambda *_: 1 / 0)  # type: ignore[operator]
        exchange.after_commit(lambda: seen.append("after commit"))
        exchange.on_final_bytes(lambda *_: seen.append("final bytes"))

    assert 200 == run(build(route(handler))).status
    assert ["final bytes", "after commit"] == seen
    assert 3 == caplog.text.count("a callback of an exchange failed")


def test_a_commit_is_reported_once_however_often_it_is_told() -> None:
    seen: list[str] = []
    exchange = Exchange("GET", "/", "http", lambda _: (), None)
    exchange.after_commit(lambda: seen.append("early"))
    exchange.committed()
    exchange.committed()
    exchange.after_commit(lambda: seen.append("late"))

    assert ["early", "late"] == seen


def test_holds_released_by_many_threads_at_once_let_go_exactly_once() -> None:
    for _ in range(50):
        exchange = Exchange("GET", "/", "http", lambda _: (), None)
        freed: list[int] = []
        holds = [exchange.hold() for _ in range(8)]
        exchange.when_released(lambda freed=freed: freed.append(1))  # type: ignore[misc]
        gate = threading.Barrier(8)

        def release(hold: Hold, gate: threading.Barrier = gate) -> None:
            gate.wait()
            hold.release()
            hold.release()

        threads = [threading.Thread(target=release, args=(hold,)) for hold in holds]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (False, [1]) == (exchange.held, freed)


@pytest.mark.parametrize("late", [False, True])
def test_a_hold_may_be_released_and_a_commit_reported_by_a_thread(late: bool) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        exchange = scope["zdd.exchange"]
        exchange.awaits_commit = True
        hold = exchange.hold()

        def finish() -> None:
            exchange.committed()
            hold.release()

        thread = threading.Timer(0.02 if late else 0, finish)
        await route()(scope, receive, send)
        thread.start()
        await asyncio.sleep(0 if late else 0.05)
        client.events.append("returned")

    client = build(app)
    run(client)

    kinds = [event if isinstance(event, str) else event["type"] for event in client.events]
    assert kinds.index("returned") == (0 if late else 2)
    assert b"hello" == client.body


def failing(*, commit: bool, hold: bool, error: Exception, part: FakePart) -> AsgiApp:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        exchange = scope["zdd.exchange"]
        exchange.awaits_commit = True
        part.use(exchange, exchange.hold())
        held = exchange.hold() if hold else None
        await route()(scope, receive, send)
        if commit:
            exchange.committed()
        app.late = lambda: (exchange.committed(), held and held.release())  # type: ignore[attr-defined]
        raise error

    return app


@pytest.mark.parametrize("error", [RuntimeError("late"), SessionUnavailable("late")])
def test_what_was_committed_is_answered_even_if_the_route_then_fails(error: Exception) -> None:
    part, store = FakePart("a", ["A"]), FakeStore()
    client = build(failing(commit=True, hold=False, error=error, part=part), part, store=store)

    with pytest.raises(type(error)):
        run(client)
    assert (200, b"hello", [["A"]]) == (client.status, client.body, store.trips)


def test_a_commit_told_after_the_route_has_failed_sends_no_second_answer() -> None:
    part = FakePart("a", ["A"])
    app = failing(commit=False, hold=True, error=SessionUnavailable("no"), part=part)
    client = build(app, part, store=FakeStore())

    async def both() -> None:
        await client.get()
        app.late()  # type: ignore[attr-defined]
        await asyncio.sleep(0.01)

    asyncio.run(both())
    assert [503] == [message["status"] for message in client.messages if "status" in message]


def test_a_forgotten_hold_does_not_hang_a_route_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zdd_sdk.web.inner._HOLD_AFTER_RETURN", 0.01)
    part = FakePart("a", ["A"])
    client = build(failing(commit=True, hold=True, error=RuntimeError("x"), part=part), part, store=FakeStore())

    async def bounded() -> None:
        await asyncio.wait_for(client.get(), 5)

    with pytest.raises(RuntimeError, match="x"):
        asyncio.run(bounded())
    assert 200 == client.status


def test_a_cancelled_request_with_a_forgotten_hold_ends_at_once() -> None:
    async def handler(exchange: Exchange) -> None:
        exchange.hold()

    async def cancel() -> float:
        loop = asyncio.get_running_loop()
        task = loop.create_task(build(route(handler)).get())
        await asyncio.sleep(0.02)
        task.cancel()
        began = loop.time()
        await asyncio.wait({task}, timeout=3)
        return loop.time() - began

    assert asyncio.run(cancel()) < 1


class SlowStore(FakeStore):
    """Takes its time."""

    async def ask(self, *calls: Call[Any], probe: bool = False) -> tuple[Any, ...]:
        await asyncio.sleep(0.02)
        return await super().ask(*calls)


@pytest.mark.parametrize("hold", [False, True])
def test_a_client_that_hangs_up_leaves_no_leave_half_done(hold: bool) -> None:
    store, part = SlowStore(), FakePart("a", ["create"], ["mark"])

    async def cancel() -> None:
        task = asyncio.create_task(build(route(using(part, hold=hold)), part, store=store).get())
        await asyncio.sleep(0.005)
        task.cancel()
        await asyncio.wait({task})
        await asyncio.sleep(0.1)

    asyncio.run(cancel())
    assert [["create"], ["mark"]] == store.trips
    assert [("create",), ("mark",)] == part.results


def test_the_innermost_of_two_inner_halves_captures() -> None:
    seen: list[bytes] = []

    async def handler(exchange: Exchange) -> None:
        exchange.on_final_bytes(lambda status, headers, body: seen.append(body))

    def shouting(app: AsgiApp) -> AsgiApp:
        async def call(scope: Any, receive: Any, send: Any) -> None:
            async def shout(message: Any) -> None:
                await send({**message, "body": message["body"].upper()} if "body" in message else message)

            await app(scope, receive, shout)

        return call

    client = run(Client(ExchangeHalf(InnerHalf(shouting(InnerHalf(route(handler)))), (), lambda: None)))

    assert ([b"hello"], b"HELLO") == (seen, client.body)


@pytest.mark.parametrize("kind", ["http.response.pathsend", "http.response.zerocopysend"])
def test_a_held_answer_without_a_body_of_its_own_passes_through(kind: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["zdd.exchange"].hold()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": kind, "path": "/tmp/a"})

    client = run(build(app))

    assert ["http.response.start", kind] == [message["type"] for message in client.messages]


def test_vary_star_stays_a_star() -> None:
    assert [(b"vary", b"*")] == merge_headers([(b"vary", b"*")], [("vary", "Cookie")])
