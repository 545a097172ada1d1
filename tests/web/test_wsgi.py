"""The exchange on WSGI: opened, left before the first byte, and answered with a problem where we raise."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication
from wsgiref.validate import validator

import pytest

from zdd_sdk import ZeroDowntime
from zdd_sdk.errors import SessionGone
from zdd_sdk.http import current_exchange
from zdd_sdk.store import finish
from zdd_sdk.store.engine import Engine
from zdd_sdk.web import WsgiServiceHalf

Ask = Callable[..., tuple[str, list[tuple[str, str]], bytes]]


@pytest.fixture
def zdd(real_engine: Engine, open_tap: Callable[[str], Any]) -> Iterator[ZeroDowntime]:
    tap = open_tap(real_engine.url)
    built = ZeroDowntime("test", redis_url=tap.url, secret="s" * 32, fleet={"enabled": False})
    built.__dict__["tap"] = tap
    yield built
    built.lifecycle.stop()


def ask(app: WSGIApplication, path: str = "/", method: str = "GET", **headers: str) -> tuple[str, Any, bytes]:
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method, "PATH_INFO": path, "SCRIPT_NAME": "", "QUERY_STRING": "", "SERVER_NAME": "shop.test",
        "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1", "wsgi.version": (1, 0), "wsgi.url_scheme": "https",
        "wsgi.input": io.BytesIO(), "wsgi.errors": io.StringIO(), "wsgi.multithread": True,
        "wsgi.multiprocess": False, "wsgi.run_once": False, "HTTP_HOST": "shop.test",
        **{f"HTTP_{name.upper()}": value for name, value in headers.items()},
    }  # fmt: skip
    begun: list[Any] = []

    def start(status: str, headers: list[tuple[str, str]], _exc_info: Any = None) -> Any:
        begun[:] = [status, headers]
        return lambda _: None

    body = validator(app)(environ, start)
    try:
        received = b"".join(body)
    finally:
        body.close()  # type: ignore[attr-defined]
    return begun[0], begun[1], received


def lazily(app: WSGIApplication) -> WSGIApplication:
    """The same application as a generator: it runs, and starts its answer, at the first chunk."""

    def generator(environ: Any, start: StartResponse) -> Iterable[bytes]:
        yield from app(environ, start)

    return generator


@pytest.fixture(params=[lambda app: app, lazily], ids=["at once", "lazily"])
def shape(request: pytest.FixtureRequest) -> Callable[[WSGIApplication], WSGIApplication]:
    return request.param


def test_a_login_is_kept_before_the_first_byte(zdd: ZeroDowntime, shape: Any) -> None:
    def app(environ: Any, start: StartResponse) -> Iterable[bytes]:
        session = finish(zdd.sessions.load(environ["zdd.exchange"]))
        if environ["PATH_INFO"] == "/login":
            session.login("ann")
        start("200 OK", [("Content-Type", "text/plain"), ("Vary", "Accept")])
        return [(session.user or "nobody").encode()]

    served = WsgiServiceHalf(shape(app), zdd)
    _, headers, body = ask(served, "/login", "POST")
    cookie = dict(headers)["Set-Cookie"]
    assert cookie.startswith("__Host-zdd_session=")
    assert dict(headers)["Vary"] == "Accept, Cookie"
    assert body == b"ann"
    _, headers, body = ask(served, "/", cookie=cookie.partition(";")[0])
    assert body == b"ann"
    assert "Set-Cookie" not in dict(headers)


def test_what_touches_nothing_asks_nothing(zdd: ZeroDowntime, shape: Any) -> None:
    seen: list[Any] = []

    def app(environ: Any, start: StartResponse) -> Iterable[bytes]:
        seen.append(current_exchange() is environ["zdd.exchange"])
        start("204 No Content", [])
        return []

    served = WsgiServiceHalf(shape(app), zdd)
    ask(served)
    before = zdd.__dict__["tap"].trips
    assert ask(served)[0] == "204 No Content"
    assert zdd.__dict__["tap"].trips == before
    assert seen == [True, True]
    assert current_exchange() is None


def test_our_errors_are_problems(zdd: ZeroDowntime, shape: Any) -> None:
    def app(_environ: Any, _start: StartResponse) -> Iterable[bytes]:
        raise SessionGone("it has ended")

    status, headers, body = ask(WsgiServiceHalf(shape(app), zdd))
    assert dict(headers)["content-type"] == "application/problem+json"
    assert int(status[:3]) == SessionGone.status
    assert b"session-gone" in body


def test_a_login_that_redis_did_not_keep_is_a_503(zdd: ZeroDowntime, shape: Any) -> None:
    def app(environ: Any, start: StartResponse) -> Iterable[bytes]:
        finish(zdd.sessions.load(environ["zdd.exchange"])).login("ann")
        zdd.__dict__["tap"].refuse()
        start("200 OK", [("Content-Type", "text/plain"), ("Access-Control-Allow-Origin", "*")])
        return [b"welcome"]

    status, headers, body = ask(WsgiServiceHalf(shape(app), zdd), method="POST")
    assert status == "503 Service Unavailable"
    assert b"welcome" not in body
    shown = {name.lower(): value for name, value in headers}
    assert shown["access-control-allow-origin"] == "*"
    assert "retry-after" in shown
    assert "set-cookie" not in shown


def test_the_application_s_iterable_is_closed_once(zdd: ZeroDowntime) -> None:
    class Body:
        closed = 0

        def __iter__(self) -> Iterator[bytes]:
            yield b"x"

        def close(self) -> None:
            Body.closed += 1

    def app(_environ: Any, start: StartResponse) -> Iterable[bytes]:
        start("200 OK", [("Content-Type", "text/plain")])
        return Body()

    assert ask(WsgiServiceHalf(app, zdd))[2] == b"x"
    assert Body.closed == 1
