"""The master that a majority of sentinels elected: remembered, confirmed once a second, asked for when it fails."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from zdd_sdk.errors import SettingsError, StoreRefused, StoreReplyError, StoreUnavailable
from zdd_sdk.store.batch import Redirect
from zdd_sdk.store.call import Call
from zdd_sdk.store.link import Budget, Network, receive_one
from zdd_sdk.store.url import Address
from zdd_sdk.store.wire import encode_command

__all__ = ["SentinelRoute", "ask_server"]

CONFIRM_EVERY = 1.0
"""Seconds. After a switch by hand (``SENTINEL FAILOVER``) the old master lives on for about 10 s before it is told,
and loses whatever it accepts meanwhile; nothing else would take us off it."""

_CONFIRM = 0.05
"""Seconds a confirmation may take of the one ask per second that makes it; without an answer the master stays."""


class SentinelRoute:
    """Finds the master of one master set.

    Args:
        sentinels: where the sentinels listen.
        service: name of the master set.
        clock: monotonic seconds.
    """

    sole = None

    def __init__(
        self, sentinels: tuple[Address, ...], service: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._sentinels = sentinels
        self._service = service
        self._clock = clock
        self._master: Address | None = None
        self._confirmed = 0.0

    async def place(self, _call: Call[Any], network: Network, budget: Budget, /) -> Address:
        """The master."""
        master = self._master
        if master is None:
            master = self._master = await self._discover(network, budget)
            self._confirmed = self._clock()
        elif self._clock() - self._confirmed >= CONFIRM_EVERY:
            self._confirmed = self._clock()
            master = await self._confirm(master, network, budget)
        return master

    def doubt(self, address: Address) -> None:
        """The master failed, or is one no more: ask the next sentinel first, this one may not know yet."""
        if address == self._master:
            self._master = None
            self._rotate()

    def redirected(self, _redirect: Redirect, _address: Address, /) -> Address:
        """A cluster behind sentinels is no deployment Redis knows.

        Raises:
            SettingsError: always.
        """
        message = "store.redis_url: the master is a node of a cluster; use redis+cluster://"
        raise SettingsError(message)

    def _rotate(self) -> None:
        self._sentinels = self._sentinels[1:] + self._sentinels[:1]

    async def _confirm(self, master: Address, network: Network, budget: Budget) -> Address:
        try:
            named = await self._ask_one(self._sentinels[0], network, budget.part(_CONFIRM))
        except StoreUnavailable:
            named = None
        if named is None:
            self._rotate()
        elif named != master:
            network.forget(master)
            self._master = named
            return named
        return master

    async def _discover(self, network: Network, budget: Budget) -> Address:
        failure: StoreUnavailable | None = None
        sentinels = self._sentinels
        for index, sentinel in enumerate(sentinels):
            # Each gets an equal share of what is left, so that one that hangs does not take all.
            share = budget.part(budget.left() / (len(sentinels) - index))
            try:
                master = await self._ask_one(sentinel, network, share)
            except StoreUnavailable as error:
                failure = error
                continue
            if master is not None:
                self._sentinels = (sentinel, *(other for other in sentinels if other != sentinel))
                return master
        if failure is not None:
            message = f"no sentinel named a master: {failure}"
            raise StoreUnavailable(message, reason=failure.reason)
        message = f"no sentinel knows the master set {self._service!r} of store.redis_url"
        raise StoreRefused(message, reason="rejected")

    async def _ask_one(self, sentinel: Address, network: Network, budget: Budget) -> Address | None:
        reply = await ask_server(network, sentinel, budget, ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._service))
        return Address(reply[0].decode(), int(reply[1])) if reply else None


async def ask_server(
    network: Network, address: Address, budget: Budget, command: tuple[Any, ...], *, role: str = "sentinel"
) -> Any:
    """Send one command to one server and return its reply.

    Raises:
        StoreUnavailable: no answer, or an error reply.
    """
    link = await network.take(address, budget, role=role)
    done = False
    try:
        network.start([link], budget.left(), budget)
        link.send(encode_command(*command))
        reply = await receive_one(link)
        done = True
    finally:
        network.stop(budget)
        (network.give if done else network.drop)(link)
    if isinstance(reply, StoreReplyError):
        message = f"{address} answered {command[0]} with {reply}"
        raise StoreUnavailable(message, reason="rejected" if reply.prefix in {"NOAUTH", "NOPERM"} else "loading")
    return reply
