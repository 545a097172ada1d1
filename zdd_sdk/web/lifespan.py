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

    Args:
        app: the application below.
        zdd: what to start and stop.
    """

    def __init__(self, app: AsgiApp, zdd: ZeroDowntime) -> None:
        self.app = app
        self._zdd = zdd

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle the lifespan; every other scope passes through, starting zdd where there was no lifespan."""
        if scope["type"] != "lifespan":
            self._zdd.on_request()
            await self.app(scope, receive, send)
            return

        refused: list[ZddError] = []

        async def wired(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                self._start(refused)
            elif message["type"] == "lifespan.startup.failed" and refused:
                message = {**message, "message": f"zdd: {refused[0]}"}
            elif message["type"].startswith("lifespan.shutdown."):
                await self._zdd.shutdown()
            await send(message)

        await self.app(scope, receive, wired)

    def _start(self, refused: list[ZddError]) -> None:
        """Raise what refuses to serve: the framework then unwinds the user's own lifespan and reports the failure."""
        try:
            self._zdd.start()
        except ZddError as error:
            refused.append(error)
            raise
