"""The orders, in one SQLite file that all instances and releases share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from sqlalchemy import Engine, create_engine, distinct, event, func, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedAsDataclass, Session, mapped_column, sessionmaker

import zdd_sqlalchemy

__all__ = ["Audit", "Base", "Ledger", "Order", "add", "audit", "orders_of"]


class Base(MappedAsDataclass, DeclarativeBase):
    """The tables of the shop."""


class Order(Base):
    """One order; the total is in cents.

    There is no unique constraint on the reference: an order placed twice must show up in the audit, not vanish in
    the database.
    """

    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True, init=False)
    reference: Mapped[str]
    customer: Mapped[str]
    total: Mapped[int]


zdd_sqlalchemy.guard_table(Base.metadata)


@dataclass(frozen=True)
class Audit:
    """How many orders there are, and how many of them repeat a reference."""

    orders: int
    duplicates: int


class Ledger:
    """Opens sessions on the orders.

    Args:
        path: the SQLite file; made, with its tables, at the first use.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    @classmethod
    def from_environment(cls) -> Ledger:
        """Use the file that ``SHOP_DB`` names, default ``shop.db``."""
        return cls(os.environ.get("SHOP_DB", "shop.db"))

    @cached_property
    def engine(self) -> Engine:
        """Where the orders are. A shop with one server would run a migration instead."""
        engine = create_engine(f"sqlite:///{self.path}", connect_args={"timeout": 5})
        event.listen(engine, "connect", _write_ahead)
        for left in reversed(range(5)):
            try:
                Base.metadata.create_all(engine)
                break
            except OperationalError:  # another instance was faster
                if not left:
                    raise
        return engine

    @cached_property
    def sessions(self) -> sessionmaker[Session]:
        """Makes sessions."""
        return sessionmaker(self.engine, expire_on_commit=False)

    def session(self) -> Iterator[Session]:
        """Yield a new session and close it; a dependency of FastAPI's."""
        with self.sessions() as session:
            yield session


def add(session: Session, reference: str, customer: str, total: int) -> Order:
    """Write an order, and commit it."""
    order = Order(reference, customer, total)
    session.add(order)
    session.commit()
    return order


def orders_of(session: Session, customer: str) -> list[dict[str, Any]]:
    """Return a customer's last orders, newest first, at most 20."""
    query = select(Order).where(Order.customer == customer).order_by(Order.id.desc()).limit(20)
    return [asdict(order) for order in session.scalars(query)]


def audit(session: Session) -> Audit:
    """Count all orders and those beyond the first of each reference."""
    orders, references = session.execute(select(func.count(), func.count(distinct(Order.reference)))).one()
    return Audit(orders, orders - references)


def _write_ahead(connection: Any, _: object) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
