"""What a deployment strategy may do: start, admit, retire, wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from zdd_sdk.rehearsal.instances import Instance, Instances
from zdd_sdk.rehearsal.model import Plan, Side
from zdd_sdk.rehearsal.routers.base import Backend, Router

__all__ = ["Ground"]


class Ground:
    """Instances and the router's list of them, changed together.

    Attributes:
        plan: what is rehearsed.
        note: says a line about what is happening.
    """

    def __init__(self, plan: Plan, instances: Instances, router: Router, note: Callable[[str], None]) -> None:
        self.plan, self.note = plan, note
        self._instances, self._router = instances, router
        self._listed: dict[str, tuple[Instance, float]] = {}

    async def open(self, side: Side, count: int) -> None:
        """Start the first instances, then the router with them."""
        for instance in await self.start(side, count):
            self._listed[instance.id] = (instance, 1.0)
        await self._router.start(self._backends())

    async def start(self, side: Side, count: int = 1, *, port: int | None = None) -> list[Instance]:
        """Start so many instances at once and wait until all are ready; no user is sent to them yet."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._instances.start(side, port=port)) for _ in range(count)]
        return [task.result() for task in tasks]

    def serving(self, side: Side) -> list[Instance]:
        """Instances of a release that the router knows, in the order they were admitted."""
        return [instance for instance, _ in self._listed.values() if instance.record.release == side]

    def admit(self, *instances: Instance) -> None:
        """Let the router know them."""
        self._listed.update((instance.id, (instance, 1.0)) for instance in instances)
        self._publish()

    def retire(self, *instances: Instance) -> None:
        """Take them out of the router's list and send SIGTERM at the same moment, as Kubernetes does."""
        self.change(leaving=instances)

    def change(self, *, coming: Iterable[Instance] = (), leaving: Iterable[Instance] = ()) -> None:
        """Admit some and retire others with one update of the router."""
        leaving = list(leaving)
        self._listed.update((instance.id, (instance, 1.0)) for instance in coming)
        for instance in leaving:
            self._listed.pop(instance.id, None)
        self._publish()
        for instance in leaving:
            self._instances.terminate(instance)

    def weigh(self, share: float, coming: Iterable[Instance]) -> None:
        """Give ``share`` (0 to 1) of new connections to ``coming``, divided equally, the rest to the others."""
        chosen = {instance.id: instance for instance in coming}
        others = [instance for instance, _ in self._listed.values() if instance.id not in chosen]
        self._listed = {one.id: (one, (1.0 - share) / len(others)) for one in others if share < 1.0}
        self._listed.update((one.id, (one, share / len(chosen))) for one in chosen.values())
        self._publish()

    def limit_connections(self, requests: int) -> None:
        """Clients give up a connection after so many requests, 0 for never."""
        self._router.lifetime = requests

    async def gone(self, *instances: Instance) -> None:
        """Wait until these have exited; those that outlive the grace period are killed."""
        await asyncio.gather(*(self._instances.gone(instance) for instance in instances))

    async def hold(self, seconds: float) -> None:
        """Let the traffic run."""
        await asyncio.sleep(seconds)

    def lose(self, side: Side) -> Instance | None:
        """Kill the oldest instance that serves; the router hears of it as late as of anything."""
        victim = next(iter(self.serving(side)), None)
        if victim is not None:
            self._listed.pop(victim.id)
            self._instances.kill(victim)
            self._publish()
        return victim

    def _publish(self) -> None:
        self._router.publish(self._backends())

    def _backends(self) -> list[Backend]:
        return [instance.backend(weight) for instance, weight in self._listed.values()]
