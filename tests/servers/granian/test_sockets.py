"""Looking at the sockets that native code holds leaves no trace in its process."""

from __future__ import annotations

import fcntl
import os
import resource
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from zdd_sdk.lifecycle.servers.native import NativeSockets

CONNECTIONS = 1100
"""More than select() can name."""


@contextmanager
def listening() -> Iterator[tuple[socket.socket, NativeSockets]]:
    with socket.create_server(("127.0.0.1", 0), backlog=8) as listener:
        yield listener, NativeSockets(listener.getsockname()[1])


def test_looking_opens_nothing() -> None:
    with listening() as (_, sockets), tempfile.TemporaryFile():
        assert sockets.listening()
        before = len(list(Path("/dev/fd").iterdir()))
        for _ in range(10):
            assert sockets.connections() == 0
        assert len(list(Path("/dev/fd").iterdir())) == before


LOCKED = """
import fcntl, sys
try:
    fcntl.lockf(open(sys.argv[1], "r+b"), fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    sys.exit(7)
"""


def test_looking_takes_back_no_lock_of_the_process(tmp_path: Path) -> None:
    """POSIX: closing any descriptor of a file ends the process's locks on it."""
    path = tmp_path / "database"
    path.touch()
    with listening() as (_, sockets), path.open("r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        sockets.connections()
        assert subprocess.run([sys.executable, "-c", LOCKED, str(path)], timeout=30, check=False).returncode == 7


def test_a_process_with_more_descriptors_than_select_knows_closes_its_listeners() -> None:
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < CONNECTIONS + 200:
        pytest.skip("needs more descriptors")
    held = [os.dup(0) for _ in range(CONNECTIONS)]
    try:
        with listening() as (listener, sockets):
            port = listener.getsockname()[1]
            sockets.close_listeners(1.0)
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port), 1).close()
    finally:
        for number in held:
            os.close(number)
