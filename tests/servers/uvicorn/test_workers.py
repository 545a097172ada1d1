"""``--workers``: an instance leaves as one, a worker alone without disturbing the others."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.servers.start import each_of
from tests.servers.uvicorn.harness import ZDD, Server, Traffic, ask, serving


def _workers(server: Server, count: int) -> set[int]:
    pids: set[int] = set()
    end = time.monotonic() + 10
    while len(pids) < count and time.monotonic() < end:
        pids.add(int(ask(server.port).body))
    return pids


@pytest.mark.timeout(60)
def test_workers_share_the_instance(tmp_path: Path) -> None:
    with serving(ZDD, tmp_path, workers=2) as server:
        (instance,) = server.run_dir.iterdir()
        assert instance.name.endswith(f"-{server.process.pid}")
        names = {f"worker-{pid}" for pid in _workers(server, 2)} | {f"parent-{server.process.pid}"}
        assert {file.name for file in instance.iterdir()} == names
        server.signal()
        assert server.wait() == 0
        assert not instance.exists()


@pytest.mark.timeout(60)
def test_the_parent_reacts_at_once(tmp_path: Path) -> None:
    with serving(ZDD, tmp_path, workers=2, lag="0s") as server:
        time.sleep(1)
        began = server.signal()
        server.wait_for("Draining", 2)
        assert time.monotonic() - began < 0.4


@pytest.mark.timeout(60)
def test_a_worker_that_dies_in_the_drain_is_not_restarted(tmp_path: Path) -> None:
    with serving(ZDD, tmp_path, workers=2) as server:
        victim, *_ = _workers(server, 2)
        server.signal()
        server.wait_for("Draining", 2)
        os.kill(victim, signal.SIGKILL)
        assert server.wait() == 0
        assert server.text().count("Started server process") == 2


@pytest.mark.timeout(60)
def test_sighup_replaces_workers_without_waiting_for_routers_and_without_a_failure(tmp_path: Path) -> None:
    with serving(ZDD, tmp_path, workers=2, lag="30s") as server, Traffic(server.port, server.port) as traffic:
        before = _workers(server, 2)
        server.signal(signal.SIGHUP)
        server.wait_for("Finished server process", 2, seconds=20)
        after = _workers(server, 2)
        time.sleep(0.3)
        assert not before & after
    assert traffic.requests > 100
    assert traffic.failures == []


@pytest.mark.timeout(60)
@each_of("workers", 2, among=[1, 2])
def test_limit_max_requests_drains(tmp_path: Path, workers: int) -> None:
    with serving(ZDD, tmp_path, "--limit-max-requests", "3", workers=workers, lag="500ms") as server:
        for _ in range(8):
            assert ask(server.port).status == 200
        if workers == 1:
            assert server.wait() == 0
        else:
            server.wait_for("Started server process", 3)
            assert ask(server.port, "/readyz").status == 200
        assert server.text().count("Maximum request limit of 3 exceeded") <= 2 * workers
