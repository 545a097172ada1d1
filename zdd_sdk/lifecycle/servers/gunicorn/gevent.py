"""gunicorn's ``gevent`` worker: its main greenlet looks after the others once a second, and drains there."""

from __future__ import annotations

from typing import Any

import gevent
from gunicorn.workers import ggevent

from zdd_sdk.lifecycle.servers.gunicorn.worker import TICK, DrainingWorker, listening, says_close

__all__ = ["DrainingGreenlets"]


class DrainingGreenlets(DrainingWorker):
    """Mixed in before ``GeventWorker``."""

    def run(self) -> None:
        """Serve until told to stop."""
        servers: list[Any] = []
        module: Any = ggevent

        class Server(module.StreamServer):  # type: ignore[misc]
            """gevent's, which we have to find again: gunicorn keeps it to itself."""

            def start(self) -> None:
                servers.append(self)
                super().start()

        self._servers = servers
        module.StreamServer = Server
        super().run()

    def notify(self) -> None:
        """Stay here from the first turn on, as gunicorn's own sleeps for a second: it is too long for the drain."""
        super().notify()
        while self._serves() and self._alive:
            super().notify()
            gevent.sleep(TICK)

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> Any:
        """Answer one request, with ``Connection: close`` while draining."""
        says_close(self.lifecycle, req)
        return super().handle_request(listener_name, req, sock, addr)

    def accept_all(self, listener: Any) -> int:
        """Let the worker's servers handle who is waiting."""
        (server,) = [found for found in self._servers if found.socket.fileno() == listener.fileno()]
        server.stop_accepting()
        found = list(listening(listener))
        for client, address in found:
            server.do_handle(client, address)
        return len(found)

    def forget_listeners(self) -> None:
        """Close them with their servers."""
        for server in self._servers:
            server.close()

    def connections(self) -> int:
        """Return how many are open."""
        return sum(int(server.pool.size - server.pool.free_count()) for server in self._servers)
