"""Guard rows: the key, inserted into the application's own database, in the transaction of the effect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

__all__ = ["Enclosing", "Guard", "GuardRow", "GuardedTransaction", "Trailing"]


@dataclass(frozen=True, slots=True)
class GuardRow:
    """What the table of guard rows holds of one key.

    Attributes:
        name: the record's name (`Scope.names`); the primary key.
        generation: fence counter of the claim under which it was written.
        fingerprint: candidates, space-joined.
        operation: name of the operation.
        release: label of the release that wrote it.
        retention: seconds from its insertion on for which it must be kept.
        answer: the stored answer's bytes; empty while there is none.
    """

    name: str
    generation: int
    fingerprint: str
    operation: str
    release: str
    retention: float
    answer: bytes = b""


class GuardedTransaction(Protocol):
    """The application's transaction of one call, as guard rows see it. Its flows suspend only over async drivers."""

    @property
    def committed(self) -> bool:
        """Whether the transaction into which the rows went has been committed."""
        ...

    async def insert(self, rows: Sequence[GuardRow]) -> GuardRow | None:
        """Insert the rows, before the endpoint's body runs.

        Returns:
            ``None``, or the committed row that was there already; then nothing was inserted.

        Raises:
            IdempotencyInProgress: another transaction holds the key and has not ended in time.
        """
        ...

    async def find(self, names: Sequence[str]) -> GuardRow | None:
        """Return a committed row of one of the names, or ``None``."""
        ...

    async def keep(self, names: Sequence[str], answer: bytes) -> None:
        """Write the answer's bytes into committed rows, in a transaction of its own."""
        ...


@runtime_checkable
class Enclosing(GuardedTransaction, Protocol):
    """One around the endpoint's body: it ends after it, and takes the answer's bytes along if they exist."""

    def end(self, error: BaseException | None) -> None:
        """The body has ended: commit, or roll back, what `GuardedTransaction.insert` has begun itself.

        Args:
            error: what the body has raised.
        """


@runtime_checkable
class Trailing(Protocol):
    """A `GuardedTransaction` that the application may commit after the endpoint has answered."""

    def answered(self, answer: bytes) -> None:
        """Take the answer's bytes, which exist before the commit, along with it."""

    def close(self) -> None:
        """The outcome has been decided: what is committed from now on is not the operation's."""


class Guard(Protocol):
    """Glue to one kind of database session; one with a ``name`` is asked for with ``@zdd.idempotent(guard=name)``."""

    def transaction(self, bound: Mapping[str, Any]) -> GuardedTransaction | None:
        """Return the transaction that a call with these arguments will write in; ``None``: this glue knows none."""
        ...
