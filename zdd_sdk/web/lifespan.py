"""Lifespan wiring that needs no edit of the user's own: we start after the app has, and stop after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zdd_sdk.errors import ZddError
from zdd_sdk.http.asgi import AsgiApp, Message, Receive, Scope, Send

if TYPE_CHECKING:
    from zdd_sdk.app import ZeroDowntime

__all__ = ["LifespanHalf"]


class LifespanHalf:
    """Starts zdd when the application's start-up is complete and stops it after the application's shutdown.

    An application that knows no lifespan gets this one, so that a misconfigured service refuses to
    start there, too, instead of at every request.

    Args:
        app: the application below.
        zdd: what to start and stop.
    """

    def __init__(self, app: AsgiApp, zdd: ZeroDowntime) -> None:
        self.app = app
        self._zdd = zdd

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle the lifespan."""
        run = _Run(self._zdd, receive, send)
        try:
            await self.app(scope, run.receive, run.send)
        except Exception:
            if run.heard:
                await run.report()
                raise
        if not run.heard:
            await _live(run)


class _Run:
    """One lifespan: what goes between the server and the application.

    Attributes:
        heard: the application has asked for the server's first message: it knows lifespans.
    """

    def __init__(self, zdd: ZeroDowntime, receive: Receive, send: Send) -> None:
        self.heard = False
        self._zdd = zdd
        self._receive = receive
        self._send = send
        self._refused = ""
        self._reported = False

    async def receive(self) -> Message:
        self.heard = True
        return await self._receive()

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "lifespan.startup.complete":
            self._start()
        elif kind == "lifespan.startup.failed":
            self._reported = True
            message = {**message, "message": self._refused} if self._refused else message
        elif kind.startswith("lifespan.shutdown."):
            await self._zdd.shutdown()
        await self._send(message)

    def _start(self) -> None:
        """Raise what refuses to serve: the framework then unwinds the user's own lifespan and reports the failure."""
        try:
            self._zdd.start()
        except ZddError as error:
            self._refused = f"zdd: {error}"
            raise

    async def report(self) -> None:
        """Say why zdd refused, where the application did not report that its start-up failed."""
        if self._refused and not self._reported:
            await self.send({"type": "lifespan.startup.failed"})


async def _live(run: _Run) -> None:
    await run.receive()
    try:
        await run.send({"type": "lifespan.startup.complete"})
    except ZddError:
        await run.report()
        return
    await run.receive()
    await run.send({"type": "lifespan.shutdown.complete"})
