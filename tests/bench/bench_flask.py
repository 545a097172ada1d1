"""CPU per request with everything registered and nothing used, over bare Flask, in one run.

Run it with ``make bench``; it prints a table. Budget: 25 µs over bare Flask.
Peers in the same run: Flask's own signed cookie and Flask-Session, nothing used.
"""

from __future__ import annotations

import gc
import io
import logging
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

from flask import Flask

from zdd_flask import Zdd
from zdd_sdk import ZeroDowntime

ROUNDS = 15
REQUESTS = 2_000

ENVIRON: dict[str, Any] = {
    "REQUEST_METHOD": "GET",
    "SCRIPT_NAME": "",
    "PATH_INFO": "/",
    "QUERY_STRING": "",
    "SERVER_NAME": "localhost",
    "SERVER_PORT": "80",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "HTTP_HOST": "localhost",
    "HTTP_ACCEPT": "*/*",
    "HTTP_USER_AGENT": "bench",
    "HTTP_COOKIE": "a=1; b=2",
    "REMOTE_ADDR": "127.0.0.1",
    "wsgi.version": (1, 0),
    "wsgi.url_scheme": "http",
    "wsgi.input": io.BytesIO(),
    "wsgi.errors": io.StringIO(),
    "wsgi.multithread": True,
    "wsgi.multiprocess": False,
    "wsgi.run_once": False,
}


def start_response(_status: str, _headers: Any, _exc_info: Any = None) -> Callable[[bytes], None]:
    return lambda _: None


def bare(extend: Callable[[Flask], object] = lambda _: None) -> Flask:
    app = Flask("bench")
    extend(app)

    @app.get("/")
    def root() -> dict[str, str]:
        return {"hello": "world"}

    return app


def with_zdd(app: Flask) -> None:
    Zdd(app, ZeroDowntime("bench", environment="test", secret=("s" * 32,), fleet={"enabled": False}))


def with_flask_session(app: Flask) -> None:
    from cachelib import SimpleCache
    from flask_session import Session

    app.config.update(SESSION_TYPE="cachelib", SESSION_CACHELIB=SimpleCache())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Session(app)


def candidates() -> dict[str, Flask]:
    def sign(app: Flask) -> None:
        app.secret_key = "s" * 32

    return {
        "bare Flask": bare(),
        "with zdd": bare(with_zdd),
        "with Flask's cookie": bare(sign),
        "with Flask-Session, in memory": bare(with_flask_session),
    }


def measure(app: Flask, requests: int) -> float:
    began = time.process_time()
    for _ in range(requests):
        body = app(dict(ENVIRON), start_response)
        for _chunk in body:
            pass
        body.close()  # type: ignore[attr-defined]
    return (time.process_time() - began) / requests * 1e6


def run() -> dict[str, list[float]]:
    apps = candidates()
    for app in apps.values():
        measure(app, 200)
    figures: dict[str, list[float]] = {name: [] for name in apps}
    gc.disable()
    for _ in range(ROUNDS):
        for name, app in apps.items():
            figures[name].append(measure(app, REQUESTS))
        gc.collect()
    return figures


def main() -> None:
    logging.disable(logging.WARNING)
    figures = run()
    base = figures["bare Flask"]
    print(f"{'CPU µs per request':<30}{'min':>8}{'median':>8}{'over bare (median of pairs)':>30}")
    for name, values in figures.items():
        over = statistics.median(value - reference for value, reference in zip(values, base, strict=True))
        print(f"{name:<30}{min(values):>8.1f}{statistics.median(values):>8.1f}{over:>30.1f}")


if __name__ == "__main__":
    main()
