"""Which server a call goes to: the one there is, the master a sentinel names, or the owner of a slot."""

from __future__ import annotations

from typing import Any, Protocol

from zdd_sdk.store.batch import Redirect
from zdd_sdk.store.call import Call
from zdd_sdk.store.link import Budget, Network
from zdd_sdk.store.url import Address

__all__ = ["Route", "SingleRoute"]


class Route(Protocol):
    """Knows the servers of one store; shared by all threads and loops of a process."""

    cluster: bool

    async def place(self, call: Call[Any], network: Network, budget: Budget) -> Address:
        """The server to send a call to; may ask somebody, inside the budget.

        Raises:
            StoreUnavailable: nobody could say.
        """

    def doubt(self, address: Address) -> None:
        """A server failed or answered that it is not the one: ask again before using it."""

    def redirected(self, redirect: Redirect, address: Address, *, moved: bool) -> Address:
        """Learn from ``MOVED`` or ``ASK``, said by ``address``, and return where to go instead."""


class SingleRoute:
    """One server."""

    cluster = False

    def __init__(self, address: Address) -> None:
        self._address = address

    async def place(self, call: Call[Any], network: Network, budget: Budget) -> Address:
        """The server."""
        return self._address

    def doubt(self, address: Address) -> None:
        """Nothing to reconsider."""

    def redirected(self, redirect: Redirect, address: Address, *, moved: bool) -> Address:
        """A cluster node behind a plain URL: refuse, because every other trip would be a redirection."""
        from zdd_sdk.errors import SettingsError

        message = "store.redis_url: this server is a node of a cluster; use redis+cluster://"
        raise SettingsError(message)
