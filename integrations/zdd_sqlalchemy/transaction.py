"""`SessionGuard`: the transaction of one operation, in the application's own session."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar
from weakref import WeakSet

from sqlalchemy import Connection, Engine, event, insert
from sqlalchemy.exc import DBAPIError, UnboundExecutionError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session, SessionTransaction

from zdd_sdk.errors import IdempotencyInProgress, IdempotencyNotGuarded
from zdd_sdk.http import current_exchange
from zdd_sdk.idempotency import GuardRow
from zdd_sdk.store import may_suspend
from zdd_sqlalchemy.rows import GuardRows, in_progress
from zdd_sqlalchemy.waits import brief_waits, is_contention, lacks_table
from zdd_sqlalchemy.watch import INFO

__all__ = ["SessionGuard"]

_log = logging.getLogger("zdd.idempotency")

T = TypeVar("T")

_PAUSES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.3)
"""Seconds between looks for an answer: who was let in by a commit comes a moment before it is kept."""


class SessionGuard:
    """A `zdd_sdk.idempotency.GuardedTransaction`.

    The rows are the first statement of the operation. A transaction that is rolled back takes them along; then the next
    one gets them before it commits, so that no effect of this session is committed without them.

    Args:
        session: the application's.
        rows: the table.
        lock_timeout: seconds to wait for another transaction that holds the key.
        bind_arguments: which engine of the session, as `Session.get_bind` takes it.
    """

    def __init__(
        self,
        session: Session | AsyncSession,
        rows: GuardRows,
        *,
        lock_timeout: float,
        bind_arguments: Mapping[str, Any] | None = None,
    ) -> None:
        self.committed = False
        self._given = session
        self._session = session.sync_session if isinstance(session, AsyncSession) else session
        self._table = rows
        self._lock_timeout = lock_timeout
        self._bind_arguments = bind_arguments
        self._exchange = current_exchange()
        self._rows: Sequence[GuardRow] = ()
        self._engine: Engine | None = None
        self._inserted = self._sealed = False
        self._savepoint: SessionTransaction | None = None
        self._own: WeakSet[Connection] = WeakSet()
        self._strangers: WeakSet[Connection] = WeakSet()
        self._answer = b""

    # What is asked of a guarded transaction

    async def insert(self, rows: Sequence[GuardRow]) -> GuardRow | None:
        """Insert the rows into the session's transaction, which is begun if it is not."""
        self._rows = rows
        found = await self._within(self._first)
        if found is None:
            self._session.info.setdefault(INFO, []).append(self)
            return None
        return found if found.answer else await self._await_answer(found)

    async def _await_answer(self, found: GuardRow) -> GuardRow:
        """Give a first run that has only just committed the time to keep its answer."""
        # What a conflict has locked would keep it from that.
        await self._within(self._session.rollback)
        for pause in _PAUSES:
            await asyncio.sleep(pause) if may_suspend() else time.sleep(pause)  # noqa: ASYNC251 - not on a loop
            now = await self._apart(lambda connection: self._table.find(connection, [found.name], lock=False))
            if now is not None and now.answer:
                return now
        return found

    async def find(self, names: Sequence[str]) -> GuardRow | None:
        """Return a committed row, read in the session's transaction."""
        return await self._within(lambda: self._table.find(self._connection(), names))

    async def keep(self, names: Sequence[str], answer: bytes) -> None:
        """Write the answer's bytes, on a connection of its own; nothing is left to do if they went with the commit."""
        if answer != self._answer:
            await self._apart(lambda connection: self._table.keep(connection, names, answer))

    async def _apart(self, step: Callable[[Connection], T]) -> T | None:
        """Run a step in a transaction of its own; ``None`` where there is nobody to wait for it."""
        engine = self._engine
        if engine is None:
            return None
        if engine.dialect.is_async and not may_suspend():
            _log.warning("an answer is not kept in the database: the loop of its asynchronous engine has ended")
            return None
        if engine.dialect.is_async:
            async with AsyncEngine(engine).begin() as connection:
                return await connection.run_sync(step)
        return (
            await asyncio.to_thread(_in_transaction, engine, step) if may_suspend() else _in_transaction(engine, step)
        )

    def answered(self, answer: bytes) -> None:
        """Take the answer's bytes along, where the commit comes after them."""
        self._answer = b"" if self.committed else answer

    def close(self) -> None:
        """Let the session go: what it commits from now on is not the operation's."""
        self._give_begin_back()
        guards = self._session.info.get(INFO, [])
        if self in guards:
            guards.remove(self)

    # In the session

    async def _within(self, step: Callable[[], T]) -> T:
        if not isinstance(self._given, AsyncSession):
            return step()
        if not may_suspend():
            message = "an AsyncSession in a function that is not async: give it a Session, or make the function async"
            raise IdempotencyNotGuarded(message)
        return await self._given.run_sync(lambda _: step())

    def _connection(self) -> Connection:
        arguments = self._bind_arguments or {
            "clause": insert(self._table.table)
        }  # a session may route writes elsewhere
        try:
            return self._session.connection(bind_arguments=dict(arguments))
        except UnboundExecutionError as error:
            message = f"say which engine of this session has the guard rows: guard(…, bind_arguments=…): {error}"
            raise IdempotencyNotGuarded(message) from None

    def _first(self) -> GuardRow | None:
        fresh = not self._session.in_transaction()
        try:
            found = self._insert()
        except IdempotencyInProgress:
            self._session.rollback()
            raise
        if fresh and found is None:
            self._session.begin = self._begin  # type: ignore[method-assign]
        return found

    def _begin(self, nested: bool = False) -> SessionTransaction:
        """Let the endpoint begin, once, what has been begun for its guard row: ``with session.begin():``."""
        self._give_begin_back()
        transaction = self._session.get_transaction()
        return self._session.begin(nested) if nested or transaction is None else transaction

    def _give_begin_back(self) -> None:
        self._session.__dict__.pop("begin", None)

    def _insert(self) -> GuardRow | None:
        connection = self._connection()
        self._engine = connection.engine
        _refuse_autocommit(connection)
        try:
            with brief_waits(connection, self._lock_timeout):
                found = self._table.insert(connection, self._rows)
        except DBAPIError as error:
            if lacks_table(error):
                raise self._table.missing() from error
            if not is_contention(error):
                raise
            raise in_progress() from None
        if found is None:
            self._inserted, self._sealed = True, False
            self._savepoint = self._session.get_nested_transaction()
            self._own.add(connection)
            event.listen(connection, "commit", self._seal)
            event.listen(connection, "commit_twophase", self._seal)
        return found

    def _seal(self, *_: object) -> None:
        """The connection with the rows begins to commit: a session within somebody else's transaction does not."""
        self._sealed = True

    # What SQLAlchemy says

    def began(self, connection: Connection) -> None:
        """The session has a connection."""
        if connection.engine is self._engine:
            self._own.add(connection)

    def commits(self) -> None:
        """The session is about to commit.

        Raises:
            IdempotencyNotGuarded: a part of the effect is on another connection.
            IdempotencyInProgress: the rows went with a rollback, and another has taken the key in the meantime.
        """
        if self.committed:
            return
        self._session.flush()
        if self._strangers:
            raise _elsewhere()
        if not self._inserted and self._insert() is not None:
            raise in_progress()
        if self._answer:
            self._table.keep(self._connection(), [row.name for row in self._rows], self._answer)

    def has_committed(self) -> None:
        """The session has committed: the answer may go."""
        self.committed = self.committed or (self._inserted and self._sealed)
        if self.committed and self._exchange is not None:
            self._exchange.committed()

    def rolled_back(self, ended: SessionTransaction) -> None:
        """A transaction or savepoint of the session has been rolled back."""
        around = self._savepoint
        while around is not None and around is not ended:
            around = around.parent
        if ended.parent is None:
            self._give_begin_back()
        if ended.parent is None or around is not None:
            self._inserted = self._sealed = False
            self._savepoint = None

    def writes(self, connection: Connection) -> None:
        """A statement that writes is about to be executed, on any connection."""
        if connection not in self._own:
            self._strangers.add(connection)
        elif self.committed and self._exchange is not None:
            self._exchange.commit_observed = False  # a second transaction: its answer waits for that commit, too

    def connection_commits(self, connection: Connection) -> None:
        """A connection is about to commit.

        Raises:
            IdempotencyNotGuarded: it is not the one with the rows, and has written.
        """
        if connection in self._strangers:
            raise _elsewhere()

    def connection_rolls_back(self, connection: Connection) -> None:
        """A connection rolls back: what it has written is no effect."""
        self._strangers.discard(connection)


def _elsewhere() -> IdempotencyNotGuarded:
    message = (
        "the operation has written on another connection than its guard row; write all of its effect in the one "
        "session, or say with zdd_sqlalchemy.apart() that this is none of it"
    )
    return IdempotencyNotGuarded(message)


def _refuse_autocommit(connection: Connection) -> None:
    """Refuse a connection on which each statement commits itself.

    Raises:
        IdempotencyNotGuarded: the key would be committed before its effect.
    """
    options = connection.get_execution_options()
    driver: Any = connection.connection.driver_connection
    said = options.get("isolation_level") == "AUTOCOMMIT"
    if said or _autocommits(connection, driver):
        message = "effects='db' needs a transaction, and this connection is in autocommit"
        raise IdempotencyNotGuarded(message)


def _autocommits(connection: Connection, driver: Any) -> bool:
    dialect, raw = connection.dialect, connection.connection.dbapi_connection
    if raw is None or getattr(driver, "in_transaction", False) is True:
        return False  # SQLite with BEGIN of the application's own
    return dialect.detect_autocommit_setting(raw)


def _in_transaction(engine: Engine, step: Callable[[Connection], T]) -> T:
    with engine.begin() as connection:
        return step(connection)
