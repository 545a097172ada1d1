"""`Idempotency`: the part idempotency takes in every exchange: a claimed key is settled at the leave."""

from __future__ import annotations

import inspect
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from zdd_sdk.errors import SettingsError, StoreUnavailable
from zdd_sdk.http import Answer, Exchange
from zdd_sdk.idempotency.answer import StoredAnswer, keep
from zdd_sdk.idempotency.begin import Claimer
from zdd_sdk.idempotency.calls import IdempotencyCalls
from zdd_sdk.idempotency.claim import Claim, check_names
from zdd_sdk.idempotency.guard import Guard
from zdd_sdk.idempotency.live import LiveClaims
from zdd_sdk.idempotency.settle import Settler
from zdd_sdk.settings import IdempotencySettings
from zdd_sdk.store import Call, Keys, Store, finish

if TYPE_CHECKING:
    from zdd_sdk.idempotency.bracket import Bracket

__all__ = ["Idempotency"]

_log = logging.getLogger("zdd.idempotency")

_PULSES = 3
"""Pulses in a lease, at least: one in three of it renews, and one of them may fail."""


class Idempotency:
    """One key, one committed effect; a `zdd_sdk.http.Participant`.

    Args:
        settings: the idempotency options.
        keys: names keys in Redis.
        instance: this server, kept with each claim.
        release: label of this release, the same.
        draining: whether this process is asked to end.

    Attributes:
        name: ``"idempotency"``, the key in ``exchange.parts``.
        settings: the idempotency options.
        calls: what it asks Redis.
        live: the claims of this process; to be added to the pulse.
        guards: glue to the application's database sessions, in the order of registration.
    """

    name = "idempotency"

    def __init__(
        self, settings: IdempotencySettings, keys: Keys, *, instance: str, release: str, draining: Callable[[], bool]
    ) -> None:
        self.settings = settings
        self.calls = IdempotencyCalls(keys, settings, instance, release)
        self.live = LiveClaims(self.calls, lease=settings.lease)
        self.guards: list[Guard] = []
        self._settler = Settler(settings, self.calls, self.live)
        self._claimer = Claimer(self._settler, self.guards, release=release, draining=draining)

    @property
    def counters(self) -> Counter[str]:
        """Decisions since the start, by name."""
        return self._settler.counters

    def check(self, brackets: Sequence[Bracket[Any]], pulse: float | None, *, unrenewed: bool = False) -> None:
        """Judge what was decorated, once the application has been loaded.

        Args:
            brackets: what was.
            pulse: seconds between the pulses with which leases are renewed; ``None``: this process has none, or none
                while no request comes.
            unrenewed: leases may go unrenewed: somebody has chosen one that is long enough, or this is a test.

        Raises:
            SettingsError: an operation says ``effects="db"``, and no guard is registered; two share a name; or the
                lease is not renewed, or too short to be.
        """
        # One function decorated twice is a factory that has built its application twice: each checks its own routes.
        bodies = [inspect.unwrap(one.function) for one in brackets]
        codes = [getattr(body, "__code__", body) for body in bodies]
        check_names(dict(zip(codes, [one.operation for one in brackets], strict=True)).values())
        unguarded = [one.operation.name for one in brackets if one.operation.effects == "db"]
        if unguarded and not self.guards:
            message = (
                f'{unguarded[0]}: effects="db" needs a guard: register the session of your database '
                "(zdd_sqlalchemy.guard, or 'zdd_django' with its migration)"
            )
            raise SettingsError(message)
        self._check_renewal(pulse, unrenewed=unrenewed)

    def _check_renewal(self, pulse: float | None, *, unrenewed: bool) -> None:
        lease = self.settings.lease
        if pulse is None and not unrenewed:
            message = (
                "leases are not renewed here (fleet.enabled is off, or fleet.pulse_mode is request), and what takes "
                f"longer than {lease:g} s would lose its key: set idempotency.lease above the longest operation"
            )
            raise SettingsError(message)
        if pulse is None:
            _log.warning("this process does not pulse: what takes longer than idempotency.lease (%g s) loses it", lease)
        elif lease < _PULSES * pulse:
            message = (
                f"idempotency.lease ({lease:g} s) must be at least {_PULSES} times fleet.pulse ({pulse:g} s), "
                "with which it is renewed"
            )
            raise SettingsError(message)

    async def begin(self, claim: Claim, bound: Mapping[str, Any], store: Store | None) -> StoredAnswer | None:
        """Claim a key, and set its guard row; see `Claimer.begin`."""
        return await self._claimer.begin(claim, bound, store)

    async def settle(self, claim: Claim, store: Store | None) -> None:
        """Settle a claim outside of any exchange; see `Settler.settle`."""
        await self._settler.settle(claim, store)

    async def keep_before(self, claim: Claim, answer: StoredAnswer) -> None:
        """Write an answer into the guard row before both are committed; see `Settler.keep_before`."""
        await self._settler.keep_before(claim, answer)

    def attend(self, exchange: Exchange, claim: Claim) -> None:
        """Let the leave of an exchange settle a claim; its bytes are kept back until then."""
        exchange.parts[self.name] = claim
        claim.hold = exchange.hold()
        exchange.on_final_bytes(lambda status, headers, body: self._capture(claim, status, headers, body))
        if claim.operation.effects == "db":
            exchange.before_leave(lambda: self._keep(exchange, claim))

    async def _keep(self, exchange: Exchange, claim: Claim) -> None:
        claim.status = claim.status or exchange.status
        await self._settler.keep(claim)

    def _capture(self, claim: Claim, status: int, headers: Sequence[tuple[str, str]], body: bytes) -> None:
        claim.status, claim.whole = status, True
        if len(body) <= self.settings.max_body:
            claim.answer = keep(status, headers, body)
            self._settler.answered(claim, claim.answer)

    def leaving(self, exchange: Exchange) -> Sequence[Call[Any]]:
        """Say what the leave has to ask: one call that settles the key; nothing where none was claimed."""
        claim: Claim | None = exchange.parts.get(self.name)
        if claim is None or claim.hold is None or exchange.under_way:
            return ()
        claim.status = claim.status or exchange.status
        self._settler.end(claim)
        outcome, calls = claim.judge(), self._settler.settling(claim)
        if not (outcome.verb == "complete" and outcome.answer):
            exchange.response_headers.append(("idempotency-stored", "false"))
        if not calls:
            self._let_go(claim)
            self._settler.check_guarded(claim)
        return calls

    def left(self, exchange: Exchange, results: Sequence[Any]) -> None:
        """Take what Redis says, and let the bytes go.

        Raises:
            IdempotencyNotGuarded: the effect was not committed together with its guard row.
        """
        claim: Claim = exchange.parts[self.name]
        self._settler.settled(claim, results)
        self._let_go(claim)
        self._settler.check_guarded(claim)

    def unavailable(self, exchange: Exchange, error: StoreUnavailable) -> Answer | None:
        """Let the answer go as it is: the effect is there, and the pulse tells Redis later."""
        claim: Claim = exchange.parts[self.name]
        _log.warning("%s: a key is settled later, with the pulse: %s", claim.operation.name, error)
        self.live.owe(self._settler.settling(claim))
        self._let_go(claim)
        return None

    @staticmethod
    def _let_go(claim: Claim) -> None:
        hold, claim.hold = claim.hold, None
        if hold is not None:
            hold.release()

    def hand_over(self, store: Store | None) -> None:
        """Give up what this process still holds; a stop hook of the lifecycle."""
        if store is not None and (len(self.live) or self.live.owed):
            count = finish(self.live.hand_over(store))
            _log.warning("%d keys of unfinished requests were handed over", count)
