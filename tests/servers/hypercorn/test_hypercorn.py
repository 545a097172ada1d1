"""hypercorn under ``zdd serve`` loses nothing; each promise beside plain hypercorn, which breaks it."""

from __future__ import annotations

import os
import pty
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import h2.config
import h2.connection
import pytest
from hyperframe.frame import Frame, GoAwayFrame

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

OURS = (*ZDD, "serve", "hypercorn")
STOCK = (sys.executable, "-m", "hypercorn")
pytestmark = pytest.mark.timeout(120)


@contextmanager
def hypercorn(
    directory: Path, *words: str, app: str = ASGI, stock: bool = False, joined: bool = True, **options: object
) -> Iterator[Server]:
    port = free_port()
    command = [*(STOCK if stock else OURS), app, "--bind", f"127.0.0.1:{port}", *words]
    workers = 0 if stock or not joined else 2 if "2" in words else 1
    with starting(command, directory, port=port, workers=workers, **options) as server:  # type: ignore[arg-type]
        yield server


@each_of(
    "app, words",
    (ASGI, ["-w", "0"]),
    (WSGI, ["-w", "2"]),
    among=[(ASGI, ["-w", "0"]), (ASGI, ["-w", "2"]), (ASGI, ["-k", "uvloop"]), (WSGI, ["-w", "2"])],
)
def test_20_of_20_queued_requests_are_answered(tmp_path: Path, app: str, words: list[str]) -> None:
    with hypercorn(tmp_path, *words, app=app, lag="0s") as server:
        assert queue_and_stop(server) == QUEUED
        assert server.wait() == 0


@each_of("app, workers", (ASGI, "2"), among=[(ASGI, "1"), (ASGI, "2"), (WSGI, "2")])
def test_a_drain_answers_all_and_refuses_who_comes_late(tmp_path: Path, app: str, workers: str) -> None:
    with hypercorn(tmp_path, "-w", workers, app=app, lag="600ms") as server, Client(server.port) as slow:
        slow.send("/slow")
        time.sleep(0.2)
        server.signal()
        server.wait_for("Draining")
        replies = {path: ask(server.port, path) for path in ("/", "/missing", "/boom", "/livez")}
        assert [reply.status for reply in replies.values()] == [200, 404, 500, 200]
        assert all(reply.closes for reply in replies.values())
        assert not answered(server.port)
        assert refused_at_once(server, int(workers))
        assert late_connections(server) == {"refused"}
        reply = slow.reply()
        assert (reply.status, reply.closes) == (200, True)
        assert server.wait() == 0


def test_plain_hypercorn_resets_late_connections(tmp_path: Path) -> None:
    with hypercorn(tmp_path, stock=True) as server, Client(server.port) as slow:
        slow.send("/slow")
        time.sleep(0.2)
        server.signal()
        assert late_connections(server) - {"refused"}
        assert not slow.reply().closes


def test_plain_hypercorn_drops_requests_in_flight_with_several_workers(tmp_path: Path) -> None:
    """Its parent ends the others as soon as one has ended."""
    for _ in range(5):
        with hypercorn(tmp_path, "-w", "2", stock=True) as server, Client(server.port) as slow:
            slow.send("/slow")
            time.sleep(0.4)
            server.signal()
            try:
                slow.reply()
            except ConnectionError:
                return
    pytest.fail("plain hypercorn dropped nothing in 5 runs: this test cannot see a loss")


def test_keep_alive_clients_notice_nothing(tmp_path: Path) -> None:
    with hypercorn(tmp_path / "new") as new, hypercorn(tmp_path / "old", "-w", "2") as old:
        with Traffic(old.port, new.port) as traffic:
            time.sleep(0.5)
            old.signal()
            time.sleep(0.5)
            traffic.move()
            assert old.wait() == 0
            time.sleep(0.3)
        assert traffic.requests > 100
        assert traffic.failures == []


def test_a_request_in_flight_is_cut_at_drain_timeout(tmp_path: Path) -> None:
    environ = {"ZDD_LIFECYCLE_DRAIN_TIMEOUT": "300ms", "ZDD_LIFECYCLE_LINGER": "0s"}
    with hypercorn(tmp_path, "-w", "0", lag="0s", environ=environ) as server, Client(server.port) as client:
        client.send("/slow")
        time.sleep(0.3)
        server.signal()
        assert server.wait() == 0
        assert "application shutdown seen" in server.text()
        with pytest.raises(ConnectionError):
            client.reply()


def test_hypercorns_graceful_timeout_is_the_time_for_requests_in_flight(tmp_path: Path) -> None:
    environ = {"ZDD_LIFECYCLE_DRAIN_TIMEOUT": "300ms", "ZDD_LIFECYCLE_LINGER": "0s"}
    words = ("-w", "0", "--graceful-timeout", "10")
    with hypercorn(tmp_path, *words, lag="0s", environ=environ) as server, Client(server.port) as client:
        client.send("/slow")
        time.sleep(0.3)
        server.signal()
        assert client.reply().status == 200


@each_of("workers", "2", among=["0", "2"])
def test_a_second_signal_and_sigint_mean_now(tmp_path: Path, workers: str) -> None:
    for numbers in ([signal.SIGTERM, signal.SIGTERM], [signal.SIGINT]):
        with hypercorn(tmp_path, "-w", workers, lag="30s") as server:
            for number in numbers:
                server.signal(number)
                server.wait_for("Draining", max(1, int(workers)))
            assert server.wait(10) == 0
            assert server.text().count("application shutdown seen") == max(1, int(workers))


def test_a_terminal_means_now(tmp_path: Path) -> None:
    controller, terminal = pty.openpty()
    try:
        with hypercorn(tmp_path, lag="30s", stdin=terminal) as server:
            server.signal()
            assert server.wait(10) == 0
    finally:
        os.close(controller)
        os.close(terminal)


def test_a_hanging_application_shutdown_does_not_keep_the_process(tmp_path: Path) -> None:
    environ = {"APP_HANGS_AT_SHUTDOWN": "1", "ZDD_LIFECYCLE_HOOKS_TIMEOUT": "500ms"}
    with hypercorn(tmp_path, "-w", "0", lag="0s", environ=environ) as server:
        server.signal()
        assert server.wait(10) == 0
        assert "did not end in 0.5 s" in server.text()


def test_sighup_replaces_workers_without_waiting_for_routers_and_without_a_failure(tmp_path: Path) -> None:
    with hypercorn(tmp_path, "-w", "2", lag="60s") as server, Traffic(server.port, server.port, clients=5) as traffic:
        before = _workers(server)
        server.signal(signal.SIGHUP)
        server.wait_for("application shutdown seen", 2, seconds=40)
        time.sleep(0.3)
        assert not before & _workers(server)
    assert traffic.requests > 50
    assert traffic.failures == []


def _workers(server: Server) -> set[int]:
    return {int(ask(server.port).body) for _ in range(12)}


def test_max_requests_leaves_alone_and_is_replaced(tmp_path: Path) -> None:
    with hypercorn(tmp_path, "-w", "1", "--max-requests", "5", lag="60s") as server:
        (before,) = _workers_of(server, 1)
        assert all(ask(server.port).status == 200 for _ in range(8))
        server.wait_for("application shutdown seen", seconds=20)
        end = time.monotonic() + 20
        while not answered(server.port) and time.monotonic() < end:
            time.sleep(0.1)
        assert _workers_of(server, 1) != {before}


def _workers_of(server: Server, requests: int) -> set[int]:
    return {int(ask(server.port).body) for _ in range(requests)}


@each_of("workers", "1", among=["0", "1"])
def test_unix_socket_queue_is_answered_and_the_file_removed(tmp_path: Path, workers: str) -> None:
    path = tmp_path / "s"
    with hypercorn(tmp_path, "-w", workers, "--bind", f"unix:{path}", lag="300ms") as server:
        client = socket.socket(socket.AF_UNIX)
        client.connect(str(path))
        server.signal()
        server.wait_for("Draining")
        client.sendall(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n")
        assert b"connection: close" in client.recv(4096)
        client.close()
        assert server.wait() == 0
        assert not path.exists()


class _Http2:
    """An HTTP/2 client with prior knowledge, which looks at frames: libraries take GOAWAY for the end."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 10)
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        self._h2.initiate_connection()
        self._received = b""

    def __enter__(self) -> Self:
        self.ask()
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def ask(self) -> None:
        headers = [(":method", "GET"), (":path", "/"), (":scheme", "http"), (":authority", "test")]
        self._h2.send_headers(self._h2.get_next_available_stream_id(), headers, end_stream=True)
        self.socket.sendall(self._h2.data_to_send())

    def until(self, kind: str, flag: str = "") -> Frame:
        """Read frames until one of this kind, with this flag."""
        while True:
            frame, length = Frame.parse_frame_header(memoryview(self._read(9)))
            frame.parse_body(memoryview(self._read(length)))
            if type(frame).__name__ == kind and (not flag or flag in frame.flags):
                return frame

    def _read(self, size: int) -> bytes:
        while len(self._received) < size:
            data = self.socket.recv(65536)
            assert data, "closed"
            self._received += data
        data, self._received = self._received[:size], self._received[size:]
        return data


def test_http2_connections_are_told_goaway_and_what_was_begun_is_answered(tmp_path: Path) -> None:
    with hypercorn(tmp_path, "-w", "0", lag="1s") as server, _Http2(server.port) as idle, _Http2(server.port) as late:
        idle.until("DataFrame", "END_STREAM")
        late.until("DataFrame", "END_STREAM")
        server.signal()
        farewell = idle.until("GoAwayFrame")
        assert isinstance(farewell, GoAwayFrame)
        assert (farewell.error_code, farewell.last_stream_id) == (0, 2**31 - 1)
        late.ask()  # as if it had been sent before the farewell arrived
        late.until("DataFrame", "END_STREAM")
        with _Http2(server.port) as new:
            new.until("GoAwayFrame")
            new.until("DataFrame", "END_STREAM")
        assert server.wait() == 0


def test_stock_mode_is_plain_hypercorn(tmp_path: Path) -> None:
    with hypercorn(tmp_path, "-w", "1", environ={"ZDD_MODE": "stock"}, joined=False) as server:
        assert re.fullmatch(rb"\d+", ask(server.port, "/readyz").body)
        server.signal()
        server.wait(10)
        assert "Draining" not in server.text()


@each_of(
    "words, status, shown",
    (["-k", "trio", ASGI], 2, "trio worker has no adapter"),
    among=[
        (["--help"], 0, "--websocket-ping-interval"),
        (["--no-such-option", "x:y"], 2, "--no-such-option"),
        (["-w", "0", "tests.servers.uvicorn.application:missing"], 1, "missing"),
        (["-k", "trio", ASGI], 2, "trio worker has no adapter"),
    ],
)
def test_options_and_errors_are_hypercorns_own(words: list[str], status: int, shown: str) -> None:
    done = subprocess.run([*OURS, *words], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == status
    assert shown in done.stdout + done.stderr


def test_keep_alive_below_the_proxys_is_said(tmp_path: Path) -> None:
    environ = {"ZDD_LIFECYCLE_PROXY_IDLE_TIMEOUT": "60s"}
    with hypercorn(tmp_path, "-w", "0", environ=environ) as server:
        assert "closes idle connections after 5s" in server.text()
