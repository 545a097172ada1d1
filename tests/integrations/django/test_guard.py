"""Guard rows on the ORM: PostgreSQL, MariaDB and SQLite."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connections, transaction

from tests.integrations.django.databases import described, use_pymysql
from zdd_django.guard import DjangoTransaction, _contention, purge
from zdd_django.models import Guard
from zdd_sdk.errors import IdempotencyInProgress, IdempotencyNotGuarded
from zdd_sdk.idempotency import GuardRow
from zdd_sdk.store import finish

ALIAS = "guarded"
NAMES = ("a" * 43, "b" * 43)


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param("postgresql", marks=pytest.mark.xdist_group("databases")),
        pytest.param("mariadb", marks=pytest.mark.xdist_group("databases")),
    ]
)
def using(request: pytest.FixtureRequest, tmp_path: Path, database: None) -> Iterator[str]:
    """Alias of a database with our table, made by our migration, and Django's groups."""
    if request.param == "sqlite":
        entry = {"ENGINE": "django.db.backends.sqlite3", "NAME": tmp_path / "db", "OPTIONS": {"timeout": 0.5}}
    else:
        use_pymysql()
        entry = described(request.getfixturevalue(f"{request.param}_server"))
    connections.settings[ALIAS] = {**connections.settings["default"], **entry, "TEST": {}}
    connections[ALIAS].ensure_connection()
    try:
        call_command("migrate", "zdd_django", database=ALIAS, verbosity=0)
        call_command("migrate", "auth", database=ALIAS, verbosity=0)
        Group.objects.using(ALIAS).all().delete()
        Guard.objects.using(ALIAS).all().delete()
        yield ALIAS
    finally:
        connections[ALIAS].close()
        del connections[ALIAS], connections.settings[ALIAS]


def row(name: str = NAMES[0], **changed: Any) -> GuardRow:
    said: dict[str, Any] = {"generation": 1, "fingerprint": "f", "operation": "o", "release": "r", "retention": 60.0}
    return GuardRow(name, **{**said, **changed})


@contextmanager
def running(using: str, *rows: GuardRow) -> Iterator[DjangoTransaction]:
    """An operation with its effect, a group, within its transaction."""
    guarded = DjangoTransaction(using)
    assert finish(guarded.insert(rows or [row()])) is None
    try:
        Group.objects.using(using).create(name="effect")
        yield guarded
    except BaseException as error:
        guarded.end(error)
        raise
    guarded.end(None)


def insert(using: str, *rows: GuardRow) -> GuardRow | None:
    guarded = DjangoTransaction(using)
    found = finish(guarded.insert(rows or [row()]))
    if found is None:
        guarded.end(None)
    return found


def counts(using: str) -> tuple[int, int]:
    return Group.objects.using(using).count(), Guard.objects.using(using).count()


def test_row_and_effect_are_committed_together(using: str):
    with running(using) as guarded:
        assert not guarded.committed
    assert guarded.committed
    assert counts(using) == (1, 1)
    assert insert(using) == row()


def test_or_neither_is(using: str):
    with pytest.raises(RuntimeError), running(using) as guarded:
        raise RuntimeError
    assert not guarded.committed
    assert counts(using) == (0, 0)


@pytest.mark.parametrize("undone", [False, True])
def test_a_transaction_around_decides(using: str, *, undone: bool):
    with transaction.atomic(using):
        with running(using) as guarded:
            pass
        assert not guarded.committed
        transaction.set_rollback(undone, using)
    assert guarded.committed is not undone
    assert counts(using) == ((0, 0) if undone else (1, 1))


def test_a_savepoint_that_was_rolled_back_is_no_commit(using: str):
    with transaction.atomic(using):
        with contextlib.suppress(RuntimeError), transaction.atomic(using), running(using) as guarded:
            raise RuntimeError
        Group.objects.using(using).create(name="another")
    assert not guarded.committed
    assert counts(using) == (1, 0)


def test_a_conflict_leaves_the_transaction_usable_and_inserts_nothing(using: str):
    insert(using, row(NAMES[1], generation=7))
    with transaction.atomic(using):
        found = insert(using, row(NAMES[0]), row(NAMES[1]))
        assert (found and found.generation) == 7
        Group.objects.using(using).create(name="goes on")
    assert counts(using) == (1, 1)


def test_names_that_differ_in_case_are_two(using: str):
    insert(using, row("A" * 43))
    assert insert(using, row("a" * 43)) is None


def test_the_answer_before_and_after_the_commit(using: str):
    answer = bytes(range(256)) * 300
    with running(using, row(NAMES[0]), row(NAMES[1])) as guarded:
        finish(guarded.keep(NAMES, b"before"))
    assert (finish(guarded.find(NAMES[1:])) or row()).answer == b"before"
    finish(guarded.keep(NAMES, answer))
    assert {bytes(one.answer) for one in Guard.objects.using(using).all()} == {answer}


def test_an_expired_row_counts_as_absent(using: str):
    insert(using, row(generation=1))
    Guard.objects.using(using).update(expires=int(time.time()) - 1)
    assert finish(DjangoTransaction(using).find(NAMES)) is None
    assert insert(using, row(generation=2)) is None
    assert (insert(using) or row()).generation == 2


def test_purging(using: str):
    for number in range(25):
        insert(using, row(f"{number:043d}"))
    Guard.objects.using(using).filter(name__lt=f"{20:043d}").update(expires=int(time.time()) - 1)
    with connections[using].execute_wrapper(asked := Asked()):
        assert purge(using, batch=6) == 20
    assert counts(using)[1] == 5
    assert asked.count("DELETE") == 4
    assert purge(using) == 0


def test_manage_py_purges(using: str, capsys: pytest.CaptureFixture[str]):
    for number in range(3):
        insert(using, row(f"{number:043d}", retention=1.0 if number else 60.0))
    Guard.objects.using(using).filter(name__gt=f"{0:043d}").update(expires=int(time.time()) - 1)
    call_command("zdd", "guard", "purge")
    said = capsys.readouterr().out.splitlines()
    assert f"{using}: 2 expired guard rows deleted" in said
    assert "default: 0 expired guard rows deleted" in said
    call_command("zdd", "guard", "purge", using)
    assert capsys.readouterr().out == f"{using}: 0 expired guard rows deleted\n"
    with pytest.raises(CommandError, match="none of DATABASES"):
        call_command("zdd", "guard", "purge", "nowhere")


class Asked(list[str]):
    def __call__(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        self.append(sql.split(maxsplit=1)[0])
        return execute(sql, params, many, context)


def test_statements(using: str):
    """What a guard row costs beside the effect: on SQLite one; elsewhere three, two of them for the lock's limit."""
    with connections[using].execute_wrapper(asked := Asked()):
        insert(using)
    assert asked.count("INSERT") == 1
    assert len([word for word in asked if word != "BEGIN"]) == (1 if connections[using].vendor == "sqlite" else 3)


# Two at once


@contextmanager
def elsewhere(using: str) -> Iterator[Callable[[], None]]:
    """Another thread that holds the key in an open transaction; commits at the end, or rolls back if told so."""
    held, go, undo = threading.Event(), threading.Event(), threading.Event()

    def hold() -> None:
        try:
            with running(using):
                held.set()
                go.wait(30)
                transaction.set_rollback(undo.is_set(), using)
        finally:
            connections[using].close()

    thread = threading.Thread(target=hold)

    def stop() -> None:
        undo.set()
        go.set()
        thread.join()

    thread.start()
    try:
        assert held.wait(30)
        yield stop
    finally:
        go.set()
        thread.join()


def lock_limit(using: str) -> Any:
    asked = {"postgresql": "SHOW lock_timeout", "mysql": "SELECT @@innodb_lock_wait_timeout", "sqlite": "SELECT 1"}
    with connections[using].cursor() as cursor:
        cursor.execute(asked[connections[using].vendor])
        return cursor.fetchone()[0]


def test_another_transaction_holds_the_key(using: str):
    before = lock_limit(using)
    with elsewhere(using):
        with pytest.raises(IdempotencyInProgress):
            insert(using)
        assert not connections[using].in_atomic_block
    assert (insert(using), counts(using)) == (row(), (1, 1))
    with transaction.atomic(using):
        insert(using)
        assert lock_limit(using) == before


def test_and_gives_it_up(using: str):
    with elsewhere(using) as undo:
        undo()
        assert insert(using) is None
    assert counts(using) == (0, 1)


def test_who_waits_gets_it_when_the_other_gives_up(using: str):
    if connections[using].vendor == "sqlite":
        pytest.skip("waits for the whole database, as test_another_transaction_holds_the_key shows")
    with elsewhere(using) as undo, ExitStack() as stack:
        timer = threading.Timer(0.2, undo)
        timer.start()
        stack.callback(timer.join)
        assert insert(using) is None
    assert counts(using) == (0, 1)


def test_an_error_that_the_view_swallows_is_no_commit(using: str):
    """PostgreSQL answers COMMIT in a failed transaction with ROLLBACK, and no error; the others go on."""
    with running(using) as guarded:
        with contextlib.suppress(DatabaseError), connections[using].cursor() as cursor:
            cursor.execute("SELECT nothing FROM nowhere")
        finish(guarded.keep(NAMES, b"answer"))
    failed = connections[using].vendor == "postgresql"
    assert guarded.committed is not failed
    assert counts(using) == ((0, 0) if failed else (1, 1))


def test_our_table_is_that_of_sqlalchemy():
    """One table for a service that has both."""
    MetaData = pytest.importorskip("sqlalchemy").MetaData  # noqa: N806 - a class

    from zdd_sqlalchemy.table import guard_table

    theirs = {column.name: column.nullable for column in guard_table(MetaData()).columns}
    assert {field.column: field.null for field in Guard._meta.fields} == theirs


def test_without_its_table_it_says_which_migration_is_missing(using: str):
    with pytest.raises(IdempotencyNotGuarded, match="migrate zdd_django"), transaction.atomic(using), _contention():
        connections[using].cursor().execute("INSERT INTO zdd_no_such_table VALUES (1)")
    with pytest.raises(DatabaseError), transaction.atomic(using), _contention():
        connections[using].cursor().execute("INSERT INTO zdd_guard (no_such_column) VALUES (1)")
