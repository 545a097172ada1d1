"""Redis Cluster: every call goes to the master of its first key's slot."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from zdd_sdk.errors import StoreUnavailable
from zdd_sdk.store.batch import Redirect
from zdd_sdk.store.call import Call
from zdd_sdk.store.link import Budget, Network
from zdd_sdk.store.sentinel import ask_server
from zdd_sdk.store.slots import SlotMap, key_slot, read_slots
from zdd_sdk.store.url import Address

__all__ = ["ClusterRoute"]

REFRESH_EVERY = 0.25
"""Seconds between two looks at the map: while a node is down every failure doubts it, and the asks that go to
healthy nodes must not pay a second trip each time."""


class ClusterRoute:
    """Keeps the map of slots; a snapshot swapped by reference.

    Args:
        seeds: some nodes to ask first.
        clock: monotonic seconds.
    """

    sole = None

    def __init__(self, seeds: tuple[Address, ...], clock: Callable[[], float] = time.monotonic) -> None:
        self._seeds = seeds
        self._clock = clock
        self._map: SlotMap | None = None
        self._doubtful = False
        self._doubted: Address | None = None
        self._read_at = -REFRESH_EVERY

    async def place(self, call: Call[Any], network: Network, budget: Budget, /) -> Address:
        """The master of the call's first key; of a call without keys any master."""
        slots = self._map
        if slots is None or (self._doubtful and self._clock() - self._read_at >= REFRESH_EVERY):
            slots = await self._refresh(network, budget)
        if not call.keys:
            return next(node for node in slots.masters() if node != self._doubted or len(slots.masters()) == 1)
        owner = slots.owner(key_slot(call.keys[0]))
        if owner is None:
            self._doubtful = True
            message = f"no node of the cluster owns the slot of the key of {call.name}"
            raise StoreUnavailable(message, reason="loading")
        return owner

    def doubt(self, address: Address) -> None:
        """A node failed: look at the map again, and ask the others first."""
        self._doubtful = True
        self._doubted = address

    def redirected(self, redirect: Redirect, address: Address, /) -> Address:
        """Follow; remember a ``MOVED``, because the slot has a new owner, but not an ``ASK``."""
        node = Address(redirect.host or address.host, redirect.port)
        if redirect.moved and self._map is not None:
            self._map = self._map.with_moved(redirect.slot, node)
            self._doubtful = True
        return node

    async def _refresh(self, network: Network, budget: Budget) -> SlotMap:
        known = self._map
        nodes = list(dict.fromkeys((*(known.masters() if known else ()), *self._seeds)))
        nodes.sort(key=lambda node: node == self._doubted)
        failure: StoreUnavailable | None = None
        self._read_at = self._clock()
        for index, node in enumerate(nodes):
            # With a map at hand, however old, half of the time stays for the ask itself.
            share = budget.left() / (2 if known else 1) / (len(nodes) - index)
            try:
                fresh = read_slots(
                    await ask_server(network, node, budget.part(share), ("CLUSTER", "SLOTS"), role=""), node
                )
            except StoreUnavailable as error:
                failure = error
                continue
            if fresh.owners:
                self._map, self._doubtful, self._doubted = fresh, False, None
                return fresh
        if known is not None:
            return known
        message = f"no node told the map of the cluster: {failure or 'nobody owns a slot'}"
        raise StoreUnavailable(message, reason=failure.reason if failure else "loading")
