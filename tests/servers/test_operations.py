"""What happens to a parent and its workers, on every server: crashes, signals at odd moments, pipelined requests."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.servers.start import ASGI, WSGI, ZDD, answered, each_server, free_port, starting, together
from tests.servers.uvicorn.harness import ROOT, Client, Server, ask

SERVERS = {
    "uvicorn": "uvicorn {asgi} --port {port} --workers {count}",
    "hypercorn": "hypercorn {asgi} --bind 127.0.0.1:{port} --workers {count}",
    "granian asgi": "granian {asgi} --interface asgi --port {port} --workers {count}",
    "granian wsgi": "granian {wsgi} --interface wsgi --port {port} --workers {count}",
    "gunicorn sync": "gunicorn {wsgi} -b 127.0.0.1:{port} -w {count}",
    "gunicorn gthread": "gunicorn {wsgi} -b 127.0.0.1:{port} -w {count} --threads 4",
    "gunicorn asgi": "gunicorn {asgi} -k asgi -b 127.0.0.1:{port} -w {count}",
    "gunicorn uvicorn": "gunicorn {asgi} -k uvicorn_worker.UvicornWorker -b 127.0.0.1:{port} -w {count}",
}
pytestmark = pytest.mark.timeout(120)


def command(name: str, port: int, count: int, asgi: str = ASGI, wsgi: str = WSGI) -> list[str]:
    return [*ZDD, "serve", *SERVERS[name].format(port=port, count=count, asgi=asgi, wsgi=wsgi).split()]


@contextlib.contextmanager
def serving(name: str, directory: Path, count: int, **options: object) -> Iterator[Server]:
    port = free_port()
    with starting(command(name, port, count), directory / name, port=port, workers=count, **options) as server:  # type: ignore[arg-type]
        # A signal between a worker's record and its first turn finds it still starting, and ends it at once.
        time.sleep(0.5)
        yield server


@each_server("uvicorn", "hypercorn", "granian wsgi", among=SERVERS)
def test_a_signal_to_the_process_group_is_one_signal(tmp_path: Path, names: list[str]) -> None:
    """As systemd sends it by default: workers get it at once, and once more from their parent."""
    with together(serving(name, tmp_path, 2, lag="4s") for name in names) as servers:
        for server in servers:
            for pid in _workers(server):
                os.kill(pid, signal.SIGTERM)
            server.wait_for("Draining", 2)
            server.signal()
        time.sleep(0.4)
        assert [ask(server.port).status for server in servers] == [200] * len(names)
        assert [server.wait() for server in servers] == [0] * len(names)


@each_server("uvicorn", "hypercorn", "gunicorn sync", among=[name for name in SERVERS if "granian" not in name])
def test_who_takes_the_place_of_a_crashed_worker_drains_too(tmp_path: Path, names: list[str]) -> None:
    with together(serving(name, tmp_path, 2) for name in names) as servers:
        for server in servers:
            (instance,) = server.run_dir.iterdir()
            (instance / "drain").touch()
            time.sleep(0.4)
            crashed = _workers(server)
            for pid in crashed:
                os.kill(pid, signal.SIGKILL)
            _until(lambda server=server, crashed=crashed: len(_workers(server) - crashed) == 2)
            _until(lambda server=server: answered(server.port, "/"))
            assert {ask(server.port, "/readyz").status for _ in range(6)} == {503}


def _workers(server: Server) -> set[int]:
    found = {int(path.name.removeprefix("worker-")) for path in server.run_dir.glob("*/worker-*")}
    return {pid for pid in found if Path(f"/proc/{pid}").exists()}


def _until(true: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


@each_server("granian asgi", "granian wsgi", "hypercorn", among=SERVERS)
def test_sigterm_while_workers_load_the_application_ends_all(tmp_path: Path, names: list[str]) -> None:
    with together(_loading(name, tmp_path / f"{number}") for number, name in enumerate(names)) as processes:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(20)
            _until(lambda process=process: not _group(process.pid), 10)


@contextlib.contextmanager
def _loading(name: str, output: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server until its workers are at their slow import."""
    slow = "tests.servers.slow_application:"
    words = command(name, free_port(), 2, f"{slow}app", f"{slow}wsgi_app")
    environ = {**os.environ, "ZDD_LIFECYCLE_RUN_DIR": f"{output}.run"}
    with output.open("wb") as file:
        process = subprocess.Popen(
            words, cwd=ROOT, env=environ, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
        )
    try:
        _until(lambda: b"loading" in output.read_bytes(), 40)
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(5)


def _group(number: int) -> list[str]:
    """The live processes of a process group."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, group = path.read_text().rpartition(")")[2].split()[:3]
            if int(group) == number and state != "Z":
                found.append(path.parent.name)
    return found


@each_server("uvicorn", among=[name for name in SERVERS if "granian" not in name])
def test_a_service_that_refuses_to_serve_ends_all_with_an_error(tmp_path: Path, names: list[str]) -> None:
    refusing = "tests.servers.refusing_application:"
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ZDD_")}
    for name in names:
        done = subprocess.run(
            command(name, free_port(), 2, f"{refusing}app", f"{refusing}wsgi_app"),
            env={**environ, "ZDD_LIFECYCLE_RUN_DIR": str(tmp_path / "run")},
            cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode != 0
        assert "ZDD_REDIS_URL" in done.stdout + done.stderr


@each_server("gunicorn asgi", "granian wsgi", among=[name for name in SERVERS if name != "gunicorn sync"])
def test_what_is_pipelined_behind_the_last_answer_is_not_answered(tmp_path: Path, names: list[str]) -> None:
    """Who was told close sends the rest elsewhere: answered here, too, it would be done twice (RFC 9112, 9.6)."""
    request = b"GET / HTTP/1.1\r\nhost: test\r\n\r\n"
    with together(serving(name, tmp_path, 1) for name in names) as servers:
        for server in servers:
            server.signal()
            server.wait_for("Draining")
            with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
                connection.sendall(request * 4)
                received = b"".join(iter(lambda connection=connection: connection.recv(65536), b""))
            assert received.count(b"HTTP/1.1 200") == 1
            assert received.lower().count(b"connection: close") == 1


@each_server("hypercorn", "uvicorn", among=["hypercorn", "uvicorn"])
def test_a_worker_that_is_being_replaced_lingers_on_when_all_leave(tmp_path: Path, names: list[str]) -> None:
    """SIGTERM comes while the worker already leaves alone: for it that is the first one."""
    environ = {"ZDD_LIFECYCLE_LINGER": "4s"}
    with together(serving(name, tmp_path, 2, lag="0s", environ=environ) for name in names) as servers:
        for server in servers:
            with contextlib.ExitStack() as stack:
                kept = [stack.enter_context(Client(server.port, timeout=20)) for _ in range(8)]
                assert {client.ask().status for client in kept} == {200}
                server.signal(signal.SIGHUP)
                server.wait_for("Listener closed", seconds=30)
                server.signal()
                time.sleep(0.6)
                assert {client.ask().status for client in kept} == {200}
            assert server.wait() == 0
            assert server.text().count("Started server process") in (0, 3), "the reload went on"
