"""uvicorn's worker class for gunicorn (package ``uvicorn-worker``; ``uvicorn.workers`` before): runs our server."""

from __future__ import annotations

import asyncio
import signal
import sys
from types import FrameType
from typing import Any

from gunicorn.arbiter import Arbiter

from zdd_sdk.lifecycle.core import Lifecycle
from zdd_sdk.lifecycle.servers.gunicorn.worker import DrainingWorker, GunicornTold, longest
from zdd_sdk.lifecycle.servers.told import Leaving
from zdd_sdk.lifecycle.servers.uvicorn_server import ALONE, INSTANCE, NOW, ZddServer

__all__ = ["DrainingUvicorn"]

_MEANS = {Leaving.ALONE: ALONE, Leaving.INSTANCE: INSTANCE, Leaving.NOW: NOW}


class _Server(ZddServer):
    """A server that hears the arbiter."""

    def __init__(self, worker: Any) -> None:
        super().__init__(worker.config)
        self._arbiter: GunicornTold = worker.told

    async def startup(self, sockets: list[Any] | None = None) -> None:
        """Start, and tell the arbiter how long the drain may take."""
        await super().startup(sockets=sockets)
        if self.started:
            self._arbiter.seconds = longest(self.lifecycle)
            self._arbiter.serving = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin the drain at the first SIGTERM. gunicorn repeats it: unlike under uvicorn that means nothing."""
        self._listen()
        if sig != signal.SIGTERM or not self._leaving:
            super().handle_exit(sig, frame)

    def _listen(self) -> None:
        if (message := _MEANS.get(self._arbiter.leaving)) is not None:
            self.hear(message)

    async def on_tick(self, counter: int) -> bool:
        """Look at what the arbiter says."""
        self._listen()
        return await super().on_tick(counter)


class DrainingUvicorn(DrainingWorker):
    """Mixed in before ``UvicornWorker``: the server does everything."""

    def wrap(self, lifecycle: Lifecycle) -> None:
        """Leave the application as it is: the server wraps it."""

    def run(self) -> None:
        """Serve until told to stop."""
        super(DrainingWorker, self).run()

    def notify(self) -> None:
        """Tell the arbiter that we live."""
        super(DrainingWorker, self).notify()

    async def _serve(self) -> None:
        self.config.app = self.wsgi
        server = _Server(self)
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGQUIT, server.handle_exit, signal.SIGINT, None)
        living = loop.create_task(self._live())
        try:
            # Not gunicorn's own objects around them: uvloop would close the descriptor, and they once more.
            await server.serve(sockets=[found.sock for found in self.sockets])
        finally:
            living.cancel()
        if not server.started:
            sys.exit(Arbiter.WORKER_BOOT_ERROR)

    async def _live(self) -> None:
        """Go on living while the server waits for what is in flight, where uvicorn says nothing any more."""
        while True:
            self.notify()
            await asyncio.sleep(max(0.1, min(1.0, self.timeout / 2)))
