"""The orders, in one SQLite file that all instances and releases share."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

__all__ = ["Audit", "Ledger", "Order"]

# No unique constraint on the reference: an order placed twice must show up in the audit, not vanish in the database.
SCHEMA = """
CREATE TABLE IF NOT EXISTS orders (
    id INTEGER PRIMARY KEY, reference TEXT NOT NULL, customer TEXT NOT NULL, total INTEGER NOT NULL)
"""


@dataclass(frozen=True)
class Order:
    """One order; the total is in cents."""

    id: int
    reference: str
    customer: str
    total: int


@dataclass(frozen=True)
class Audit:
    """How many orders there are, and how many of them repeat a reference."""

    orders: int
    duplicates: int


class Ledger:
    """Writes and reads orders; every call opens its own connection, so that any thread may call.

    Args:
        path: the SQLite file; made, with its table, at the first use.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._prepared = False

    @classmethod
    def from_environment(cls) -> Ledger:
        """Use the file that ``SHOP_DB`` names, default ``shop.db``."""
        return cls(os.environ.get("SHOP_DB", "shop.db"))

    def add(self, reference: str, customer: str, total: int) -> Order:
        """Write an order and return it with its number."""
        with self._connect() as database:
            cursor = database.execute(
                "INSERT INTO orders (reference, customer, total) VALUES (?, ?, ?)", (reference, customer, total)
            )
        return Order(id=cursor.lastrowid or 0, reference=reference, customer=customer, total=total)

    def orders_of(self, customer: str) -> list[Order]:
        """Return a customer's last orders, newest first, at most 20."""
        query = "SELECT id, reference, customer, total FROM orders WHERE customer = ? ORDER BY id DESC LIMIT 20"
        with self._connect() as database:
            rows = database.execute(query, (customer,)).fetchall()
        return [Order(id=row[0], reference=row[1], customer=row[2], total=row[3]) for row in rows]

    def audit(self) -> Audit:
        """Count all orders and those beyond the first of each reference."""
        with self._connect() as database:
            orders, references = database.execute("SELECT count(*), count(DISTINCT reference) FROM orders").fetchone()
        return Audit(orders=orders, duplicates=orders - references)

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.path, timeout=5)) as database:
            if not self._prepared:
                database.execute("PRAGMA journal_mode=WAL")
                database.execute(SCHEMA)
                self._prepared = True
            with database:
                yield database
