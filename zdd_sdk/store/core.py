"""What both stores of a process share: the target, the route, the breaker, the limits, and the flow of an ask."""

from __future__ import annotations

import logging
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from zdd_sdk.errors import StoreNotConfigured, StoreReplyError, StoreUnavailable, ZddError
from zdd_sdk.settings import StoreSettings
from zdd_sdk.store.batch import Question, conclude
from zdd_sdk.store.breaker import Breaker
from zdd_sdk.store.call import Call
from zdd_sdk.store.client import load_client
from zdd_sdk.store.forklock import ForkLock
from zdd_sdk.store.link import Credentials, Limits, Link, Login, Network, make_tls, receive_one
from zdd_sdk.store.resolve import Resolver
from zdd_sdk.store.route import Route, make_route
from zdd_sdk.store.trip import Terms, Trip
from zdd_sdk.store.url import Target, is_embedded
from zdd_sdk.store.wire import encode_command

if TYPE_CHECKING:
    from zdd_sdk.store.blocking_link import BlockingNetwork

__all__ = ["Core"]

N = TypeVar("N", bound=Network)

_log = logging.getLogger("zdd.store")
_NOTHING: Call[Any] = Call(read=bool, command=("PING",))


class Core:
    """The shared half of a `BlockingStore` and an `AsyncioStore`.

    Args:
        settings: limits and sizes.
        find: says where Redis is, when the first call is made; may start an engine or raise.
        on_breaker_open: called once each time the breaker opens.
    """

    def __init__(
        self,
        settings: StoreSettings,
        find: Callable[[], Target],
        on_breaker_open: Callable[[], None] | None,
        credentials: Credentials | None = None,
    ) -> None:
        self.settings = settings
        self._credentials = credentials
        self.resolver = Resolver()
        self.breaker = Breaker(on_breaker_open)
        self._terms = Terms(settings.operation_timeout, settings.total_timeout)
        self._find = find
        self._lock = ForkLock()
        self._target: Target | None = None
        self._route: Route
        self._logins: dict[str, Login] = {}
        self._blocking: BlockingNetwork | None = None
        self._embedded = is_embedded(settings.redis_url)
        self._finding: threading.Thread | None = None

    @property
    def ready(self) -> bool:
        """Whether the target is known, so that `target` cannot block."""
        return self._target is not None

    @property
    def target(self) -> Target:
        """Where Redis is; found once."""
        return self._target or self._settle()

    @property
    def cluster(self) -> bool:
        """Whether keys live in slots."""
        return self.target.kind == "cluster"

    @property
    def logins(self) -> dict[str, Login]:
        """Who to be, by role of the server; settles the target."""
        self._settle()
        return self._logins

    async def ask(self, calls: Sequence[Call[Any]], network: Network, terms: Terms | None = None) -> tuple[Any, ...]:
        """Ask, report to the breaker, and return the results."""
        terms = terms or self._terms
        questions = [Question(call) for call in calls]
        trip = Trip(questions, network, self._route, terms, network.budget(terms.total_timeout))
        try:
            await trip.make()
        except StoreUnavailable as failure:
            failure.sent = any(question.sent for question in questions)
            self._note(failure)
            raise
        self.breaker.succeeded()
        return conclude(questions)

    async def wait(self, call: Call[Any], timeout: float, network: Network) -> Any:
        """Ask one call that may block for ``timeout`` seconds, on a connection no `ask` uses."""
        terms = self._terms.waiting(timeout)
        return (await self.ask([call], network, terms))[0]

    async def listen(
        self, channels: Sequence[str], open_network: Callable[[], Awaitable[Network]]
    ) -> AsyncGenerator[tuple[str, bytes], None]:
        """Subscribe and yield what is published, until the generator or the network is closed.

        Raises:
            StoreUnavailable: no connection, or it was lost; what was published since is lost too.
        """
        self.breaker.admit()
        network = await open_network()
        link = await self._subscribe(channels, network)
        try:
            network.listening(link, since=True)
            while True:
                kind, channel, payload = await receive_one(link)
                if kind == b"message":
                    yield channel.decode(), payload
        except StoreUnavailable:
            if not link.ended:
                raise
        finally:
            network.listening(link, since=False)
            network.drop(link)

    async def _subscribe(self, channels: Sequence[str], network: Network) -> Link:
        budget = network.budget(self.settings.total_timeout)
        address = await self._route.place(_NOTHING, network, budget)
        link = await network.take(address, budget, role="wait")
        try:
            network.start([link], self.settings.operation_timeout, budget)
            link.send(encode_command("SUBSCRIBE", *channels))
            reply = await receive_one(link)
        except BaseException:
            network.drop(link)
            raise
        finally:
            network.stop(budget)
        if isinstance(reply, StoreReplyError):
            network.drop(link)
            raise reply
        return link

    def _note(self, failure: StoreUnavailable) -> None:
        self.breaker.failed(failure.reason)
        if failure.reason == "refused" and self._embedded:
            self._find_again()

    def _find_again(self) -> None:
        """An engine of our own may have died with its supervisor: join or start another, beside this ask."""
        if self._finding is None or not self._finding.is_alive():
            self._finding = threading.Thread(target=self._swap, name="zdd-find", daemon=True)
            self._finding.start()

    def _swap(self) -> None:
        try:
            found = self._find()
        except ZddError as error:
            _log.warning("no engine of our own: %s", error)
            return
        with self._lock:
            if found != self._target:
                self._target = self._prepare(found)

    def blocking_network(self) -> BlockingNetwork:
        """The connections of the blocking store."""
        if self._blocking is None:
            load_client()
            from zdd_sdk.store.blocking_link import BlockingNetwork

            with self._lock:
                if self._blocking is None:
                    self._blocking = self.build(BlockingNetwork)
        return self._blocking

    def build(self, network: Callable[..., N]) -> N:
        """Make a network with our logins and limits."""
        return network(
            self.logins,
            self.resolver,
            Limits(self.settings.connect_timeout, self.settings.operation_timeout, self.settings.pool_size),
        )

    def close_blocking(self) -> None:
        """Close the connections of the blocking store."""
        if self._blocking is not None:
            self._blocking.close()

    def _settle(self) -> Target:
        with self._lock:
            if self._target is None:
                self._target = self._prepare(self._find())
            return self._target

    def _prepare(self, target: Target) -> Target:
        if target.kind == "off":
            message = "store.redis_url is off, and something needs a store: set ZDD_REDIS_URL"
            raise StoreNotConfigured(message)
        tls = make_tls(self.settings.ca_file) if target.tls else None
        # Changed in place: networks that exist already look here.
        self._logins[""] = Login(target.username, target.password, target.db, tls, self._credentials)
        self._logins["sentinel"] = Login(target.sentinel_username, target.sentinel_password, 0, tls)
        self._terms.plain = target.engine == "fakeredis"
        self.breaker.lenient = target.kind == "cluster"
        self._route = make_route(target)
        return target
