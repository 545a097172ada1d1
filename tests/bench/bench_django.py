"""CPU per request with everything registered and nothing used, over bare Django, in one run.

Run it with ``make bench``; it prints a table for each of Django's modes. Budget: 25 µs over bare Django.
Peer in the same run: Django's own SessionMiddleware over its cache sessions, nothing used.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import statistics
import sys
import time
import types
from collections.abc import Callable
from typing import Any

import django
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler, ASGIRequest
from django.core.handlers.wsgi import WSGIHandler, WSGIRequest
from django.http import HttpResponse
from django.test import RequestFactory, override_settings
from django.urls import path

ROUNDS = 15
REQUESTS = 1_000

BARE = "bare Django"
CANDIDATES: dict[str, dict[str, Any]] = {
    BARE: {"MIDDLEWARE": []},
    "with zdd": {
        "MIDDLEWARE": ["zdd_django.middleware.ZddMiddleware", "zdd_django.middleware.SessionMiddleware"],
        "SESSION_ENGINE": "zdd_django.sessions",
    },
    "with Django's sessions": {
        "MIDDLEWARE": ["django.contrib.sessions.middleware.SessionMiddleware"],
        "SESSION_ENGINE": "django.contrib.sessions.backends.cache",
    },
}
HEADERS = {"host": "localhost", "accept": "*/*", "user-agent": "bench", "cookie": "a=1; b=2"}

Measure = Callable[[int], float]


def hello(_: Any) -> HttpResponse:
    return HttpResponse("hello")


async def ahello(_: Any) -> HttpResponse:
    return HttpResponse("hello")


def configure() -> None:
    urls = types.ModuleType("bench_django_urls")
    urls.urlpatterns = [path("", hello), path("a", ahello)]  # type: ignore[attr-defined]
    sys.modules[urls.__name__] = urls
    zdd = {"service": "bench", "environment": "test", "secret": ("s" * 32,), "fleet": {"enabled": False}}
    settings.configure(
        SECRET_KEY="k" * 50, ROOT_URLCONF=urls.__name__, ALLOWED_HOSTS=["*"], INSTALLED_APPS=["zdd_django"], ZDD=zdd,
        USE_TZ=True, LOGGING_CONFIG=None,
    )  # fmt: skip
    django.setup()


def wsgi(factory: RequestFactory) -> Measure:
    """Time the whole synchronous stack below the server, a new request each time."""
    handler = WSGIHandler()
    environ = factory.get("/", headers=HEADERS).environ

    def measure(requests: int) -> float:
        began = time.process_time()
        for _ in range(requests):
            handler.get_response(WSGIRequest(dict(environ))).close()
        return (time.process_time() - began) / requests * 1e6

    return measure


def asgi(runner: asyncio.Runner) -> Measure:
    """Time the whole asynchronous stack below the server's loop, an async view."""
    handler = ASGIHandler()
    scope = {
        "type": "http", "http_version": "1.1", "method": "GET", "scheme": "http", "path": "/a", "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in HEADERS.items()],
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80),
    }  # fmt: skip

    async def ask(requests: int) -> float:
        began = time.process_time()
        for _ in range(requests):
            await handler.get_response_async(ASGIRequest(dict(scope), None))
        return (time.process_time() - began) / requests * 1e6

    return lambda requests: runner.run(ask(requests))


def run(build: Callable[[], Measure]) -> dict[str, list[float]]:
    """Measure every candidate in turn, round by round."""
    measures: dict[str, tuple[override_settings, Measure]] = {}
    for name, changed in CANDIDATES.items():
        override = override_settings(**changed)
        with override:
            measure = build()
            measure(100)
        measures[name] = (override, measure)
    figures: dict[str, list[float]] = {name: [] for name in CANDIDATES}
    gc.disable()
    for _ in range(ROUNDS):
        for name, (override, measure) in measures.items():
            with override:
                measure(20)
                figures[name].append(measure(REQUESTS))
        gc.collect()
    return figures


def show(title: str, figures: dict[str, list[float]]) -> None:
    base = figures[BARE]
    print(f"{title:<28}{'min':>8}{'median':>8}{'over bare (median of pairs)':>30}")
    for name, values in figures.items():
        over = statistics.median(value - reference for value, reference in zip(values, base, strict=True))
        print(f"{name:<28}{min(values):>8.1f}{statistics.median(values):>8.1f}{over:>30.1f}")


def main() -> None:
    logging.disable(logging.ERROR)
    configure()
    show("CPU µs per request, WSGI", run(lambda: wsgi(RequestFactory())))
    with asyncio.Runner() as runner:
        show("CPU µs per request, ASGI", run(lambda: asgi(runner)))


if __name__ == "__main__":
    main()
