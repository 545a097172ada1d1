"""Which server a call goes to: the one there is, the master a sentinel names, or the owner of a slot."""

from __future__ import annotations

from typing import Any, Protocol

from zdd_sdk.errors import SettingsError
from zdd_sdk.store.batch import Redirect
from zdd_sdk.store.call import Call
from zdd_sdk.store.link import Budget, Network
from zdd_sdk.store.url import Address, Target

__all__ = ["Route", "SingleRoute", "make_route"]


class Route(Protocol):
    """Knows the servers of one store; shared by all threads and loops of a process, without a lock."""

    @property
    def sole(self) -> Address | None:
        """The server every call goes to; ``None`` if `place` has to say."""
        ...

    async def place(self, call: Call[Any], network: Network, budget: Budget, /) -> Address:
        """The server to send a call to; may ask somebody, inside the budget.

        Raises:
            StoreUnavailable: nobody could say.
        """
        ...

    def doubt(self, address: Address, /) -> None:
        """A server failed or answered that it is not the one: ask again before using it."""

    def redirected(self, redirect: Redirect, address: Address, /) -> Address:
        """Learn from ``MOVED`` or ``ASK``, said by ``address``, and return where to go instead."""
        ...


class SingleRoute:
    """One server."""

    def __init__(self, address: Address) -> None:
        self.sole = address

    async def place(self, _call: Call[Any], _network: Network, _budget: Budget, /) -> Address:
        """The server."""
        return self.sole

    def doubt(self, address: Address) -> None:
        """Nothing to reconsider."""

    def redirected(self, _redirect: Redirect, _address: Address, /) -> Address:
        """A cluster node behind a plain URL.

        Raises:
            SettingsError: always; following would make nearly every trip two.
        """
        message = "store.redis_url: this server is a node of a cluster; use redis+cluster://"
        raise SettingsError(message)


def make_route(target: Target) -> Route:
    """The route to a target."""
    if target.kind == "sentinel":
        from zdd_sdk.store.sentinel import SentinelRoute

        return SentinelRoute(target.nodes, target.service)
    if target.kind == "cluster":
        from zdd_sdk.store.cluster import ClusterRoute

        return ClusterRoute(target.nodes)
    return SingleRoute(target.nodes[0])
