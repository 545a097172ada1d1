"""Databases with the shop's tables in them, and the shop served over each."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine, create_engine, func, select
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from tests.integrations.sqlalchemy.applications import Base, Order
from zdd_sdk.store.engine import start_engine

KINDS = ("sqlite", "postgresql", "mariadb")


@dataclass
class Database:
    """A database with empty tables.

    Attributes:
        kind: see `KINDS`.
        url, aio_url: for SQLAlchemy.
    """

    kind: str
    url: str
    aio_url: str
    engine: Engine = field(init=False)

    def __post_init__(self) -> None:
        self.engine = create_engine(self.url, poolclass=NullPool)
        Base.metadata.drop_all(self.engine)
        Base.metadata.create_all(self.engine)

    def orders(self, key: str) -> int:
        with Session(self.engine) as session:
            return session.scalar(select(func.count()).select_from(Order).where(Order.key == key)) or 0


@pytest.fixture(scope="module", params=KINDS)
def database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    if request.param == "sqlite":
        file = tmp_path_factory.mktemp("database") / "shop.db"
        made = Database("sqlite", f"sqlite:///{file}", f"sqlite+aiosqlite:///{file}")
    else:
        server = request.getfixturevalue(f"{request.param}_server")
        drivers = ("psycopg", "asyncpg") if request.param == "postgresql" else ("pymysql", "asyncmy")
        made = Database(request.param, *map(server.url, drivers))
    yield made
    Base.metadata.drop_all(made.engine)


@dataclass
class Shop:
    """The shop, served; it comes back whenever it is killed."""

    client: httpx.Client

    def order(self, path: str, key: str, crash: str = "") -> httpx.Response | None:
        """Order once; ``None``: the server was killed before it had answered."""
        headers = {"idempotency-key": key, "connection": "close"} | ({"x-crash": crash} if crash else {})
        try:
            return self.client.post(f"/{path}", headers=headers)
        except httpx.TransportError:
            return None

    def order_until_done(self, path: str, key: str) -> httpx.Response:
        """Order as a client does: again with the same key while the answer says that this may help."""
        end = time.monotonic() + 60
        while True:
            answer = self.order(path, key)
            if answer is not None and answer.headers.get("x-should-retry") != "true" and answer.status_code != 503:
                return answer
            assert time.monotonic() < end, answer and answer.text
            time.sleep(0.2)


Serve = Callable[..., contextlib.AbstractContextManager[Shop]]


@contextlib.contextmanager
def _serve(framework: str, database: Database, redis: str, **environ: str) -> Iterator[Shop]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    roots = os.pathsep.join([str(Path.cwd()), str(Path.cwd() / "integrations"), os.environ.get("PYTHONPATH", "")])
    said = {"SHOP_DATABASE": database.url, "SHOP_DATABASE_ASYNC": database.aio_url, "SHOP_REDIS": redis, **environ}
    log = tempfile.TemporaryFile()  # noqa: SIM115 - shown when the shop has ended
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.integrations.sqlalchemy.applications", framework, str(port)],
        env={**os.environ, "PYTHONPATH": roots, **said},
        start_new_session=True,
        stderr=log,
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            _await(client)
            yield Shop(client)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        log.seek(0)
        print(log.read().decode())
        log.close()


def _await(client: httpx.Client) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with contextlib.suppress(httpx.TransportError):
            client.get("/")
            return
        time.sleep(0.1)
    pytest.fail("the shop did not start")


@pytest.fixture
def serve() -> Serve:
    """Serve the shop: ``with serve(framework, database, redis_url, NAME=value) as shop``."""
    return _serve


@pytest.fixture(scope="module")
def redis() -> Iterator[str]:
    with start_engine("real") as engine:
        yield engine.url


def new_key() -> str:
    return str(uuid.uuid4())
