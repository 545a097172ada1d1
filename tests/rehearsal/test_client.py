"""The raw client reports what happened to its connection, and mends nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from zdd_sdk.rehearsal.client import Broken, Line, fetch

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def answering(*answers: bytes) -> Serve:
    """Answer one request with each of these, then close."""

    async def serve(reader, writer) -> None:
        for answer in answers:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()

    return serve


def play(serve: Serve, client: Callable[[int], Awaitable[None]]) -> None:
    async def attend(reader, writer) -> None:
        try:
            await serve(reader, writer)
        finally:
            writer.close()

    async def both() -> None:
        server = await asyncio.start_server(attend, "127.0.0.1", 0)
        try:
            await asyncio.wait_for(client(server.sockets[0].getsockname()[1]), 10)
        finally:
            server.close()

    asyncio.run(both())


async def ask(line: Line) -> bytes:
    return (await line.exchange("GET", "/", [("Host", "x")], b"")).body


def breaks_with(serve: Serve, kind: str) -> None:
    async def client(port: int) -> None:
        line = Line("127.0.0.1", port)
        await line.connect()
        with pytest.raises(Broken) as caught:
            await ask(line)
        assert caught.value.kind == kind
        line.close()

    play(serve, client)


def test_a_connection_carries_several_requests() -> None:
    async def client(port: int) -> None:
        line = Line("127.0.0.1", port)
        await line.connect()
        assert [await ask(line), await ask(line)] == [b"ok", b"ok"]
        assert line.open
        line.close()

    play(answering(OK, OK, OK), client)


def test_it_obeys_connection_close() -> None:
    async def client(port: int) -> None:
        line = Line("127.0.0.1", port)
        await line.connect()
        assert await ask(line) == b"ok"
        assert not line.open

    play(answering(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)), client)


def test_a_connection_closed_behind_its_back_is_a_reset_and_not_mended() -> None:
    async def client(port: int) -> None:
        line = Line("127.0.0.1", port)
        await line.connect()
        await ask(line)
        await asyncio.sleep(0.05)
        assert line.open
        with pytest.raises(Broken, match="reset"):
            await ask(line)
        line.close()

    play(answering(OK), client)


def test_an_end_of_file_before_the_answer_is_a_reset() -> None:
    breaks_with(answering(b""), "reset")


def test_half_an_answer_is_a_reset() -> None:
    breaks_with(answering(OK[:-1]), "reset")
    breaks_with(answering(OK[:9]), "reset")


def test_what_is_not_http_is_a_protocol_failure() -> None:
    breaks_with(answering(b"SSH-2.0-nope\r\n\r\n"), "protocol")


def test_nobody_listening_is_refused() -> None:
    async def client(port: int) -> None:
        with pytest.raises(Broken, match="refused"):
            await fetch("127.0.0.1", 1, "/")

    play(answering(OK), client)


def test_silence_is_a_timeout() -> None:
    async def silent(reader, writer) -> None:
        await reader.read()

    async def client(port: int) -> None:
        with pytest.raises(Broken, match="timeout"):
            await fetch("127.0.0.1", port, "/", timeout=0.1)

    play(silent, client)


def test_informational_answers_are_passed_over_and_headers_kept() -> None:
    async def client(port: int) -> None:
        found = await fetch("127.0.0.1", port, "/")
        assert (found.status, found.values("set-cookie")) == (204, ["a=1", "b=2"])

    early = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    play(answering(early + b"HTTP/1.1 204 No Content\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\n"), client)


EVENTS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\ndata:\r\n"


def streaming(end: bytes | None) -> Serve:
    """Begin a stream and end it with these bytes, or never."""

    async def serve(reader, writer) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(EVENTS + (end or b""))
        if end is None:
            await reader.read()

    return serve


@pytest.mark.parametrize("end", [b"0\r\n\r\n", None], ids=["the server ends it", "our patience does"])
def test_a_stream_is_heard_until_it_ends_or_our_patience_does(end: bytes | None) -> None:
    async def client(port: int) -> None:
        line = Line("127.0.0.1", port)
        await line.connect()
        found = await line.exchange("GET", "/", [("Host", "x")], b"", patience=0.3 if end is None else 5.0)
        assert (found.status, found.body) == (200, b"data:")
        assert line.open == (end is not None)
        line.close()

    play(streaming(end), client)


@pytest.mark.parametrize("when", [0.0, 0.3], ids=["before it begins", "later"])
def test_who_hangs_up_has_heard_what_came_until_then(when: float) -> None:
    async def client(port: int) -> None:
        line = Line("127.0.0.1", port)
        await line.connect()
        asyncio.get_running_loop().call_later(when, line.hang_up)
        found = await line.exchange("GET", "/", [("Host", "x")], b"", patience=9.0)
        line.hang_up()
        assert found.status == 200
        assert not line.open

    play(streaming(None), client)


def test_hanging_up_does_not_cut_an_answer_that_ends_by_itself() -> None:
    async def client(port: int) -> None:
        line = Line("127.0.0.1", port)
        await line.connect()
        line.hang_up()
        assert await ask(line) == b"ok"
        line.close()

    play(answering(OK), client)


def test_a_stream_that_breaks_off_is_a_reset() -> None:
    async def client(port: int) -> None:
        line = Line("127.0.0.1", port)
        await line.connect()
        with pytest.raises(Broken, match="reset"):
            await line.exchange("GET", "/", [("Host", "x")], b"", patience=5.0)
        line.close()

    play(streaming(b""), client)


def test_a_stream_that_never_begins_is_a_timeout() -> None:
    async def silent(reader, writer) -> None:
        await reader.read()

    async def client(port: int) -> None:
        line = Line("127.0.0.1", port)
        await line.connect()
        with pytest.raises(Broken, match="timeout"):
            await line.exchange("GET", "/", [("Host", "x")], b"", patience=0.1)
        line.close()

    play(silent, client)
