"""The outer half of the exchange for ASGI: health, ``Connection: close`` while draining, requests in flight."""

from __future__ import annotations

import asyncio
import threading

from zdd_sdk.http import Answer
from zdd_sdk.http.asgi import AsgiApp, Message, Receive, Scope, Send
from zdd_sdk.lifecycle.core import Lifecycle, active
from zdd_sdk.lifecycle.loops import loop_runner
from zdd_sdk.lifecycle.servers.signals import chain_sigterm

__all__ = ["OuterHalf", "stop"]

_MARK = "zdd.outer"
_CLOSE = (b"connection", b"close")


class OuterHalf:
    """Wraps an ASGI application. However often it is stacked, the outermost one acts.

    Args:
        app: the application.
        lifecycle: whose state counts.
        follow: if the application activates another lifecycle while it starts (as ``ZeroDowntime``
            does), let that one take over; for adapters, which wrap applications they know nothing of.
        close: answer with ``Connection: close`` at any time; for servers that keep no connection, and do not say so.
    """

    def __init__(self, app: AsgiApp, lifecycle: Lifecycle, *, follow: bool = False, close: bool = False) -> None:
        self.app = app
        self.lifecycle = lifecycle
        self._follow = follow
        self._close = close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one scope."""
        kind = scope["type"]
        if _MARK in scope or kind not in ("http", "lifespan"):
            await self.app(scope, receive, send)
            return
        scope[_MARK] = True
        await (self._http if kind == "http" else self._lifespan)(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        lifecycle = self.lifecycle
        if not lifecycle.started:
            self._start_late()
        if scope["http_version"].startswith("1"):
            send = _closing(lifecycle, send, always=self._close)
        if (answer := self._health(scope)) is not None:
            await _send_answer(send, answer, head=scope["method"] == "HEAD")
            return
        lifecycle.enter()
        try:
            await self.app(scope, receive, send)
        finally:
            lifecycle.leave()

    def _health(self, scope: Scope) -> Answer | None:
        path: str = scope["path"]
        if not path.endswith("z") or scope["method"] not in ("GET", "HEAD"):
            return None
        # That this line runs is the loop's heartbeat.
        self.lifecycle.beat("loop")
        root: str = scope.get("root_path", "")
        return self.lifecycle.health(path.removeprefix(root) if root else path)

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_started(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                self._started()
            await send(message)

        await self.app(scope, receive, send_started)

    def start(self) -> None:
        """Start the lifecycle: the one the application has activated by now, if we follow it."""
        if self._follow:
            self.lifecycle = active() or self.lifecycle
        self.lifecycle.start(run_on_loop=loop_runner())

    def _started(self) -> None:
        self.start()
        if self.lifecycle.adapter is None:
            chain_sigterm(self.lifecycle)
            self.lifecycle.mark_ready()

    def _start_late(self) -> None:
        """Start at the first request, where the server knows no lifespan."""
        if not self.lifecycle.draining:
            self._started()


def _closing(lifecycle: Lifecycle, send: Send, *, always: bool) -> Send:
    async def send_closing(message: Message) -> None:
        # Looked up when the answer starts, not when the request came: requests in flight say close, too.
        if (always or lifecycle.draining) and message["type"] == "http.response.start":
            kept = [pair for pair in message.get("headers", ()) if pair[0].lower() != b"connection"]
            message["headers"] = [*kept, _CLOSE]
        await send(message)

    return send_closing


async def _send_answer(send: Send, answer: Answer, *, head: bool) -> None:
    headers = [(name.encode(), value.encode()) for name, value in answer.headers]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if head else answer.body})


async def stop(lifecycle: Lifecycle, seconds: float | None = None) -> None:
    """Run ``lifecycle.stop(seconds)`` without blocking the loop, so that ``async`` hooks can run on it."""
    loop = asyncio.get_running_loop()
    done = asyncio.Event()

    def run() -> None:
        try:
            lifecycle.stop(seconds)
        finally:
            loop.call_soon_threadsafe(done.set)

    # Not the loop's executor: closing the loop would wait for a thread that hangs in a hook.
    threading.Thread(target=run, name="zdd-stop-lifecycle", daemon=True).start()
    await done.wait()
