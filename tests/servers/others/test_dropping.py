"""waitress, daphne and uWSGI drop requests on SIGTERM: they say so, and after ``zdd drain --wait`` nothing is lost."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.servers.start import ASGI, WRAPPED, WSGI, ZDD, each_of, free_port, starting
from tests.servers.uvicorn.harness import ROOT, Client, Server, Traffic, ask

SERVERS = ["waitress", "daphne", "uwsgi"]
UWSGI = Path(sys.executable).parent / "uwsgi"
WRAPPED_WSGI = "tests.servers.others.wrapped_wsgi_application:app"
pytestmark = pytest.mark.timeout(120)


def _words(server: str, port: int) -> list[str]:
    match server:
        case "waitress":
            return [*ZDD, "serve", "waitress", "--host", "127.0.0.1", "--port", str(port), WSGI]
        case "daphne":
            return [*ZDD, "serve", "daphne", "--port", str(port), ASGI]
        case _:
            words = f"--http 127.0.0.1:{port} --module {WRAPPED_WSGI} --master --processes 2 --threads 8"
            return [str(UWSGI), *words.split(), "--enable-threads", "--die-on-term", "--http-keepalive=1"]


@contextmanager
def dropping(server: str, directory: Path, **options: object) -> Iterator[Server]:
    port = free_port()
    if server == "uwsgi":
        # uWSGI's Python is not a virtual environment's.
        paths = os.pathsep.join([str(ROOT), *sys.path])
        options["environ"] = {"PYTHONPATH": paths, **options.get("environ", {})}  # type: ignore[dict-item]
    with starting(_words(server, port), directory, port=port, **options) as found:  # type: ignore[arg-type]
        yield found


def drain(directory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run ``zdd drain``."""
    environ = {**os.environ, "ZDD_LIFECYCLE_RUN_DIR": str(directory / "run")}
    return subprocess.run(
        [*ZDD, "drain", *words], env=environ, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )


@each_of("server", "waitress", "uwsgi", among=SERVERS)
def test_it_says_what_sigterm_loses_and_it_does(tmp_path: Path, server: str) -> None:
    with dropping(server, tmp_path) as found, Client(found.port) as client:
        found.wait_for(f"SIGTERM on {server} drops requests")
        found.wait_for("zdd drain --wait")
        client.send("/slow")
        time.sleep(0.5)
        found.signal()
        with pytest.raises(ConnectionError):
            client.reply()


@each_of("server", "daphne", among=SERVERS)
def test_after_zdd_drain_wait_nothing_is_lost_behind_a_router_that_moves(tmp_path: Path, server: str) -> None:
    with dropping("waitress", tmp_path / "new") as new, dropping(server, tmp_path / "old") as old:
        with Traffic(old.port, new.port, clients=6) as traffic, Client(old.port) as slow:
            time.sleep(0.5)
            slow.send("/slow")
            time.sleep(0.2)
            mover = threading.Timer(0.6, traffic.move)
            mover.start()
            done = drain(tmp_path / "old", "--wait")
            mover.join()
            assert "nothing in flight, stop it now" in done.stdout
            old.signal()
            old.wait()
            assert slow.reply().status == 200
            time.sleep(0.3)
        assert traffic.requests > 50
        assert traffic.failures == []


def test_drain_wait_waits_for_requests_in_flight(tmp_path: Path) -> None:
    with dropping("waitress", tmp_path, lag="0s") as server, Client(server.port) as slow:
        slow.send("/slow")
        time.sleep(0.3)
        began = time.monotonic()
        in_vain = drain(tmp_path, "--wait", "300ms")
        assert (in_vain.returncode, "requests are still in flight" in in_vain.stdout) == (1, True)
        done = drain(tmp_path, "--wait")
        assert (done.returncode, "stop it now" in done.stdout) == (0, True)
        assert time.monotonic() - began > 1
        assert slow.reply().status == 200


@each_of("mode, status", ("serve", 200), among=[("fail", 503), ("serve", 200), ("auto", 503)])
def test_readyz_while_terminating(tmp_path: Path, mode: str, status: int) -> None:
    environ = {"ZDD_LIFECYCLE_READYZ_WHILE_TERMINATING": mode}
    with dropping("waitress", tmp_path, environ=environ) as server:
        assert ask(server.port, "/readyz").status == 200
        assert drain(tmp_path).returncode == 0
        time.sleep(0.3)
        assert ask(server.port, "/readyz").status == status
        assert b'"state":"draining"' in ask(server.port, "/livez").body


def test_on_kubernetes_auto_keeps_readiness(tmp_path: Path) -> None:
    environ = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "ZDD_ENVIRONMENT": "test"}
    with dropping("waitress", tmp_path, environ=environ) as server:
        assert drain(tmp_path).returncode == 0
        time.sleep(0.3)
        assert (ask(server.port, "/readyz").status, ask(server.port, "/").closes) == (200, True)


@each_of(
    "words, said",
    (f"granian --interface wsgi --port PORT {WRAPPED_WSGI}", "granian"),
    among=[
        (f"hypercorn --bind 127.0.0.1:PORT {WRAPPED}", "hypercorn"),
        (f"granian --interface asgi --port PORT {WRAPPED}", "granian"),
        (f"granian --interface wsgi --port PORT {WRAPPED_WSGI}", "granian"),
        (f"gunicorn --worker-class gthread --threads 2 --bind 127.0.0.1:PORT {WRAPPED_WSGI}", "gunicorn"),
    ],
)
def test_without_its_adapter_a_server_is_named_once(tmp_path: Path, words: str, said: str) -> None:
    port = free_port()
    command = [sys.executable, "-m", *words.replace("PORT", str(port)).split()]
    with starting(command, tmp_path, port=port) as server:
        server.wait_for(f"`zdd serve {said} …` instead of `{said} …`")
        assert ask(server.port).status == 200
        assert server.text().count("zdd serve") == 1


@each_of("server", "daphne", among=["waitress", "daphne"])
def test_stock_mode_is_the_plain_server(tmp_path: Path, server: str) -> None:
    with dropping(server, tmp_path, environ={"ZDD_MODE": "stock"}, workers=0) as found:
        assert ask(found.port, "/readyz").body.isdigit()
        assert "SIGTERM" not in found.text()
