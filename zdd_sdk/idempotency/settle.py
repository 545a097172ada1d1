"""`Settler`: tells Redis, and the guard row, what became of a claim."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any

from zdd_sdk.errors import IdempotencyNotGuarded, StoreReplyError, StoreUnavailable
from zdd_sdk.idempotency.answer import StoredAnswer, encode
from zdd_sdk.idempotency.calls import IdempotencyCalls
from zdd_sdk.idempotency.claim import Claim
from zdd_sdk.idempotency.guard import GuardedTransaction, Trailing
from zdd_sdk.idempotency.live import LiveClaims
from zdd_sdk.idempotency.outcome import Ending, judge
from zdd_sdk.settings import IdempotencySettings
from zdd_sdk.store import Call, Store

__all__ = ["Settler"]

_log = logging.getLogger("zdd.idempotency")


class Settler:
    """Ends claims.

    Args:
        settings: the idempotency options.
        calls: what to ask.
        live: the claims of this process.

    Attributes:
        counters: decisions since the start, by name.
    """

    def __init__(self, settings: IdempotencySettings, calls: IdempotencyCalls, live: LiveClaims) -> None:
        self.settings = settings
        self.calls = calls
        self.live = live
        self.counters: Counter[str] = Counter()

    def fitting(self, answer: StoredAnswer | None) -> StoredAnswer | None:
        """Return an answer that may be kept; ``None``: it is larger than ``idempotency.max_body``."""
        return None if answer is None or len(answer.body) > self.settings.max_body else answer

    async def keep(self, claim: Claim) -> None:
        """Write the answer into the committed guard row: from then on it needs no Redis."""
        outcome, transaction = claim.judge(), claim.transaction
        if outcome.verb == "complete" and outcome.answer and claim.answer and transaction and transaction.committed:
            await self._write(claim, transaction, claim.answer)

    async def keep_before(self, claim: Claim, answer: StoredAnswer) -> None:
        """Write the answer into the guard row before both are committed, if it is one to keep."""
        if claim.transaction is not None and self._to_keep(answer):
            await self._write(claim, claim.transaction, answer)

    def answered(self, claim: Claim, answer: StoredAnswer) -> None:
        """Have the answer go along with a commit that comes after it, if it is one to keep."""
        if claim.transaction is not None and isinstance(claim.transaction, Trailing) and self._to_keep(answer):
            claim.transaction.answered(encode(answer, self.settings.max_body)[0])

    def _to_keep(self, answer: StoredAnswer) -> bool:
        return judge("db", Ending(answer.status, committed=True)).answer and len(answer.body) <= self.settings.max_body

    async def _write(self, claim: Claim, transaction: GuardedTransaction, answer: StoredAnswer) -> None:
        data = encode(answer, self.settings.max_body)[0]
        if data != claim.kept:
            await transaction.keep(claim.names, data)
            claim.kept = data

    async def settle(self, claim: Claim, store: Store | None) -> None:
        """Settle a claim outside of any exchange.

        Raises:
            IdempotencyNotGuarded: the effect was not committed together with its guard row.
        """
        try:
            await self.keep(claim)
        except Exception:  # noqa: BLE001 - the effect is there; Redis must hear of it all the same
            _log.exception("%s: the answer could not be kept in the guard row", claim.operation.name)
        self.end(claim)
        calls = self.settling(claim)
        if calls and store is not None:
            self.settled(claim, await self.tell(calls, store))
        self.check_guarded(claim)

    async def give_up(self, claim: Claim, store: Store | None) -> None:
        """Release a claim under which nothing has run."""
        self.live.remove(claim)
        if not claim.offline and store is not None:
            await self.tell([self.calls.release(name, claim.token) for name in claim.names], store)

    async def tell(self, calls: Sequence[Call[Any]], store: Store) -> Sequence[Any]:
        """Ask what must not be forgotten: where Redis is away the pulse asks again."""
        try:
            return await store.ask(*calls)
        except (StoreUnavailable, StoreReplyError) as error:
            _log.info("a key is settled later, with the pulse: %s", error)
            self.live.owe(calls)
            return ()

    def settling(self, claim: Claim) -> list[Call[Any]]:
        """Return what settles a claim; the same each time."""
        outcome = claim.judge()
        if claim.offline:
            return []
        if outcome.verb == "complete":
            return self.complete(claim, claim.answer if outcome.answer else None)
        if outcome.verb == "release":
            return [self.calls.release(name, claim.token) for name in claim.names] + self._closing(claim)
        held = [self.calls.hold(name, claim.token, outcome.why) for name in claim.names]
        return held + [self.calls.opened(name, claim.operation.retention) for name in claim.names]

    def complete(self, claim: Claim, answer: StoredAnswer | None) -> list[Call[Any]]:
        """Say that it was carried out, also to a Redis that has lost the claim."""
        operation = claim.operation
        said = self.calls.request(
            claim.token, claim.fingerprints, operation.effects, operation.name, retention=operation.retention
        )
        calls = [
            self.calls.complete(name, claim.token, answer, operation.body_ttl, restore=said) for name in claim.names
        ]
        return calls + self._closing(claim)

    def _closing(self, claim: Claim) -> list[Call[Any]]:
        """Take it off the list of what may become unknown."""
        names = self.listed(claim)
        return [self.calls.closed(*names)] if names else []

    @staticmethod
    def listed(claim: Claim) -> tuple[str, ...]:
        """Return the names that operators find on the list of what may become unknown."""
        return claim.names if claim.operation.effects == "unsafe" else ()

    def end(self, claim: Claim) -> None:
        """The operation has ended: its leases are no longer renewed."""
        outcome = claim.judge()
        self.live.remove(claim)
        if claim.transaction is not None and isinstance(claim.transaction, Trailing):
            claim.transaction.close()
        self.counters[outcome.verb] += 1
        if outcome.verb == "hold":
            _log.error("%s: the outcome of a key is unknown: %s", claim.operation.name, outcome.why)

    def settled(self, claim: Claim, results: Sequence[Any]) -> None:
        """Take Redis' answers to `settling`: the effect is there either way, its answer may not be kept."""
        if not all(results[: len(claim.names)]):
            claim.lost = True
            self.counters["lost"] += 1
            _log.warning("%s: another worker has taken the key over before this one was done", claim.operation.name)

    def check_guarded(self, claim: Claim) -> None:
        """Raise where nobody can vouch for the effect.

        Raises:
            IdempotencyNotGuarded: it was not committed together with its guard row.
        """
        if claim.judge().why == "not-guarded":
            message = (
                f'{claim.operation.name}: effects="db", and the transaction with the guard row was not committed: '
                "the effect is missing, or it went through another connection"
            )
            raise IdempotencyNotGuarded(message)
