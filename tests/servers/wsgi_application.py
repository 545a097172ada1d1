"""A bare WSGI application without any of our middleware: the twin of ``uvicorn/application.py``."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from typing import Any


def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Answer by path: ``/slow`` takes 2 s, ``/stall`` 0.3 s, ``/boom`` raises, ``/stream`` sends pieces for 1 s."""
    path = environ["PATH_INFO"]
    environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    if path == "/boom":
        message = "boom"
        raise RuntimeError(message)
    time.sleep({"/slow": 2.0, "/stall": 0.3}.get(path, 0.0))
    status = "404 Not Found" if path == "/missing" else "200 OK"
    if path == "/stream":
        start_response(status, [("Content-Type", "text/plain")])
        return _pieces()
    body = str(os.getpid()).encode()
    start_response(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def _pieces() -> Iterable[bytes]:
    for _ in range(10):
        time.sleep(0.1)
        yield b"piece"
