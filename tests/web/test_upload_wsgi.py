"""Bodies on WSGI: what is said of them, that the application reads exactly what was sent, and nothing beyond."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from typing import Any
from wsgiref.validate import validator

import flask
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.web.test_wsgi import environment
from zdd_sdk import ZeroDowntime
from zdd_sdk.errors import RequestIncomplete
from zdd_sdk.http import Exchange, current_exchange
from zdd_sdk.http.body import MAX_KEPT, Content
from zdd_sdk.store import finish
from zdd_sdk.web import WsgiServiceHalf, environ_exchange
from zdd_sdk.web.upload import watch_input

NEXT = b"GET / HTTP/1.1\r\n\r\n"
"""What lies on the connection behind the body."""


class Socket:
    """A server's ``wsgi.input``: a kept-alive connection, on which a read too many would wait for ever."""

    def __init__(self, data: bytes, *, most: int = 10**9) -> None:
        self._file = io.BytesIO(data + NEXT)
        self._most = most
        self.taken = 0

    def read(self, size: int) -> bytes:
        assert size > 0
        chunk = self._file.read(min(size, self._most))
        self.taken += len(chunk)
        return chunk


class Chunked:
    """A server's ``wsgi.input`` of a chunked body: it ends itself."""

    def __init__(self, *chunks: bytes) -> None:
        self._chunks = list(chunks)

    def read(self, size: int) -> bytes:
        while self._chunks and not self._chunks[0]:
            self._chunks.pop(0)
        if not self._chunks:
            return b""
        chunk, self._chunks[0] = self._chunks[0][:size], self._chunks[0][size:]
        return chunk


def opened(source: Any, **environ: Any) -> tuple[Exchange, dict[str, Any]]:
    found = {**environment("/", "POST", idempotency_key="k"), "wsgi.input": source, **environ}
    exchange = environ_exchange(found, None)
    watch_input(exchange, found)
    return exchange, found


def whole(exchange: Exchange) -> Content:
    assert exchange.body is not None
    return finish(exchange.body.whole())


def digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def into(file: Any) -> bytes:
    buffer = bytearray(5)
    return bytes(buffer[: file.readinto(buffer)])


READS: dict[str, Callable[[Any], bytes]] = {
    "read": lambda file: file.read(),
    "read 3": lambda file: file.read(3),
    "readline": lambda file: file.readline(),
    "readline 4": lambda file: file.readline(4),
    "readlines": lambda file: b"".join(file.readlines(5)),
    "iterate": lambda file: next(iter(file), b""),
    "readinto": into,
}


@given(
    st.binary(max_size=60) | st.from_regex(rb"([ab]{0,5}\n){0,8}", fullmatch=True),
    st.lists(st.sampled_from([*READS, "whole"]), max_size=8),
    st.integers(1, 9),
)
def test_however_it_is_read(data: bytes, reads: list[str], most: int):
    for source, environ in (
        (Socket(data, most=most), {"CONTENT_LENGTH": str(len(data))}),
        (Chunked(*(data[at : at + most] for at in range(0, len(data), most))), {"wsgi.input_terminated": True}),
    ):
        exchange, found = opened(source, **environ)
        file, taken = found["wsgi.input"], b""
        for how in reads:
            if how == "whole":
                assert whole(exchange).digest == digest(data)
            else:
                taken += READS[how](file)
        assert taken + file.read() == data
        assert file.read() == file.readline() == b""
        assert whole(exchange).digest == digest(data)
        if isinstance(source, Socket):
            assert source.taken == len(data), "the next request on the connection is not touched"


def test_a_body_that_nobody_reads_is_not_asked_for():
    source = Socket(b"abc")
    exchange, _ = opened(source, CONTENT_LENGTH="3")
    assert exchange.body is not None
    assert not exchange.body.complete
    assert source.taken == 0


def test_without_a_key_the_input_is_the_servers():
    source = Socket(b"abc")
    found = {**environment("/", "POST"), "wsgi.input": source, "CONTENT_LENGTH": "3"}
    exchange = environ_exchange(found, None)
    watch_input(exchange, found)
    assert exchange.body is None
    assert found["wsgi.input"] is source


@pytest.mark.parametrize("length", ["", "0", "-1", "x", None])
def test_no_length_is_no_body(length: str | None):
    source = Socket(b"abc")
    exchange, found = opened(source, **({} if length is None else {"CONTENT_LENGTH": length}))
    assert whole(exchange).digest == digest(b"")
    assert found["wsgi.input"].read() == b""
    assert source.taken == 0


def test_a_length_counts_also_where_the_server_ends_the_body():
    exchange, found = opened(Socket(b"abc"), CONTENT_LENGTH="3", **{"wsgi.input_terminated": True})
    assert found["wsgi.input"].read() == b"abc"
    assert whole(exchange).digest == digest(b"abc")


@pytest.mark.parametrize("before", [0, 4])
def test_gone_within_the_body(before: int):
    exchange, found = opened(io.BytesIO(b"abcdef"), CONTENT_LENGTH="10")
    file = found["wsgi.input"]
    part = file.read(before)
    for _ in range(2):
        with pytest.raises(RequestIncomplete):
            whole(exchange)
    assert b"abcdef".startswith(part + file.read())


def test_gone_while_the_application_reads():
    exchange, found = opened(io.BytesIO(b"abcdef"), CONTENT_LENGTH="10")
    assert found["wsgi.input"].read() == b"abcdef"
    with pytest.raises(RequestIncomplete):
        whole(exchange)


def test_beyond_the_cap():
    data = bytes(range(256)) * (3 * MAX_KEPT // 256)
    exchange, found = opened(Socket(data), CONTENT_LENGTH=str(len(data)), CONTENT_TYPE="application/json")
    content = whole(exchange)
    assert (content.digest, content.kept, content.length) == (digest(data), None, len(data))
    file = found["wsgi.input"]
    assert file.read() == data
    spooled = file.raw._ahead._file
    file.close()
    assert spooled.closed


def test_closing_leaves_the_servers_input_open():
    source = io.BytesIO(b"abc")
    _, found = opened(source, CONTENT_LENGTH="3")
    found["wsgi.input"].close()
    assert source.read() == b"abc"


# In the service, and under a framework


@pytest.fixture
def zdd() -> Iterator[ZeroDowntime]:
    built = ZeroDowntime("test", redis_url=None, secret="s" * 32, fleet={"enabled": False})
    yield built
    built.lifecycle.stop()


def ask(app: Any, data: bytes, **environ: Any) -> tuple[str, bytes]:
    found = {**environment("/", "POST", idempotency_key="k"), "wsgi.input": io.BytesIO(data + NEXT), **environ}
    begun: list[str] = []

    def start(status: str, headers: Any, exc_info: Any = None) -> Any:
        begun.append(status)
        return lambda _: None

    body = validator(app)(found, start)
    try:
        return begun[0], b"".join(body)
    finally:
        body.close()  # type: ignore[attr-defined]


def form(boundary: str, amount: bytes) -> dict[str, Any]:
    part = b'--%b\r\nContent-Disposition: form-data; name="amount"\r\n\r\n%b\r\n' % (boundary.encode(), amount)
    data = part + b"--%b--\r\n" % boundary.encode()
    return {"data": data, "CONTENT_LENGTH": str(len(data)), "CONTENT_TYPE": f"multipart/form-data; boundary={boundary}"}


@pytest.fixture
def uploads(zdd: ZeroDowntime) -> Callable[..., tuple[str, bytes]]:
    """Ask a Flask view that reads its form before, or after, its content is asked for."""
    app = flask.Flask("uploads")

    @app.post("/")
    def upload() -> str:
        exchange = current_exchange()
        assert exchange is not None
        if "first" in flask.request.args:
            return f"{flask.request.form['amount']} {whole(exchange).digest.hex()}"
        found = whole(exchange).digest.hex()
        return f"{flask.request.form['amount']} {found}"

    return lambda **request: ask(WsgiServiceHalf(app, zdd), **request)


def test_flask_reads_its_forms_through_it(uploads: Callable[..., tuple[str, bytes]]):
    answers = [
        uploads(**form("drawn", b"10")),
        uploads(**form("drawn", b"10"), QUERY_STRING="first"),
        uploads(**form("drawn-again", b"10")),
        uploads(**form("drawn-again", b"10"), QUERY_STRING="first"),
    ]
    assert {status for status, _ in answers} == {"200 OK"}
    assert len({body for _, body in answers}) == 1
    assert answers[0][1].startswith(b"10 ")
    assert uploads(**form("drawn", b"11"))[1].split()[1] != answers[0][1].split()[1]


def test_a_client_that_goes_is_no_fault_of_the_server(zdd: ZeroDowntime):
    def app(environ: Any, start: Any) -> Any:
        exchange = current_exchange()
        assert exchange is not None
        whole(exchange)
        raise AssertionError

    status, body = ask(WsgiServiceHalf(app, zdd), b"ab", CONTENT_LENGTH="1000")
    assert status == "400 Bad Request"
    assert b"urn:zdd:request-incomplete" in body
