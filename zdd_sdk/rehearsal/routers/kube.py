"""A Kubernetes Service without a proxy: kube-proxy only picks a pod for each new connection."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

from zdd_sdk.rehearsal.client import RawResponse
from zdd_sdk.rehearsal.routers.base import Backend

__all__ = ["KubeRouter"]


class KubeRouter:
    """Every node has its own list of endpoints, and each update reaches it after its own delay.

    Connections that exist stay where they are, also when their pod is no longer listed: that is what
    conntrack does, and why a pod must retire its connections itself.

    Args:
        nodes: how many lists there are; users are spread over them by number.
        lag: an update takes 0 to this many seconds, uniformly, per node. Updates keep their order.
        seed: of the delays and choices.
    """

    def __init__(self, *, nodes: int, lag: float, seed: int) -> None:
        self._lag = lag
        self._random = random.Random(f"kube/{seed}")
        self._lists: list[tuple[Backend, ...]] = [()] * nodes
        self._versions = [0] * nodes
        self._version = 0
        self.lifetime = 0

    async def start(self, backends: Sequence[Backend]) -> None:
        """Begin with these; every node knows them at once."""
        self._lists = [tuple(backends)] * len(self._lists)

    def publish(self, backends: Sequence[Backend]) -> None:
        """Tell every node, each after its own delay."""
        self._version += 1
        loop = asyncio.get_running_loop()
        for node in range(len(self._lists)):
            loop.call_later(self._random.uniform(0.0, self._lag), self._learn, node, self._version, tuple(backends))

    def choose(self, user: int) -> Backend | None:
        """One endpoint of the user's node, at random by weight."""
        listed = self._lists[user % len(self._lists)]
        return self._random.choices(listed, [backend.weight for backend in listed])[0] if listed else None

    def origin(self, raw: RawResponse, backend: Backend) -> Backend:  # noqa: ARG002 — a proxy needs it
        """The pod the connection goes to: nothing stands between."""
        return backend

    def stop(self) -> None:
        """Nothing was started."""

    def _learn(self, node: int, version: int, backends: tuple[Backend, ...]) -> None:
        if version > self._versions[node]:
            self._versions[node], self._lists[node] = version, backends
