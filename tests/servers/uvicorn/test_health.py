"""Health on a real server, in each state and while its loop stands still."""

from __future__ import annotations

import json
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.servers.start import each_of
from tests.servers.uvicorn.harness import ZDD, Client, Server, ask, serving

CHECKED = "tests.servers.uvicorn.checked_application:app"
PROBES = ("/livez", "/readyz", "/startupz")


def _statuses(server: Server) -> dict[str, int]:
    return {path: ask(server.port, path).status for path in PROBES}


def _state(server: Server) -> Any:
    return json.loads(ask(server.port, "/livez").body)


def _wait_until(server: Server, path: str, status: int, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while ask(server.port, path).status != status:
        assert time.monotonic() < end, f"{path} is not {status}"
        time.sleep(0.05)


@pytest.mark.timeout(60)
@each_of(
    "environ, readyz",
    ({"ZDD_LIFECYCLE_READYZ_WHILE_TERMINATING": "fail", "KUBERNETES_SERVICE_HOST": "10.0.0.1"}, 503),
    among=[
        ({}, 503),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, 200),
        ({"ZDD_LIFECYCLE_READYZ_WHILE_TERMINATING": "serve"}, 200),
        ({"ZDD_LIFECYCLE_READYZ_WHILE_TERMINATING": "fail", "KUBERNETES_SERVICE_HOST": "10.0.0.1"}, 503),
    ],
)
def test_states_and_readyz_modes(tmp_path: Path, environ: dict[str, str], readyz: int) -> None:
    with serving(ZDD, tmp_path, environ=environ) as server:
        assert _statuses(server) == {"/livez": 200, "/readyz": 200, "/startupz": 200}
        assert _state(server)["state"] == "ready"
        server.signal()
        server.wait_for("Draining")
        assert _statuses(server) == {"/livez": 200, "/readyz": readyz, "/startupz": 200}
        assert _state(server)["state"] == "draining"


@pytest.mark.timeout(60)
def test_health_answers_head_below_a_prefix_and_is_never_cached(tmp_path: Path) -> None:
    with serving(ZDD, tmp_path, environ={"ZDD_LIFECYCLE_HEALTH_PREFIX": "/internal"}) as server:
        reply = ask(server.port, "/internal/livez", "HEAD")
        assert (reply.status, reply.body, reply.values("cache-control")) == (200, b"", ["no-store"])
        assert ask(server.port, "/livez").body == str(server.process.pid).encode()


@pytest.mark.timeout(60)
def test_critical_check_with_hysteresis_and_a_hanging_one_that_blocks_nothing(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    environ = {
        "APP_BROKEN_FILE": str(broken),
        "ZDD_LIFECYCLE_CHECK_INTERVAL": "200ms",
        "ZDD_LIFECYCLE_CHECK_TIMEOUT": "200ms",
    }
    with serving(ZDD, tmp_path, app=CHECKED, environ=environ, lag="200ms") as server:
        _wait_until(server, "/readyz", 200)
        _wait_for_check(server, "hanging", "failing")
        broken.touch()
        began = time.monotonic()
        _wait_until(server, "/readyz", 503)
        assert time.monotonic() - began > 0.35, "one failure must not be enough"
        assert ask(server.port, "/livez").status == 200
        broken.unlink()
        _wait_until(server, "/readyz", 200)
        began = server.signal()
        assert server.wait() == 0
        assert time.monotonic() - began < 5
        assert "stop hook ran" in server.text()


def _wait_for_check(server: Server, name: str, verdict: str) -> None:
    end = time.monotonic() + 10
    while _state(server)["checks"][name] != verdict:
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.timeout(60)
def test_liveness_does_not_answer_while_the_loop_stands_still_and_recovers(tmp_path: Path) -> None:
    with serving(ZDD, tmp_path) as server:
        staller = threading.Thread(target=ask, args=(server.port, "/stall"))
        staller.start()
        time.sleep(0.1)
        with Client(server.port, timeout=0.1) as probe, pytest.raises(TimeoutError):
            probe.ask("/livez")
        staller.join()
        assert _statuses(server) == {"/livez": 200, "/readyz": 200, "/startupz": 200}


@pytest.mark.timeout(60)
def test_liveness_survives_a_frozen_process(tmp_path: Path) -> None:
    with serving(ZDD, tmp_path) as server:
        server.signal(signal.SIGSTOP)
        time.sleep(0.5)
        server.signal(signal.SIGCONT)
        assert ask(server.port, "/livez").status == 200


@pytest.mark.timeout(60)
def test_a_redis_that_is_away_fails_no_probe(tmp_path: Path) -> None:
    with serving(ZDD, tmp_path, environ={"ZDD_REDIS_URL": "redis://127.0.0.1:1/0"}) as server:
        assert _statuses(server) == {"/livez": 200, "/readyz": 200, "/startupz": 200}
        assert server.run_dir.exists()
