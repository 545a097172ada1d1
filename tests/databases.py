"""PostgreSQL and MariaDB for tests: a server of each per test session, on a free port, as an unprivileged user.

A test that wants one belongs to the xdist group ``databases``, so that one worker starts it and not each of them.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

__all__ = ["Server", "mariadb_server", "postgresql_server", "start_mariadb", "start_postgresql"]

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_STARTUP = 60.0
"""Seconds until a start is given up; a busy machine takes several."""


@dataclass(frozen=True)
class Server:
    """A database server: user ``zdd`` with password ``zdd`` may do everything in its database ``zdd``.

    Attributes:
        kind: ``postgresql`` or ``mariadb``.
        port: on 127.0.0.1.
    """

    kind: str
    port: int

    def url(self, driver: str) -> str:
        """Return SQLAlchemy's URL of the database, for a driver such as ``psycopg``."""
        scheme = "postgresql" if self.kind == "postgresql" else "mysql"
        return f"{scheme}+{driver}://zdd:zdd@127.0.0.1:{self.port}/zdd"


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[Server]:
    """A PostgreSQL server."""
    with start_postgresql() as server:
        yield server


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[Server]:
    """A MariaDB server."""
    with start_mariadb() as server:
        yield server


@contextmanager
def start_postgresql() -> Iterator[Server]:
    """Start PostgreSQL; skips the test where it is not installed."""
    initdb = _binary("initdb", *sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True))
    with _folder() as folder:
        password = folder / "password"
        password.write_text("zdd")
        password.chmod(0o644)
        data, port = str(folder / "data"), _free_port()
        _run(initdb, "-D", data, "-U", "zdd", f"--pwfile={password}", "-A", "scram-sha-256", "-E", "UTF8", "-N")
        place = ("listen_addresses=127.0.0.1", f"unix_socket_directories={folder}", f"port={port}")
        options = ("fsync=off", "max_connections=500", *place)
        words = [word for option in options for word in ("-c", option)]
        with _serving(str(initdb.with_name("postgres")), "-D", data, *words, folder=folder, port=port):
            where = ("-h", str(folder), "-p", str(port), "-U", "zdd")
            _until(lambda: _succeeds(initdb.with_name("pg_isready"), *where))
            _run(initdb.with_name("createdb"), *where, "zdd")
            yield Server("postgresql", port)


@contextmanager
def start_mariadb() -> Iterator[Server]:
    """Start MariaDB; skips the test where it is not installed."""
    daemon = _binary("mariadbd", Path("/usr/sbin"))
    install = _binary("mariadb-install-db")
    _binary("my_print_defaults")  # it calls this one, which Debian has in another package
    with _folder() as folder:
        data, port, start = str(folder / "data"), _free_port(), folder / "start.sql"
        start.write_text(
            "CREATE DATABASE IF NOT EXISTS zdd CHARACTER SET utf8mb4;\n"
            "CREATE USER IF NOT EXISTS zdd@'127.0.0.1' IDENTIFIED BY 'zdd';\nGRANT ALL ON *.* TO zdd@'127.0.0.1';\n"
        )
        start.chmod(0o644)
        _run(install, "--no-defaults", f"--datadir={data}", "--auth-root-authentication-method=normal")
        options = (
            *("--no-defaults", f"--datadir={data}", f"--socket={folder}/s", f"--pid-file={folder}/pid"),
            *("--bind-address=127.0.0.1", "--skip-name-resolve", f"--port={port}", f"--init-file={start}"),
            *("--innodb-flush-log-at-trx-commit=0", "--innodb-flush-method=nosync", "--debug-no-sync"),
        )
        with _serving(str(daemon), *options, folder=folder, port=port):
            yield Server("mariadb", port)


def _binary(name: str, *places: Path) -> Path:
    found = shutil.which(name, path=os.pathsep.join([*map(str, places), os.environ.get("PATH", "")]))
    if found is None:
        pytest.skip(f"{name} is not installed")
    return Path(found).resolve()


def _unprivileged() -> dict[str, Any]:
    """Neither server starts as root."""
    return {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.getuid() == 0 else {}


@contextmanager
def _folder() -> Iterator[Path]:
    # Not pytest's: a folder of root's that nobody else may enter. Short, for the sockets in it.
    folder = Path(tempfile.mkdtemp(prefix="zdd-db-"))
    try:
        if os.getuid() == 0:
            shutil.chown(folder, "nobody", "nogroup")
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(*command: object) -> None:
    done = _done(*command)
    assert done.returncode == 0, done.stdout + done.stderr


def _succeeds(*command: object) -> bool:
    return _done(*command).returncode == 0


def _done(*command: object) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PGPASSWORD": "zdd", "LC_ALL": "C"}
    words = [str(word) for word in command]
    return subprocess.run(
        words, env=environ, cwd="/", capture_output=True, text=True, timeout=_STARTUP, check=False, **_unprivileged()
    )


def _die_with_parent() -> None:
    """Have the kernel end the server with a pytest that is killed; set after the change of user, which forgets it."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


@contextmanager
def _serving(*command: str, folder: Path, port: int) -> Iterator[None]:
    log = (folder / "log").open("w+b")
    process = subprocess.Popen(
        command,
        cwd="/",
        stdout=log,
        stderr=log,
        stdin=subprocess.DEVNULL,
        preexec_fn=_die_with_parent if _LIBC else None,  # noqa: PLW1509 - calls prctl and nothing else
        **_unprivileged(),
    )
    try:
        listening = _until(lambda: process.poll() is not None or _listens(port)) and process.poll() is None
        assert listening, (folder / "log").read_text("utf-8", "replace")[-2000:]
        yield
    finally:
        process.terminate()
        try:
            process.wait(_STARTUP)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.close()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1.0).close()
    except OSError:
        return False
    return True


def _until(holds: Callable[[], bool]) -> bool:
    end = time.monotonic() + _STARTUP
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
