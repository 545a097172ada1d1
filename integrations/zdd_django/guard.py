"""Guard rows through Django's ORM: key and effect are committed together, or neither is.

A view in a transaction (``ATOMIC_REQUESTS``, or a block around it) has its row inserted there; around any other the
glue opens ``atomic(durable=True)`` itself. Django has no transactions in coroutines, so those are refused.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import DatabaseError, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.constants import OnConflict
from django.db.transaction import get_connection

from zdd_django.models import TABLE, Guard
from zdd_sdk.errors import IdempotencyInProgress, IdempotencyNotGuarded
from zdd_sdk.idempotency import GuardRow
from zdd_sdk.store import may_suspend

__all__ = ["DjangoGuard", "DjangoTransaction", "guards", "purge"]

T = TypeVar("T")

LOCK_WAIT = 1.0
"""Seconds to wait for another transaction that is inserting the same key; SQLite waits as its ``timeout`` says."""

_WAITS = {
    "postgresql": (
        f"SELECT current_setting('lock_timeout'), set_config('lock_timeout', '{LOCK_WAIT * 1000:.0f}ms', true)",
        "SELECT set_config('lock_timeout', %s, true)",
    ),
    "mysql": (
        f"SET @zdd_wait = @@innodb_lock_wait_timeout, innodb_lock_wait_timeout = {LOCK_WAIT:.0f}",
        "SET innodb_lock_wait_timeout = @zdd_wait",
    ),
}
_BATCH = 1000
_TRIES = 3
_IN_ERROR = 3  # libpq's PQTRANS_INERROR
_CONTENDED = frozenset({"55P03", "40001", "40P01", 1020, 1205, 1213})
"""Lock timeout, lost races and deadlocks: SQLSTATEs of PostgreSQL, numbers of MariaDB."""

_MISSING = frozenset({"42P01", 1146})
_SQLITE_BUSY = frozenset({5, 6})


class DjangoGuard:
    """Glue to one database of ``settings.DATABASES``.

    Args:
        using: its alias.

    Attributes:
        name: the alias, for ``@zdd.idempotent(guard=…)``.
    """

    def __init__(self, using: str = "default") -> None:
        self.name = using

    def transaction(self, bound: Mapping[str, Any]) -> DjangoTransaction | None:  # noqa: ARG002 - by the protocol
        """Return the transaction of this call; ``None`` in a coroutine, where Django has none."""
        return None if may_suspend() else DjangoTransaction(self.name)


def guards() -> list[DjangoGuard]:
    """Return the glue to each database, the default one first."""
    return [DjangoGuard(alias) for alias in sorted(settings.DATABASES, key=lambda alias: alias != "default")]


class DjangoTransaction:
    """The transaction in which one call writes; a `zdd_sdk.idempotency.guard.Enclosing`.

    Args:
        using: alias of the database.
    """

    def __init__(self, using: str) -> None:
        self._using = using
        self._own: ExitStack | None = None
        self._connection: BaseDatabaseWrapper | None = None
        self._committed = False

    @property
    def committed(self) -> bool:
        """Whether the rows have been committed; in a ``TestCase``, which never commits: whether they would be."""
        return self._committed or self._left_to_a_test()

    async def insert(self, rows: Sequence[GuardRow]) -> GuardRow | None:
        """Insert the rows, in the transaction that is open or in one that begins here.

        Raises:
            IdempotencyInProgress: another transaction holds the key, or it has locked the database.
        """
        connection = self._connection = get_connection(self._using)
        with ExitStack() as own:
            if not _surrounding(connection):
                own.enter_context(transaction.atomic(self._using, durable=True))
            with _contention():
                found = _insert(connection, rows)
            if found is None:
                transaction.on_commit(self._note, self._using)
                self._own = own.pop_all()
        return found

    async def find(self, names: Sequence[str]) -> GuardRow | None:
        """Return a committed row of one of the names."""
        return await _in_thread(lambda: _find(_rows(self._using), names))

    async def keep(self, names: Sequence[str], answer: bytes) -> None:
        """Write the answer's bytes, in the transaction while it is open, else in one of their own."""
        if not _doomed(self._connection):
            await _in_thread(lambda: _rows(self._using).filter(name__in=names).update(answer=answer))

    def end(self, error: BaseException | None) -> None:
        """Commit or roll back what began here.

        PostgreSQL answers COMMIT in a failed transaction with a silent rollback: that must not count as one.
        """
        own, self._own = self._own or ExitStack(), None
        if error is None and _doomed(self._connection):
            transaction.set_rollback(True, self._using)
        own.__exit__(type(error) if error else None, error, error.__traceback__ if error else None)

    def _note(self) -> None:
        self._committed = True

    def _left_to_a_test(self) -> bool:
        connection: Any = self._connection
        if connection is None or not connection.in_atomic_block or _surrounding(connection):
            return False
        return any(hook == self._note for _, hook, *_ in connection.run_on_commit)


def purge(using: str, batch: int = _BATCH) -> int:
    """Delete the expired rows of a database and return how many there were; each batch is a transaction of its own."""
    gone = 0
    while names := list(_expired(using).values_list("name", flat=True)[:batch]):
        gone += _expired(using).filter(name__in=names).delete()[0]
    return gone


def _expired(using: str) -> Any:
    return _rows(using).filter(expires__lte=int(time.time()))


def _rows(using: str) -> Any:
    return Guard.objects.using(using)


async def _in_thread(ask: Callable[[], T]) -> T:
    """Ask the database where the request's connections are: on a loop in the request's own thread."""
    return await sync_to_async(ask)() if may_suspend() else ask()


def _surrounding(connection: Any) -> bool:
    """Whether a transaction is open that will be committed: those that a ``TestCase`` opens never are."""
    return any(not block._from_testcase for block in connection.atomic_blocks)  # noqa: SLF001 - as Django's durable


def _doomed(connection: Any) -> bool:
    """Whether a transaction is open that can only be rolled back."""
    if connection is None or not connection.in_atomic_block:
        return False
    if connection.needs_rollback or connection.vendor != "postgresql":
        return bool(connection.needs_rollback)
    return int(connection.connection.info.transaction_status) == _IN_ERROR


def _find(rows: Any, names: Sequence[str]) -> GuardRow | None:
    found = rows.filter(name__in=names, expires__gt=int(time.time())).first()
    if found is None:
        return None
    retention = float(found.expires - found.created)
    answer = bytes(found.answer or b"")
    return GuardRow(found.name, found.generation, found.fingerprint, found.operation, found.release, retention, answer)


def _insert(connection: BaseDatabaseWrapper, rows: Sequence[GuardRow]) -> GuardRow | None:
    """Insert all rows or none; in the same order everywhere, so that two callers never wait for each other."""
    ordered, inserted = sorted(rows, key=lambda row: row.name), list[str]()
    for row in ordered:
        if (found := _insert_one(connection, row)) is not None:
            _rows(connection.alias).filter(name__in=inserted).delete()
            return found
        inserted.append(row.name)
    return None


def _insert_one(connection: BaseDatabaseWrapper, row: GuardRow) -> GuardRow | None:
    locking = _rows(connection.alias)
    if connection.features.has_select_for_update:
        locking = locking.select_for_update()
    for _ in range(_TRIES):
        with connection.cursor() as cursor, _brief_wait(connection):
            cursor.execute(_statement(connection), _values(row))
            inserted = cursor.rowcount == 1
        if inserted:
            return None
        if (found := _find(locking, [row.name])) is not None:
            return found
        # Expired, or deleted since: neither is an attempt any more.
        _expired(connection.alias).filter(name=row.name).delete()
    message = "the guard row of this key comes and goes; ask again"
    raise IdempotencyInProgress(message)


def _values(row: GuardRow) -> list[Any]:
    now = int(time.time())
    expires = now + max(1, round(row.retention))
    return [row.name, row.generation, row.fingerprint, row.operation, row.release, now, expires, row.answer or None]


def _statement(connection: BaseDatabaseWrapper) -> str:
    """An INSERT that says by its row count whether it did; a conflict is no error, which would end the transaction."""
    operations, fields = connection.ops, Guard._meta.fields  # noqa: SLF001 - Django's public name for it
    columns = ", ".join(operations.quote_name(str(field.column)) for field in fields)
    values = ", ".join(["%s"] * len(fields))
    head = operations.insert_statement(on_conflict=OnConflict.IGNORE)
    tail = operations.on_conflict_suffix_sql(fields, OnConflict.IGNORE, [], [])
    return f"{head} {operations.quote_name(TABLE)} ({columns}) VALUES ({values}) {tail}"


@contextmanager
def _brief_wait(connection: Any) -> Iterator[None]:
    """Keep what is asked within from waiting longer than `LOCK_WAIT`; afterwards the project's own limit counts."""
    shorten, restore = _WAITS.get(connection.vendor, ("", ""))
    with connection.cursor() as cursor:
        if shorten:
            cursor.execute(shorten)
        before = cursor.fetchone()[:1] if cursor.description else ()
        try:
            yield
        finally:
            if restore and not _doomed(connection):
                cursor.execute(restore, before)


@contextmanager
def _contention() -> Iterator[None]:
    try:
        yield
    except DatabaseError as error:
        if _lacks_table(error):
            message = f"there is no table {TABLE!r} of guard rows in this database: run 'manage.py migrate zdd_django'"
            raise IdempotencyNotGuarded(message) from error
        if not _contended(error):
            raise
        message = "another transaction holds this key, or the whole database; ask again"
        raise IdempotencyInProgress(message) from error


def _contended(error: DatabaseError) -> bool:
    cause: Any = error.__cause__
    if (code := getattr(cause, "sqlite_errorcode", None)) is not None:
        return code & 0xFF in _SQLITE_BUSY
    return not _said(error).isdisjoint(_CONTENDED)


def _lacks_table(error: DatabaseError) -> bool:
    return not _said(error).isdisjoint(_MISSING) or "no such table" in str(error)


def _said(error: DatabaseError) -> set[Any]:
    """What PostgreSQL and MariaDB call it."""
    cause: Any = error.__cause__
    return {getattr(cause, "sqlstate", None), getattr(cause, "pgcode", None), *error.args[:1]}
