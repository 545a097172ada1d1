"""What both stores of a process share: the target, the route, the breaker, the limits, and the flow of an ask."""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Any

from zdd_sdk.errors import StoreNotConfigured, StoreUnavailable
from zdd_sdk.settings import StoreSettings
from zdd_sdk.store.batch import Question, conclude
from zdd_sdk.store.breaker import Breaker
from zdd_sdk.store.call import Call
from zdd_sdk.store.link import Login, Network, make_tls
from zdd_sdk.store.resolve import Resolver
from zdd_sdk.store.route import Route, SingleRoute
from zdd_sdk.store.trip import Terms, answer
from zdd_sdk.store.url import Target

if TYPE_CHECKING:
    from zdd_sdk.store.blocking_link import BlockingNetwork

__all__ = ["Core"]


class Core:
    """The shared half of a `BlockingStore` and an `AsyncioStore`.

    Args:
        settings: limits and sizes.
        find: says where Redis is, when the first call is made; may start an engine or raise.
        on_breaker_open: called once each time the breaker opens.
    """

    def __init__(
        self, settings: StoreSettings, find: Callable[[], Target], on_breaker_open: Callable[[], None] | None
    ) -> None:
        self.settings = settings
        self.resolver = Resolver()
        self.breaker = Breaker(on_breaker_open)
        self.terms = Terms(settings.operation_timeout)
        self._find = find
        self._lock = threading.RLock()
        self._target: Target | None = None
        self._route: Route | None = None
        self._logins: dict[str, Login] = {}
        self._blocking: BlockingNetwork | None = None

    @property
    def ready(self) -> bool:
        """Whether the target is known, so that `target` cannot block."""
        return self._target is not None

    @property
    def target(self) -> Target:
        """Where Redis is; found once."""
        if self._target is None:
            with self._lock:
                if self._target is None:
                    self._settle(self._find())
        assert self._target is not None  # noqa: S101 - _settle sets it
        return self._target

    @property
    def cluster(self) -> bool:
        """Whether keys live in slots."""
        return self.target.kind == "cluster"

    @property
    def logins(self) -> dict[str, Login]:
        """Who to be, by role of the server."""
        self.target  # noqa: B018 - settles
        return self._logins

    async def ask(self, calls: Sequence[Call[Any]], network: Network) -> tuple[Any, ...]:
        """Ask, report to the breaker, and return the results."""
        questions = [Question(call) for call in calls]
        assert self._route is not None  # noqa: S101 - a network exists, so the target is settled
        budget = network.budget(self.settings.total_timeout)
        try:
            await answer(questions, network, self._route, self.terms, budget)
        except StoreUnavailable as failure:
            failure.sent = any(question.sent for question in questions)
            self.breaker.failed(failure.reason)
            raise
        self.breaker.succeeded()
        return conclude(questions)

    def blocking_network(self) -> BlockingNetwork:
        """The connections of the blocking store."""
        if self._blocking is None:
            from zdd_sdk.store.blocking_link import BlockingNetwork

            with self._lock:
                self._blocking = self._blocking or BlockingNetwork(
                    self.logins,
                    self.resolver,
                    connect_timeout=self.settings.connect_timeout,
                    size=self.settings.pool_size,
                )
        return self._blocking

    def close_blocking(self) -> None:
        """Close the connections of the blocking store."""
        if self._blocking is not None:
            self._blocking.close()

    def _settle(self, target: Target) -> None:
        if target.kind == "off":
            message = "store.redis_url is off, and something needs a store: set ZDD_REDIS_URL"
            raise StoreNotConfigured(message)
        tls = make_tls(self.settings.ca_file) if target.tls else None
        self._logins = {
            "": Login(target.username, target.password, target.db, tls),
            "sentinel": Login(target.sentinel_username, target.sentinel_password, 0, tls),
        }
        self.terms.plain = target.engine == "fakeredis"
        self._route = SingleRoute(target.nodes[0])
        self._target = target
