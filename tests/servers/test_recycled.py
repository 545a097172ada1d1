"""A drained instance whose only worker is replaced (``max_requests``, a reload) goes on draining."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.servers.gunicorn.harness import gunicorn
from tests.servers.others.test_dropping import drain
from tests.servers.start import ASGI, ZDD, each_of, free_port, starting
from tests.servers.uvicorn.harness import Client, Server, ask
from zdd_sdk.lifecycle.flag import InstanceDirectory

pytestmark = pytest.mark.timeout(90)
REQUESTS = 60


@contextmanager
def recycling(name: str, directory: Path) -> Iterator[Server]:
    """Serve with one worker, which ends after `REQUESTS`, or at SIGHUP."""
    if name.startswith("gunicorn"):
        with gunicorn(name.partition(" ")[2], directory, "--max-requests", str(REQUESTS), lag="2s") as server:
            yield server
        return
    port = free_port()
    arguments = {
        "hypercorn": ["--bind", f"127.0.0.1:{port}", "-w", "1", "--max-requests", str(REQUESTS)],
        "granian": ["--interface", "asgi", "--port", str(port), "--workers", "1"],
    }
    words = [*ZDD, "serve", name, ASGI, *arguments[name]]
    with starting(words, directory, port=port, lag="2s") as server:
        yield server


def workers(directory: Path) -> set[str]:
    return {found.name for found in (directory / "run").glob("*/worker-*")}


@each_of("name", "gunicorn sync", among=["gunicorn sync", "gunicorn gthread", "gunicorn asgi", "hypercorn", "granian"])
def test_who_takes_the_place_of_the_only_worker_drains_as_well(name: str, tmp_path: Path) -> None:
    with recycling(name, tmp_path) as server:
        first = workers(tmp_path)
        assert drain(tmp_path).returncode == 0
        if name == "granian":
            server.signal(signal.SIGHUP)
        end = time.monotonic() + 40
        statuses = set()
        while not workers(tmp_path) - first or workers(tmp_path) & first:
            assert time.monotonic() < end, server.text()
            statuses.add(_status(server.port))
            time.sleep(0.02)
        _until_draining(server.port)
        assert ask(server.port).closes
        assert statuses <= {200}
        server.signal()
        assert server.wait(40) == 0


def _status(port: int) -> int | str:
    try:
        with Client(port, timeout=20) as client:
            return client.ask().status
    except OSError as error:
        return repr(error)


def _until_draining(port: int) -> None:
    """A worker notices the flag within 0.3 s; not asked so often that it is replaced, which is a drain, too."""
    for _ in range(REQUESTS // 2):
        if ask(port, "/readyz").status != 200:
            return
        time.sleep(0.2)
    pytest.fail("it is in service again")


_WORKER = """
import pathlib, sys
from zdd_sdk.lifecycle.flag import InstanceDirectory
there = InstanceDirectory(pathlib.Path(sys.argv[1]), "i")
there.join(int(sys.argv[2]))
print(there.reason(), flush=True)
sys.stdin.readline()
there.leave()
"""


def worker(root: Path, parent: int) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", _WORKER, str(root), str(parent)]
    return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def leave(process: subprocess.Popen[str]) -> str:
    """Let it leave; return what it has seen of the flag."""
    seen, _ = process.communicate("\n", timeout=30)
    return seen.strip()


def test_the_flag_outlives_the_only_worker_as_long_as_its_parent_lives(tmp_path: Path) -> None:
    there = InstanceDirectory(tmp_path / "run", "i")
    with subprocess.Popen(["sleep", "60"]) as parent:
        assert leave(worker(there.path.parent, parent.pid)) == "None"
        assert not there.path.exists(), "who leaves an instance that does not drain leaves nothing behind"
        first = worker(there.path.parent, parent.pid)
        assert first.stdout is not None
        first.stdout.readline()
        there.ask_to_drain("by hand")
        leave(first)
        assert leave(worker(there.path.parent, parent.pid)) == "by hand"
        parent.kill()
    assert leave(worker(there.path.parent, os.getpid())) == "None", "another parent is another instance"
    assert there.sweep()
