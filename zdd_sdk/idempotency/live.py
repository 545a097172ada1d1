"""`LiveClaims`: what this process holds: its leases ride on the pulse, and a drain hands over what is left."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from zdd_sdk.errors import StoreReplyError, StoreUnavailable
from zdd_sdk.idempotency.calls import IdempotencyCalls
from zdd_sdk.idempotency.claim import Claim
from zdd_sdk.idempotency.model import RECORD_VERSION
from zdd_sdk.store import Call, Store

__all__ = ["LiveClaims"]

_log = logging.getLogger("zdd.idempotency")

_RENEWALS = 3
"""Renewals in one lease."""


@dataclass(slots=True, eq=False)
class _Owed:
    """A call that Redis has not confirmed: a settling whose trip failed, or a claim whose reply was lost."""

    call: Call[Any]
    until: float


class LiveClaims:
    """The claims of this process; a part of the pulse.

    Threads add and remove; the pulse thread looks. Each step is one operation on a dict or a list, so no lock is taken.

    Args:
        calls: what to ask.
        lease: seconds.
        owe: seconds a call that failed is asked again for.
    """

    name = "idempotency"

    def __init__(self, calls: IdempotencyCalls, *, lease: float, owe: float = 600.0) -> None:
        self._calls = calls
        self._every = lease / _RENEWALS
        self._owe_for = owe
        self._claims: dict[bytes, Claim] = {}
        self._owed: list[_Owed] = []
        self._renewed = 0.0
        self._asked: tuple[list[tuple[Claim, str]], list[_Owed]] = ([], [])

    def __len__(self) -> int:
        return len(self._claims)

    def __contains__(self, claim: Claim) -> bool:
        return claim.token in self._claims

    @property
    def owed(self) -> int:
        """How many calls Redis has not confirmed."""
        return len(self._owed)

    def add(self, claim: Claim) -> None:
        """Keep the lease of a claim alive."""
        self._claims[claim.token] = claim

    def remove(self, claim: Claim) -> None:
        """Let it go."""
        self._claims.pop(claim.token, None)

    def owe(self, calls: Sequence[Call[Any]]) -> None:
        """Ask again with every pulse, until Redis answers: the token makes a second time harmless."""
        until = time.monotonic() + self._owe_for
        self._owed += [_Owed(call, until) for call in calls]

    def capabilities(self) -> Sequence[str]:
        """Return the versions of records this worker reads."""
        return (str(RECORD_VERSION),)

    def calls(self) -> Sequence[Call[Any]]:
        """Return what is owed, and the renewals if they are due."""
        now, due = time.monotonic(), []
        if now - self._renewed >= self._every:
            self._renewed = now
            due = [(claim, name) for claim in tuple(self._claims.values()) if not claim.offline for name in claim.names]
        owed = list(self._owed)
        self._asked = (due, owed)
        return [*(self._calls.renew(name, claim.token) for claim, name in due), *(one.call for one in owed)]

    def applied(self, results: Sequence[Any]) -> None:
        """Note what was lost, and what is paid."""
        due, owed = self._asked
        for (claim, _), kept in zip(due, results, strict=False):
            if kept is False and not claim.lost and claim.token in self._claims:
                claim.lost = True
                _log.warning("%s: the lease of a key was lost: another worker has taken it over", claim.operation.name)
        now = time.monotonic()
        for one, result in zip(owed, results[len(due) :], strict=False):
            if not isinstance(result, Exception) or now > one.until:
                self._owed.remove(one)

    async def hand_over(self, store: Store) -> int:
        """Give up every lease, because this process is about to end: the next caller need not wait for it.

        An ``unsafe`` operation that is cut off is of unknown outcome; any other may be run again at once.

        Returns:
            how many claims there were.
        """
        claims = [claim for claim in tuple(self._claims.values()) if not claim.offline]
        calls = [self._calls.handoff(name, claim.token) for claim in claims for name in claim.names]
        calls += [one.call for one in self._owed]
        try:
            await store.ask(*calls)
        except (StoreUnavailable, StoreReplyError) as error:
            _log.warning("%d keys could not be handed over, their leases will lapse: %s", len(claims), error)
        return len(claims)
