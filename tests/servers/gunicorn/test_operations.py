"""What operators do to gunicorn beside SIGTERM: signals, reloads, upgrades, flags, configuration files."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from gunicorn import util

from tests.servers.gunicorn.harness import (
    ASGI_WORKERS,
    NOT_GEVENT,
    OURS,
    PLAIN,
    WSGI_WORKERS,
    each_of,
    gunicorn,
)
from tests.servers.start import ALL, ZDD, free_port, is_answered, thorough
from tests.servers.uvicorn.harness import ROOT, Client, Server, Traffic, ask

ONE_LINE = "from zdd_sdk.lifecycle.servers.gunicorn import on_starting\n"


def _pid(server: Server) -> int:
    return int(ask(server.port).body)


@pytest.mark.timeout(90)
@each_of("gthread")
def test_sighup_replaces_workers_without_a_loss_and_without_a_lag(tmp_path: Path, worker: str) -> None:
    with gunicorn(worker, tmp_path, count=2, lag="20s") as server:
        before = {_pid(server) for _ in range(20)}
        with Traffic(server.port, server.port, clients=8) as traffic:
            time.sleep(0.3)
            server.signal(signal.SIGHUP)
            server.wait_for("Worker exiting", 2, seconds=15)
            time.sleep(0.3)
        assert traffic.failures == []
        assert traffic.requests > 50
        after = {_pid(server) for _ in range(20)}
        assert not before & after
        assert ask(server.port, "/readyz").status == 200


@pytest.mark.timeout(90)
@each_of("sync", *ASGI_WORKERS[:1])
def test_max_requests_replaces_a_worker_without_a_loss(tmp_path: Path, worker: str) -> None:
    with (
        gunicorn(worker, tmp_path, "--max-requests", "40", count=2, lag="20s") as server,
        Traffic(server.port, server.port, clients=4) as traffic,
    ):
        server.wait_for("Booting worker", 4, seconds=40)
        time.sleep(0.2)
    assert traffic.failures == []


@pytest.mark.timeout(90)
def test_sigusr2_upgrades_without_a_loss(tmp_path: Path) -> None:
    """The old arbiter's workers leave at once and mute nothing: the new one's accept at the same socket."""
    pidfile = tmp_path / "pid"
    with (
        gunicorn("gthread", tmp_path, "--pid", str(pidfile), "--keep-alive", "20", count=2, lag="20s") as server,
        Traffic(server.port, server.port, clients=8) as traffic,
    ):
        server.signal(signal.SIGUSR2)
        server.wait_for("Booting worker", 4)
        time.sleep(1)
        began = server.signal()
        assert server.wait() == 0
        assert time.monotonic() - began < 10
        time.sleep(2)
        assert traffic.failures == []
        before = traffic.requests
        time.sleep(0.5)
        assert traffic.requests > before
        new = int(pidfile.read_text())
        assert new != server.process.pid
        os.kill(new, signal.SIGKILL)
    assert traffic.requests > 100


@pytest.mark.timeout(90)
@each_of("sync", among=NOT_GEVENT)
def test_a_second_signal_means_now(tmp_path: Path, worker: str) -> None:
    with gunicorn(worker, tmp_path, count=2, lag="30s") as server:
        server.signal()
        server.wait_for("Draining", 2)
        began = server.signal()
        assert server.wait() == 0
        assert time.monotonic() - began < 4


@thorough
@pytest.mark.timeout(90)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_sigint_and_sigquit_mean_now(tmp_path: Path, number: signal.Signals) -> None:
    with gunicorn("gthread", tmp_path, lag="30s") as server:
        began = server.signal(number)
        server.wait()
        assert time.monotonic() - began < 4


@pytest.mark.timeout(90)
def test_a_terminal_means_now(tmp_path: Path) -> None:
    controller, terminal = pty.openpty()
    try:
        with gunicorn("gthread", tmp_path, lag="30s", stdin=terminal) as server:
            began = server.signal()
            server.wait()
            assert time.monotonic() - began < 4
    finally:
        os.close(controller)
        os.close(terminal)


@pytest.mark.timeout(90)
@each_of("sync", among=NOT_GEVENT)
def test_gunicorns_own_timeouts_do_not_cut_the_drain(tmp_path: Path, worker: str) -> None:
    """Neither ``graceful_timeout``, which counts from the arbiter's signal, nor ``timeout``."""
    with (
        gunicorn(worker, tmp_path, "--graceful-timeout", "1", "--timeout", "2", lag="3s") as server,
        Client(server.port) as client,
    ):
        server.signal()
        server.wait_for("Draining")
        time.sleep(2.6)
        client.send("/stall")
        assert client.reply().status == 200
        assert server.wait() == 0
        assert "SIGKILL" not in server.text()


def _drain(directory: Path) -> int:
    environ = {**os.environ, "ZDD_LIFECYCLE_RUN_DIR": str(directory / "run")}
    command = [*ZDD, "drain"]
    return subprocess.run(command, env=environ, cwd=ROOT, capture_output=True, timeout=30, check=False).returncode


@pytest.mark.timeout(90)
@pytest.mark.parametrize("preload", [False, True] if ALL else [True])
def test_zdd_drain_reaches_all_workers_and_is_deducted_from_the_lag(tmp_path: Path, preload: bool) -> None:
    arguments = ["--preload"] if preload else []
    with gunicorn("sync", tmp_path, *arguments, count=3, lag="3s") as server:
        time.sleep(0.5)
        (instance,) = server.run_dir.iterdir()
        assert len(list(instance.glob("worker-*"))) == 3
        assert _drain(tmp_path) == 0
        time.sleep(0.4)
        assert {ask(server.port, "/readyz").status for _ in range(12)} == {503}
        time.sleep(2.6)
        assert ask(server.port).status == 200
        began = server.signal()
        assert server.wait() == 0
        assert time.monotonic() - began < 2.5
    assert not list(server.run_dir.glob("*/worker-*"))
    assert _drain(tmp_path) != 0, "nobody is left to drain"


@pytest.mark.timeout(90)
@each_of("gthread")
def test_one_line_in_the_configuration_file_is_enough(tmp_path: Path, worker: str) -> None:
    configuration = tmp_path / "gunicorn.conf.py"
    configuration.write_text(ONE_LINE)
    with gunicorn(worker, tmp_path, "-c", str(configuration), command=PLAIN) as server:
        server.signal()
        server.wait_for("Draining")
        reply = ask(server.port)
        assert (reply.status, reply.closes) == (200, True)
        assert server.wait() == 0


@pytest.mark.timeout(90)
@pytest.mark.parametrize("command", [PLAIN, OURS])
def test_stock_mode_is_plain_gunicorn(tmp_path: Path, command: tuple[str, ...]) -> None:
    configuration = tmp_path / "gunicorn.conf.py"
    configuration.write_text(ONE_LINE)
    environ = {"ZDD_MODE": "stock"}
    with gunicorn("gthread", tmp_path, "-c", str(configuration), command=command, environ=environ, lag="20s") as server:
        assert ask(server.port, "/livez").body.isdigit()
        began = server.signal()
        assert server.wait() == 0
        assert time.monotonic() - began < 5


@thorough
@pytest.mark.timeout(90)
def test_hooks_of_the_users_configuration_still_run(tmp_path: Path) -> None:
    configuration = tmp_path / "gunicorn.conf.py"
    configuration.write_text("def on_starting(server):\n    server.log.info('their hook ran')\n")
    with gunicorn("sync", tmp_path, "-c", str(configuration)) as server:
        server.wait_for("their hook ran")
        server.signal()
        server.wait_for("Draining")
        assert server.wait() == 0


@pytest.mark.timeout(90)
@pytest.mark.parametrize("worker", ["gevent_pywsgi", "tests.servers.gunicorn.workers.Homemade"])
def test_workers_that_lose_requests_are_refused_with_a_reason(tmp_path: Path, worker: str) -> None:
    command = [*OURS, "tests.servers.wsgi_application:app", "-k", worker, "-b", f"127.0.0.1:{free_port()}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=40, check=False)
    assert done.returncode != 0
    assert "would lose requests at every stop" in done.stderr


@thorough
@pytest.mark.timeout(90)
def test_a_subclass_of_a_supported_worker_drains(tmp_path: Path) -> None:
    with gunicorn("tests.servers.gunicorn.workers.Special", tmp_path) as server:
        server.signal()
        server.wait_for("Draining")
        assert ask(server.port).closes
        assert server.wait() == 0


@pytest.mark.timeout(90)
def test_a_unix_sockets_file_is_there_through_the_lag_and_gone_with_it(tmp_path: Path) -> None:
    path = tmp_path / "s"
    port = free_port()
    bind = ("-b", f"unix:{path}")
    with gunicorn("sync", tmp_path, *bind, count=2, port=port) as server:
        server.signal()
        server.wait_for("Draining")
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n")
            assert b"200 OK" in client.recv(4096)
        assert server.wait() == 0
        assert not path.exists()


@pytest.mark.timeout(90)
def test_a_service_that_refuses_to_serve_ends_gunicorn(tmp_path: Path) -> None:
    command = [*OURS, "tests.servers.gunicorn.refusing_application:app", "-b", f"127.0.0.1:{free_port()}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=40, check=False)
    assert done.returncode == 4  # gunicorn: the application could not be loaded
    assert "this service refuses to serve" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.timeout(90)
@each_of("gthread", among=WSGI_WORKERS)
def test_stop_hooks_run_once_in_every_worker(tmp_path: Path, worker: str) -> None:
    app = "tests.servers.gunicorn.hooked_application:app"
    with gunicorn(worker, tmp_path, app=app, count=2, lag="0s") as server:
        server.wait_for("started by on_serve", 2)
        server.signal()
        assert server.wait() == 0
        assert server.text().count("stop hook ran") == 2


@pytest.mark.timeout(90)
def test_a_stop_hook_that_outlasts_drain_timeout_is_no_late_request(tmp_path: Path) -> None:
    app = "tests.servers.gunicorn.hooked_application:app"
    environ = {"HOOK_SECONDS": "1", "ZDD_LIFECYCLE_DRAIN_TIMEOUT": "100ms", "ZDD_LIFECYCLE_LINGER": "0s"}
    with gunicorn("sync", tmp_path, app=app, lag="0s", environ=environ) as server:
        server.signal()
        assert server.wait() == 0
        assert "stop hook ran" in server.text()
        assert "did not end" not in server.text()


@pytest.mark.timeout(90)
def test_keep_alive_below_the_proxys_is_said(tmp_path: Path) -> None:
    environ = {"ZDD_LIFECYCLE_PROXY_IDLE_TIMEOUT": "60s"}
    with gunicorn("gthread", tmp_path, environ=environ) as server:
        server.wait_for("the proxy will reuse connections")


@pytest.mark.timeout(90)
@each_of("sync", among=WSGI_WORKERS)
def test_a_client_that_never_reads_does_not_keep_the_process(tmp_path: Path, worker: str) -> None:
    environ = {"ZDD_LIFECYCLE_DRAIN_TIMEOUT": "1s"}
    app = "tests.servers.gunicorn.large_application:app"
    with gunicorn(worker, tmp_path, app=app, lag="0s", environ=environ) as server, Client(server.port) as client:
        client.send("/large")
        time.sleep(0.5)
        began = server.signal()
        assert server.wait() == 0
        assert time.monotonic() - began < 6


@pytest.mark.timeout(90)
def test_a_client_that_keeps_its_socket_open_holds_nobody_up(tmp_path: Path) -> None:
    """Plain gunicorn waits 2 s for each of them, one after the other."""
    with gunicorn("sync", tmp_path, lag="0s") as server:
        clients = [Client(server.port) for _ in range(5)]
        began = time.monotonic()
        for client in clients:
            assert client.ask().status == 200
        assert time.monotonic() - began < 4
        for client in clients:
            client.close()


@thorough
@pytest.mark.timeout(90)
def test_clients_of_a_plain_sync_worker_hold_each_other_up(tmp_path: Path) -> None:
    if not hasattr(util, "close_graceful"):
        pytest.skip("since gunicorn 26")
    with gunicorn("sync", tmp_path, command=PLAIN) as server:
        clients = [Client(server.port) for _ in range(3)]
        began = time.monotonic()
        for client in clients:
            assert client.ask().status == 200
        assert time.monotonic() - began > 3.5
        for client in clients:
            client.close()


@pytest.mark.timeout(90)
def test_a_listener_that_was_handed_over_still_works_for_its_owner(tmp_path: Path) -> None:
    """It must be neither muted nor emptied: whoever connects meanwhile is answered by the successor."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        waiting: list[Client] = []
        for _ in range(2):
            with _with_descriptor(tmp_path, listener.fileno()) as process:
                assert all(map(is_answered, waiting))
                assert ask(port).status == 200
                process.send_signal(signal.SIGTERM)
                assert process.wait(20) == 0
            waiting = [Client(port)]
            waiting[0].send()
        waiting[0].close()


@contextlib.contextmanager
def _with_descriptor(directory: Path, number: int) -> Iterator[subprocess.Popen[bytes]]:
    environ = {**os.environ, "ZDD_LIFECYCLE_DRAIN_LAG": "100ms", "ZDD_LIFECYCLE_RUN_DIR": str(directory / "run")}
    command = [*OURS, "tests.servers.wsgi_application:app", "-b", f"fd://{number}", "--threads", "2"]
    process = subprocess.Popen(command, cwd=ROOT, env=environ, pass_fds=[number], start_new_session=True)
    end = time.monotonic() + 30
    try:
        while not list((directory / "run").glob("*/worker-*")):
            assert time.monotonic() < end
            time.sleep(0.05)
        time.sleep(0.3)
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(5)


def test_the_arbiter_has_not_imported_what_gevent_patches() -> None:
    """gevent patches in the workers; an asyncio that is there already keeps the sockets it has seen."""
    code = (
        "import sys, zdd_sdk.cli.serve, zdd_sdk.lifecycle.servers.gunicorn; "
        "from zdd_sdk.lifecycle.servers.own import own_lifecycle; own_lifecycle(); "
        "sys.exit(len({'asyncio', 'redis'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60, check=False).returncode == 0
