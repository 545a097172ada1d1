"""Plain ``uvicorn app:app``: what the outer half can do without an adapter, and what ``zdd serve`` hands on."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.servers.uvicorn.harness import PLAIN, ROOT, ZDD, Client, ask, serving

WRAPPED = "tests.servers.uvicorn.wrapped_application:app"


@pytest.mark.timeout(60)
def test_sigterm_is_chained_and_the_missing_guarantee_is_said_once(tmp_path: Path) -> None:
    with serving(PLAIN, tmp_path, app=WRAPPED) as server:
        assert ask(server.port, "/readyz").status == 200
        began = server.signal()
        time.sleep(0.3)
        replies = [ask(server.port, path) for path in ("/", "/readyz", "/missing")]
        assert [reply.status for reply in replies] == [200, 503, 404]
        assert all(reply.closes for reply in replies)
        assert server.wait() == -signal.SIGTERM
        assert time.monotonic() - began > 0.9
        assert server.text().count("zdd serve uvicorn") == 1
        assert "application shutdown seen" in server.text()


@pytest.mark.timeout(60)
def test_a_second_signal_passes_through_at_once(tmp_path: Path) -> None:
    with serving(PLAIN, tmp_path, app=WRAPPED, lag="20s") as server:
        server.signal()
        time.sleep(0.3)
        began = server.signal()
        server.wait()
        assert time.monotonic() - began < 2


@pytest.mark.timeout(60)
def test_the_adapter_says_nothing_is_missing(tmp_path: Path) -> None:
    with serving(ZDD, tmp_path, app=WRAPPED) as server:
        server.signal()
        assert server.wait() == 0
        assert "zdd serve uvicorn" not in server.text()


@pytest.mark.timeout(60)
def test_stock_mode_is_plain_uvicorn(tmp_path: Path) -> None:
    with serving(ZDD, tmp_path, environ={"ZDD_MODE": "stock"}) as server:
        assert ask(server.port, "/readyz").body == str(server.process.pid).encode()
        began = server.signal()
        assert server.wait() == -signal.SIGTERM
        assert time.monotonic() - began < 1


@pytest.mark.timeout(60)
def test_reload_is_plain_uvicorn(tmp_path: Path) -> None:
    with serving(ZDD, tmp_path, "--reload", "--reload-dir", str(tmp_path)) as server:
        assert "reloader process" in server.text()
        assert ask(server.port, "/readyz").body.isdigit()


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("words", "status", "shown"),
    [
        (["--help"], 0, "--limit-max-requests"),
        (["--version"], 0, "Running uvicorn"),
        (["--no-such-option", "x:y"], 2, "--no-such-option"),
        (["tests.servers.uvicorn.application:missing"], 1, "missing"),
        (["--host", "192.0.2.1", "tests.servers.uvicorn.application:app"], 1, "192.0.2.1"),
    ],
)
def test_options_and_errors_are_uvicorns_own(words: list[str], status: int, shown: str) -> None:
    done = subprocess.run([*ZDD, *words], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode == 0) == (status == 0)
    assert status != 2 or done.returncode == 2
    assert shown in done.stdout + done.stderr


@pytest.mark.timeout(60)
def test_a_drain_that_cannot_fit_is_an_error_naming_the_numbers(tmp_path: Path) -> None:
    environ = {"ZDD_LIFECYCLE_GRACE_PERIOD": "5s", "ZDD_LIFECYCLE_PROXY_IDLE_TIMEOUT": "60s"}
    with serving(ZDD, tmp_path, environ=environ) as server:
        assert "drain_lag 1s + linger 500ms + drain_timeout 5s + hooks_timeout 3s" in server.text()
        assert "--timeout-keep-alive" in server.text()


@pytest.mark.timeout(60)
def test_idle_keep_alive_connections_are_closed_at_the_end(tmp_path: Path) -> None:
    with serving(ZDD, tmp_path, lag="300ms") as server, Client(server.port) as client:
        assert not client.ask().closes
        began = server.signal()
        assert client.socket.recv(1) == b""
        assert time.monotonic() - began > 0.7
        assert server.wait() == 0
