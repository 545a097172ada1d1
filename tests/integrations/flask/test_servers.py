"""Under sync workers, threads and greenlets, and on the servers of development: nobody meets another's session."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.servers.start import ZDD, free_port, starting
from zdd_sdk.store.engine import start_engine

pytestmark = [pytest.mark.xdist_group("flask servers"), pytest.mark.timeout(240)]

MODULE = "tests.integrations.flask.server_application"
GUNICORN = (*ZDD, "serve", "gunicorn", "--bind", "127.0.0.1:{port}", "--workers", "2", f"{MODULE}:app")
GEVENT = f"""
from gevent import monkey; monkey.patch_all()
from gevent.pywsgi import WSGIServer
from {MODULE} import app
WSGIServer(("127.0.0.1", {{port}}), app, log=None).serve_forever()
"""
SERVERS = {
    "gunicorn sync": (*GUNICORN[:-1], "--worker-class", "sync", GUNICORN[-1]),
    "gunicorn gthread": (*GUNICORN[:-1], "--worker-class", "gthread", "--threads", "8", GUNICORN[-1]),
    "gunicorn gevent": (*GUNICORN[:-1], "--worker-class", "gevent", GUNICORN[-1]),
    "gevent alone": (sys.executable, "-c", GEVENT),
    "granian": (
        *ZDD, "serve", "granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", "{port}", f"{MODULE}:app"
    ),
    "waitress": (*ZDD, "serve", "waitress", "--listen", "127.0.0.1:{port}", "--threads", "8", f"{MODULE}:app"),
    "flask run": (sys.executable, "-m", "flask", "--app", MODULE, "run", "--port", "{port}"),
}  # fmt: skip
KNOWN_TO_US = {name for name, words in SERVERS.items() if words[: len(ZDD)] == ZDD}
VISITORS = 12


@pytest.fixture(scope="module", params=SERVERS)
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the application is served."""
    port, name = free_port(), request.param
    words = [word.replace("{port}", str(port)) for word in SERVERS[name]]
    with start_engine() as engine:
        environ = {
            "PYTHONPATH": os.pathsep.join((".", "integrations", *filter(None, [os.environ.get("PYTHONPATH")]))),
            "ZDD_REDIS_URL": engine.url,
            "ZDD_ENVIRONMENT": "test",
            "ZDD_SECRET": "s" * 40,
            "ZDD_STORE_OPERATION_TIMEOUT": "10s",
            "ZDD_STORE_CONNECT_TIMEOUT": "10s",
            "ZDD_STORE_TOTAL_TIMEOUT": "20s",
        }
        directory = tmp_path_factory.mktemp("served")
        workers = (2 if "gunicorn" in name else 1) if name in KNOWN_TO_US else 0
        with starting(words, directory, port=port, environ=environ, workers=workers, seconds=120):
            yield f"http://127.0.0.1:{port}"


def visit(url: str, visitor: str) -> list[dict[str, Any]]:
    with httpx.Client(timeout=120) as client:
        return [client.post(f"{url}/count/{visitor}").json() for _ in range(4)]


def test_health_and_no_session_for_who_needs_none(url: str) -> None:
    with httpx.Client(timeout=120) as client:
        assert "pass" == client.get(f"{url}/readyz").json()["status"]
        assert not client.get(f"{url}/readyz-of-the-application").cookies


def test_many_at_once_meet_nobody_elses_session_or_exchange(url: str) -> None:
    names = [f"visitor-{number}" for number in range(VISITORS)]
    with ThreadPoolExecutor(VISITORS) as crowd:
        for name, seen in zip(names, crowd.map(lambda name: visit(url, name), names), strict=True):
            assert [{"visitor": name, "count": count, "same": True} for count in (1, 2, 3, 4)] == seen


def test_parallel_requests_of_one_visitor_lose_nothing(url: str) -> None:
    with httpx.Client(timeout=120) as client:
        client.post(f"{url}/count/one")
        with ThreadPoolExecutor(8) as crowd:
            list(crowd.map(lambda _: client.post(f"{url}/add"), range(24)))
        assert {"sum": 24} == client.get(f"{url}/sum").json()


def test_streams_in_turns_keep_to_their_own(url: str) -> None:
    def follow(name: str) -> str:
        with httpx.Client(timeout=120) as client:
            client.post(f"{url}/count/{name}")
            return client.get(f"{url}/stream/{name}").text

    names = [f"visitor-{number}" for number in range(6)]
    with ThreadPoolExecutor(6) as crowd:
        assert [f"{name}:True;" * 5 for name in names] == list(crowd.map(follow, names))


def test_async_views(url: str) -> None:
    with httpx.Client(timeout=120) as client:
        client.post(f"{url}/count/one")
        found = [client.post(f"{url}/async/one").json()["count"] for _ in range(5)]
    assert [2, 3, 4, 5, 6] == found


WAITING = """
import sys
from gevent import monkey
if sys.argv[1] == "patched":
    monkey.patch_all()
import gevent
from flask import session
from tests.integrations.flask.server_application import app
from zdd_sdk.store.wire import Wire

client = app.test_client()
client.post("/count/one")
with Wire(int(sys.argv[2])) as wire:
    wire.ask("CLIENT", "PAUSE", "600", "ALL")
turns = [0]

def others():
    while True:
        turns[0] += 1
        gevent.sleep(0.01)

beside = gevent.spawn(others)
gevent.sleep(0)
assert client.get("/sum").json == {"sum": 0}
print(turns[0])
"""


@pytest.mark.parametrize(("sockets", "least", "most"), [("patched", 5, 1000), ("plain", 0, 1)])
def test_a_greenlet_that_waits_for_redis_lets_the_others_run(
    real_engine: Any, sockets: str, least: int, most: int
) -> None:
    """Not so where gevent has not patched the sockets: the control."""
    environ = {
        **os.environ, "ZDD_REDIS_URL": real_engine.url, "ZDD_STORE_OPERATION_TIMEOUT": "30s",
        "ZDD_STORE_TOTAL_TIMEOUT": "60s", "ZDD_STORE_CONNECT_TIMEOUT": "30s", "ZDD_SECRET": "s" * 40,
        "PYTHONPATH": os.pathsep.join((".", "integrations")),
    }  # fmt: skip
    words = [sys.executable, "-c", WAITING, sockets, str(real_engine.port)]
    result = subprocess.run(words, env=environ, capture_output=True, text=True, timeout=120, check=False)
    assert 0 == result.returncode, result.stderr
    assert least <= int(result.stdout.split()[-1]) <= most


def test_a_service_that_cannot_be_served_is_refused_at_the_start(tmp_path: Path) -> None:
    port = free_port()
    words = [word.replace("{port}", str(port)) for word in SERVERS["gunicorn sync"]]
    path = os.pathsep.join((".", "integrations"))
    environ = {"PYTHONPATH": path, "ZDD_ENVIRONMENT": "production", "ZDD_SECRET": "s" * 40}
    with (
        pytest.raises(AssertionError, match="ZDD_REDIS_URL"),
        starting(words, tmp_path, port=port, environ=environ, seconds=60),
    ):
        pass
