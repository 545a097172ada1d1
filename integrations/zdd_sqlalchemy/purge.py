"""Expired guard rows are deleted in batches, so that nobody waits for it."""

from __future__ import annotations

import time

from sqlalchemy import Engine, MetaData, Table

from zdd_sqlalchemy.rows import GuardRows
from zdd_sqlalchemy.table import guard_table

__all__ = ["purge"]


def purge(engine: Engine, *, table: Table | None = None, batch: int = 1000, pause: float = 0.05) -> int:
    """Delete the guard rows whose retention is over, one transaction per batch; from a job, such as daily.

    Args:
        engine: of the database.
        table: the table, if it is not called ``zdd_guard``.
        batch: most rows of one transaction.
        pause: seconds between two batches.

    Returns:
        how many rows there were.
    """
    rows, count = GuardRows(guard_table(MetaData()) if table is None else table), 0
    while True:
        with engine.begin() as connection:
            found = rows.purge(connection, batch)
        count += found
        if found < batch:
            return count
        time.sleep(pause)
