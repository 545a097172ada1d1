"""`Context`: what code inside an idempotent operation may know and say of its claim."""

from __future__ import annotations

import hashlib
import uuid
from contextvars import ContextVar
from typing import TYPE_CHECKING

from zdd_sdk.http import current_exchange

if TYPE_CHECKING:
    from zdd_sdk.idempotency.claim import Claim
    from zdd_sdk.idempotency.guard import GuardedTransaction

__all__ = ["Context", "child_key", "context_variable", "current", "guarding"]

context_variable: ContextVar[Context | None] = ContextVar("zdd_idempotency", default=None)
"""Set around each decorated call."""


def current() -> Context | None:
    """Return the context of the idempotent operation this code runs in, or ``None`` outside of one."""
    return context_variable.get()


def guarding() -> GuardedTransaction | None:
    """Return the guarded transaction that this code must write in, or ``None``.

    That of the operation it runs in; around it, that of the operation of its request until its commit has been observed
    or its outcome decided.
    """
    context = current()
    if context is not None:
        return context.transaction
    exchange = current_exchange()
    claim: Claim | None = None if exchange is None else exchange.parts.get("idempotency")
    transaction = None if claim is None or claim.outcome is not None else claim.transaction
    return None if transaction is None or transaction.committed else transaction


class Context:
    """One run of an idempotent operation.

    Attributes:
        key: the client's key.
        operation: name of the operation.
        generation: fence counter: the server's milliseconds at the claim, and more than every earlier run's, also
            across a release or a flush; 1 while Redis is away. A resource that remembers the highest one it has
            seen can refuse a run that was overtaken.
        taken_over: an earlier run began and has not ended; what it did downstream may be there.
    """

    __slots__ = ("_claim", "generation", "key", "operation", "taken_over")

    def __init__(self, claim: Claim) -> None:
        self._claim = claim
        self.key = claim.key
        self.operation = claim.operation.name
        self.generation = claim.generation
        self.taken_over = claim.taken_over

    def child_key(self, step: str) -> str:
        """Return the ``Idempotency-Key`` for one call downstream: the same in every run, at every release.

        Args:
            step: names the call within the operation, such as ``"stripe.charge"``.

        Returns:
            a UUID of version 8 (RFC 9562), from SHA-256 over principal, operation, key and step.
        """
        return child_key(self._claim.lineage, step)

    @property
    def lease_lost(self) -> bool:
        """Whether another worker has taken the key over, or the lease has run out unrenewed."""
        return self._claim.lost

    @property
    def transaction(self) -> GuardedTransaction | None:
        """The transaction with the guard row of this run, if it has one."""
        return self._claim.transaction

    def nothing_done(self) -> None:
        """Say that this run has had no effect: its answer is kept although nothing was committed."""
        self._claim.nothing_done = True


def child_key(lineage: bytes, step: str) -> str:
    """Return the key of one step of an operation."""
    digest = bytearray(hashlib.sha256(lineage + step.encode()).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x80
    digest[8] = digest[8] & 0x3F | 0x80
    return str(uuid.UUID(bytes=bytes(digest)))
