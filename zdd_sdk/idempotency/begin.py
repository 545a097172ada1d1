"""`Claimer`: takes a key, or says what there is instead; before anything of the operation has run."""

from __future__ import annotations

import inspect
import logging
import os
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from zdd_sdk.errors import (
    IdempotencyInProgress,
    IdempotencyKeyReused,
    IdempotencyNotGuarded,
    IdempotencyOutcomeCommitted,
    IdempotencyOutcomeUnknown,
    IdempotencyTooNew,
    IdempotencyUnavailable,
    RecordSealed,
    RecordTooNew,
    RecordUndecodable,
    StoreReplyError,
    StoreUnavailable,
)
from zdd_sdk.idempotency.answer import StoredAnswer, decode
from zdd_sdk.idempotency.claim import Claim
from zdd_sdk.idempotency.context import Context
from zdd_sdk.idempotency.guard import Guard, GuardedTransaction, GuardRow
from zdd_sdk.idempotency.model import Busy, Mismatch, Newer, Owned, Refused, Replay, Unknown, Verdict
from zdd_sdk.idempotency.settle import Settler
from zdd_sdk.store import Store

__all__ = ["NOT_DONE", "UNKNOWN", "Claimer"]

_log = logging.getLogger("zdd.idempotency")

NOT_DONE, UNKNOWN = object(), object()
"""What a probe answers beside an answer: the effect is not there, so run again; or nobody knows."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 0.5


class Claimer:
    """Begins claims.

    Args:
        settler: ends them.
        guards: glue to the application's database sessions.
        release: label of this release.
        draining: whether this process is asked to end.
    """

    def __init__(
        self, settler: Settler, guards: Sequence[Guard], *, release: str, draining: Callable[[], bool]
    ) -> None:
        self._settler = settler
        self._guards = guards
        self._release = release
        self._draining = draining

    async def begin(self, claim: Claim, bound: Mapping[str, Any], store: Store | None) -> StoredAnswer | None:
        """Claim a key, and set its guard row: two questions at most, before anything of the operation has run.

        Args:
            claim: what is to be held.
            bound: the operation's arguments.
            store: of this call; ``None``: the service has none.

        Returns:
            ``None``: run the operation; or the answer of the first run.

        Raises:
            IdempotencyError: the operation must not run.
        """
        transaction = self._transaction(claim, bound)
        verdict = await self._claim(claim, store)
        if isinstance(verdict, Replay):
            return await self._replay(claim, verdict, transaction)
        if isinstance(verdict, Unknown):
            return await self._unknown(claim, verdict, bound, store)
        self._refuse(verdict)
        self._settler.live.add(claim)
        try:
            found = await transaction.insert(self._rows(claim)) if transaction else None
        except BaseException:
            await self._settler.give_up(claim, store)
            raise
        if found is not None:
            return await self._found(claim, found, store)
        claim.transaction = transaction
        self._settler.counters["taken_over" if claim.taken_over else "offline" if claim.offline else "first"] += 1
        return None

    async def _claim(self, claim: Claim, store: Store | None) -> Verdict | None:
        """Ask, and wait as long as the operation says; ``None``: go on without Redis, on the guard row alone."""
        if store is None:
            self._without(claim, StoreUnavailable("this service has no store", reason="off"))
            return None
        end, pause = store.clock() + claim.operation.wait, _FIRST_PAUSE
        while True:
            verdict = await self._ask(claim, store)
            over = store.clock() + pause > end or self._draining()
            if over or not isinstance(verdict, Busy):
                return verdict
            await store.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311 - jitter
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _ask(self, claim: Claim, store: Store) -> Verdict | None:
        operation, take = claim.operation, claim.operation.on_unknown == "takeover"
        calls = [
            self._settler.calls.claim(
                name,
                claim.token,
                claim.fingerprints,
                operation.effects,
                operation.name,
                retention=operation.retention,
                take_unknown=take,
            )
            for name in claim.names
        ]
        listing = [self._settler.calls.opened(name, operation.retention) for name in self._settler.listed(claim)]
        try:
            verdicts: Sequence[Verdict] = (await store.ask(*calls, *listing))[: len(calls)]
        except BaseException as error:
            if getattr(error, "sent", True):  # also where a task is cancelled: it may have been granted
                self._settler.live.owe([self._settler.calls.release(name, claim.token) for name in claim.names])
            if not isinstance(error, StoreUnavailable | StoreReplyError):
                raise
            self._without(claim, error)
            return None
        refused = [verdict for verdict in verdicts if not isinstance(verdict, Owned)]
        if refused:
            pairs = zip(claim.names, verdicts, strict=True)
            ours = [name for name, verdict in pairs if isinstance(verdict, Owned) or _granted(verdict)]
            if ours:
                await self._settler.tell([self._settler.calls.release(name, claim.token) for name in ours], store)
                claim.token = os.urandom(16)  # a release that is only told later must not meet the next attempt
            if isinstance(refused[0], Refused):
                self._without(claim, refused[0])
                return None
            return refused[0]
        owned = [verdict for verdict in verdicts if isinstance(verdict, Owned)]
        claim.generation = max(one.generation for one in owned)
        claim.taken_over = any(one.taken for one in owned)
        return owned[0]

    def _without(self, claim: Claim, error: Exception | Refused) -> None:
        """Go on without Redis where a guard row protects the effect; else refuse."""
        if claim.operation.effects == "db":
            claim.offline = True
            return
        self._settler.counters["unavailable"] += 1
        _log.info("%s: a key could not be claimed: %s", claim.operation.name, error)
        message = "the key could not be claimed because the store is away; nothing was done"
        raise IdempotencyUnavailable(message, retry_after=getattr(error, "retry_after", 1.0)) from None

    def _refuse(self, verdict: Verdict | None) -> None:
        """Raise what a claim that was not granted is answered with."""
        match verdict:
            case Busy(left):
                self._settler.counters["in_progress"] += 1
                raise _in_progress(left / 1000, self._settler.settings.lease)
            case Mismatch():
                self._settler.counters["reused"] += 1
                message = "this key came with another request before; use a new key for a new request"
                raise IdempotencyKeyReused(message)
            case Newer():
                self._settler.counters["too_new"] += 1
                message = "a newer release keeps this key; ask again"
                raise IdempotencyTooNew(message)
            case _:
                pass

    # What is known already

    async def _replay(self, claim: Claim, verdict: Replay, transaction: GuardedTransaction | None) -> StoredAnswer:
        answer = verdict.answer
        if answer is None and transaction is not None:
            row = await transaction.find(claim.names)
            answer = _kept(row) if row is not None else None
        return await self._answer(claim, answer)

    async def _found(self, claim: Claim, row: GuardRow, store: Store | None) -> StoredAnswer:
        """The effect of an earlier run is in the database: tell Redis, and answer what is kept."""
        try:
            if not set(row.fingerprint.split()) & set(claim.fingerprints):
                self._refuse(Mismatch())
            answer = _kept(row)
        except BaseException:
            await self._settler.give_up(claim, store)
            raise
        self._settler.live.remove(claim)
        if not claim.offline and store is not None:
            await self._settler.tell(self._settler.complete(claim, answer), store)
        return await self._answer(claim, answer)

    async def _answer(self, claim: Claim, answer: StoredAnswer | None) -> StoredAnswer:
        if answer is None and claim.operation.answer is not None:
            found = await self._hear(claim, claim.operation.answer)
            answer = found if isinstance(found, StoredAnswer) else None
        if answer is None:
            self._settler.counters["committed"] += 1
            message = "the first request with this key was carried out; its answer is not kept"
            raise IdempotencyOutcomeCommitted(message)
        self._settler.counters["replayed"] += 1
        return answer

    async def _unknown(
        self, claim: Claim, verdict: Unknown, bound: Mapping[str, Any], store: Store | None
    ) -> StoredAnswer | None:
        probe = claim.operation.on_unknown
        if callable(probe) and store is not None:
            found = await self._hear(claim, probe)
            if found is not UNKNOWN:
                answer = None if found is NOT_DONE else self._settler.fitting(found)
                resolve = [
                    self._settler.calls.resolve(name, verdict.generation, answer, "probe", done=found is not NOT_DONE)
                    for name in claim.names
                ]
                await store.ask(*resolve)
                return await self.begin(claim, bound, store)
        self._settler.counters["unknown"] += 1
        message = "nobody knows whether the first request with this key had its effect; it is not run again"
        raise IdempotencyOutcomeUnknown(message, retry_after=60.0)

    async def _hear(self, claim: Claim, hook: Callable[..., Any]) -> Any:
        """Ask the application; one that fails has said nothing, and must not have the operation run."""
        try:
            found = hook(Context(claim))
            found = await found if inspect.isawaitable(found) else found
            return found if found is UNKNOWN or found is NOT_DONE else claim.write(found)
        except Exception:  # noqa: BLE001 - an application's own, whatever they raise
            name = getattr(hook, "__name__", "its hook")
            _log.exception("%s: %s was asked what has become of a key, and failed", claim.operation.name, name)
            return UNKNOWN

    # Guard rows

    def _transaction(self, claim: Claim, bound: Mapping[str, Any]) -> GuardedTransaction | None:
        if claim.operation.effects != "db":
            return None
        wanted = claim.operation.guard
        for guard in self._guards:
            named = wanted is None or getattr(guard, "name", None) == wanted
            if named and (transaction := guard.transaction(bound)) is not None:
                return transaction
        which = "no registered guard" if wanted is None else f"no registered guard called {wanted!r}"
        message = f'{claim.operation.name}: effects="db", and {which} knows the session of this call'
        raise IdempotencyNotGuarded(message)

    def _rows(self, claim: Claim) -> list[GuardRow]:
        operation, fingerprint = claim.operation, " ".join(claim.fingerprints)
        return [
            GuardRow(name, claim.generation, fingerprint, operation.name, self._release, operation.retention)
            for name in claim.names
        ]


def _kept(row: GuardRow) -> StoredAnswer | None:
    """Return the answer in a row; one in ruins was not kept.

    Raises:
        IdempotencyTooNew: a newer release wrote it.
    """
    try:
        return decode(row.answer, None)
    except (RecordTooNew, RecordSealed) as error:
        raise IdempotencyTooNew(str(error)) from error
    except RecordUndecodable:
        return None


def _granted(verdict: Verdict) -> bool:
    return isinstance(verdict, Refused) and verdict.granted


def _in_progress(left: float, lease: float) -> IdempotencyInProgress:
    """Say when to ask again: soon, or once the lease of a worker has lapsed that has not renewed it in time."""
    if left > lease / 2:
        return IdempotencyInProgress("the first request with this key is still running; ask again")
    message = "the first request with this key was running when its worker was last heard of; ask again"
    return IdempotencyInProgress(message, retry_after=left)
