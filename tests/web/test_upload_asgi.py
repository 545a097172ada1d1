"""Bodies on ASGI: what is said of them, and that the application reads exactly what was sent."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import itertools
import os
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zdd_sdk.errors import RequestIncomplete
from zdd_sdk.http import Exchange, current_exchange
from zdd_sdk.http.asgi import Message, Receive
from zdd_sdk.http.body import MAX_KEPT, Content
from zdd_sdk.store import finish
from zdd_sdk.web import ExchangeHalf, InnerHalf
from zdd_sdk.web.upload import UploadReceive

KEY = (b"idempotency-key", b"k")
GONE: Message = {"type": "http.disconnect"}
Handler = Callable[[Exchange, Receive], Awaitable[None]]


class Channel:
    """A server's ``receive``: some chunks, then ``http.disconnect`` for ever; ``broken`` before the last chunk."""

    def __init__(self, *chunks: bytes, broken: bool = False, pause: bool = True) -> None:
        last = len(chunks) - (0 if broken else 1)
        self._messages = iter(
            [{"type": "http.request", "body": chunk, "more_body": at < last} for at, chunk in enumerate(chunks)]
        )
        self._pause = pause
        self.asked = 0

    async def __call__(self) -> Message:
        self.asked += 1
        if self._pause:
            await asyncio.sleep(0)
        return next(self._messages, GONE)


def serve(
    handler: Handler, channel: Channel, *headers: tuple[bytes, bytes], method: str = "POST", layers: int = 1
) -> list[Message]:
    """Run one request whose route is the handler; returns what was sent."""
    sent: list[Message] = []

    async def route(scope: Any, receive: Receive, send: Any) -> None:
        exchange = current_exchange()
        assert exchange is not None
        await handler(exchange, receive)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    async def send(message: Message) -> None:
        sent.append(message)

    app: Any = route
    for _ in range(layers):
        app = InnerHalf(app)
    scope = {"type": "http", "method": method, "path": "/", "headers": list(headers), "scheme": "http"}
    asyncio.run(ExchangeHalf(app, (), lambda: None)(scope, channel, send))  # type: ignore[arg-type]
    return sent


async def read(receive: Receive, most: int = 10**9) -> bytes:
    """Read as an application does; ``most`` messages of it."""
    found = b""
    for _ in range(most):
        message = await receive()
        assert message["type"] == "http.request"
        found += message.get("body", b"")
        if not message.get("more_body"):
            break
    return found


async def whole(exchange: Exchange) -> Content:
    assert exchange.body is not None
    return await exchange.body.whole()


def digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=8), st.integers(0, 9), st.booleans())
def test_read_before_or_after_in_parts_or_as_a_whole(chunks: list[bytes], before: int, pause: bool):
    data = b"".join(chunks)

    async def handler(exchange: Exchange, receive: Receive) -> None:
        part = await read(receive, before)
        assert (await whole(exchange)).digest == digest(data)
        rest = await read(receive) if before < len(chunks) else b""
        assert part + rest == data
        assert await whole(exchange) == await whole(exchange)
        assert await receive() == GONE
        assert await receive() == GONE

    assert serve(handler, Channel(*chunks, pause=pause), KEY)[0]["status"] == 200


def test_a_body_that_nobody_reads_is_not_asked_for():
    async def handler(exchange: Exchange, receive: Receive) -> None:
        assert exchange.body is not None
        assert not exchange.body.complete

    channel = Channel(b"a", b"b")
    serve(handler, channel, KEY)
    assert channel.asked == 0


def test_a_body_that_the_application_has_read_is_not_asked_for_again():
    async def handler(exchange: Exchange, receive: Receive) -> None:
        await read(receive)
        assert exchange.body is not None
        assert exchange.body.complete
        await whole(exchange)

    channel = Channel(b"a", b"b")
    serve(handler, channel, KEY)
    assert channel.asked == 2


def test_without_a_key_nothing_lies_between_the_application_and_the_server():
    channel = Channel(b"a")

    async def handler(exchange: Exchange, receive: Receive) -> None:
        assert exchange.body is None
        assert receive is channel

    serve(handler, channel)


def test_a_request_without_a_body():
    async def handler(exchange: Exchange, receive: Receive) -> None:
        assert (await whole(exchange)).digest == digest(b"")
        assert await receive() == {"type": "http.request", "body": b"", "more_body": False}

    for method in ("GET", "DELETE", "POST"):
        assert serve(handler, Channel(b""), KEY, method=method)[0]["status"] == 200


def test_a_message_may_say_nothing_of_its_body():
    async def handler(exchange: Exchange, receive: Receive) -> None:
        assert (await whole(exchange)).length == 0

    class Bare(Channel):
        async def __call__(self) -> Message:
            return {"type": "http.request"}

    assert serve(handler, Bare(), KEY)[0]["status"] == 200


def large(size: int) -> list[bytes]:
    return [os.urandom(65_536) for _ in range(size // 65_536)]


@pytest.mark.parametrize("before", [0, 3])
def test_beyond_the_cap_it_waits_on_disk_and_nothing_of_it_stays(before: int, monkeypatch: pytest.MonkeyPatch):
    chunks = large(3 * MAX_KEPT)
    data = b"".join(chunks)
    uploads: list[UploadReceive] = []

    async def handler(exchange: Exchange, receive: Receive) -> None:
        assert isinstance(receive, UploadReceive)
        uploads.append(receive)
        part = await read(receive, before)
        found = await whole(exchange)
        assert (found.digest, found.kept, found.length) == (digest(data), None, len(data))
        ahead = receive._ahead
        assert ahead is not None
        assert ahead.on_disk
        file = ahead._file._file  # type: ignore[attr-defined]
        assert file.fileno() > 0
        assert part + await read(receive) == data
        assert file.closed
        assert await receive() == GONE

    serve(handler, Channel(*chunks), (b"content-type", b"application/json"), KEY)
    assert uploads[0]._ahead is None


def test_what_the_application_leaves_unread_is_given_up_with_the_request():
    kept: list[Any] = []

    async def handler(exchange: Exchange, receive: Receive) -> None:
        await whole(exchange)
        kept.append(receive._ahead)  # type: ignore[attr-defined]

    serve(handler, Channel(*large(2 * MAX_KEPT)), KEY)
    assert kept[0]._file.closed


# The client goes


@pytest.mark.parametrize("before", [0, 1])
def test_gone_within_the_body(before: int):
    async def handler(exchange: Exchange, receive: Receive) -> None:
        await read(receive, before)
        for _ in range(2):
            with pytest.raises(RequestIncomplete):
                await whole(exchange)
        found = []
        while (message := await receive())["type"] == "http.request":
            assert message["more_body"], "what is there must not look like all of it"
            found.append(message["body"])
        assert b"".join(found) == b"abcd"[2 * before :]
        assert await receive() == GONE
        await whole(exchange)

    sent = serve(handler, Channel(b"ab", b"cd", broken=True), KEY)
    assert sent[0]["status"] == 400
    assert b"urn:zdd:request-incomplete" in sent[1]["body"]


def test_the_application_hears_that_the_client_has_gone_also_from_a_server_that_says_it_once():
    async def handler(exchange: Exchange, receive: Receive) -> None:
        with pytest.raises(RequestIncomplete):
            await whole(exchange)
        assert (await receive())["body"] == b"ab"
        assert await receive() == GONE

    class Once(Channel):
        async def __call__(self) -> Message:
            message = await super().__call__()
            assert self.asked <= 2
            return message

    assert serve(handler, Once(b"ab", broken=True), KEY)[0]["status"] == 200


def test_gone_after_the_body():
    async def handler(exchange: Exchange, receive: Receive) -> None:
        assert (await whole(exchange)).digest == digest(b"ab")
        assert await read(receive) == b"ab"
        assert await receive() == GONE
        assert (await whole(exchange)).digest == digest(b"ab")

    assert serve(handler, Channel(b"ab"), KEY)[0]["status"] == 200


# Who asks


def test_an_endpoint_in_the_thread_pool():
    """Its flows never suspend: the loop reads for it."""

    async def handler(exchange: Exchange, receive: Receive) -> None:
        assert exchange.body is not None
        found = await asyncio.to_thread(finish, exchange.body.whole())
        assert found.digest == digest(b"abcd")
        assert await read(receive) == b"abcd"

    assert serve(handler, Channel(b"ab", b"cd"), KEY)[0]["status"] == 200


def test_an_endpoint_in_the_thread_pool_whose_client_goes():
    async def handler(exchange: Exchange, receive: Receive) -> None:
        assert exchange.body is not None
        await asyncio.to_thread(finish, exchange.body.whole())

    assert serve(handler, Channel(b"ab", broken=True), KEY)[0]["status"] == 400


def test_of_two_inner_halves_one_looks():
    async def handler(exchange: Exchange, receive: Receive) -> None:
        assert isinstance(receive, UploadReceive)
        assert isinstance(receive._receive, Channel)
        assert (await whole(exchange)).digest == digest(b"abcd")
        assert await read(receive) == b"abcd"

    assert serve(handler, Channel(b"ab", b"cd"), KEY, layers=2)[0]["status"] == 200


def test_starlette_reads_through_it():
    from starlette.requests import ClientDisconnect, Request

    async def handler(exchange: Exchange, receive: Receive) -> None:
        request = Request({"type": "http", "method": "POST", "headers": []}, receive)
        assert (await whole(exchange)).digest == digest(b"abcd")
        assert await request.body() == b"abcd"
        assert await request.is_disconnected()

    assert serve(handler, Channel(b"ab", b"cd", pause=False), KEY)[0]["status"] == 200

    async def cut_off(exchange: Exchange, receive: Receive) -> None:
        with pytest.raises(RequestIncomplete):
            await whole(exchange)
        with pytest.raises(ClientDisconnect):
            await Request({"type": "http", "method": "POST", "headers": []}, receive).body()

    assert serve(cut_off, Channel(b"ab", broken=True), KEY)[0]["status"] == 200


# Multipart


def boundary_cuts() -> Iterator[list[bytes]]:
    data = b"--XyZ\r\n\r\none\r\n--XyZ\r\n\r\ntwo\r\n--XyZ--\r\n"
    for start, end in itertools.combinations(range(len(data)), 2):
        yield [data[:start], data[start:end], data[end:]]


def test_chunks_that_end_within_a_boundary():
    found = set()

    async def handler(exchange: Exchange, receive: Receive) -> None:
        found.add((await whole(exchange)).digest)

    kind = (b"content-type", b"multipart/form-data; boundary=XyZ")
    for chunks in itertools.islice(boundary_cuts(), 0, None, 7):
        serve(handler, Channel(*chunks, pause=False), kind, KEY)
    assert len(found) == 1
    other = [b"--other\r\n\r\none\r\n--oth", b"er\r\n\r\ntwo\r\n--other--\r\n"]
    serve(handler, Channel(*other), (kind[0], b"multipart/form-data; boundary=other"), KEY)
    assert len(found) == 1
    serve(
        handler,
        Channel(*(part.replace(b"two", b"TWO") for part in other)),
        (kind[0], b"multipart/form-data; boundary=other"),
        KEY,
    )
    assert len(found) == 2


def test_control_handlers_that_fail_are_seen():
    async def handler(exchange: Exchange, receive: Receive) -> None:
        assert (await whole(exchange)).digest == digest(b"other")

    assert inspect.iscoroutinefunction(handler)
    with pytest.raises(AssertionError):
        serve(handler, Channel(b"ab"), KEY)
