"""Start gunicorn, with and without us, with each of its workers."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from gunicorn.config import KNOWN_SETTINGS
from gunicorn.workers import SUPPORTED_WORKERS

from tests.servers.start import ASGI, WSGI, ZDD, free_port, starting
from tests.servers.start import each_of as each_of_any
from tests.servers.uvicorn.harness import Server

OURS = (*ZDD, "serve", "gunicorn")
PLAIN = (sys.executable, "-m", "gunicorn")
UVICORN = "uvicorn_worker.UvicornWorker"
_SETTINGS = {setting.name for setting in KNOWN_SETTINGS}
_UP = {"asgi": "ASGI server listening", UVICORN: "Application startup complete"}
ASGI_WORKERS = ("asgi", UVICORN) if "asgi" in SUPPORTED_WORKERS else (UVICORN,)  # since gunicorn 24
WSGI_WORKERS = ("sync", "gthread", "gevent")
NOT_GEVENT = ("sync", "gthread", *ASGI_WORKERS)
WORKERS = (*NOT_GEVENT, "gevent")


def each_of(*sample: str, among: Sequence[str] = WORKERS) -> pytest.MarkDecorator:
    """Run a test for a sample of the workers; for all of them in `make servers`."""
    return each_of_any("worker", *sample, among=among)


@contextlib.contextmanager
def gunicorn(
    worker: str,
    directory: Path,
    *arguments: str,
    command: Sequence[str] = OURS,
    app: str = "",
    count: int = 1,
    environ: dict[str, str] | None = None,
    lag: str = "1s",
    stdin: int = -3,
    port: int = 0,
) -> Iterator[Server]:
    """Serve on a free port until the block ends, with all workers up."""
    port = port or free_port()
    app = app or (ASGI if worker in ("asgi", UVICORN) else WSGI)
    threads = ("--threads", "4") if worker == "gthread" else ()
    control = ("--control-socket", str(directory / "control")) if "control_socket" in _SETTINGS else ()
    words = [*command, app, "-k", worker, "-w", str(count), "-b", f"127.0.0.1:{port}", *control, *threads, *arguments]
    stock = (command == PLAIN and "-c" not in arguments) or (environ or {}).get("ZDD_MODE") == "stock"
    with starting(
        words, directory, port=port, environ=environ, lag=lag, stdin=stdin, workers=count * (not stock)
    ) as server:
        server.wait_for(_UP.get(worker, "Booting worker"), count)
        # A signal between a worker's record and its first turn finds it still starting, and ends it at once.
        time.sleep(0.15)
        yield server
