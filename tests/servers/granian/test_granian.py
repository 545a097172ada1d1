"""granian under ``zdd serve`` loses nothing; each promise beside plain granian, which breaks it."""

from __future__ import annotations

import os
import pty
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.servers.start import (
    ASGI,
    QUEUED,
    WSGI,
    ZDD,
    answered,
    each_of,
    free_port,
    late_connections,
    queue_and_stop,
    refused_at_once,
    starting,
)
from tests.servers.uvicorn.harness import ROOT, Client, Server, Traffic, ask

OURS = (*ZDD, "serve", "granian")
STOCK = (sys.executable, "-m", "granian")
ONE_AT_A_TIME = ("--backpressure", "1")
"""The core accepts one connection at a time, so that the others stay in the kernel's queue."""
pytestmark = pytest.mark.timeout(120)


@contextmanager
def granian(
    directory: Path, interface: str, *words: str, stock: bool = False, workers: int = 1, **options: object
) -> Iterator[Server]:
    port = free_port()
    app = WSGI if interface == "wsgi" else ASGI
    command = [*(STOCK if stock else OURS), app, "--interface", interface, "--port", str(port)]
    command += ["--workers", str(workers), *words]
    joined = 0 if stock else workers
    with starting(command, directory, port=port, workers=joined, **options) as server:  # type: ignore[arg-type]
        yield server


@each_of(
    "interface, workers, words",
    ("asgi", 1, ONE_AT_A_TIME),
    ("wsgi", 2, ()),
    among=[("asgi", 1, ONE_AT_A_TIME), ("asginl", 1, ()), ("wsgi", 1, ONE_AT_A_TIME), ("wsgi", 2, ()), ("asgi", 2, ())],
)
def test_20_of_20_queued_requests_are_answered(
    tmp_path: Path, interface: str, workers: int, words: tuple[str, ...]
) -> None:
    with granian(tmp_path, interface, *words, workers=workers, lag="0s") as server:
        assert queue_and_stop(server) == QUEUED
        assert server.wait() == 0


def test_the_listener_stays_until_its_queue_is_empty(tmp_path: Path) -> None:
    with granian(tmp_path, "asgi", *ONE_AT_A_TIME, lag="0s") as server:
        assert queue_and_stop(server, "/stall", queued=6) == 6


def test_plain_granian_loses_queued_requests(tmp_path: Path) -> None:
    with granian(tmp_path, "asgi", *ONE_AT_A_TIME, stock=True) as server:
        assert queue_and_stop(server) < QUEUED


@each_of("interface, workers", ("wsgi", 2), among=[("asgi", 1), ("wsgi", 2)])
def test_a_drain_answers_all_and_refuses_who_comes_late(tmp_path: Path, interface: str, workers: int) -> None:
    with (
        granian(tmp_path, interface, workers=workers, lag="600ms") as server,
        Client(server.port) as slow,
        Client(server.port) as idle,
    ):
        assert not idle.ask().closes
        slow.send("/slow")
        time.sleep(0.2)
        server.signal()
        server.wait_for("Draining", workers)
        replies = {path: ask(server.port, path) for path in ("/", "/missing", "/livez")}
        assert [reply.status for reply in replies.values()] == [200, 404, 200]
        assert all(reply.closes for reply in replies.values())
        assert not answered(server.port)
        assert refused_at_once(server, workers)
        assert late_connections(server) == {"refused"}
        reply = slow.reply()
        assert (reply.status, reply.closes) == (200, True)
        assert idle.socket.recv(1) == b""
        assert server.wait() == 0
        if interface == "asgi":
            assert "application shutdown seen" in server.text()


def test_keep_alive_clients_notice_nothing(tmp_path: Path) -> None:
    with granian(tmp_path / "new", "asgi") as new, granian(tmp_path / "old", "wsgi", workers=2) as old:
        with Traffic(old.port, new.port) as traffic:
            time.sleep(0.5)
            old.signal()
            time.sleep(0.5)
            traffic.move()
            assert old.wait() == 0
            time.sleep(0.3)
        assert traffic.requests > 100
        assert traffic.failures == []


def test_keep_alive_clients_of_plain_granian_fail(tmp_path: Path) -> None:
    with granian(tmp_path / "new", "asgi") as new, granian(tmp_path / "old", "asgi", stock=True) as old:
        with Traffic(old.port, new.port) as traffic:
            time.sleep(0.5)
            old.signal()
            time.sleep(0.5)
            traffic.move()
            old.wait()
        assert traffic.failures


@each_of("interface", "wsgi", among=["asgi", "wsgi"])
def test_a_request_in_flight_is_cut_at_drain_timeout(tmp_path: Path, interface: str) -> None:
    environ = {
        "ZDD_LIFECYCLE_DRAIN_TIMEOUT": "200ms",
        "ZDD_LIFECYCLE_LINGER": "0s",
        "ZDD_LIFECYCLE_HOOKS_TIMEOUT": "0s",
    }
    with granian(tmp_path, interface, lag="0s", environ=environ) as server, Client(server.port) as client:
        client.send("/slow")
        time.sleep(0.3)
        began = server.signal()
        assert server.wait() == 0
        assert interface == "asgi" or time.monotonic() - began < 2
        assert not list(server.run_dir.glob("*/worker-*"))


def test_a_hanging_application_shutdown_does_not_keep_the_process(tmp_path: Path) -> None:
    environ = {"APP_HANGS_AT_SHUTDOWN": "1", "ZDD_LIFECYCLE_HOOKS_TIMEOUT": "500ms"}
    with granian(tmp_path, "asgi", lag="0s", environ=environ) as server:
        server.signal()
        assert server.wait(10) == 0
        assert "did not end in time" in server.text()


@each_of("interface", "asgi", among=["asgi", "wsgi"])
def test_a_second_signal_and_sigint_mean_now(tmp_path: Path, interface: str) -> None:
    for numbers in ([signal.SIGTERM, signal.SIGTERM], [signal.SIGINT]):
        with granian(tmp_path, interface, lag="30s") as server:
            for number in numbers:
                server.signal(number)
                server.wait_for("Draining")
            assert server.wait(10) == 0


def test_a_terminal_means_now(tmp_path: Path) -> None:
    controller, terminal = pty.openpty()
    try:
        with granian(tmp_path, "asgi", lag="30s", stdin=terminal) as server:
            server.signal()
            assert server.wait(10) == 0
    finally:
        os.close(controller)
        os.close(terminal)


def test_the_drain_flag_is_noticed(tmp_path: Path) -> None:
    with granian(tmp_path, "wsgi") as server:
        (instance,) = server.run_dir.iterdir()
        (instance / "drain").touch()
        time.sleep(0.3)
        assert ask(server.port, "/readyz").status == 503
        assert ask(server.port).closes


def test_sighup_replaces_workers_without_waiting_for_routers_and_without_a_failure(tmp_path: Path) -> None:
    words = ("--respawn-interval", "1")
    with (
        granian(tmp_path, "asgi", *words, workers=2, lag="60s") as server,
        Traffic(server.port, server.port, clients=5) as traffic,
    ):
        before = {int(ask(server.port).body) for _ in range(12)}
        server.signal(signal.SIGHUP)
        server.wait_for("application shutdown seen", 2, seconds=40)
        time.sleep(0.3)
        assert not before & {int(ask(server.port).body) for _ in range(12)}
    assert traffic.requests > 50
    assert traffic.failures == []


def test_unix_socket_is_drained(tmp_path: Path) -> None:
    path = tmp_path / "s"
    command = [*OURS, WSGI, "--interface", "wsgi", "--uds", str(path)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL, env={
        **os.environ, "ZDD_LIFECYCLE_DRAIN_LAG": "500ms", "ZDD_LIFECYCLE_RUN_DIR": str(tmp_path / "run"),
    })  # fmt: skip
    try:
        while b"ready" not in _ask_unix(path, "/readyz"):
            assert process.poll() is None
            time.sleep(0.1)
        client = socket.socket(socket.AF_UNIX)
        client.connect(str(path))
        process.terminate()
        time.sleep(0.2)
        client.sendall(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n")
        assert b"connection: close" in client.recv(4096)
        client.close()
        assert process.wait(15) == 0
    finally:
        process.kill()
        process.wait(5)


def _ask_unix(path: Path, target: str) -> bytes:
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
            client.sendall(f"GET {target} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n".encode())
            return client.recv(4096)
        except OSError:
            return b""


def test_stock_mode_is_plain_granian(tmp_path: Path) -> None:
    port = free_port()
    command = [*OURS, ASGI, "--interface", "asgi", "--port", str(port)]
    with starting(command, tmp_path, port=port, workers=0, environ={"ZDD_MODE": "stock"}) as server:
        assert ask(server.port, "/readyz").body.isdigit()
        server.signal()
        assert server.wait(10) == 0
        assert "Draining" not in server.text()


@each_of(
    "words, status, shown",
    ([ASGI], 2, "--interface asgi, asginl or wsgi, not rsgi"),
    among=[
        (["--help"], 0, "--http1-pipeline-flush"),
        (["--no-such-option", "x:y"], 2, "--no-such-option"),
        ([ASGI], 2, "--interface asgi, asginl or wsgi, not rsgi"),
        ([ASGI, "--interface", "asgi", "--port", "0"], 2, "needs a port"),
    ],
)
def test_options_and_errors_are_granians_own(words: list[str], status: int, shown: str) -> None:
    done = subprocess.run([*OURS, *words], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == status
    assert shown in done.stdout + done.stderr
