"""SIGTERM on a real gunicorn loses nothing, whichever its worker; each promise beside the server that breaks it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.servers.gunicorn.harness import ASGI_WORKERS, PLAIN, WORKERS, WSGI_WORKERS, each_of, gunicorn
from tests.servers.start import QUEUED, is_answered, late_connections, queue_and_stop
from tests.servers.start import each_of as each_of_any
from tests.servers.uvicorn.harness import Client, ask

KEEPING = [worker for worker in WORKERS if worker != "sync"]


@pytest.mark.timeout(90)
@each_of_any(
    "worker, count",
    ("gthread", 1),
    ("sync", 4),
    among=[*((worker, 1) for worker in WORKERS), ("sync", 4), ("gthread", 4)],
)
def test_20_of_20_queued_requests_are_answered(tmp_path: Path, worker: str, count: int) -> None:
    """With no lag at all, so that only the handling of the queue can save them."""
    with gunicorn(worker, tmp_path, count=count, lag="0s") as server:
        assert queue_and_stop(server) == QUEUED
        assert server.wait() == 0


@pytest.mark.timeout(90)
def test_plain_sync_workers_lose_queued_requests(tmp_path: Path) -> None:
    with gunicorn("sync", tmp_path, command=PLAIN) as server:
        assert queue_and_stop(server) < QUEUED


@pytest.mark.timeout(90)
@each_of("sync", "gthread")
def test_late_connections_are_refused_never_reset(tmp_path: Path, worker: str) -> None:
    """A request of 2 s keeps the process alive after its listener is closed."""
    with gunicorn(worker, tmp_path, count=2, lag="300ms") as server, Client(server.port) as slow:
        slow.send("/slow")
        time.sleep(0.3)
        server.signal()
        assert late_connections(server) == {"refused"}
        assert slow.reply().status == 200


@pytest.mark.timeout(90)
def test_late_connections_to_plain_workers_are_reset(tmp_path: Path) -> None:
    with gunicorn("sync", tmp_path, command=PLAIN) as server, Client(server.port) as slow:
        slow.send("/slow")
        time.sleep(0.3)
        server.signal()
        assert late_connections(server) - {"refused"}


@pytest.mark.timeout(90)
@each_of("gthread")
def test_a_request_in_flight_is_answered_and_says_close(tmp_path: Path, worker: str) -> None:
    with gunicorn(worker, tmp_path, lag="500ms") as server, Client(server.port) as client:
        client.send("/slow")
        time.sleep(0.3)
        server.signal()
        reply = client.reply()
        assert (reply.status, reply.closes) == (200, True)
        assert server.wait() == 0


@pytest.mark.timeout(90)
@each_of("gthread", *ASGI_WORKERS[:1])
def test_every_answer_says_close_once_while_draining(tmp_path: Path, worker: str) -> None:
    paths = ("/", "/missing", "/boom", "/livez", "/says-keep-alive")
    with gunicorn(worker, tmp_path, lag="1500ms") as server:
        server.signal()
        server.wait_for("Draining")
        replies = {path: ask(server.port, path) for path in paths}
        assert [reply.status for reply in replies.values()] == [200, 404, 500, 200, 200]
        assert all(reply.closes for reply in replies.values())
        assert server.wait() == 0


@pytest.mark.timeout(90)
@each_of("gthread", among=KEEPING)
def test_a_kept_alive_connection_is_answered_after_the_listener_has_closed(tmp_path: Path, worker: str) -> None:
    with gunicorn(worker, tmp_path, "--keep-alive", "30", lag="0s") as server, Client(server.port) as client:
        assert not client.ask().closes
        server.signal()
        server.wait_for("Listener closed")
        reply = client.ask()
        assert (reply.status, reply.closes) == (200, True)
        assert server.wait() == 0


@pytest.mark.timeout(90)
@each_of("sync", among=WSGI_WORKERS)
def test_a_generators_response_is_sent_whole(tmp_path: Path, worker: str) -> None:
    with gunicorn(worker, tmp_path, lag="0s") as server, Client(server.port) as client:
        client.send("/stream")
        time.sleep(0.3)
        server.signal()
        assert client.reply().body == b"piece" * 10
        assert server.wait() == 0


@pytest.mark.timeout(90)
@each_of("sync", "gthread")
def test_a_request_in_flight_is_cut_at_drain_timeout(tmp_path: Path, worker: str) -> None:
    environ = {"ZDD_LIFECYCLE_DRAIN_TIMEOUT": "300ms"}
    with gunicorn(worker, tmp_path, lag="0s", environ=environ) as server, Client(server.port) as client:
        client.send("/slow")
        time.sleep(0.3)
        server.signal()
        assert server.wait() == 0
        assert not is_answered(client)


@pytest.mark.timeout(90)
def test_a_sync_worker_that_waits_in_a_system_call_closes_its_listener_all_the_same(tmp_path: Path) -> None:
    """gunicorn lets system calls go on at SIGTERM: Python's signal handler does not run until one returns."""
    environ = {"ZDD_LIFECYCLE_DRAIN_TIMEOUT": "1s"}
    with gunicorn("sync", tmp_path, lag="100ms", environ=environ) as server, Client(server.port):
        time.sleep(0.2)
        server.signal()
        server.wait_for("Listener closed")
        with pytest.raises(ConnectionRefusedError):
            Client(server.port)
        assert server.wait() == 0


@pytest.mark.timeout(90)
@each_of("gthread", among=("sync", "gthread"))
def test_workers_with_a_queue_each_answer_all_of_them(tmp_path: Path, worker: str) -> None:
    with gunicorn(worker, tmp_path, "--reuse-port", count=3, lag="0s") as server:
        assert queue_and_stop(server) == QUEUED
        assert server.wait() == 0
