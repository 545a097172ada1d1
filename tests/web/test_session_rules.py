"""What sessions do to answers, on both drivers: Vary, Cache-Control, cookies, limits, and what a 5xx saves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.web.test_wsgi import ask as ask_wsgi
from zdd_sdk import ZeroDowntime
from zdd_sdk.sessions import Session
from zdd_sdk.store import finish
from zdd_sdk.web import ServiceHalf, WsgiServiceHalf

COOKIE = "__Host-zdd_session"
PAYMENT = {"origin": "https://bank.example", "sec-fetch-site": "cross-site"}


@dataclass
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name]

    @property
    def cookie(self) -> str:
        return next(iter(self.values("set-cookie")), "").partition(";")[0]


Handler = Callable[[Session], Any]
Driver = Callable[..., Answer]


def on_asgi(zdd: ZeroDowntime, loop: asyncio.Runner) -> Driver:
    def ask(
        handler: Handler, method: str = "GET", *, status: int = 200, said: Any = (), load: bool = True, **headers: str
    ) -> Answer:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            session = zdd.sessions.open(scope["zdd.exchange"])
            handler(await session.load() if load else session)
            raw = [(name.encode(), value.encode()) for name, value in said]
            await send({"type": "http.response.start", "status": status, "headers": raw})
            await send({"type": "http.response.body", "body": b"done"})

        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> Any:
            return {"type": "http.request"}

        given = {"host": "shop.test", **{name.replace("_", "-"): value for name, value in headers.items()}}
        raw = [(name.encode(), value.encode()) for name, value in given.items()]
        scope = {"type": "http", "method": method, "path": "/", "headers": raw, "scheme": "https"}
        loop.run(ServiceHalf(app, zdd)(scope, receive, send))
        start = sent[0]
        pairs = [(name.decode(), value.decode()) for name, value in start["headers"]]
        return Answer(start["status"], pairs, b"".join(message.get("body", b"") for message in sent[1:]))

    return ask


def on_wsgi(zdd: ZeroDowntime, _: Any = None) -> Driver:
    def ask(
        handler: Handler, method: str = "GET", *, status: int = 200, said: Any = (), load: bool = True, **headers: str
    ) -> Answer:
        def app(environ: Any, start: Any) -> Any:
            session = zdd.sessions.open(environ["zdd.exchange"])
            handler(finish(session.load()) if load else session)
            start(f"{status} X", [("Content-Type", "text/plain"), *((name.title(), value) for name, value in said)])
            return [b"done"]

        given = {name.replace("-", "_"): value for name, value in headers.items()}
        line, pairs, body = ask_wsgi(WsgiServiceHalf(app, zdd), "/", method, **given)
        return Answer(int(line[:3]), pairs, body)

    return ask


@pytest.fixture(params=[on_asgi, on_wsgi], ids=["asgi", "wsgi"])
def driver(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def options() -> dict[str, Any]:
    return {}


@pytest.fixture
def zdd(engine: Any, options: dict[str, Any]) -> Iterator[ZeroDowntime]:
    built = ZeroDowntime("test", redis_url=engine.url, secret="s" * 32, fleet={"enabled": False}, sessions=options)
    yield built
    built.lifecycle.stop()


@pytest.fixture
def ask(driver: Any, zdd: ZeroDowntime) -> Iterator[Driver]:
    with asyncio.Runner() as loop:
        yield driver(zdd, loop)
        loop.run(zdd.stores.aio.close())
    zdd.stores.close()


def put(**values: Any) -> Handler:
    return lambda session: session.update(values)


def look(into: list[Any]) -> Handler:
    return lambda session: into.append(dict(session))


def nothing(_: Session) -> None:
    pass


def stored(ask: Driver, cookie: str) -> Any:
    found: list[Any] = []
    ask(look(found), cookie=cookie)
    return found[0]


def test_vary_says_cookie_once_it_was_read(ask: Driver) -> None:
    assert ask(nothing).values("vary") == ["Cookie"]
    assert ask(nothing, load=False).values("vary") == []


@pytest.mark.parametrize(
    ("said", "merged"),
    [("Accept", "Accept, Cookie"), ("cookie", "Cookie"), ("Accept, Cookie", "Accept, Cookie"), ("*", "*")],
)
def test_vary_is_merged_with_the_applications(ask: Driver, said: str, merged: str) -> None:
    assert ask(nothing, said=[("vary", said)]).values("vary") == [merged]


def test_vary_stays_on_errors_of_ours(ask: Driver) -> None:
    def refuse(session: Session) -> None:
        session["a"] = object()

    answer = ask(refuse)
    assert (answer.status, answer.values("vary")) == (500, ["Cookie"])


def test_an_answer_that_sets_the_cookie_is_not_cached(ask: Driver) -> None:
    answer = ask(put(a=1), said=[("cache-control", "public, max-age=600")])
    assert answer.cookie.startswith(f"{COOKIE}=")
    assert answer.values("cache-control") == ["no-store"]
    for line in answer.values("set-cookie"):
        assert all(part in line for part in ("Secure", "HttpOnly", "SameSite=Lax", "Path=/"))


def test_an_answer_that_sets_none_keeps_its_own_rules(ask: Driver) -> None:
    cookie = ask(put(a=1)).cookie
    answer = ask(put(a=2), cookie=cookie, said=[("cache-control", "private, max-age=60")])
    assert (answer.values("set-cookie"), answer.values("cache-control")) == ([], ["private, max-age=60"])


def test_the_deletion_of_the_cookie_is_not_cached_either(ask: Driver) -> None:
    cookie = ask(lambda session: session.login("ada")).cookie
    answer = ask(lambda session: session.logout(), cookie=cookie, load=False)
    assert answer.values("cache-control") == ["no-store"]
    assert "Max-Age=0" in answer.values("set-cookie")[0]


@pytest.mark.parametrize(("status", "saved"), [(200, True), (302, True), (404, True), (500, False), (503, False)])
def test_a_server_error_saves_nothing(ask: Driver, status: int, saved: bool) -> None:
    cookie = ask(put(a=1)).cookie
    answer = ask(put(a=2, b=3), cookie=cookie, status=status)
    assert (answer.status, answer.values("set-cookie")) == (status, [])
    assert stored(ask, cookie) == ({"a": 2, "b": 3} if saved else {"a": 1})


def test_a_server_error_begins_no_session(ask: Driver) -> None:
    assert ask(put(a=1), status=500).values("set-cookie") == []


@pytest.mark.parametrize("options", [{"save_on_error": True}])
def test_control_with_the_option_it_saves(ask: Driver) -> None:
    cookie = ask(put(a=1), status=500).cookie
    assert stored(ask, cookie) == {"a": 1}


def test_too_large_a_field_is_413_and_is_not_written(ask: Driver) -> None:
    cookie = ask(put(a=1)).cookie
    answer = ask(put(a="x" * 64 * 1024), cookie=cookie)
    assert (answer.status, b"session-too-large" in answer.body) == (413, True)
    assert stored(ask, cookie) == {"a": 1}


def test_too_large_a_session_is_413_and_nothing_is_written(ask: Driver) -> None:
    cookie = ask(put(a=1)).cookie
    answer = ask(put(**{f"f{number}": "x" * 60_000 for number in range(5)}), cookie=cookie)
    assert (answer.status, b"max_session = 262144" in answer.body) == (413, True)
    assert stored(ask, cookie) == {"a": 1}


def test_just_what_fits_is_kept(ask: Driver) -> None:
    cookie = ask(put(a="x" * (64 * 1024 - 10))).cookie
    assert len(stored(ask, cookie)["a"]) == 64 * 1024 - 10


def test_a_large_field_is_counted_and_said_once(ask: Driver, zdd: ZeroDowntime, caplog: Any) -> None:
    ask(put(a="x" * 32_000))
    assert zdd.sessions.counters["large"] == 0
    for _ in range(3):
        ask(put(cart="x" * 33_000))
    assert zdd.sessions.counters["large"] == 3
    assert [record.getMessage() for record in caplog.records if "a:cart" in record.getMessage()][1:] == []


def test_a_conflict_is_409(ask: Driver, zdd: ZeroDowntime) -> None:
    cookie = ask(put(state="open")).cookie

    def swap(session: Session) -> None:
        session.compare_and_set("state", "open", "mine")
        assert on_wsgi(zdd)(put(state="theirs"), cookie=cookie).status == 200

    answer = ask(swap, cookie=cookie)
    assert (answer.status, b"session-conflict" in answer.body) == (409, True)
    assert stored(ask, cookie) == {"state": "theirs"}


# A payment's return: a cross-site POST, to which a browser adds no SameSite=Lax cookie.


def test_a_payment_return_never_sets_a_cookie(ask: Driver) -> None:
    answer = ask(put(paid=True), "POST", **PAYMENT)
    assert (answer.status, answer.values("set-cookie")) == (200, [])


def test_a_payment_return_cannot_log_in(ask: Driver) -> None:
    answer = ask(lambda session: session.login("ada"), "POST", **PAYMENT)
    assert (answer.status, b"session-cross-site" in answer.body, answer.values("set-cookie")) == (403, True, [])


def test_control_the_same_post_from_our_own_page_sets_one(ask: Driver) -> None:
    own = {"origin": "https://shop.test", "sec-fetch-site": "same-origin"}
    assert ask(put(paid=True), "POST", **own).cookie.startswith(COOKIE)


def test_control_the_same_post_with_our_cookie_is_saved(ask: Driver) -> None:
    cookie = ask(put(a=1)).cookie
    ask(put(paid=True), "POST", cookie=cookie, **PAYMENT)
    assert stored(ask, cookie) == {"a": 1, "paid": True}
