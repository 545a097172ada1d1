"""How the instances of one release take the place of another's. A rollback is the same the other way round."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Final

from zdd_sdk.rehearsal.deploy.ground import Ground
from zdd_sdk.rehearsal.model import Side, Strategy

__all__ = ["CANARY_STEPS", "STRATEGIES", "blue_green", "canary", "in_place", "recreate", "rolling"]

CANARY_STEPS: Final = (0.05, 0.10, 0.25, 0.50, 1.0)
"""Share of new connections the coming release gets, step by step."""

_CANARY_CONNECTION: Final = 8
"""Requests per connection during a canary: weights act on new connections only, and with kept-alive ones 5 % of
traffic would never be reached. With the default pause of 0.3 s a connection then lasts under 3 s, less than a step."""


async def in_place(ground: Ground, leaving: Side, coming: Side) -> None:
    """Stop one, start its replacement on the same port, one after the other: a host without spare room."""
    for instance in ground.serving(leaving):
        ground.retire(instance)
        await ground.gone(instance)
        ground.admit(*await ground.start(coming, port=instance.record.port))
        ground.note(f"{instance.id} was replaced in place")
        await ground.hold(ground.plan.min_ready)


async def recreate(ground: Ground, leaving: Side, coming: Side) -> None:
    """Stop all, then start all: nobody serves in between, and the report says for how long."""
    instances = ground.serving(leaving)
    ground.retire(*instances)
    await ground.gone(*instances)
    ground.note("every instance is gone")
    ground.admit(*await ground.start(coming, len(instances)))


async def rolling(ground: Ground, leaving: Side, coming: Side) -> None:
    """One more, then one less (max surge 1, max unavailable 0); what drains is not waited for until the end."""
    instances = ground.serving(leaving)
    for instance in instances:
        started = await ground.start(coming)
        ground.admit(*started)
        await ground.hold(ground.plan.min_ready)
        ground.retire(instance)
        ground.note(f"{instance.id} makes room for {started[0].id}")
    await ground.gone(*instances)


async def blue_green(ground: Ground, leaving: Side, coming: Side) -> None:
    """Start all, switch the router once, stop all the others at that moment."""
    instances = ground.serving(leaving)
    started = await ground.start(coming, len(instances))
    ground.note("the router switches")
    ground.change(coming=started, leaving=instances)
    await ground.gone(*instances)


async def canary(ground: Ground, leaving: Side, coming: Side) -> None:
    """5 → 10 → 25 → 50 → 100 % of new connections, with as many instances as that share needs."""
    instances, started = ground.serving(leaving), ground.serving(coming)
    ground.limit_connections(_CANARY_CONNECTION)
    for share in CANARY_STEPS:
        missing = math.ceil(share * len(instances)) - len(started)
        if missing > 0:
            started += await ground.start(coming, missing)
        ground.note(f"{share:.0%} of new connections go to {len(started)} of the {coming} release")
        ground.weigh(share, started)
        if share < 1.0:
            await ground.hold(ground.plan.step)
    ground.retire(*instances)
    await ground.gone(*instances)
    ground.limit_connections(0)


STRATEGIES: Final[dict[Strategy, Callable[[Ground, Side, Side], Awaitable[None]]]] = {
    "in-place": in_place,
    "recreate": recreate,
    "rolling": rolling,
    "blue-green": blue_green,
    "canary": canary,
}
"""Every strategy by the name the command line knows it under."""
