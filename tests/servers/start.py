"""Start any server on a free port, wait until it is ready, and look at how it drains: the same for every adapter."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pytest

from tests.servers.uvicorn.harness import ROOT, Client, Place, Server

ZDD = (sys.executable, "-c", "import sys; from zdd_sdk.cli import main; sys.exit(main())")
ASGI = "tests.servers.uvicorn.application:app"
WRAPPED = "tests.servers.uvicorn.wrapped_application:app"
WSGI = "tests.servers.wsgi_application:app"
QUEUED = 20
ALL = bool(os.environ.get("ZDD_TEST_ALL_WORKERS"))
thorough = pytest.mark.skipif(not ALL, reason="with ZDD_TEST_ALL_WORKERS=1, as `make servers` sets it")
_T = TypeVar("_T")


def each_of(name: str, *sample: object, among: Iterable[object]) -> pytest.MarkDecorator:
    """Run a test for a sample of what ``name`` may be; for all of it in `make servers`."""
    return pytest.mark.parametrize(name, list(among) if ALL else list(sample))


def each_server(*sample: str, among: Iterable[str]) -> pytest.MarkDecorator:
    """Run a test for a sample of servers, all at once, as ``names``; for all, one by one, in `make servers`."""
    chosen = [[name] for name in among] if ALL else [list(sample)]
    return pytest.mark.parametrize("names", chosen, ids=", ".join)


@contextlib.contextmanager
def together(opening: Iterable[contextlib.AbstractContextManager[_T]]) -> Iterator[list[_T]]:
    """Enter contexts at the same time: servers take a second or two to start."""
    with contextlib.ExitStack() as stack, ThreadPoolExecutor() as pool:

        def enter(found: contextlib.AbstractContextManager[_T]) -> _T:
            entered = found.__enter__()
            stack.push(found)
            return entered

        yield list(pool.map(enter, opening))


def free_port() -> int:
    """Return a port nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def starting(
    words: Sequence[str],
    directory: Path,
    *,
    port: int,
    place: Place | None = None,
    environ: dict[str, str] | None = None,
    lag: str = "1s",
    stdin: int = subprocess.DEVNULL,
    workers: int = 1,
    seconds: float = 40.0,
) -> Iterator[Server]:
    """Run a command that serves at ``port`` until the block ends; it is killed then, with its workers.

    Args:
        words: the command.
        directory: for its run directory.
        port: where it is waited for.
        place: the same, if that is not a port of 127.0.0.1.
        environ: added to the settings of the test.
        lag: ``lifecycle.drain_lag``.
        stdin: of the process.
        workers: how many must have joined their instance; 0 for a server that knows nothing of zdd-sdk.
        seconds: to wait at most.
    """
    settings = {
        "ZDD_LIFECYCLE_DRAIN_LAG": lag,
        "ZDD_LIFECYCLE_LINGER": "500ms",
        "ZDD_LIFECYCLE_DRAIN_TIMEOUT": "5s",
        "ZDD_LIFECYCLE_RUN_DIR": str(directory / "run"),
        "PYTHONUNBUFFERED": "1",
        **(environ or {}),
    }
    process = subprocess.Popen(
        words, cwd=ROOT, env={**os.environ, **settings}, stdin=stdin, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    process.stderr = process.stdout  # some servers log to the one, some to the other
    server = Server(process, directory / "run", port)
    reader = threading.Thread(target=server.read, daemon=True)
    reader.start()
    try:
        _wait_until_served(server, port if place is None else place, workers, seconds)
        yield server
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(5)
        reader.join(5)
        assert process.stderr is not None
        process.stderr.close()


def _wait_until_served(server: Server, where: int | Place, workers: int, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not answered(where) or len(list(server.run_dir.glob("*/worker-*"))) < workers:
        assert time.monotonic() < end, server.text()
        assert server.process.poll() is None, server.text()
        time.sleep(0.05)


def answered(where: int | Place, path: str = "/readyz") -> bool:
    """Whether a request is answered with anything but 503."""
    try:
        with Client(where) as client:
            return client.ask(path).status < 503
    except OSError:
        return False


def queue_and_stop(server: Server, path: str = "/", queued: int = QUEUED) -> int:
    """SIGTERM while 20 connections wait in the accept queue with their requests sent; count the answers.

    The processes that serve are frozen meanwhile, so that the signal and the connections meet them at once.
    """
    frozen = _family(server.process.pid)[1:] or [server.process.pid]
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    clients = [Client(server.port) for _ in range(queued)]
    for client in clients:
        client.send(path)
    server.signal()
    time.sleep(0.5)
    for pid in frozen:
        os.kill(pid, signal.SIGCONT)
    return sum(is_answered(client) for client in clients)


def _family(pid: int) -> list[int]:
    """A process and its descendants."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return [pid, *(found for child in children for found in _family(int(child)))]


def is_answered(client: Client) -> bool:
    """Whether an answer of 200 comes; closes the connection."""
    try:
        return client.reply().status == 200
    except OSError:
        return False
    finally:
        client.close()


def refused_at_once(server: Server, workers: int = 1) -> bool:
    """Whether, once the listener is closed and a request still runs, who connects is told so without delay."""
    server.wait_for("Listener closed", workers)
    assert server.process.poll() is None
    try:
        socket.create_connection(("127.0.0.1", server.port), 0.8).close()
    except ConnectionRefusedError:
        return True
    except TimeoutError:
        pass
    return False


def late_connections(server: Server) -> set[str]:
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
