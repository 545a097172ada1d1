"""`Operation`: what a decorator says; `Claim`: a key that this process holds while it carries one out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from zdd_sdk.errors import SettingsError
from zdd_sdk.idempotency.answer import StoredAnswer
from zdd_sdk.idempotency.model import Effects
from zdd_sdk.idempotency.outcome import Ending, OnError, Outcome, judge

if TYPE_CHECKING:
    from zdd_sdk.http import Hold
    from zdd_sdk.idempotency.guard import GuardedTransaction

__all__ = ["Claim", "OnUnknown", "Operation", "check_names"]

OnUnknown = str | Callable[..., Any]
"""``"hold"``, ``"takeover"``, or a probe: ``probe(context) -> answer | NOT_DONE | UNKNOWN``."""


@dataclass(frozen=True, slots=True)
class Operation:
    """What ``@zdd.idempotent(…)`` says of one function.

    Attributes:
        name: explicit, so that moving a route or renaming a function forgets nothing.
        effects: ``db``, ``external``, ``unsafe`` or ``pure``.
        principal: finds the principal among the bound arguments.
        retention: seconds an outcome is remembered.
        body_ttl: seconds a large body is kept in Redis.
        wait: seconds a duplicate waits before 409.
        on_unknown: what happens with a key whose outcome is unknown.
        on_error: what a failed ``unsafe`` run leaves.
        answer: makes the answer for an effect that is there while its own answer is lost.
        required: refuse requests without a key.
        guard: name of the guard whose database has the effect; ``None``: the first that knows the call.
    """

    name: str
    effects: Effects
    principal: Callable[[Mapping[str, Any]], object]
    retention: float
    body_ttl: float
    wait: float = 0.0
    on_unknown: OnUnknown = "hold"
    on_error: OnError = "hold"
    answer: Callable[..., Any] | None = None
    required: bool = True
    guard: str | None = None


@dataclass(slots=True, eq=False)
class Claim:
    """A key under way in this process.

    Attributes:
        operation: what is carried out.
        key: the client's key.
        names: of its records (`Scope.names`), the writing one first.
        fingerprints: of the request.
        lineage: what child keys are made of.
        token: owner token.
        generation: fence counter.
        taken_over: an earlier run has begun and not ended.
        offline: Redis is away, and the guard row alone protects the effect.
        transaction: where the guard row went.
        lost: another has taken over.
        nothing_done: the operation said so.
        raised: an error came out of the operation.
        refused: it was one of ours.
        cut: the operation was broken off, and why.
        status: of the answer, once known; 500 if a plain function raised.
        whole: the answer came in one piece.
        answer: the whole answer, once known, unless it is too large to be kept.
        kept: what the guard row has of it.
        outcome: what becomes of the key, once decided.
        hold: keeps the bytes back.
        write: makes a stored answer of what an ``answer`` or a probe has returned; ``None``: it cannot be kept.
    """

    operation: Operation
    key: str
    names: tuple[str, ...]
    fingerprints: tuple[str, ...]
    lineage: bytes
    token: bytes = field(default_factory=lambda: os.urandom(16))
    generation: int = 1
    taken_over: bool = False
    offline: bool = False
    transaction: GuardedTransaction | None = None
    lost: bool = False
    nothing_done: bool = False
    raised: bool = False
    refused: bool = False
    cut: str = ""
    status: int = 0
    whole: bool = False
    answer: StoredAnswer | None = None
    kept: bytes = b""
    outcome: Outcome | None = None
    hold: Hold | None = None
    write: Callable[[Any], StoredAnswer | None] = lambda found: found

    def judge(self) -> Outcome:
        """Decide what becomes of the key, once."""
        if self.outcome is None:
            committed = None if self.transaction is None else self.transaction.committed
            ending = Ending(
                self.status,
                committed,
                answered=self.answer is not None,
                whole=self.whole,
                nothing_done=self.nothing_done,
                failed=self.raised and not self.whole,
                refused=self.refused,
                cut=self.cut,
            )
            self.outcome = judge(self.operation.effects, ending, on_error=self.operation.on_error)
        return self.outcome


def check_names(operations: Iterable[Operation]) -> None:
    """Refuse two operations of one name.

    Raises:
        SettingsError: there are two.
    """
    known: dict[str, Operation] = {}
    for operation in operations:
        if known.setdefault(operation.name, operation) is not operation:
            message = f"two operations are called {operation.name!r}: their keys would be taken for one another's"
            raise SettingsError(message)
