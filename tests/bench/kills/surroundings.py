"""What servers under test live among: Redis, databases, somebody downstream; and the servers themselves."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import create_engine, text

from tests.databases import Server, start_postgresql
from tests.integrations.django.databases import described
from tests.integrations.sqlalchemy.applications import Base
from tests.servers.start import answered, free_port

__all__ = ["FRAMEWORKS", "Databases", "Downstream", "Served", "databases", "downstream", "environ", "serving"]

ROOT = Path(__file__).parents[3]
FRAMEWORKS = ("fastapi", "flask", "django")
_STARTUP = 120.0


class Downstream:
    """Somebody who is called: one line ``OPERATION ORDER CHILD-KEY`` per call, each with its answer.

    Attributes:
        calls: how often each child key came, by order.
        heard_of: set once an order has come.
    """

    def __init__(self) -> None:
        self.calls: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.heard_of: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take one call."""
        with contextlib.suppress(OSError):
            if line := await reader.readline():
                _, order, child = line.decode().split()
                self.calls[order][child] += 1
                self.heard_of[order].set()
                writer.write(b"ok\n")
                await writer.drain()
        writer.close()


@asynccontextmanager
async def downstream() -> AsyncIterator[tuple[Downstream, int]]:
    """Answer calls on this loop, at a port."""
    made = Downstream()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0, backlog=1024)
    async with server:
        yield made, server.sockets[0].getsockname()[1]


class Databases:
    """A database for each framework: the business's, in which effects are counted.

    Args:
        server: PostgreSQL, or ``None`` for files of SQLite.
        directory: of those.
    """

    def __init__(self, server: Server | None, directory: Path) -> None:
        self._server, self._directory = server, directory

    def create(self, framework: str) -> None:
        """Make the database and its tables."""
        if self._server is not None:
            engine = create_engine(self._server.url("psycopg"), isolation_level="AUTOCOMMIT")
            with engine.connect() as connection:
                connection.execute(text(f"CREATE DATABASE kills_{framework}"))
            engine.dispose()
        if framework == "django":
            self._migrate()
        else:
            engine = create_engine(self.url(framework, "psycopg"))
            Base.metadata.create_all(engine)
            engine.dispose()

    def _migrate(self) -> None:
        words = [sys.executable, "-m", "django", "migrate", "--verbosity", "0"]
        settings = {"DJANGO_SETTINGS_MODULE": "tests.bench.kills.django_settings"}
        subprocess.run(words, cwd=ROOT, env={**environ("django", self, "off", 0, "1s"), **settings}, check=True)

    def url(self, framework: str, driver: str) -> str:
        """Return SQLAlchemy's URL, for a driver of PostgreSQL."""
        if self._server is not None:
            return self._server.url(driver).removesuffix("/zdd") + f"/kills_{framework}"
        scheme = "sqlite+aiosqlite" if driver == "asyncpg" else "sqlite"
        return f"{scheme}:///{self._directory / framework}.db?timeout=60"

    @property
    def django(self) -> str:
        """Return the entry of ``DATABASES``, as JSON."""
        if self._server is not None:
            return json.dumps({**described(self._server), "NAME": "kills_django"})
        engine, options = "django.db.backends.sqlite3", {"timeout": 60, "transaction_mode": "IMMEDIATE"}
        return json.dumps({"ENGINE": engine, "NAME": str(self._directory / "django.db"), "OPTIONS": options})

    def effects(self, framework: str) -> Counter[str]:
        """Return how many effects each order has had."""
        query = "SELECT name FROM auth_group" if framework == "django" else "SELECT key FROM shop_order"
        engine = create_engine(self.url(framework, "psycopg"))
        with engine.connect() as connection:
            found = Counter(name.partition(".")[0] for name in connection.execute(text(query)).scalars())
        engine.dispose()
        return found


@contextmanager
def databases(kind: str) -> Iterator[Databases]:
    """Open ``postgresql`` or ``sqlite``."""
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(start_postgresql()) if kind == "postgresql" else None
        yield Databases(server, directory)


def environ(framework: str, found: Databases, redis: str, port: int, lease: str) -> dict[str, str]:
    """Return what a server has to know."""
    roots = [str(ROOT), str(ROOT / "integrations"), *filter(None, [os.environ.get("PYTHONPATH")])]
    known = {
        "KILLS_REDIS": redis,
        "KILLS_DOWNSTREAM": str(port),
        "KILLS_LEASE": lease,
        "KILLS_DATABASE": found.url(framework, "psycopg"),
        "KILLS_DATABASE_ASYNC": found.url(framework, "asyncpg"),
        "KILLS_DATABASE_DJANGO": found.django,
    }
    return {**os.environ, **known, "PYTHONPATH": os.pathsep.join(roots)}


@dataclass
class Served:
    """A server that comes back when it is killed.

    Attributes:
        port: where it listens.
    """

    port: int
    pidfile: Path

    def kill(self) -> None:
        """SIGKILL whoever serves now."""
        with contextlib.suppress(ProcessLookupError, ValueError, FileNotFoundError):
            os.kill(int(self.pidfile.read_text()), signal.SIGKILL)


@contextmanager
def serving(module: str, around: dict[str, str]) -> Iterator[Served]:
    """Serve an application of this package."""
    with tempfile.TemporaryDirectory() as directory:
        log, served = Path(directory) / "log", Served(free_port(), Path(directory) / "pid")
        words = ["-m", "tests.bench.kills.server", module, str(served.port), str(served.pidfile)]
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, *words], cwd=ROOT, env=around, stdout=output, stderr=output, start_new_session=True
            )
        try:
            _until_answered(served.port, process, log)
            yield served
            assert process.poll() is None, log.read_text(errors="replace")[-3000:]
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _until_answered(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + _STARTUP
    while not answered(port, "/"):
        assert process.poll() is None, log.read_text(errors="replace")
        assert time.monotonic() < end, log.read_text(errors="replace")
        time.sleep(0.05)
