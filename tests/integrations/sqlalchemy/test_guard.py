"""Guard rows in sessions, without any server: who gets in, what a rollback takes along, what is refused."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Column, MetaData, String, Table, create_engine, event, func, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker
from sqlalchemy.pool import NullPool

import zdd_sqlalchemy
from tests.integrations.sqlalchemy.applications import Order, guard_rows
from zdd_sdk import ZeroDowntime
from zdd_sdk.errors import IdempotencyInProgress, IdempotencyNotGuarded, SettingsError
from zdd_sdk.idempotency import GuardRow
from zdd_sdk.store import finish
from zdd_sqlalchemy.rows import GuardRows
from zdd_sqlalchemy.watch import INFO

pytestmark = pytest.mark.xdist_group("databases")

COLUMNS = ("generation", "fingerprint", "operation", "release", "created", "expires", "answer")
NAME = "n" * 43


def row(name: str = NAME, *, generation: int = 1, retention: float = 60.0, answer: bytes = b"") -> GuardRow:
    return GuardRow(name, generation, "j1.key.hash", "orders.create", "r1", retention, answer)


@pytest.fixture(autouse=True)
def _empty(database):
    with database.engine.begin() as connection:
        connection.execute(guard_rows.delete())
        connection.execute(Order.__table__.delete())


@pytest.fixture
def zdd() -> ZeroDowntime:
    return ZeroDowntime(service="t", environment="test", secret="x" * 40, store={"redis_url": "off"})


@pytest.fixture
def glue(zdd):
    return zdd_sqlalchemy.guard(zdd)


def guarded(glue, session, *rows: GuardRow):
    """Guard a session; returns the transaction and the row that was there."""
    transaction = glue.transaction({"session": session})
    return transaction, finish(transaction.insert(rows or (row(),)))


def stored(database) -> list[tuple[Any, ...]]:
    columns = guard_rows.c
    with database.engine.connect() as connection:
        return [tuple(one) for one in connection.execute(select(columns.name, columns.generation, columns.answer))]


# Together with the effect


def test_key_and_effect_are_committed_together(database, glue):
    with Session(database.engine) as session:
        transaction, found = guarded(glue, session)
        session.add(Order(key="a"))
        session.flush()
        assert found is None
        assert stored(database) == []
        assert not transaction.committed
        session.commit()
        assert transaction.committed
    assert stored(database) == [(NAME, 1, None)]
    assert database.orders("a") == 1


def test_a_second_run_finds_the_first_and_its_answer(database, glue):
    with Session(database.engine) as session:
        transaction, _ = guarded(glue, session)
        session.commit()
        finish(transaction.keep([NAME], b"answer"))
    with Session(database.engine) as session:
        transaction, found = guarded(glue, session, row(generation=2))
        assert found == row(answer=b"answer")
        session.add(Order(key="after"))
        session.commit()  # the transaction is as usable as before
        assert not transaction.committed
    assert stored(database) == [(NAME, 1, b"answer")]


def test_answers_of_every_size_come_back(database, glue):
    answer = bytes(range(256)) * 1024
    with Session(database.engine) as session:
        transaction, _ = guarded(glue, session)
        session.commit()
        finish(transaction.keep([NAME], answer))
    with Session(database.engine) as session:
        assert finish(glue.transaction({"session": session}).find([NAME])).answer == answer
        assert finish(glue.transaction({"session": session}).find(["m" * 43])) is None


def test_names_that_differ_in_case_only_are_two(database, glue):
    with Session(database.engine) as session:
        guarded(glue, session)
        session.commit()
    with Session(database.engine) as session:
        assert guarded(glue, session, row(NAME.upper()))[1] is None


def test_of_several_names_all_are_inserted_or_none(database, glue):
    other = "a" * 43
    with Session(database.engine) as session:
        transaction, _ = guarded(glue, session)
        transaction.answered(b"known")
        session.commit()
    with Session(database.engine) as session:
        assert guarded(glue, session, row(), row(other))[1] == row(answer=b"known")
        session.commit()
    assert stored(database) == [(NAME, 1, b"known")]


def test_an_expired_row_is_taken_over(database, zdd):
    old = zdd_sqlalchemy.SqlAlchemyGuard(
        None, GuardRows(guard_rows, clock=lambda: 1000.0), name=None, bind_arguments=None, lock_timeout=1.0
    )
    with Session(database.engine) as session:
        guarded(old, session, row(answer=b"old"))
        session.commit()
    with Session(database.engine) as session:
        transaction, found = guarded(zdd_sqlalchemy.guard(zdd), session, row(generation=7))
        session.commit()
        assert found is None
        assert transaction.committed
    assert stored(database) == [(NAME, 7, None)]


def test_an_answer_that_exists_before_the_commit_goes_along(database, glue):
    with Session(database.engine) as session:
        transaction, _ = guarded(glue, session)
        transaction.answered(b"early")
        session.commit()
    assert stored(database) == [(NAME, 1, b"early")]


def test_it_joins_a_transaction_that_has_been_begun(database, glue):
    with Session(database.engine) as session:
        session.scalar(select(func.count()).select_from(Order))  # as authentication does
        before = session.get_transaction()
        transaction, _ = guarded(glue, session)
        assert session.get_transaction() is before
        session.commit()
        assert transaction.committed


def test_an_operation_within_another_shares_its_transaction(database, glue):
    with Session(database.engine) as session:
        outer, _ = guarded(glue, session)
        inner, _ = guarded(glue, session, row("i" * 43))
        session.commit()
        assert outer.committed
        assert inner.committed
    assert len(stored(database)) == 2


def test_the_endpoint_may_begin_what_was_begun_for_the_guard_row(database, glue):
    with Session(database.engine) as session:
        transaction, _ = guarded(glue, session)
        with session.begin():
            session.add(Order(key="b"))
        assert transaction.committed
        with session.begin():  # and its own afterwards
            session.add(Order(key="c"))
    assert (database.orders("b"), database.orders("c")) == (1, 1)


def test_control_what_the_application_has_begun_cannot_be_begun_again(database, glue):
    with Session(database.engine) as session:
        session.connection()
        guarded(glue, session)
        with pytest.raises(Exception, match="already begun"):
            session.begin()


# What a rollback takes along


def rollback(session):
    session.rollback()


def close(session):
    session.close()


@pytest.mark.parametrize("undo", [rollback, close])
def test_after_a_rollback_the_next_commit_has_the_row_again(undo, database, glue):
    with Session(database.engine) as session:
        transaction, _ = guarded(glue, session)
        undo(session)
        assert stored(database) == []
        session.add(Order(key="again"))
        session.commit()
        assert transaction.committed
    assert stored(database) == [(NAME, 1, None)]


def test_after_a_rollback_another_may_be_faster_and_then_nothing_is_committed(database, glue):
    with Session(database.engine) as session, Session(database.engine) as faster:
        transaction, _ = guarded(glue, session)
        session.rollback()
        guarded(glue, faster)
        faster.commit()
        session.add(Order(key="late"))
        with pytest.raises(IdempotencyInProgress):
            session.commit()
        session.rollback()
        assert not transaction.committed
    assert database.orders("late") == 0


def test_a_savepoint_around_the_row_takes_it_along_and_the_commit_has_it_again(database, glue):
    with Session(database.engine) as session:
        session.add(Order(key="outer"))
        savepoint = session.begin_nested()
        transaction, _ = guarded(glue, session)
        savepoint.rollback()
        session.commit()
        assert transaction.committed
    assert (stored(database), database.orders("outer")) == ([(NAME, 1, None)], 1)


def test_a_savepoint_of_the_endpoint_is_no_commit_and_takes_nothing_along(database, glue):
    with Session(database.engine) as session:
        transaction, _ = guarded(glue, session)
        with session.begin_nested():
            session.add(Order(key="kept"))
        assert not transaction.committed
        session.begin_nested().rollback()
        session.commit()
        assert transaction.committed
    assert (stored(database), database.orders("kept")) == ([(NAME, 1, None)], 1)


def test_without_a_commit_nothing_is_committed(database, glue):
    with Session(database.engine) as session:
        transaction, _ = guarded(glue, session)
        session.add(Order(key="forgotten"))
        session.flush()
    assert not transaction.committed
    assert stored(database) == []


def test_a_session_that_lives_on_is_let_go(database, glue):
    with Session(database.engine) as session:
        transaction, _ = guarded(glue, session)
        session.rollback()
        transaction.close()
        session.add(Order(key="unguarded"))
        session.commit()
        assert session.info[INFO] == []
        assert not transaction.committed
    assert stored(database) == []


# Another transaction holds the key


@contextmanager
def held(database, glue) -> Iterator[Session]:
    with Session(database.engine) as session:
        guarded(glue, session)
        yield session


def test_a_key_that_is_held_is_in_progress_and_the_session_can_go_on(database, zdd, glue):
    # SQLite waits as long as the application says, for the whole database.
    hasty = {"connect_args": {"timeout": 0.2}} if database.kind == "sqlite" else {}
    engine = create_engine(database.url, poolclass=NullPool, **hasty)
    with held(database, glue) as first, Session(engine) as session:
        with pytest.raises(IdempotencyInProgress) as caught:
            guarded(glue, session)
        assert caught.value.status == 409
        first.rollback()
        session.add(Order(key="on"))
        session.commit()
    assert database.orders("on") == 1


def test_who_waits_for_a_rollback_goes_on_and_who_waits_for_a_commit_finds_it(database, glue):
    for end, found in ((Session.rollback, None), (Session.commit, row())):
        with held(database, glue) as first, Session(database.engine) as second:
            timer = threading.Timer(0.2, end, [first])
            timer.start()
            assert guarded(glue, second)[1] == found
            timer.join()


def test_the_applications_own_limit_counts_again_afterwards(database, glue):
    ask = {
        "postgresql": "SHOW lock_timeout",
        "mariadb": "SELECT @@innodb_lock_wait_timeout",
        "sqlite": "PRAGMA busy_timeout",
    }
    own = {"postgresql": "SET LOCAL lock_timeout = '77s'", "mariadb": "SET innodb_lock_wait_timeout = 77"}
    with Session(database.engine) as session:
        if database.kind in own:
            session.execute(text(own[database.kind]))
        before = session.scalar(text(ask[database.kind]))
        guarded(glue, session)
        assert session.scalar(text(ask[database.kind])) == before
        session.commit()
    with Session(database.engine) as session:
        guarded(glue, session)
        assert session.scalar(text(ask[database.kind])) != "1s"


def snapshots_end_in_errors(database) -> bool:
    """Whether MariaDB refuses to look past a snapshot, as from 11.6 on; before that it does look."""
    with database.engine.connect() as connection:
        found = connection.execute(text("SHOW VARIABLES LIKE 'innodb_snapshot_isolation'")).first()
    return found is not None and found[1] == "ON"


@pytest.mark.parametrize("level", ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"])
def test_under_every_isolation_level_an_older_snapshot_runs_nothing(level, database, glue):
    if database.kind == "sqlite":
        pytest.skip("SQLite has one level")
    engine = create_engine(database.url, poolclass=NullPool, isolation_level=level)
    with Session(engine) as session, Session(database.engine) as first:
        session.scalar(select(func.count()).select_from(guard_rows))  # the snapshot is taken
        if level == "SERIALIZABLE" and database.kind == "mariadb":
            session.commit()  # there, what was read is locked
        guarded(glue, first)
        first.commit()
        try:
            found = guarded(glue, session)[1]
        except IdempotencyInProgress:
            assert level != "READ COMMITTED"
            assert database.kind == "postgresql" or snapshots_end_in_errors(database)
            found = guarded(glue, session)[1]  # the client's retry
        assert found == row()


# Refused, and said


@pytest.mark.parametrize("how", ["engine", "session"])
def test_autocommit_is_refused(how, database, glue):
    options = {"isolation_level": "AUTOCOMMIT"}
    engine = create_engine(database.url, poolclass=NullPool, **(options if how == "engine" else {}))
    with Session(engine) as session:
        if how == "session":
            session.connection(execution_options=options)
        with pytest.raises(IdempotencyNotGuarded, match="autocommit"):
            guarded(glue, session)
    assert stored(database) == []


def test_sqlite_with_its_own_begin_is_no_autocommit(database, glue):
    if database.kind != "sqlite":
        pytest.skip("SQLAlchemy's recipe for SQLite")
    engine = create_engine(database.url, poolclass=NullPool)
    event.listen(engine, "connect", lambda raw, _: setattr(raw, "isolation_level", None))
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    with Session(engine) as session:
        transaction, _ = guarded(glue, session)
        assert stored(database) == []
        session.commit()
        assert transaction.committed


def test_a_session_within_somebody_elses_transaction_has_not_committed(database, glue):
    with database.engine.connect() as connection, connection.begin() as outer:
        with Session(connection, join_transaction_mode="create_savepoint") as session:
            transaction, _ = guarded(glue, session)
            session.commit()
        assert not transaction.committed
        outer.rollback()
    if database.kind != "sqlite":  # where the driver begins no transaction for a savepoint
        assert stored(database) == []


def test_several_sessions_have_to_be_told_apart(database, zdd, glue):
    with Session(database.engine) as orders, Session(database.engine) as audit:
        with pytest.raises(IdempotencyNotGuarded, match="several sessions"):
            glue.transaction({"orders": orders, "audit": audit})
        named = zdd_sqlalchemy.guard(zdd, "orders", name="orders")
        assert named.transaction({"orders": orders, "audit": audit})._session is orders
        assert named.transaction({"audit": audit}) is None


def test_sessions_are_found_where_they_are_said_to_be(database, zdd, glue):
    factory = scoped_session(sessionmaker(database.engine))
    with factory() as session:
        for source, bound in (
            (None, {"session": factory}),
            (factory, {}),
            ("unit.session", {"unit": {"session": session}}),
            (lambda bound: bound["a"], {"a": session}),
        ):
            assert zdd_sqlalchemy.guard(zdd, source).transaction(bound)._session is session
    assert glue.transaction({"a": 1}) is None
    assert glue.transaction({}) is None
    with pytest.raises(IdempotencyNotGuarded, match="is a int"):
        zdd_sqlalchemy.guard(zdd, "number").transaction({"number": 1})
    with pytest.raises(SettingsError, match="a parameter path"):
        zdd_sqlalchemy.guard(zdd, 5)


def test_a_session_with_several_engines_is_asked_which(database, zdd, glue, tmp_path):
    other = create_engine(f"sqlite:///{tmp_path / 'other.db'}", poolclass=NullPool)
    MetaData().create_all(other)
    with Session(binds={Order: database.engine}) as session, pytest.raises(IdempotencyNotGuarded, match="bind_arg"):
        guarded(glue, session)
    with Session(binds={Order: database.engine}) as session:
        named = zdd_sqlalchemy.guard(zdd, bind_arguments={"mapper": Order})
        transaction, _ = guarded(named, session)
        session.add(Order(key="bound"))
        session.commit()
        assert transaction.committed


def test_without_its_table_it_says_which_migration_is_missing(database, zdd):
    missing = zdd_sqlalchemy.guard(zdd, table=zdd_sqlalchemy.guard_table(MetaData(), name="no_such_table"))
    with Session(database.engine) as session, pytest.raises(IdempotencyNotGuarded, match="'no_such_table'.*guard sql"):
        guarded(missing, session)


def test_an_error_that_is_no_contention_passes_through(database, zdd):
    other = Table("shop_order", MetaData(), Column("name", String(9)), *(Column(one, String(9)) for one in COLUMNS))
    wrong = zdd_sqlalchemy.guard(zdd, table=other)
    with Session(database.engine) as session, pytest.raises(DBAPIError):
        guarded(wrong, session)


# Asynchronous sessions


def test_asynchronous_sessions(database, glue):
    async def run() -> None:
        engine = create_async_engine(database.aio_url, poolclass=NullPool)
        factory = async_scoped_session(async_sessionmaker(engine), scopefunc=asyncio.current_task)
        transaction = glue.transaction({"session": factory})
        assert await transaction.insert([row()]) is None
        async with factory.begin():
            factory.add(Order(key="aio"))
        assert transaction.committed
        await transaction.keep([NAME], b"aio")
        await factory.remove()
        async with AsyncSession(engine) as session:
            assert await glue.transaction({"session": session}).insert([row()]) == row(answer=b"aio")

    asyncio.run(run())
    assert database.orders("aio") == 1


def test_an_asynchronous_session_in_a_function_that_is_not_is_refused(database, glue):
    session = AsyncSession(create_async_engine(database.aio_url, poolclass=NullPool))
    with pytest.raises(IdempotencyNotGuarded, match="AsyncSession"):
        guarded(glue, session)


def test_a_session_that_blocks_keeps_its_answer_beside_the_loop(database, glue):
    async def run() -> list[str]:
        with Session(database.engine) as session:
            transaction = glue.transaction({"session": session})
            await transaction.insert([row()])
            session.commit()
        threads = []
        event.listen(database.engine, "commit", lambda _: threads.append(threading.current_thread().name))
        await transaction.keep([NAME], b"thread")
        return threads

    assert asyncio.run(run()) != [threading.main_thread().name]
    assert stored(database) == [(NAME, 1, b"thread")]


def test_a_function_that_is_not_asynchronous_keeps_its_answer_on_a_loop_too(database, zdd, glue):
    @zdd.idempotent(operation="called.on.a.loop", effects="db", principal="anonymous", key="key", fingerprint=("key",))
    def create(key: str, session: Session) -> str:
        session.add(Order(key=key))
        session.commit()
        return key

    async def run(key: str) -> str:
        with Session(database.engine) as session:
            return create(key, session)

    assert [asyncio.run(run("loop")) for _ in range(2)] == ["loop", "loop"]
    assert database.orders("loop") == 1
