"""``python -m tests.bench.kills.server MODULE PORT PIDFILE``: serve an application that is killed again and again.

uvicorn is forked from a process that has imported everything, and forked again when it has been killed; gunicorn's
arbiter does the same by itself (``--preload``). The listener stays open all the time, as behind a socket unit.
"""

from __future__ import annotations

import importlib
import os
import socket
import sys
from pathlib import Path
from typing import Any

import uvicorn
from gunicorn.app.base import BaseApplication
from starlette.applications import Starlette

from tests.bench.kills.points import arm

THREADS = 96
BACKLOG = 1024


class Gunicorn(BaseApplication):
    """gunicorn with one worker with threads."""

    def __init__(self, app: Any, listener: socket.socket, pidfile: Path) -> None:
        self._app, self._listener, self._pidfile = app, listener, pidfile
        super().__init__()

    def load_config(self) -> None:
        """Say how it is served."""
        options = {
            "bind": f"fd://{self._listener.fileno()}",
            "worker_class": "gthread",
            "threads": THREADS,
            "preload_app": True,
            "loglevel": "critical",
            "control_socket_disable": True,
            "post_worker_init": lambda worker: self._pidfile.write_text(str(worker.pid)),
        }
        for name, value in options.items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> Any:
        """Return the application."""
        return self._app


def serve_asgi(app: Any, listener: socket.socket, pidfile: Path) -> None:
    """Serve, and serve again."""
    while True:
        child = os.fork()
        if child == 0:
            pidfile.write_text(str(os.getpid()))
            config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_keep_alive=60)
            uvicorn.Server(config).run(sockets=[listener])
            os._exit(0)
        os.waitpid(child, 0)


def main(module: str, port: str, pidfile: str) -> None:
    """Serve until somebody kills us."""
    arm()
    app = importlib.import_module(module).app
    with socket.create_server(("127.0.0.1", int(port)), backlog=BACKLOG) as listener:
        if isinstance(app, Starlette):
            serve_asgi(app, listener, Path(pidfile))
        else:
            Gunicorn(app, listener, Path(pidfile)).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
