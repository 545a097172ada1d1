"""What SQLAlchemy says of sessions and connections while a guarded operation runs: one set of listeners per process.

Where no operation is guarded, a commit costs a look into ``session.info``, a statement one into a context variable.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.orm import Session, SessionTransaction

from zdd_sdk.idempotency import guarding

if TYPE_CHECKING:
    from zdd_sqlalchemy.transaction import SessionGuard

__all__ = ["INFO", "apart", "watch"]

INFO = "zdd_guard"
"""Key of ``session.info`` under which a session has the guards of the operations that run in it."""

_WRITES = re.compile(
    r"(?:\s++|--[^\n]*+\n|(?>/\*.*?\*/))*+"  # comments, each read in one way only
    r"(?:insert|update|delete|merge|replace|call|with\b.*?\b(?:insert|update|delete))\b",
    re.IGNORECASE | re.DOTALL,
)

_apart: ContextVar[bool] = ContextVar("zdd_apart", default=False)


@contextmanager
def apart() -> Iterator[None]:
    """Say that what is committed within is not the operation's effect: an audit row, a counter.

    A guarded operation that is run again writes it again. Without this, a commit on any other connection than the guard
    row's raises `IdempotencyNotGuarded`.
    """
    token = _apart.set(True)
    try:
        yield
    finally:
        _apart.reset(token)


@cache
def watch() -> None:
    """Listen, from now on, to every session and engine of this process."""
    event.listen(Session, "after_begin", _began)
    event.listen(Session, "before_commit", _commits)
    event.listen(Session, "after_commit", _committed)
    event.listen(Session, "after_soft_rollback", _rolled_back)
    event.listen(Session, "after_transaction_end", _ended)
    event.listen(Engine, "before_cursor_execute", _executes)
    event.listen(Engine, "commit", _connection_commits)
    event.listen(Engine, "commit_twophase", _connection_commits)
    event.listen(Engine, "rollback", _connection_rolls_back)


def _of(session: Session) -> tuple[SessionGuard, ...]:
    return tuple(session.info.get(INFO, ()))


def _began(session: Session, _: SessionTransaction, connection: Connection) -> None:
    for guard in _of(session):
        guard.began(connection)


def _commits(session: Session) -> None:
    for guard in () if session.in_nested_transaction() else _of(session):
        guard.commits()


def _committed(session: Session) -> None:
    for guard in () if session.in_nested_transaction() else _of(session):
        guard.has_committed()


def _rolled_back(session: Session, ended: SessionTransaction) -> None:
    for guard in _of(session):
        guard.rolled_back(ended)


def _ended(session: Session, ended: SessionTransaction) -> None:
    # Also of a session that is closed, which rolls back without saying so.
    for guard in _of(session) if ended.parent is None else ():
        guard.rolled_back(ended)


def _guard() -> SessionGuard | None:
    from zdd_sqlalchemy.transaction import SessionGuard

    found = guarding()
    return found if isinstance(found, SessionGuard) and not _apart.get() else None


def _executes(connection: Connection, _: Any, statement: str, *_more: Any) -> None:
    if (guard := _guard()) is not None and _WRITES.match(statement):
        guard.writes(connection)


def _connection_commits(connection: Connection, *_: Any) -> None:
    if (guard := _guard()) is not None:
        guard.connection_commits(connection)


def _connection_rolls_back(connection: Connection) -> None:
    if (guard := _guard()) is not None:
        guard.connection_rolls_back(connection)
