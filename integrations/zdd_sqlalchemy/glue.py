"""`guard`: registers what finds the session of a call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import MetaData, Table
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session
from sqlalchemy.orm import Session, scoped_session

from zdd_sdk import ZeroDowntime
from zdd_sdk.errors import IdempotencyNotGuarded, SettingsError
from zdd_sdk.idempotency import follow
from zdd_sqlalchemy.rows import GuardRows
from zdd_sqlalchemy.table import guard_table
from zdd_sqlalchemy.transaction import SessionGuard
from zdd_sqlalchemy.watch import watch

__all__ = ["SessionSource", "SqlAlchemyGuard", "guard"]

AnySession = Session | AsyncSession | scoped_session[Any] | async_scoped_session[Any]

_KINDS = (Session, AsyncSession, scoped_session, async_scoped_session)

SessionSource = str | AnySession | Callable[[Mapping[str, Any]], AnySession | None]
"""A parameter path (``"uow.session"``), a scoped session, or a callable of the bound arguments."""


def guard(
    zdd: ZeroDowntime,
    session: SessionSource | None = None,
    *,
    name: str | None = None,
    table: Table | None = None,
    bind_arguments: Mapping[str, Any] | None = None,
    lock_timeout: float = 1.0,
) -> SqlAlchemyGuard:
    """Guard ``effects="db"`` operations with a row that is committed together with their effect.

    Args:
        zdd: the service.
        session: where an operation's session is. Default: the one `Session`, `AsyncSession` or scoped session among its
            arguments. Else a parameter path, a scoped session such as Flask-SQLAlchemy's ``db.session``, or a callable
            of the bound arguments.
        name: by which operations ask for it, where there are several: ``@zdd.idempotent(guard="orders")``.
        table: the table, if it is not called ``zdd_guard`` or lies in a schema.
        bind_arguments: for a session with several engines: whose transaction has the effect, as `Session.get_bind`
            takes it, such as ``{"mapper": Order}``.
        lock_timeout: seconds to wait for another transaction that holds the key, before 409; whole ones on MariaDB.

    Raises:
        SettingsError: ``session`` cannot be what it should.
    """
    if not (session is None or isinstance(session, (str, *_KINDS)) or callable(session)):
        message = f"zdd_sqlalchemy.guard: session={session!r}: a parameter path, a scoped session or a callable"
        raise SettingsError(message)
    watch()
    rows = GuardRows(guard_table(MetaData()) if table is None else table)
    made = SqlAlchemyGuard(session, rows, name=name, bind_arguments=bind_arguments, lock_timeout=lock_timeout)
    zdd.idempotency.guards.append(made)
    return made


class SqlAlchemyGuard:
    """A `zdd_sdk.idempotency.Guard`; made by `guard`.

    Attributes:
        name: by which operations ask for it.
    """

    def __init__(
        self,
        session: SessionSource | None,
        rows: GuardRows,
        *,
        name: str | None,
        bind_arguments: Mapping[str, Any] | None,
        lock_timeout: float,
    ) -> None:
        self.name = name
        self._source = session
        self._rows = rows
        self._bind_arguments = bind_arguments
        self._lock_timeout = lock_timeout

    def transaction(self, bound: Mapping[str, Any]) -> SessionGuard | None:
        """Return the guard of one call, or ``None`` where it has no session of ours.

        Raises:
            IdempotencyNotGuarded: it has several, or what it has is none.
        """
        found = _session(self._find(bound))
        if found is None:
            return None
        return SessionGuard(found, self._rows, lock_timeout=self._lock_timeout, bind_arguments=self._bind_arguments)

    def _find(self, bound: Mapping[str, Any]) -> object:
        source = self._source
        if source is None:
            return _only(bound)
        if isinstance(source, str):
            try:
                return follow(bound, source.split("."))
            except LookupError:
                return None
        return source if isinstance(source, _KINDS) else source(bound)


def _only(bound: Mapping[str, Any]) -> object:
    found = {id(value): value for value in bound.values() if isinstance(value, _KINDS)}
    if len(found) > 1:
        message = "the operation has several sessions: say which has the effect, guard(zdd, session='orders')"
        raise IdempotencyNotGuarded(message)
    return next(iter(found.values()), None)


def _session(found: object) -> Session | AsyncSession | None:
    if isinstance(found, scoped_session | async_scoped_session):
        found = found.registry()
    if found is None or isinstance(found, Session | AsyncSession):
        return found
    message = f"what should be a session is a {type(found).__name__}"
    raise IdempotencyNotGuarded(message)
