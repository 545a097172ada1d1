"""The exchange on WSGI: opened, left before the first byte, and answered with a problem where we raise."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication
from wsgiref.util import FileWrapper
from wsgiref.validate import validator

import greenlet
import pytest

from zdd_sdk import ZeroDowntime
from zdd_sdk.errors import SessionGone, SessionUnavailable
from zdd_sdk.http import current_exchange
from zdd_sdk.lifecycle import State
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


def environment(path: str = "/", method: str = "GET", **headers: str) -> dict[str, Any]:
    return {
        "REQUEST_METHOD": method, "PATH_INFO": path, "SCRIPT_NAME": "", "QUERY_STRING": "", "SERVER_NAME": "shop.test",
        "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1", "wsgi.version": (1, 0), "wsgi.url_scheme": "https",
        "wsgi.input": io.BytesIO(), "wsgi.errors": io.StringIO(), "wsgi.multithread": True,
        "wsgi.multiprocess": False, "wsgi.run_once": False, "HTTP_HOST": "shop.test",
        **{f"HTTP_{name.upper()}": value for name, value in headers.items()},
    }  # fmt: skip


def ask(app: WSGIApplication, path: str = "/", method: str = "GET", **headers: str) -> tuple[str, Any, bytes]:
    environ = environment(path, method, **headers)
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
    assert dict(headers)["Content-Type"] == "application/problem+json"
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


class Server:
    """What PEP 3333 asks of a server: one head, sent with the first byte, until then replaced only with exc_info."""

    def __init__(self) -> None:
        self.heads: list[tuple[str, list[tuple[str, str]]]] = []
        self.sent = b""
        self.head_out = False

    def start(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], None]:
        if exc_info is not None and self.head_out:
            raise exc_info[1].with_traceback(exc_info[2])
        assert exc_info is not None or not self.heads, "start_response was called twice"
        self.heads.append((status, headers))
        return self.write

    def write(self, data: bytes) -> None:
        self.head_out |= bool(data)
        self.sent += data

    def serve(self, app: WSGIApplication, **environ: str) -> Server:
        body = app(environment(**environ), self.start)
        try:
            for chunk in body:
                self.write(chunk)
        finally:
            getattr(body, "close", lambda: None)()
        return self

    @property
    def status(self) -> str:
        return self.heads[-1][0]

    @property
    def headers(self) -> dict[str, str]:
        return dict(self.heads[-1][1])


def failing(error: Exception) -> tuple[Any, Any, Any]:
    try:
        raise error  # noqa: TRY301
    except Exception:  # noqa: BLE001
        return sys.exc_info()


def test_an_application_may_replace_its_head_with_exc_info_and_keeps_the_cookie(zdd: ZeroDowntime) -> None:
    def app(environ: Any, start: StartResponse) -> Iterable[bytes]:
        finish(zdd.sessions.load(environ["zdd.exchange"])).login("ann")
        start("200 OK", [("Content-Type", "text/plain")])
        start("400 Bad Request", [("Content-Type", "text/plain")], failing(ValueError("late")))
        return [b"sorry"]

    server = Server().serve(WsgiServiceHalf(app, zdd), method="POST")
    assert (server.status, server.sent) == ("400 Bad Request", b"sorry")
    assert server.headers["Set-Cookie"].startswith("__Host-zdd_session=")


def test_a_replaced_answer_stays_replaced_when_the_application_starts_again(zdd: ZeroDowntime) -> None:
    def app(environ: Any, start: StartResponse) -> Iterable[bytes]:
        finish(zdd.sessions.load(environ["zdd.exchange"])).login("ann")
        zdd.__dict__["tap"].refuse()
        write = start("200 OK", [("Content-Type", "text/plain")])
        write(b"welcome")
        start("500 Internal Server Error", [], failing(ValueError("late")))
        return [b"sorry"]

    server = Server().serve(WsgiServiceHalf(app, zdd), method="POST")
    assert {status for status, _ in server.heads} == {"503 Service Unavailable"}
    assert b"welcome" not in server.sent
    assert b"sorry" not in server.sent
    assert b"session-unavailable" in server.sent


def test_what_is_written_goes_out_before_what_is_returned(zdd: ZeroDowntime, shape: Any) -> None:
    def app(environ: Any, start: StartResponse) -> Iterable[bytes]:
        finish(zdd.sessions.load(environ["zdd.exchange"]))["x"] = 1
        write = start("200 OK", [("Content-Type", "text/plain")])
        write(b"first ")
        return [b"second"]

    server = Server().serve(WsgiServiceHalf(shape(app), zdd))
    assert server.sent == b"first second"
    assert "Set-Cookie" in server.headers


def test_our_error_after_the_head_and_before_the_first_byte_is_still_a_problem(zdd: ZeroDowntime, shape: Any) -> None:
    def app(_environ: Any, start: StartResponse) -> Iterable[bytes]:
        start("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
        raise SessionUnavailable("away")

    server = Server().serve(WsgiServiceHalf(shape(app), zdd))
    assert server.status == "503 Service Unavailable"
    assert int(server.headers["Content-Length"]) == len(server.sent)


def test_our_error_after_the_first_byte_reaches_the_server(zdd: ZeroDowntime) -> None:
    def app(_environ: Any, start: StartResponse) -> Iterable[bytes]:
        start("200 OK", [("Content-Type", "text/plain")])
        yield b"first"
        raise SessionUnavailable("half way")

    server = Server()
    with pytest.raises(SessionUnavailable, match="half way"):
        server.serve(WsgiServiceHalf(app, zdd))
    assert (server.status, server.sent) == ("200 OK", b"first")


def test_an_error_of_the_application_passes_through(zdd: ZeroDowntime, shape: Any) -> None:
    def app(_environ: Any, _start: StartResponse) -> Iterable[bytes]:
        raise LookupError("theirs")

    with pytest.raises(LookupError):
        Server().serve(WsgiServiceHalf(shape(app), zdd))


def test_head_has_no_body_of_ours(zdd: ZeroDowntime, shape: Any) -> None:
    def app(_environ: Any, _start: StartResponse) -> Iterable[bytes]:
        raise SessionGone("it has ended")

    server = Server().serve(WsgiServiceHalf(shape(app), zdd), method="HEAD")
    assert server.sent == b""
    assert int(server.headers["Content-Length"]) > 0


def test_a_file_stays_what_the_server_knows_how_to_send(zdd: ZeroDowntime) -> None:
    def app(environ: Any, start: StartResponse) -> Iterable[bytes]:
        start("200 OK", [("Content-Type", "text/plain")])
        return environ["wsgi.file_wrapper"](io.BytesIO(b"file"))  # type: ignore[no-any-return]

    environ = {**environment(), "wsgi.file_wrapper": FileWrapper}
    body = WsgiServiceHalf(app, zdd)(environ, Server().start)
    assert type(body) is FileWrapper


def test_a_body_of_known_length_keeps_it_and_one_without_gets_none(zdd: ZeroDowntime) -> None:
    class Sized:
        def __len__(self) -> int:
            return 1

        def __iter__(self) -> Iterator[bytes]:
            return iter([b"x"])

    def app(environ: Any, start: StartResponse) -> Any:
        start("200 OK", [("Content-Type", "text/plain")])
        return Sized() if environ["PATH_INFO"] == "/sized" else iter([b"x"])

    half = WsgiServiceHalf(app, zdd)
    assert len(half(environment("/sized"), Server().start)) == 1  # type: ignore[arg-type]
    assert not hasattr(half(environment(), Server().start), "__len__")


def test_the_exchange_is_current_while_a_body_is_made_and_closed_and_never_elsewhere(zdd: ZeroDowntime) -> None:
    seen: list[Any] = []

    class Body:
        def __iter__(self) -> Iterator[bytes]:
            for _ in range(2):
                seen.append(current_exchange())
                yield b"x"

        def close(self) -> None:
            seen.append(current_exchange())

    def app(environ: Any, start: StartResponse) -> Iterable[bytes]:
        seen.append(environ["zdd.exchange"])
        start("200 OK", [("Content-Type", "text/plain")])
        return Body()

    body = WsgiServiceHalf(app, zdd)(environment(), Server().start)
    chunks = iter(body)
    # A server may take each chunk in another thread, in a context of its own.
    with ThreadPoolExecutor(1) as other:
        received = [next(chunks), other.submit(next, chunks).result()]
        other.submit(body.close).result()  # type: ignore[attr-defined]
    assert received == [b"x", b"x"]
    assert len(seen) == 4
    assert set(map(id, seen)) == {id(seen[0])}
    assert current_exchange() is None


def test_greenlets_have_each_their_own_exchange(zdd: ZeroDowntime) -> None:
    """Two requests whose bodies are made in turns in one thread, as under gevent."""
    seen: dict[str, list[Any]] = {"/a": [], "/b": []}

    def app(environ: Any, start: StartResponse) -> Iterable[bytes]:
        start("200 OK", [("Content-Type", "text/plain")])
        for _ in range(3):
            greenlet.getcurrent().parent.switch()
            exchange = current_exchange()
            seen[environ["PATH_INFO"]].append(exchange and exchange.path)
            yield b"x"

    half = WsgiServiceHalf(app, zdd)
    requests = [greenlet.greenlet(lambda path=path: Server().serve(half, path=path)) for path in seen]
    while any(not request.dead for request in requests):
        for request in requests:
            if not request.dead:
                request.switch()
    assert seen == {"/a": ["/a"] * 3, "/b": ["/b"] * 3}


def test_what_waits_for_the_commit_is_called_before_the_leave(zdd: ZeroDowntime) -> None:
    order: list[str] = []

    def app(environ: Any, start: StartResponse) -> Iterable[bytes]:
        exchange = environ["zdd.exchange"]
        exchange.after_commit(lambda: order.append(f"committed, status {exchange.status}"))
        order.append("handled")
        start("200 OK", [("Content-Type", "text/plain")])
        order.append("started")
        return [b"x"]

    ask(WsgiServiceHalf(app, zdd))
    assert order == ["handled", "committed, status 200", "started"]


def test_a_service_within_another_has_an_exchange_of_its_own_and_drains_with_it(zdd: ZeroDowntime) -> None:
    inner = ZeroDowntime("inner", redis_url="off", secret="s" * 32, fleet={"enabled": False})
    seen: list[Any] = []

    def inmost(environ: Any, start: StartResponse) -> Iterable[bytes]:
        seen.append((environ["zdd"], environ["zdd.exchange"]))
        start("204 No Content", [])
        return []

    def outer(environ: Any, start: StartResponse) -> Iterable[bytes]:
        exchange = environ["zdd.exchange"]
        answer = WsgiServiceHalf(WsgiServiceHalf(inmost, inner), inner)(environ, start)
        seen.append((environ["zdd"], environ["zdd.exchange"] is exchange))
        return answer

    ask(WsgiServiceHalf(outer, zdd))
    assert [seen[0][0], seen[1]] == [inner, (zdd, True)]
    zdd.lifecycle.begin_drain("test")
    assert inner.lifecycle.draining
    zdd.lifecycle.stop()
    assert inner.lifecycle.state is State.STOPPING
