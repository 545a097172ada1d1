"""`GuardRows`: what is asked of the table, on one connection."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, Table, delete, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import Insert, Update

from zdd_sdk.errors import IdempotencyInProgress, IdempotencyNotGuarded
from zdd_sdk.idempotency import GuardRow

__all__ = ["GuardRows", "in_progress"]


def _ignoring(table: Table) -> Insert:
    return insert(table).prefix_with("IGNORE")


_INSERTS: dict[str, Callable[[Table], Insert]] = {
    "postgresql": lambda table: postgresql.insert(table).on_conflict_do_nothing(index_elements=["name"]),
    "sqlite": lambda table: sqlite.insert(table).on_conflict_do_nothing(index_elements=["name"]),
    "mysql": _ignoring,
    "mariadb": _ignoring,
}
"""By dialect: an insert that waits for a transaction that holds the key, and does nothing if that one commits."""


class GuardRows:
    """Guard rows in one table.

    Args:
        table: see `zdd_sqlalchemy.guard_table`.
        clock: seconds since 1970.
    """

    def __init__(self, table: Table, clock: Callable[[], float] = time.time) -> None:
        self.table = table
        self._clock = clock

    def insert(self, connection: Connection, rows: Sequence[GuardRow]) -> GuardRow | None:
        """Insert all rows, or none; returns the committed row of one of the names, if there is one.

        Raises:
            IdempotencyInProgress: a row is there and cannot be read yet.
        """
        inserted: list[str] = []
        # In one order everywhere: two workers whose rosters of secrets are rotated differently must not deadlock.
        for row in sorted(rows, key=lambda one: one.name):
            if not self._insert(connection, row):
                found = self.find(connection, [row.name])
                if found is None:
                    raise in_progress()
                if inserted:
                    connection.execute(delete(self.table).where(self.table.c.name.in_(inserted)))
                return found
            inserted.append(row.name)
        return None

    def _insert(self, connection: Connection, row: GuardRow) -> bool:
        now, columns = int(self._clock()), self.table.c
        values = {
            "generation": row.generation,
            "fingerprint": row.fingerprint,
            "operation": row.operation[:255],
            "release": row.release[:255],
            "created": now,
            "expires": now + max(1, round(row.retention)),
            "answer": row.answer or None,
        }
        statement = self.insertion(connection.dialect.name).values(name=row.name, **values)
        if _count(connection, statement):
            return True
        forgotten = update(self.table).where(columns.name == row.name, columns.expires <= now).values(**values)
        return bool(_count(connection, forgotten))

    def insertion(self, dialect: str) -> Insert:
        """Return the insert that does nothing where the key is there.

        Raises:
            IdempotencyNotGuarded: nobody has tried this on such a database.
        """
        if dialect not in _INSERTS:
            message = f"guard rows are known on PostgreSQL, MariaDB, MySQL and SQLite, not on {dialect}"
            raise IdempotencyNotGuarded(message)
        return _INSERTS[dialect](self.table)

    def missing(self) -> IdempotencyNotGuarded:
        """Return the error of a database without the table."""
        message = (
            f"there is no table {self.table.fullname!r} of guard rows in this database: add it with your migrations "
            "(zdd_sqlalchemy.guard_table(Base.metadata) for Alembic), or run what 'zdd guard sql' prints"
        )
        return IdempotencyNotGuarded(message)

    def find(self, connection: Connection, names: Sequence[str], *, lock: bool = True) -> GuardRow | None:
        """Return the row of one of the names that has not expired.

        Args:
            connection: where to look.
            names: of the record.
            lock: look past a snapshot of the transaction.
        """
        columns, now = self.table.c, int(self._clock())
        query = select(self.table).where(columns.name.in_(names), columns.expires > now).limit(1)
        if lock and connection.dialect.name in (
            "mysql",
            "mariadb",
        ):  # elsewhere a snapshot ends in an error, before this
            query = query.with_for_update(read=True)
        found = connection.execute(query).mappings().first()
        return None if found is None else _row(dict(found))

    def keep(self, connection: Connection, names: Sequence[str], answer: bytes) -> None:
        """Write the answer's bytes into rows that are there."""
        connection.execute(update(self.table).where(self.table.c.name.in_(names)).values(answer=answer))

    def purge(self, connection: Connection, most: int) -> int:
        """Delete up to ``most`` rows that have expired; returns how many there were."""
        columns, now = self.table.c, int(self._clock())
        query = select(columns.name).where(columns.expires <= now).order_by(columns.expires).limit(most)
        names = list(connection.execute(query).scalars())
        if names:
            # Looked at again: one of them may have been taken for a new request in between.
            connection.execute(delete(self.table).where(columns.name.in_(names), columns.expires <= now))
        return len(names)


def _count(connection: Connection, statement: Insert | Update) -> int:
    """Return how many rows a statement has written; a driver that does not say has written none."""
    # Without the option some drivers have forgotten it when they are asked, and say -1.
    return max(0, connection.execute(statement, execution_options={"preserve_rowcount": True}).rowcount)


def _row(found: dict[str, Any]) -> GuardRow:
    retention = float(found["expires"] - found["created"])
    said = {name: found[name] for name in ("name", "generation", "fingerprint", "operation", "release")}
    return GuardRow(**said, retention=retention, answer=bytes(found["answer"] or b""))


def in_progress() -> IdempotencyInProgress:
    """Return the error of whoever comes while another transaction holds the key."""
    return IdempotencyInProgress("another transaction holds this key and has not ended; ask again")
