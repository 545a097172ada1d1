"""gunicorn's ``gthread`` worker: its main loop accepts and waits, so it takes the drain's steps itself."""

from __future__ import annotations

import selectors
from collections.abc import Callable
from typing import Any

from zdd_sdk.lifecycle.servers.gunicorn.lingering import close_in_background
from zdd_sdk.lifecycle.servers.gunicorn.worker import TICK, DrainingWorker, says_close

__all__ = ["DrainingThreads"]


class _Selector(selectors.DefaultSelector):
    """The main loop's selector: it turns often enough while draining, and knows no closed listeners."""

    def __init__(self, timeout: Callable[[float | None], float | None]) -> None:
        super().__init__()
        self._timeout = timeout
        self._closed: list[Any] = []

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait, but not beyond the drain's next step."""
        return super().select(self._timeout(timeout))

    def forget(self, listener: Any) -> None:
        """Take a listener out; the main loop may register and unregister it as it pleases."""
        self._closed.append(listener)
        if listener in self.get_map():
            super().unregister(listener)

    def register(self, fileobj: Any, events: int, data: Any = None) -> Any:
        """Register what is open."""
        return None if fileobj in self._closed else super().register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> Any:
        """Unregister what is open."""
        return None if fileobj in self._closed else super().unregister(fileobj)


class DrainingThreads(DrainingWorker):
    """Mixed in before ``ThreadWorker``."""

    poller: Any

    def run(self) -> None:
        """Serve until told to stop."""
        self.poller.close()
        self.poller = _Selector(self._timeout)
        close_in_background()
        super().run()

    def _timeout(self, asked: float | None) -> float | None:
        if asked is None or not self._departure().begun:
            return asked
        return min(asked, TICK)

    def handle_request(self, req: Any, conn: Any) -> Any:
        """Answer one request, with ``Connection: close`` while draining."""
        says_close(self.lifecycle, req)
        return super().handle_request(req, conn)

    def wake(self) -> None:
        """Wake the main loop, where the worker has a queue for it; else it turns within 1 s."""
        if (queue := getattr(self, "method_queue", None)) is not None:
            queue.defer(_nothing)

    def accept_all(self, listener: Any) -> int:
        """Let the worker accept while somebody is waiting."""
        accept = self.poller.get_map()[listener].data if listener in self.poller.get_map() else self.accept
        with selectors.DefaultSelector() as waiting:
            waiting.register(listener, selectors.EVENT_READ)
            before = self.nr_conns
            while waiting.select(0):
                accept(listener)
        return int(self.nr_conns - before)

    def forget_listeners(self) -> None:
        """Take them off the loop, and close them."""
        for listener in self.sockets:
            self.poller.forget(listener)
        super().forget_listeners()

    def connections(self) -> int:
        """Return how many are open."""
        return int(self.nr_conns)

    def busy(self) -> int:
        """Return how many wait for an answer, in a thread or for one."""
        if (futures := getattr(self, "futures", None)) is not None:  # before gunicorn 24
            return sum(not future.done() for future in list(futures))
        return int(self.nr_conns) - len(self.keepalived_conns) - len(getattr(self, "pending_conns", ()))


def _nothing() -> None:
    """Wake up, no more."""
