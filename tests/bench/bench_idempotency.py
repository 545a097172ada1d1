"""Kill servers with their requests in flight, again and again, and count what was done twice, or not at all.

    make bench-idempotency                                                            # all of it: hours
    make bench-idempotency ARGS="--classes db --frameworks fastapi --killed 10000"

A wave of requests runs to one crash point, and the server dies there with all of them (SIGKILL); the next wave begins
while the clients of those before send theirs again, each with its one key, until it is answered. Effects are counted
in the business's database, or by the one who is called downstream. The controls go through the same with the policy
of others: a lapsed lease is run again, without a guard row or a child key.

Exits 1 if anything was done twice or lost, an answer changed, a client was left without one, or a control has nothing
done twice.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from tests.bench.kills.clients import Order, Waves, once
from tests.bench.kills.drain import LEASE, handover
from tests.bench.kills.peers_app import PEER_POINTS, installed
from tests.bench.kills.points import POINTS, RANDOM
from tests.bench.kills.surroundings import FRAMEWORKS, Databases, databases, downstream, environ, serving
from tests.bench.kills.tally import HEAD, Tally, count, effects_downstream
from zdd_sdk.store.engine import start_engine

CLASSES = ("db", "external", "unsafe", "pure")
CONTROLS = ("db-control", "external-control", "unsafe-control")
CROWD, CROWD_KEYS = 1000, 50
PEER_ATTEMPTS = 12
"""Attempts for which a client asks a peer: some 15 seconds, many times its lease."""

HANDED_OVER = 0.1
"""Seconds in which the next release has to answer a key that was handed over to it."""

GATHER = 15.0
GATHER_ONE_WRITER = 0.5
"""Seconds a wave has to come together; SQLite lets only one of it into a transaction."""


@dataclass(frozen=True)
class Plan:
    """What to do in each cell.

    Attributes:
        killed: requests to be killed.
        size: of a wave.
        points: where.
        gather: seconds a wave has to come together.
        lease: of a key.
    """

    killed: int
    size: int
    points: tuple[str, ...] = (*POINTS, RANDOM)
    gather: float = GATHER
    lease: str = "1s"


async def cell(framework: str, name: str, plan: Plan, found: Databases, redis: str) -> tuple[Tally, Mapping[str, int]]:
    """Measure one class, or control, in one framework; returns also how many first attempts died at each point."""
    async with downstream() as (called, port):
        around = environ(framework, found, redis, port, plan.lease)
        with serving(f"tests.bench.kills.{framework}_app", around) as served:
            waves = Waves(served, f"/{name}", size=plan.size, gather=plan.gather, seed=(framework, name))
            met = await waves.run(plan.points, plan.killed)
    if name.startswith("db"):
        effects = calls = dict(found.effects(framework))
    else:
        effects, calls = effects_downstream(called)
    return count(waves.orders, effects, calls), met


async def crowd(framework: str, name: str, found: Databases, redis: str) -> tuple[int, Tally]:
    """Send a thousand requests at once with fifty keys; returns how many effects they had."""
    async with downstream() as (called, port):
        with serving(f"tests.bench.kills.{framework}_app", environ(framework, found, redis, port, "60s")) as served:
            keys = [uuid.uuid4().hex for _ in range(CROWD_KEYS)]
            orders = [Order(keys[number % CROWD_KEYS]) for number in range(CROWD)]
            await asyncio.gather(*(once(served.port, f"/{name}", order) for order in orders))
    effects = found.effects(framework) if name == "db" else {key: calls.total() for key, calls in called.calls.items()}
    return sum(effects.get(key, 0) for key in keys), count(orders, effects, effects)


async def peer(name: str, plan: Plan, found: Databases, redis: str) -> Tally:
    """Send another library through the same."""
    async with downstream() as (called, port):
        with serving("tests.bench.kills.peers_app", environ("fastapi", found, redis, port, plan.lease)) as served:
            path, attempts = f"/{name}/order", PEER_ATTEMPTS
            waves = Waves(served, path, size=plan.size, gather=plan.gather, seed=name, attempts=attempts)
            await waves.run(plan.points, plan.killed)
    return count(waves.orders, *effects_downstream(called))


def judge(name: str, tally: Tally, met: Mapping[str, int]) -> list[str]:
    """Say what is not as we claim, or was not tried."""
    missed = [f"nobody was killed at {point!r}" for point, number in met.items() if not number and point != RANDOM]
    return (missed if name in CLASSES else []) + _judge(name, tally)


def _judge(name: str, tally: Tally) -> list[str]:
    if name in CONTROLS:
        return [] if tally.duplicates else ["the control has done nothing twice"]
    wrong = {"lost": tally.lost, "changed answers": tally.changed, "stuck": tally.stuck}
    wrong |= {"second runs": tally.reruns} if name == "unsafe" else {"unknown": tally.unknown}
    wrong |= {"duplicates": tally.duplicates} if name != "pure" else {}
    return [f"{number:,} {what}" for what, number in wrong.items() if number]


def measure(options: argparse.Namespace) -> list[str]:
    """Measure what was asked for, print a line each, and return what is wrong."""
    wrong: list[str] = []
    with start_engine("real") as engine, databases(options.database) as found:
        for framework in options.frameworks:
            found.create(framework)
        for part in options.parts:
            wrong += PARTS[part](options, found, engine.url)
    return wrong


def _kills(options: argparse.Namespace, found: Databases, redis: str) -> list[str]:
    controls = [one for one in CONTROLS if one.split("-")[0] in options.classes]
    wrong: list[str] = []
    print(f"{'':<28}{HEAD}{'seconds':>9}")
    for framework, name in product(options.frameworks, (*options.classes, *controls)):
        killed = options.killed if name in CLASSES else min(options.killed, options.control)
        one_writer = options.database == "sqlite" and name.startswith("db")
        plan = Plan(killed, options.size, tuple(options.points), GATHER_ONE_WRITER if one_writer else GATHER)
        begun = time.monotonic()
        tally, met = asyncio.run(cell(framework, name, plan, found, redis))
        print(f"{framework + ' ' + name:<28}{tally.row()}{time.monotonic() - begun:>9.0f}")
        print(f"{'':<28}killed at: " + ", ".join(f"{point} {number:,}" for point, number in met.items()), flush=True)
        wrong += [f"{framework} {name}: {what}" for what in judge(name, tally, met)]
    return wrong


def _crowds(options: argparse.Namespace, found: Databases, redis: str) -> list[str]:
    wrong: list[str] = []
    for framework, name in product(options.frameworks, [one for one in options.classes if one != "pure"]):
        effects, tally = asyncio.run(crowd(framework, name, found, redis))
        print(f"{framework} {name}: {CROWD:,} requests at once with {CROWD_KEYS} keys: {effects} effects", flush=True)
        if effects != CROWD_KEYS or tally.stuck:
            wrong.append(f"{framework} {name}: {effects} effects of {CROWD_KEYS} keys, {tally.stuck} not answered")
    return wrong


def _drains(options: argparse.Namespace, found: Databases, redis: str) -> list[str]:
    wrong: list[str] = []
    print(f"{'the next release answers':<28}{'after a drain':>17}{'after a kill':>17}")
    for framework in options.frameworks:
        waits = asyncio.run(handover(framework, found, redis))
        print(f"{framework:<28}{waits.row()}", flush=True)
        if waits.drained >= HANDED_OVER or waits.killed < LEASE / 2:
            wrong.append(f"{framework}: handed over in {waits.drained:.2f} s, after a kill in {waits.killed:.2f} s")
    return wrong


def _peers(options: argparse.Namespace, found: Databases, redis: str) -> list[str]:
    print(f"{'':<28}{HEAD}")
    for name in installed():
        plan = Plan(min(options.killed, options.control), options.size, (*PEER_POINTS, RANDOM))
        tally = asyncio.run(peer(name, plan, found, redis))
        print(f"{name:<28}{tally.row()}")
        print(f"{'':<28}answers: " + ", ".join(f"{kind} {number:,}" for kind, number in tally.told.items()), flush=True)
    return []


PARTS = {"kills": _kills, "crowds": _crowds, "drains": _drains, "peers": _peers}


def _names(known: Iterable[str]) -> type:
    known = tuple(known)

    def read(text: str) -> list[str]:
        names = text.split(",")
        if strangers := [name for name in names if name not in known]:
            message = f"{strangers[0]} is none of {', '.join(known)}"
            raise argparse.ArgumentTypeError(message)
        return names

    return read  # type: ignore[return-value]


def main(words: Sequence[str] | None = None) -> int:
    """Measure; 0 if all is as we claim."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    every = (*POINTS, RANDOM)
    parser.add_argument("--parts", type=_names(PARTS), default=list(PARTS), metavar="A,B")
    parser.add_argument("--classes", type=_names(CLASSES), default=list(CLASSES), metavar="A,B")
    parser.add_argument("--frameworks", type=_names(FRAMEWORKS), default=list(FRAMEWORKS), metavar="A,B")
    parser.add_argument("--points", type=_names(every), default=list(every), metavar="A,B")
    parser.add_argument("--killed", type=int, default=10_000, metavar="N", help="requests per cell (10,000)")
    parser.add_argument("--control", type=int, default=500, metavar="N", help="the same of a control, at most (500)")
    parser.add_argument("--size", type=int, default=50, metavar="N", help="requests in flight at a kill (50)")
    parser.add_argument("--database", choices=("postgresql", "sqlite"), default="postgresql")
    options = parser.parse_args(words)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that no server is left behind
    wrong = measure(options)
    print("\n".join(f"not as claimed: {line}" for line in wrong) or "all is as we claim")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
