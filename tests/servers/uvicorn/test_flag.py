"""The drain flag and ``zdd drain`` against real servers."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.servers.start import each_of, together
from tests.servers.uvicorn.harness import ROOT, ZDD, Server, ask, serving

ZDD_COMMAND = [sys.executable, "-c", "import sys; from zdd_sdk.cli import main; sys.exit(main())"]


def _drain(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "ZDD_LIFECYCLE_RUN_DIR": str(directory / "run")}
    return subprocess.run(
        [*ZDD_COMMAND, "drain", *arguments],
        env=environ,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def _ready(server: Server) -> int:
    return ask(server.port, "/readyz").status


@pytest.mark.timeout(60)
@each_of("workers", 2, among=[1, 2])
def test_drain_by_command_keeps_serving_and_is_deducted_from_the_lag(tmp_path: Path, workers: int) -> None:
    with serving(ZDD, tmp_path, workers=workers, lag="3s") as server:
        assert _drain(tmp_path).returncode == 0
        time.sleep(0.3)
        assert {_ready(server) for _ in range(6)} == {503}
        time.sleep(2.7)
        reply = ask(server.port)
        assert (reply.status, reply.closes) == (200, True)
        began = server.signal()
        assert server.wait() == 0
        assert time.monotonic() - began < 2.5


@pytest.mark.timeout(60)
def test_the_flag_is_noticed_within_300_ms(tmp_path: Path) -> None:
    with serving(ZDD, tmp_path) as server:
        (instance,) = server.run_dir.iterdir()
        (instance / "drain").touch()
        time.sleep(0.3)
        assert _ready(server) == 503


@pytest.mark.timeout(60)
def test_wait_returns_when_the_instance_is_gone(tmp_path: Path) -> None:
    with serving(ZDD, tmp_path, lag="300ms") as server:
        timer = threading.Timer(1.0, server.signal)
        timer.start()
        began = time.monotonic()
        done = threading.Thread(target=server.wait)
        done.start()
        assert _drain(tmp_path, "--wait", "20").returncode == 0
        assert time.monotonic() - began < 10
        done.join()


@pytest.mark.timeout(60)
def test_several_instances_are_named_and_one_can_be_chosen(tmp_path: Path) -> None:
    names = ("web-1", "web-2")
    with together(serving(ZDD, tmp_path, environ={"ZDD_INSTANCE": name}) for name in names) as (one, two):
        unclear = _drain(tmp_path)
        assert unclear.returncode == 1
        assert "several instances" in unclear.stderr
        assert "web-1" in unclear.stderr
        assert "web-2" in unclear.stderr
        assert _drain(tmp_path, "--instance", "web-2").returncode == 0
        time.sleep(0.3)
        assert (_ready(one), _ready(two)) == (200, 503)
        assert _drain(tmp_path, "--all").returncode == 0
        time.sleep(0.3)
        assert _ready(one) == 503


@pytest.mark.timeout(60)
def test_none_is_said_and_dead_ones_are_swept(tmp_path: Path) -> None:
    with serving(ZDD, tmp_path, environ={"ZDD_INSTANCE": "web-1"}) as server:
        server.process.kill()
        server.wait()
    assert (tmp_path / "run" / "web-1").exists()
    nobody = _drain(tmp_path)
    assert (nobody.returncode, "no such instance" in nobody.stderr) == (1, True)
    assert not (tmp_path / "run" / "web-1").exists()


@pytest.mark.timeout(60)
def test_a_successor_of_the_same_name_does_not_inherit_the_flag(tmp_path: Path) -> None:
    environ = {"ZDD_INSTANCE": "web-1"}
    with serving(ZDD, tmp_path, environ=environ) as server:
        assert _drain(tmp_path).returncode == 0
        server.process.kill()
        server.wait()
    with serving(ZDD, tmp_path, environ=environ) as server:
        time.sleep(0.3)
        assert _ready(server) == 200


@pytest.mark.timeout(60)
def test_a_symbolic_link_in_the_way_is_refused_and_the_server_serves(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "web-1").symlink_to(tmp_path / "elsewhere")
    with serving(ZDD, tmp_path, environ={"ZDD_INSTANCE": "web-1"}) as server:
        assert _ready(server) == 200
        assert "symbolic link" in server.text()
        assert not any((tmp_path / "elsewhere").iterdir())
