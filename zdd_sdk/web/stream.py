"""Server-sent events: a drain ends each stream between two events, spread out, so that clients reconnect elsewhere.

A browser's EventSource whose answer ends reconnects by itself, after the time the last ``retry:`` named. Cutting all
streams at the end of the drain would bring all clients back at once, and cut events in two; so each gets a moment of
its own in the drain window (`Lifecycle.websocket_delay`, as WebSockets do) and a ``retry:`` of its own.
Source: HTML Standard, 9.2 "Server-sent events".
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterable
from typing import Any

from zdd_sdk.http.asgi import AsgiApp, Message, Receive, Scope, Send
from zdd_sdk.lifecycle import Lifecycle

__all__ = ["EventStream", "EventStreamHalf", "is_event_stream"]

RETRY_LEAST = 500
RETRY_MOST = 2500
"""Milliseconds before a client comes back: a `retry:` lasts as long as the EventSource, so no extremes."""

PATIENCE = 1.0
"""Seconds an application gets to notice that its stream has ended, before its request is cancelled."""

_EARLY = 0.05
"""Seconds a timer may be early by another clock."""

_BLANK_LINES = (b"\n\n", b"\r\r", b"\r\n\r\n")

_log = logging.getLogger("zdd.web")


def is_event_stream(headers: Iterable[tuple[str, str]]) -> bool:
    """Whether an answer with these headers is a stream of events that we may write into: endless, and not encoded."""
    kind = False
    for name, value in headers:
        match name.lower():
            case "content-type":
                kind = value.partition(";")[0].strip().lower() == "text/event-stream"
            case "content-length" | "content-encoding":
                return False
    return kind


class EventStream:
    """One stream of events: whether it stands between two of them, and when it is over.

    Args:
        lifecycle: says whether we drain, and how ends are spread.
        clock: monotonic.
    """

    def __init__(self, lifecycle: Lifecycle, clock: Callable[[], float] = time.monotonic) -> None:
        self._lifecycle = lifecycle
        self._clock = clock
        self._tail = b""
        self._end_at: float | None = None

    def passed(self, chunk: bytes) -> None:
        """Note what has been sent."""
        self._tail = (self._tail + chunk)[-4:]

    def after(self, chunk: bytes) -> bytes:
        """Note what has been sent and return the bytes to end it with now, if it is time."""
        self.passed(chunk)
        return self.last()

    def delay(self) -> float:
        """Seconds until it is to end; while draining."""
        if self._end_at is None:
            self._end_at = self._clock() + self._lifecycle.websocket_delay()
        return max(0.0, self._end_at - self._clock())

    def last(self) -> bytes:
        """Return the bytes to end it with now; empty while it goes on: no drain, not its time, or within an event."""
        between = not self._tail or self._tail.endswith(_BLANK_LINES)
        if not self._lifecycle.draining or not between or self.delay() > _EARLY:
            return b""
        return b"retry: %d\n\n" % random.randint(RETRY_LEAST, RETRY_MOST)  # noqa: S311 - spread, not secret


class EventStreamHalf:
    """Lies around an ASGI application's HTTP; streams of events end with the drain, anything else passes.

    Args:
        app: the application below.
        lifecycle: whose drain counts.
    """

    def __init__(self, app: AsgiApp, lifecycle: Lifecycle) -> None:
        self.app = app
        self.lifecycle = lifecycle
        self._open: set[_Answer] = set()
        lifecycle.on_drain(self._drain)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one HTTP request."""
        answer = _Answer(self, send)
        try:
            await self.app(scope, receive, answer)
        except asyncio.CancelledError:
            if not answer.cancelled():
                raise
        except Exception as error:
            if not answer.over:
                raise
            _log.debug("%s ended with %r after its stream of events was over", scope["path"], error)
        finally:
            if answer.stream is not None:
                self._open.discard(answer)
                await answer.settle()

    def opened(self, answer: _Answer) -> None:
        """Note a stream of events."""
        self._open.add(answer)
        if self.lifecycle.draining:
            answer.schedule()

    def _drain(self) -> None:
        for answer in tuple(self._open):
            try:
                answer.loop.call_soon_threadsafe(answer.schedule)
            except RuntimeError:  # its loop is closed, and the stream with it
                self._open.discard(answer)


class _Answer:
    """The ``send`` of one request.

    Attributes:
        stream: what it sends, if those are events.
        over: we have ended that stream.
        loop: of the stream.
    """

    over = False
    loop: asyncio.AbstractEventLoop
    stream: EventStream | None = None
    _task: asyncio.Task[Any] | None = None
    _timer: asyncio.TimerHandle | None = None
    _ending: asyncio.Task[None] | None = None
    _busy = False
    _cancelled = False

    def __init__(self, half: EventStreamHalf, send: Send) -> None:
        self._half = half
        self._send = send

    async def __call__(self, message: Message) -> None:
        if self.stream is not None:
            await self._pass(self.stream, message)
            return
        if message["type"] == "http.response.start":
            for _, value in message.get("headers", ()):
                if b"event-stream" in value:
                    self._begin(message["headers"])
        await self._send(message)

    def _begin(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        if is_event_stream([(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]):
            self.loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
            self.stream = EventStream(self._half.lifecycle)
            self._half.opened(self)

    async def _pass(self, stream: EventStream, message: Message) -> None:
        """Pass a piece on.

        Raises:
            OSError: the drain has ended the stream (what ASGI prescribes for a client that is gone).
        """
        if self.over:
            error = "this stream of events has ended: the instance is draining"
            raise OSError(error)
        self._busy = True
        await self._send(message)
        self._busy = not message.get("more_body")
        stream.passed(message.get("body", b""))
        await self._end()

    def schedule(self) -> None:
        """End the stream when its moment has come; called on the loop, while draining."""
        if self._timer is None and self.stream is not None:
            self._timer = self.loop.call_later(self.stream.delay(), self._wake)

    def _wake(self) -> None:
        self._ending = self.loop.create_task(self._end())

    async def _end(self) -> None:
        """End the stream, if it is time and it stands between two events; else its next piece tries again."""
        last = b"" if self._busy or self.over or self.stream is None else self.stream.last()
        if last:
            self.over = True
            await self._send({"type": "http.response.body", "body": last, "more_body": False})
            self._timer = self.loop.call_later(PATIENCE, self._cancel)

    def _cancel(self) -> None:
        if self._task is not None:
            self._cancelled = self._task.cancel()

    def cancelled(self) -> bool:
        """Whether a cancellation is ours, and ours alone; it is taken back then."""
        return self._cancelled and self._task is not None and not self._task.uncancel()

    async def settle(self) -> None:
        """Wait until an end of ours is out: a request that ends first takes the connection with it."""
        if self._timer is not None:
            self._timer.cancel()
        if self._ending is not None:
            await asyncio.wait({self._ending})
            if (error := self._ending.exception()) is not None:
                _log.debug("a stream of events was gone before it could be ended: %r", error)
        if self._timer is not None:
            self._timer.cancel()
