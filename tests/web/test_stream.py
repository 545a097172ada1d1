"""Streams of events end with the drain: at a boundary, spread, with a retry; on ASGI and on WSGI."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zdd_sdk import ZeroDowntime
from zdd_sdk.lifecycle import Lifecycle
from zdd_sdk.settings import LifecycleSettings
from zdd_sdk.web import WsgiServiceHalf
from zdd_sdk.web.stream import RETRY_LEAST, RETRY_MOST, EventStream, EventStreamHalf, is_event_stream

HEAD = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]}
SCOPE = {"type": "http", "method": "GET", "path": "/events"}
FAREWELL = re.compile(rb"retry: (\d+)\n\n\Z")


def make(directory: Path, lag: float = 0.0) -> Lifecycle:
    settings = LifecycleSettings(drain_lag=lag, linger=0.0, run_dir=str(directory))
    return Lifecycle(settings, service="s", environment="e")


@pytest.mark.parametrize(
    ("headers", "verdict"),
    [
        ([("Content-Type", "text/event-stream")], True),
        ([("content-type", "Text/Event-Stream; charset=utf-8")], True),
        ([("content-type", "text/html")], False),
        ([], False),
        ([("content-type", "text/event-stream"), ("content-length", "12")], False),
        ([("content-encoding", "gzip"), ("content-type", "text/event-stream")], False),
    ],
)
def test_only_endless_streams_of_events_are_ended(headers: list[tuple[str, str]], verdict: bool) -> None:
    assert is_event_stream(headers) is verdict


@given(st.lists(st.text("da:\r\n", max_size=6).map(str.encode), max_size=8), st.booleans())
def test_an_end_is_never_within_an_event(chunks: list[bytes], draining: bool) -> None:
    lifecycle = Lifecycle(LifecycleSettings(drain_lag=0.0, linger=0.0), service="s", environment="e")
    if draining:
        lifecycle.begin_drain("")
    stream, sent = EventStream(lifecycle), b""
    for chunk in chunks:
        sent += chunk
        last = stream.after(chunk)
        between = not sent or sent.endswith((b"\n\n", b"\r\r", b"\r\n\r\n"))
        assert bool(last) == (draining and between)


def test_ends_are_spread_over_the_window_and_retries_over_theirs(tmp_path: Path) -> None:
    lifecycle = make(tmp_path, lag=10.0)
    lifecycle.begin_drain("")
    delays = [EventStream(lifecycle).delay() for _ in range(400)]
    assert min(delays) < 1.0
    assert 9.0 < max(delays) <= 10.0
    assert len({round(delay) for delay in delays}) == 11
    now = [0.0]
    late = EventStream(lifecycle, clock=lambda: now[0])
    assert late.last() == b"" or late.delay() < 0.1
    now[0] = 10.0
    retries = {int(FAREWELL.fullmatch(late.last())[1]) for _ in range(400)}  # type: ignore[index]
    assert min(retries) >= RETRY_LEAST
    assert max(retries) <= RETRY_MOST
    assert len(retries) > 100


class _Run:
    """One ASGI request whose messages are collected."""

    def __init__(self, half: EventStreamHalf) -> None:
        self.messages: list[Any] = []
        self.task = asyncio.ensure_future(half(dict(SCOPE), self._receive, self._send))

    async def _receive(self) -> Any:
        await asyncio.sleep(3600)

    async def _send(self, message: Any) -> None:
        self.messages.append(message)
        await asyncio.sleep(0)

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages)

    async def until(self, body: bytes) -> None:
        async with asyncio.timeout(10):
            while body not in self.body:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


async def _drained(lifecycle: Lifecycle, app: Any, body: bytes = b"") -> _Run:
    """Drain while a stream is open, and wait for its end."""
    run = _Run(EventStreamHalf(app, lifecycle))
    await run.until(body)
    await asyncio.sleep(0.05)
    lifecycle.begin_drain("")
    async with asyncio.timeout(10):
        await run.task
    return run


def streaming(*pieces: bytes, pause: float = 0.01, head: Any = HEAD) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({**head})
        for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        while True:
            await asyncio.sleep(pause)
            await send({"type": "http.response.body", "body": b": ping\n\n", "more_body": True})

    return app


def test_a_chatty_stream_ends_between_two_events(tmp_path: Path) -> None:
    run = asyncio.run(_drained(make(tmp_path), streaming(b"data: 1\n", b"\n"), b"data: 1"))
    assert FAREWELL.search(run.body)
    assert run.messages[-1]["more_body"] is False
    assert [message.get("more_body") for message in run.messages[1:-1]].count(False) == 0


def test_a_silent_stream_ends_and_its_handler_is_cancelled(tmp_path: Path) -> None:
    ended: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({**HEAD})
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append("cleaned up")

    run = asyncio.run(_drained(make(tmp_path), app))
    assert FAREWELL.fullmatch(run.body)
    assert ended == ["cleaned up"]


def test_within_an_event_it_waits_for_its_end(tmp_path: Path) -> None:
    finish = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({**HEAD})
        await send({"type": "http.response.body", "body": b"data: half", "more_body": True})
        await finish.wait()
        await send({"type": "http.response.body", "body": b" whole\n\n", "more_body": True})
        await asyncio.sleep(3600)

    async def play() -> _Run:
        lifecycle = make(tmp_path)
        run = _Run(EventStreamHalf(app, lifecycle))
        await run.until(b"half")
        lifecycle.begin_drain("")
        await asyncio.sleep(0.3)
        assert run.body == b"data: half"
        finish.set()
        async with asyncio.timeout(10):
            await run.task
        return run

    assert re.fullmatch(rb"data: half whole\n\nretry: \d+\n\n", asyncio.run(play()).body)


def test_a_stream_that_begins_while_draining_ends_too(tmp_path: Path) -> None:
    async def play() -> _Run:
        lifecycle = make(tmp_path)
        lifecycle.begin_drain("")
        run = _Run(EventStreamHalf(streaming(), lifecycle))
        async with asyncio.timeout(10):
            await run.task
        return run

    assert FAREWELL.search(asyncio.run(play()).body)


def test_other_answers_and_a_cancelled_request_are_left_alone(tmp_path: Path) -> None:
    async def play(head: Any) -> _Run:
        lifecycle = make(tmp_path)
        run = _Run(EventStreamHalf(streaming(b"data: 1\n\n", head=head), lifecycle))
        await run.until(b"data")
        if head is not HEAD:
            lifecycle.begin_drain("")
            await asyncio.sleep(0.2)
        run.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run.task
        return run

    plain = {**HEAD, "headers": [(b"content-type", b"text/plain")]}
    assert b"retry" not in asyncio.run(play(plain)).body
    assert b"retry" not in asyncio.run(play(HEAD)).body


def test_an_error_of_the_handler_is_raised_as_ever(tmp_path: Path) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({**HEAD})
        message = "the handler's own"
        raise RuntimeError(message)

    async def play() -> None:
        await _Run(EventStreamHalf(app, make(tmp_path))).task

    with pytest.raises(RuntimeError, match="the handler's own"):
        asyncio.run(play())


def test_a_stream_that_ends_by_itself_gets_nothing_added(tmp_path: Path) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({**HEAD})
        await send({"type": "http.response.body", "body": b"data: last\n\n", "more_body": False})
        await asyncio.sleep(0.3)

    run = asyncio.run(_drained(make(tmp_path), app, b"last"))
    assert run.body == b"data: last\n\n"


def _events(closed: list[str]) -> Iterator[bytes]:
    try:
        while True:
            yield b"data: 1\n"
            yield b"\n"
    finally:
        closed.append("closed")


def test_on_wsgi_a_stream_ends_at_its_next_event_and_is_closed(tmp_path: Path) -> None:
    closed: list[str] = []

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/event-stream")])
        return _events(closed)

    lifecycle = {"run_dir": str(tmp_path), "drain_lag": 0.0, "linger": 0.0}
    zdd = ZeroDowntime("s", redis_url="off", sessions={"enabled": False}, fleet={"enabled": False}, lifecycle=lifecycle)
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/"}
    try:
        body: Any = WsgiServiceHalf(app, zdd)(environ, lambda *_: lambda _: None)
        pieces = iter(body)
        assert [next(pieces) for _ in range(5)] == [b"data: 1\n", b"\n", b"data: 1\n", b"\n", b"data: 1\n"]
        zdd.lifecycle.begin_drain("")
        rest = list(pieces)
        body.close()
    finally:
        zdd.lifecycle.stop()
    assert rest[0] == b"\n"
    assert FAREWELL.fullmatch(rest[1])
    assert (len(rest), closed) == (2, ["closed"])
