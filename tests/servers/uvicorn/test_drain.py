"""SIGTERM on a real server loses nothing; each promise beside the server that breaks it."""

from __future__ import annotations

import os
import pty
import signal
import socket
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.servers.start import each_of, thorough
from tests.servers.uvicorn.harness import PLAIN, ZDD, Client, Reply, Server, Traffic, ask, serving

QUEUED = 20
PROTOCOLS = [("httptools", "asyncio"), ("h11", "asyncio"), ("httptools", "uvloop"), ("h11", "uvloop")]


def _answered(server: Server, workers: int) -> int:
    """SIGTERM while 20 connections wait in the accept queue with their requests sent; count the answers."""
    for _ in range(3 * workers if workers > 1 else 1):
        ask(server.port, "/grind")
    time.sleep(0.4)
    clients = [Client(server.port) for _ in range(QUEUED)]
    for client in clients:
        client.send()
    server.signal()
    return sum(_is_answered(client) for client in clients)


def _is_answered(client: Client) -> bool:
    try:
        return client.reply().status == 200
    except OSError:
        return False
    finally:
        client.close()


@pytest.mark.timeout(60)
@each_of(
    "http, loop, workers",
    ("httptools", "uvloop", 1),
    ("h11", "asyncio", 2),
    among=[(*protocol, workers) for protocol in PROTOCOLS for workers in (1, 2)],
)
def test_20_of_20_queued_requests_are_answered(tmp_path: Path, http: str, loop: str, workers: int) -> None:
    """With no lag at all, so that only the handling of the queue can save them."""
    with serving(ZDD, tmp_path, "--http", http, "--loop", loop, workers=workers, lag="0s") as server:
        assert _answered(server, workers) == QUEUED
        assert server.wait() == 0


@pytest.mark.timeout(120)
def test_plain_uvicorn_loses_queued_requests(tmp_path: Path) -> None:
    for _ in range(15):
        with serving(PLAIN, tmp_path, "--loop", "asyncio") as server:
            if _answered(server, 1) < QUEUED:
                return
    pytest.fail("plain uvicorn lost nothing in 15 runs: this test cannot see a loss")


def _failures_over_a_drain(command: Sequence[str], directory: Path, *arguments: str, workers: int = 1) -> list[str]:
    with (
        serving(ZDD, directory / "new") as new,
        serving(command, directory / "old", *arguments, workers=workers) as old,
        Traffic(old.port, new.port) as traffic,
    ):
        time.sleep(0.5)
        old.signal()
        time.sleep(0.5)
        traffic.move()
        old.wait()
        time.sleep(0.3)
        assert traffic.requests > 100
    return traffic.failures


@pytest.mark.timeout(60)
@each_of("http, loop", ("h11", "asyncio"), among=PROTOCOLS)
def test_keep_alive_clients_notice_nothing(tmp_path: Path, http: str, loop: str) -> None:
    assert _failures_over_a_drain(ZDD, tmp_path, "--http", http, "--loop", loop) == []


@pytest.mark.timeout(60)
def test_keep_alive_clients_notice_nothing_with_workers(tmp_path: Path) -> None:
    assert _failures_over_a_drain(ZDD, tmp_path, workers=2) == []


@pytest.mark.timeout(60)
def test_keep_alive_clients_of_plain_uvicorn_fail(tmp_path: Path) -> None:
    assert _failures_over_a_drain(PLAIN, tmp_path)


@pytest.mark.timeout(60)
@each_of("http", "httptools", among=["httptools", "h11"])
def test_in_flight_request_is_answered_and_says_close(tmp_path: Path, http: str) -> None:
    with serving(ZDD, tmp_path, "--http", http, lag="500ms") as server, Client(server.port) as client:
        client.send("/slow")
        time.sleep(0.3)
        server.signal()
        reply = client.reply()
        assert (reply.status, reply.closes) == (200, True)
        assert server.wait() == 0
        assert "application shutdown seen" in server.text()


@pytest.mark.timeout(60)
def test_in_flight_request_is_cut_at_drain_timeout(tmp_path: Path) -> None:
    environ = {"ZDD_LIFECYCLE_DRAIN_TIMEOUT": "300ms"}
    with serving(ZDD, tmp_path, lag="0s", environ=environ) as server, Client(server.port) as client:
        client.send("/slow")
        time.sleep(0.3)
        began = server.signal()
        assert server.wait() == 0
        assert time.monotonic() - began < 1.9
        assert client.reply().status == 500


@pytest.mark.timeout(60)
@each_of("http", "h11", among=["httptools", "h11"])
def test_every_answer_says_close_once_while_draining(tmp_path: Path, http: str) -> None:
    with serving(ZDD, tmp_path, "--http", http) as server:
        before = {path: ask(server.port, path) for path in ("/", "/missing", "/livez")}
        assert not any(reply.closes for reply in before.values())
        server.signal()
        server.wait_for("Draining")
        replies = {path: ask(server.port, path) for path in ("/", "/missing", "/boom", "/livez", "/says-keep-alive")}
        asked = ask(server.port, "/", "GET", "connection: close")
        assert [reply.status for reply in replies.values()] == [200, 404, 500, 200, 200]
        assert all(reply.closes for reply in [*replies.values(), asked])


FASTAPI = "tests.servers.uvicorn.fastapi_application:app"


@pytest.mark.timeout(60)
def test_errors_and_preflights_of_a_framework_say_close(tmp_path: Path) -> None:
    preflight = ("origin: https://shop.example", "access-control-request-method: POST")
    with serving(ZDD, tmp_path, app=FASTAPI) as server:
        server.signal()
        server.wait_for("Draining")
        replies: list[Reply] = [ask(server.port, path) for path in ("/", "/missing", "/boom")]
        replies.append(ask(server.port, "/", "OPTIONS", *preflight))
        assert [reply.status for reply in replies] == [200, 404, 500, 200]
        assert replies[3].values("access-control-allow-origin")
        assert all(reply.closes for reply in replies)


@pytest.mark.timeout(60)
@each_of("workers", 2, among=[1, 2])
def test_a_second_signal_means_now(tmp_path: Path, workers: int) -> None:
    with serving(ZDD, tmp_path, workers=workers, lag="20s") as server:
        server.signal()
        server.wait_for("Draining", workers)
        began = server.signal()
        server.wait()
        assert time.monotonic() - began < 2
        assert server.text().count("application shutdown seen") == workers


@thorough
@pytest.mark.timeout(60)
def test_sigint_means_now(tmp_path: Path) -> None:
    with serving(ZDD, tmp_path, lag="20s") as server:
        began = server.signal(signal.SIGINT)
        server.wait()
        assert time.monotonic() - began < 2


@pytest.mark.timeout(60)
def test_a_terminal_means_now(tmp_path: Path) -> None:
    controller, terminal = pty.openpty()
    try:
        with serving(ZDD, tmp_path, lag="20s", stdin=terminal) as server:
            began = server.signal()
            server.wait()
            assert time.monotonic() - began < 2
    finally:
        os.close(controller)
        os.close(terminal)


@pytest.mark.timeout(60)
def test_a_hanging_application_shutdown_does_not_keep_the_process(tmp_path: Path) -> None:
    environ = {"APP_HANGS_AT_SHUTDOWN": "1", "ZDD_LIFECYCLE_HOOKS_TIMEOUT": "500ms"}
    with serving(ZDD, tmp_path, lag="0s", environ=environ) as server:
        began = server.signal()
        assert server.wait() == 0
        assert time.monotonic() - began < 2.5
        assert "did not end in 0.5 s" in server.text()


def _late_connections(server: Server) -> set[str]:
    """Connect and send on until the server is gone; return how connections ended that were not answered."""
    ends: set[str] = set()
    while server.process.poll() is None:
        try:
            with Client(server.port, timeout=5) as client:
                client.send()
                client.reply()
        except ConnectionRefusedError:
            ends.add("refused")
            time.sleep(0.01)
        except OSError as error:
            ends.add(repr(error))
    return ends


@pytest.mark.timeout(60)
@each_of("workers, loop", (2, "uvloop"), among=[(1, "asyncio"), (1, "uvloop"), (2, "asyncio"), (2, "uvloop")])
def test_late_connections_are_refused_never_reset(tmp_path: Path, workers: int, loop: str) -> None:
    """A request of 2 s keeps the process alive after its listener is closed."""
    with serving(ZDD, tmp_path, "--loop", loop, workers=workers, lag="300ms") as server, Client(server.port) as slow:
        slow.send("/slow")
        time.sleep(0.2)
        server.signal()
        assert _late_connections(server) == {"refused"}
        assert slow.reply().status == 200


@pytest.mark.timeout(60)
def test_late_connections_to_plain_workers_are_reset(tmp_path: Path) -> None:
    with serving(PLAIN, tmp_path, workers=2) as server, Client(server.port) as slow:
        slow.send("/slow")
        time.sleep(0.2)
        server.signal()
        assert _late_connections(server) - {"refused"}


@pytest.mark.timeout(60)
def test_the_date_header_goes_on(tmp_path: Path) -> None:
    with serving(ZDD, tmp_path, lag="3s") as server:
        server.signal()
        server.wait_for("Draining")
        dates = set()
        for _ in range(5):
            dates.add(ask(server.port).values("date")[0])
            time.sleep(0.5)
        assert len(dates) > 1


@pytest.mark.timeout(60)
def test_a_websocket_lives_through_the_lag_and_gets_1012(tmp_path: Path) -> None:
    from websockets.sync.client import connect

    with serving(ZDD, tmp_path) as server:
        with connect(f"ws://127.0.0.1:{server.port}/") as websocket:
            server.signal()
            server.wait_for("Draining")
            time.sleep(0.5)
            websocket.send("still there?")
            assert websocket.recv(2) == "still there?"
            with pytest.raises(Exception, match="1012"):
                websocket.recv(5)
        assert server.wait() == 0


@pytest.mark.timeout(60)
def test_unix_socket_queue_is_answered_and_a_successors_file_is_left(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with serving(ZDD, tmp_path, "--uds", str(path), lag="300ms") as server:
        client = socket.socket(socket.AF_UNIX)
        client.connect(str(path))
        server.signal()
        client.sendall(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n")
        assert b"connection: close" in client.recv(4096)
        client.close()
        path.unlink()
        path.write_text("the successor's")
        assert server.wait() == 0
    assert path.exists()


@pytest.mark.timeout(60)
def test_an_inherited_socket_still_works_for_its_owner(tmp_path: Path) -> None:
    """With ``--fd`` a supervisor holds the listener: it must not be muted, the next server takes it over."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number = listener.fileno()
        options = {"pass_fds": (number,)}
        for _ in range(2):
            with serving(ZDD, tmp_path, "--fd", str(number), lag="100ms", **options) as server:
                assert ask(listener.getsockname()[1]).status == 200
                server.signal()
                assert server.wait() == 0
