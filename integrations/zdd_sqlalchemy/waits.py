"""How long a statement waits for another transaction, and what it looks like when it has waited too long."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

__all__ = ["brief_waits", "is_contention", "lacks_table"]

_STATES = frozenset({"55P03", "40001", "40P01"})
"""PostgreSQL's lock_not_available, serialization_failure and deadlock_detected."""

_CODES = frozenset({1205, 1213, 1020, 3572})
"""InnoDB's lock wait timeout, deadlock, a record changed since the snapshot (MariaDB 11.6), and NOWAIT."""

_UNDEFINED_TABLE, _NO_SUCH_TABLE = "42P01", 1146


@contextmanager
def brief_waits(connection: Connection, seconds: float) -> Iterator[None]:
    """Shorten how long the statements within wait for a lock; afterwards the application's own limit counts again.

    SQLite keeps the application's ``busy_timeout``: there the whole database is locked, not the key.
    """
    kind = connection.dialect.name
    if kind == "postgresql":
        with _postgresql(connection, seconds):
            yield
    elif kind in ("mysql", "mariadb"):
        with _mysql(connection, seconds):
            yield
    else:
        yield


@contextmanager
def _postgresql(connection: Connection, seconds: float) -> Iterator[None]:
    # Local to the transaction: what fails within ends it, and the setting with it.
    brief = "SELECT current_setting('lock_timeout'), set_config('lock_timeout', :limit, true)"
    before = connection.execute(text(brief), {"limit": f"{max(1, round(seconds * 1000))}ms"}).scalar()
    yield
    connection.execute(text("SELECT set_config('lock_timeout', :limit, true)"), {"limit": before})


@contextmanager
def _mysql(connection: Connection, seconds: float) -> Iterator[None]:
    brief = f"SET @zdd_wait = @@innodb_lock_wait_timeout, innodb_lock_wait_timeout = {max(1, round(seconds))}"
    connection.execute(text(brief))
    try:
        yield
    finally:
        connection.execute(text("SET innodb_lock_wait_timeout = @zdd_wait"))


def is_contention(error: DBAPIError) -> bool:
    """Whether a statement has failed because of another transaction, so that it may succeed when tried again."""
    state, code = _said(error)
    return state in _STATES or code in _CODES or "is locked" in str(error.orig)


def lacks_table(error: DBAPIError) -> bool:
    """Whether a statement has failed because there is no such table."""
    state, code = _said(error)
    return state == _UNDEFINED_TABLE or code == _NO_SUCH_TABLE or "no such table" in str(error.orig)


def _said(error: DBAPIError) -> tuple[object, object]:
    """Return the SQLSTATE of PostgreSQL and the number of MariaDB, as far as there are."""
    original = error.orig
    state = getattr(original, "sqlstate", None) or getattr(original, "pgcode", None)
    return state, next(iter(getattr(original, "args", ())), None)
