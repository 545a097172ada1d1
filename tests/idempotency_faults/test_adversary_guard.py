"""Attacks on guard rows: no table, rows of a newer release, rows in ruins, writes that hide."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import httpx
import pytest
from fastapi import Depends, FastAPI
from redis import Redis
from sqlalchemy import Engine as Database
from sqlalchemy import MetaData, create_engine, text, update
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool
from starlette.testclient import TestClient

import zdd_sqlalchemy
from tests.idempotency_faults.conftest import ROOMY, SECRET
from zdd_fastapi import ZddMiddleware
from zdd_sdk import ZeroDowntime
from zdd_sdk.idempotency import StoredAnswer
from zdd_sdk.store.engine import Engine

KEY = {"Idempotency-Key": "k"}


class Shop:
    """Orders in a database of their own."""

    def __init__(self, url: str, file: Path) -> None:
        self.database: Database = create_engine(f"sqlite:///{file}", poolclass=NullPool)
        self.metadata = MetaData()
        self.rows = zdd_sqlalchemy.guard_table(self.metadata)
        with self.database.begin() as connection:
            connection.execute(text("CREATE TABLE orders (id INTEGER PRIMARY KEY)"))
        self.zdd = ZeroDowntime("shop", environment="test", redis_url=url, secret=(SECRET,), store=ROOMY)
        zdd_sqlalchemy.guard(self.zdd)
        self.app = FastAPI()
        self.app.add_middleware(ZddMiddleware, zdd=self.zdd)
        self.elsewhere = ""

        def opened() -> Iterator[Session]:
            with Session(self.database) as session:
                yield session

        @self.app.post("/orders")
        @self.zdd.idempotent(operation="orders", effects="db", principal="anonymous")
        def order(session: Annotated[Session, Depends(opened)]) -> dict[str, int]:
            if self.elsewhere:
                session.commit()
                with self.database.begin() as other:
                    other.execute(text(self.elsewhere))
            session.execute(text("INSERT INTO orders DEFAULT VALUES"))
            session.commit()
            return {"number": self.orders()}

    def orders(self) -> int:
        with self.database.connect() as connection:
            return connection.scalar(text("SELECT count(*) FROM orders")) or 0

    def post(self) -> httpx.Response:
        with TestClient(self.app, raise_server_exceptions=False) as client:
            return client.post("/orders", headers=KEY)

    def change_rows(self, answer: bytes) -> None:
        with self.database.begin() as connection:
            connection.execute(update(self.rows).values(answer=answer))


@pytest.fixture
def shop(real_engine: Engine, tmp_path: Path) -> Shop:
    return Shop(real_engine.url, tmp_path / "shop.db")


def test_without_its_table_it_says_which_migration_is_missing(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    refused = shop.post()
    assert (refused.status_code, shop.orders(), len(shop.zdd.idempotency.live)) == (500, 0, 0)
    assert "zdd_guard" not in refused.text, "nothing for clients"
    assert "zdd guard sql" in caplog.text
    shop.metadata.create_all(shop.database)
    assert shop.post().json() == {"number": 1}, "the key was given back"


@pytest.fixture
def ordered(shop: Shop, real_engine: Engine) -> Shop:
    """Once, and Redis has lost it."""
    shop.metadata.create_all(shop.database)
    assert shop.post().status_code == 200
    Redis.from_url(real_engine.url).flushall()
    return shop


def test_a_row_of_a_newer_release_is_neither_absent_nor_held_for_ever(ordered: Shop) -> None:
    newer = b"\xfe" + StoredAnswer(200).to_bytes()[1:]
    ordered.change_rows(newer)
    for _ in range(2):
        answer = ordered.post()
        assert (answer.status_code, answer.json()["type"]) == (503, "urn:zdd:idempotency-too-new")
        assert "retry-after" in answer.headers
    assert (ordered.orders(), len(ordered.zdd.idempotency.live)) == (1, 0)


def test_a_row_in_ruins_was_carried_out(ordered: Shop) -> None:
    ordered.change_rows(StoredAnswer(200, (), b"x" * 90).to_bytes()[:-20])
    assert ordered.post().json()["type"] == "urn:zdd:idempotency-outcome-committed"
    assert (ordered.orders(), len(ordered.zdd.idempotency.live)) == (1, 0)


@pytest.mark.parametrize("comment", ["", "/* the trace */ ", "-- the trace\n", "\n/* a */ /* b */"])
def test_a_write_behind_a_comment_is_a_write(shop: Shop, comment: str) -> None:
    shop.metadata.create_all(shop.database)
    shop.elsewhere = f"{comment}INSERT INTO orders DEFAULT VALUES"
    assert shop.post().status_code == 500
    assert shop.orders() == 0, "on another connection it is refused before it is committed"


def test_control_reading_there_is_none(shop: Shop) -> None:
    shop.metadata.create_all(shop.database)
    shop.elsewhere = "/* insert */ SELECT 1"
    assert shop.post().json() == {"number": 1}
