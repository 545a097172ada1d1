"""A small shop in every way an application commits; it kills itself where a request says so.

``python -m tests.integrations.sqlalchemy.applications FRAMEWORK PORT``: the server is forked from a process that has
imported everything, and forked again whenever it has been killed. Where: the header ``X-Crash``, one of `POINTS`.
"""

import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import uvicorn
from fastapi import BackgroundTasks, Depends, FastAPI, Header
from flask import Flask, request
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.pool import NullPool
from werkzeug.serving import make_server

import zdd_sqlalchemy
from zdd_fastapi import ZddMiddleware
from zdd_flask import Zdd
from zdd_sdk import ZeroDowntime
from zdd_sdk.http import current_exchange
from zdd_sqlalchemy.transaction import SessionGuard

POINTS = ("claimed", "inserted", "committing", "committed", "kept")
"""After the claim, the guard row; before and after the commit; after the bytes are kept, before Redis hears of it."""

Key = Annotated[str, Header(alias="idempotency-key")]

FASTAPI = tuple(
    f"{color}-{style}" for color in ("sync", "async") for style in ("function", "request", "handler", "begin")
)
FLASK = ("handler", "begin", "teardown")


class Base(DeclarativeBase):
    pass


class Order(Base):
    """The effect."""

    __tablename__ = "shop_order"

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str]


guard_rows = zdd_sqlalchemy.guard_table(Base.metadata)

# `key` without a length is not for MariaDB.
Order.__table__.c.key.type.length = 64


def crash(point: str) -> None:
    exchange = current_exchange()
    if exchange is not None and exchange.header("x-crash") == point:
        os.kill(os.getpid(), signal.SIGKILL)


def arm() -> None:
    """Put the crash points into this process."""
    insert, keep = SessionGuard.insert, SessionGuard.keep

    async def inserting(self: SessionGuard, rows: Any) -> Any:
        crash("claimed")
        found = await insert(self, rows)
        crash("inserted")
        return found

    async def keeping(self: SessionGuard, names: Any, answer: bytes) -> None:
        await keep(self, names, answer)
        crash("kept")

    SessionGuard.insert, SessionGuard.keep = inserting, keeping  # type: ignore[method-assign]
    event.listen(Session, "before_commit", lambda _: crash("committing"))
    event.listen(Session, "after_commit", lambda _: crash("committed"))


def service() -> ZeroDowntime:
    return ZeroDowntime(
        service="shop",
        environment="test",
        secret="0123456789" * 4,
        store={"redis_url": os.environ["SHOP_REDIS"]},
        idempotency={"lease": "1s"},
        fleet={"pulse": "300ms"},
        sessions={"enabled": False},
    )


def said(operation: str) -> dict[str, Any]:
    return {"operation": operation, "effects": "db", "principal": "anonymous"}


REPEATING: dict[str, Any] = {"operation": "repeating", "effects": "external", "principal": "anonymous"}
"""The control says this of an effect in the database, as everybody does without guard rows: a lapsed key runs again."""


def build_fastapi() -> FastAPI:
    zdd = service()
    zdd_sqlalchemy.guard(zdd)
    app = FastAPI()
    app.add_middleware(ZddMiddleware, zdd=zdd)
    engine = create_engine(os.environ["SHOP_DATABASE"], poolclass=NullPool)
    blocking(app, zdd, engine)
    asynchronous(app, zdd, create_async_engine(os.environ["SHOP_DATABASE_ASYNC"], poolclass=NullPool))
    background(app, zdd, engine)
    return app


def add(session: Any, key: str) -> dict[str, str]:
    session.add(Order(key=key))
    return {"key": key}


def dependencies(engine: Engine) -> tuple[Callable[[], Iterator[Session]], Callable[[], Iterator[Session]]]:
    def plain() -> Iterator[Session]:
        with Session(engine) as session:
            yield session

    def committing() -> Iterator[Session]:
        with Session(engine) as session:
            yield session
            session.commit()

    return plain, committing


def blocking(app: FastAPI, zdd: ZeroDowntime, engine: Engine) -> None:
    plain, committing = dependencies(engine)

    @app.post("/sync-function")
    @zdd.idempotent(**said("sync-function"))
    def sync_function(key: Key, session: Annotated[Session, Depends(committing, scope="function")]) -> dict[str, str]:
        return add(session, key)

    @app.post("/sync-request")
    @zdd.idempotent(**said("sync-request"))
    def sync_request(key: Key, session: Annotated[Session, Depends(committing)]) -> dict[str, str]:
        return add(session, key)

    @app.post("/sync-handler")
    @zdd.idempotent(**said("sync-handler"))
    def sync_handler(key: Key, session: Annotated[Session, Depends(plain)]) -> dict[str, str]:
        answer = add(session, key)
        session.commit()
        return answer

    @app.post("/sync-begin")
    @zdd.idempotent(**said("sync-begin"))
    def sync_begin(key: Key, session: Annotated[Session, Depends(plain)]) -> dict[str, str]:
        with session.begin():
            return add(session, key)

    @app.post("/handler")
    @zdd.idempotent(**said("handler"))
    def handler(key: Key, session: Annotated[Session, Depends(plain, scope="function")]) -> dict[str, str]:
        answer = add(session, key)
        session.commit()
        return answer

    @app.post("/repeating")
    @zdd.idempotent(**REPEATING)
    def repeating(key: Key, session: Annotated[Session, Depends(plain)]) -> dict[str, str]:
        answer = add(session, key)
        session.commit()
        return answer


def asynchronous(app: FastAPI, zdd: ZeroDowntime, engine: AsyncEngine) -> None:
    async def aio_plain() -> AsyncIterator[AsyncSession]:
        async with AsyncSession(engine) as session:
            yield session

    async def aio_committing() -> AsyncIterator[AsyncSession]:
        async with AsyncSession(engine) as session, session.begin():
            yield session

    @app.post("/async-function")
    @zdd.idempotent(**said("async-function"))
    async def async_function(
        key: Key, session: Annotated[AsyncSession, Depends(aio_committing, scope="function")]
    ) -> dict[str, str]:
        return add(session, key)

    @app.post("/async-request")
    @zdd.idempotent(**said("async-request"))
    async def async_request(key: Key, session: Annotated[AsyncSession, Depends(aio_committing)]) -> dict[str, str]:
        return add(session, key)

    @app.post("/async-handler")
    @zdd.idempotent(**said("async-handler"))
    async def async_handler(key: Key, session: Annotated[AsyncSession, Depends(aio_plain)]) -> dict[str, str]:
        answer = add(session, key)
        await session.commit()
        return answer

    @app.post("/async-begin")
    @zdd.idempotent(**said("async-begin"))
    async def async_begin(key: Key, session: Annotated[AsyncSession, Depends(aio_plain)]) -> dict[str, str]:
        async with session.begin():
            return add(session, key)


def background(app: FastAPI, zdd: ZeroDowntime, engine: Engine) -> None:
    plain, committing = dependencies(engine)

    def await_client(key: str) -> None:
        """Give the client time to have its answer; write down if it has not."""
        flag, end = Path(os.environ["SHOP_FLAGS"], key), time.monotonic() + 5.0
        while not flag.exists() and time.monotonic() < end:
            time.sleep(0.02)
        if not flag.exists():
            with zdd_sqlalchemy.apart(), Session(engine) as session, session.begin():
                session.add(Order(key=f"late-{key}"))

    @app.post("/background-handler")
    @zdd.idempotent(**said("background-handler"))
    def background_handler(
        key: Key, session: Annotated[Session, Depends(plain)], tasks: BackgroundTasks
    ) -> dict[str, str]:
        order = Order(key=key)
        session.add(order)
        session.commit()
        tasks.add_task(await_client, key)
        return {"key": order.key}  # read again, in a transaction that nobody commits

    @app.post("/background-request")
    @zdd.idempotent(**said("background-request"))
    def background_request(
        key: Key, session: Annotated[Session, Depends(committing)], tasks: BackgroundTasks
    ) -> dict[str, str]:
        tasks.add_task(await_client, key)
        return add(session, key)


def build_flask() -> Flask:
    zdd = service()
    app = Flask(__name__)
    app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["SHOP_DATABASE"]
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {"poolclass": NullPool}
    db = SQLAlchemy(app, model_class=Base)
    Zdd(app, zdd)
    zdd_sqlalchemy.guard(zdd, db.session)

    def add() -> dict[str, str]:
        key = request.headers["idempotency-key"]
        db.session.add(Order(key=key))
        return {"key": key}

    @app.post("/handler")
    @zdd.idempotent(**said("handler"))
    def handler() -> dict[str, str]:
        answer = add()
        db.session.commit()
        return answer

    @app.post("/begin")
    @zdd.idempotent(**said("begin"))
    def begin() -> dict[str, str]:
        with db.session.begin():
            return add()

    @app.post("/repeating")
    @zdd.idempotent(**REPEATING)
    def repeating() -> dict[str, str]:
        answer = add()
        db.session.commit()
        return answer

    @app.post("/teardown")
    @zdd.idempotent(**said("teardown"))
    def teardown() -> dict[str, str]:
        return add()

    @app.after_request
    def commit(response: Any) -> Any:
        if request.path == "/teardown" and response.status_code < 400:
            db.session.commit()
        return response

    return app


def serve_fastapi(app: FastAPI, listener: socket.socket) -> None:
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])


def serve_flask(app: Flask, listener: socket.socket) -> None:
    make_server("127.0.0.1", 0, app, threaded=True, fd=listener.fileno()).serve_forever()


FRAMEWORKS: dict[str, tuple[Callable[[], Any], Callable[[Any, socket.socket], None]]] = {
    "fastapi": (build_fastapi, serve_fastapi),
    "flask": (build_flask, serve_flask),
}


def main(framework: str, port: str) -> None:
    """Serve, and serve again."""
    if os.environ.get("SHOP_ARMED"):
        arm()
    build, serve = FRAMEWORKS[framework]
    app = build()
    with socket.create_server(("127.0.0.1", int(port)), backlog=256) as listener:
        while True:
            child = os.fork()
            if child == 0:
                serve(app, listener)
                os._exit(0)
            os.waitpid(child, 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
