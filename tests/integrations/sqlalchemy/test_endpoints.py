"""Guarded endpoints on FastAPI over SQLite: what is committed where, and what becomes of the key."""

from collections.abc import Iterator
from typing import Annotated

import pytest
from fastapi import Depends, FastAPI, HTTPException
from fastapi.testclient import TestClient
from sqlalchemy import create_engine, func, select
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

import zdd_sqlalchemy
from tests.integrations.sqlalchemy.applications import Base, Key, Order, guard_rows
from zdd_fastapi import ZddMiddleware
from zdd_sdk import ZeroDowntime
from zdd_sdk.idempotency import current
from zdd_sdk.idempotency.answer import keep


@pytest.fixture
def engine_of_sql(tmp_path):
    engine = create_engine(f"sqlite:///{tmp_path / 'shop.db'}", poolclass=NullPool)
    Base.metadata.create_all(engine)
    return engine


@pytest.fixture
def shop(engine_of_sql, real_engine):
    """Make an endpoint of a body ``body(session, key)``; returns what orders with one key."""
    zdd = ZeroDowntime(
        service="t",
        environment="test",
        secret="x" * 40,
        store={"redis_url": real_engine.url},
        sessions={"enabled": False},
    )
    zdd_sqlalchemy.guard(zdd)
    app = FastAPI()
    app.add_middleware(ZddMiddleware, zdd=zdd)

    def make(body, **said):
        def plain() -> Iterator[Session]:
            with Session(engine_of_sql) as session:
                yield session

        @app.post("/order")
        @zdd.idempotent(operation="order", effects="db", principal="anonymous", **said)
        def order(key: Key, session: Annotated[Session, Depends(plain, scope="function")]) -> dict[str, str]:
            return body(session, key) or {"key": key}

        def send(key="k"):
            with TestClient(app, raise_server_exceptions=False) as client:
                return client.post("/order", headers={"idempotency-key": key})

        return send

    return make


@pytest.fixture
def orders(engine_of_sql):
    def count(key="k"):
        with Session(engine_of_sql) as session:
            return session.scalar(select(func.count()).select_from(Order).where(Order.key == key))

    return count


def rows(engine):
    with engine.connect() as connection:
        return connection.scalar(select(func.count()).select_from(guard_rows))


def test_several_commits_and_one_effect(shop, orders):
    def body(session, key):
        for _ in range(2):
            session.add(Order(key=key))
            session.commit()

    send = shop(body)
    assert [send().status_code for _ in range(2)] == [200, 200]
    assert orders() == 2  # of one run


def test_committed_and_then_failed_is_carried_out(shop, orders):
    def body(session, key):
        session.add(Order(key=key))
        session.commit()
        raise RuntimeError("after the commit")

    send = shop(body)
    first, second = send(), send()
    assert (first.status_code, second.status_code, orders()) == (500, 409, 1)
    assert "idempotency-outcome-committed" in second.json()["type"]


def test_the_answer_hook_answers_for_what_is_lost(shop, orders):
    def body(session, key):
        session.add(Order(key=key))
        session.commit()
        raise RuntimeError("after the commit")

    send = shop(body, answer=lambda context: keep(200, [("content-type", "text/plain")], context.key.encode()))
    assert [send().status_code, send().text, orders()] == [500, "k", 1]


def test_committed_and_then_refused_is_answered_so_again(shop, orders):
    def body(session, key):
        session.add(Order(key=key))
        session.commit()
        raise HTTPException(402, "no cover")

    send = shop(body)
    first, second = send(), send()
    assert (first.status_code, second.status_code, orders()) == (402, 402, 1)
    assert second.headers["idempotent-replayed"] == "true"


def test_failed_before_the_commit_runs_again(shop, orders):
    runs = []

    def body(session, key):
        runs.append(key)
        session.add(Order(key=key))
        if len(runs) == 1:
            raise RuntimeError("before the commit")
        session.commit()

    send = shop(body)
    assert [send().status_code for _ in range(3)] == [500, 200, 200]
    assert (len(runs), orders()) == (2, 1)


def test_a_handler_that_tries_again_after_a_rollback_is_guarded(shop, orders, engine_of_sql):
    def body(session, key):
        session.add(Order(key=key))
        session.rollback()
        session.add(Order(key=key))
        session.commit()

    send = shop(body)
    assert [send().status_code for _ in range(2)] == [200, 200]
    assert (orders(), rows(engine_of_sql)) == (1, 1)


def test_a_handler_that_never_commits_is_found_out(shop, caplog):
    send = shop(lambda *_: None)
    assert send().status_code == 500
    assert "not-guarded" in caplog.text


def test_unless_it_says_that_nothing_was_done(shop, orders):
    runs = []

    def body(session, key):
        runs.append(key)
        current().nothing_done()

    send = shop(body)
    assert [send().status_code for _ in range(2)] == [200, 200]
    assert (len(runs), orders()) == (1, 0)


@pytest.mark.parametrize("order_of_commits", ["other first", "guard first"])
def test_an_effect_through_another_session_is_refused_before_it_is_committed(
    order_of_commits, shop, orders, engine_of_sql, caplog
):
    def body(session, key):
        with Session(engine_of_sql) as other:
            if order_of_commits == "guard first":
                session.commit()
            else:
                session.rollback()  # SQLite lets one write at a time
            other.add(Order(key=key))
            other.commit()

    assert shop(body)().status_code == 500
    assert orders() == 0
    assert "another connection" in caplog.text


def test_a_part_of_the_effect_in_another_database_is_refused_before_either_is_committed(
    shop, orders, engine_of_sql, tmp_path
):
    other_engine = create_engine(f"sqlite:///{tmp_path / 'other.db'}", poolclass=NullPool)
    Base.metadata.create_all(other_engine)

    def body(session, key):
        with Session(other_engine) as other:
            other.add(Order(key=key))
            other.flush()
            session.add(Order(key=key))
            session.commit()

    assert shop(body)().status_code == 500
    assert (orders(), rows(engine_of_sql)) == (0, 0)


def test_control_what_is_said_to_be_apart_is_let_through(shop, orders, engine_of_sql):
    def body(session, key):
        session.add(Order(key=key))
        session.commit()
        with zdd_sqlalchemy.apart(), Session(engine_of_sql) as other:
            other.add(Order(key="audit"))
            other.commit()

    assert shop(body)().status_code == 200
    assert (orders(), orders("audit")) == (1, 1)


def test_reading_through_another_session_is_no_effect(shop, orders, engine_of_sql):
    def body(session, key):
        with Session(engine_of_sql) as other, other.begin():
            other.scalar(select(func.count()).select_from(Order))
        session.add(Order(key=key))
        session.commit()

    assert shop(body)().status_code == 200
    assert orders() == 1


def test_it_serves_without_any_redis(orders, engine_of_sql):
    zdd = ZeroDowntime(
        service="t", environment="test", secret="x" * 40, store={"redis_url": "off"}, sessions={"enabled": False}
    )
    zdd_sqlalchemy.guard(zdd, lambda bound: bound["unit"])
    app = FastAPI()
    app.add_middleware(ZddMiddleware, zdd=zdd)

    def unit() -> Iterator[Session]:
        with Session(engine_of_sql) as session, session.begin():
            yield session

    @app.post("/order")
    @zdd.idempotent(operation="order", effects="db", principal="anonymous")
    def order(key: Key, unit: Annotated[Session, Depends(unit)]) -> dict[str, str]:
        unit.add(Order(key=key))
        return {"key": key}

    with TestClient(app) as client:
        answers = [client.post("/order", headers={"idempotency-key": "k"}) for _ in range(2)]
    assert [answer.json() for answer in answers] == [{"key": "k"}] * 2
    assert orders() == 1
