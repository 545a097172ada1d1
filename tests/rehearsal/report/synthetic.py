"""A made-up rehearsal: three instances replaced one after another and back, always the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import pairwise

from zdd_sdk.rehearsal.model import (
    PHASES,
    FaultRecord,
    InstanceRecord,
    Phase,
    Plan,
    ReleasePlan,
    Result,
    Sample,
    Side,
    Usage,
    Violation,
)

__all__ = ["make_result"]

BOUNDS = (0.0, 4.0, 18.0, 22.0, 36.0, 39.0)
ROUTES = (("GET", "/products", 3.0), ("GET", "/me", 6.0), ("POST", "/cart/items", 7.0), ("POST", "/orders", 28.0))


def make_result(*, sdk: bool = True, faults: bool = False, rate: int = 120, seed: int = 1) -> Result:
    """Return a rolling rehearsal of 39 s; without the SDK it loses requests, logins and fields."""
    chance = random.Random(seed)
    phases = tuple(Phase(name, *span) for name, span in zip(PHASES, pairwise(BOUNDS), strict=True))
    instances = tuple(_instances(4.6 if sdk else 0.4))
    fault = (FaultRecord("redis-pause", 19.0, 21.0, "paused for 2 s"),) if faults else ()
    old, new = (ReleasePlan(side=side, label=label, command="serve") for side, label in _sides())
    samples = tuple(_samples(chance, instances, rate, sdk=sdk))
    return Result(
        plan=Plan(strategy="rolling", old=old, new=new, scenario="scenario.py", sdk=sdk, faults=()),
        began="2026-11-20T12:00:00Z",
        phases=phases,
        samples=samples,
        violations=() if sdk else tuple(_violations(chance)),
        instances=instances,
        usage=(Usage(0.0, 3, 3 * 61 << 20), Usage(10.0, 4, 4 * 61 << 20)),
        faults=fault,
        audit={"orders": 400, "duplicates": 0 if sdk else 2},
        engine="redis 7.0.15",
        versions={"zdd-sdk": "0.1.0", "python": "3.11.2"},
        notes=() if sdk else ("The figures are those of ZDD_MODE=stock, the negative control.",),
    )


def _sides() -> tuple[tuple[Side, str], tuple[Side, str]]:
    return ("old", "1"), ("new", "2")


def _instances(drain: float) -> Iterator[InstanceRecord]:
    generations: tuple[tuple[Side, float, float], ...] = (("old", -2.0, 6.0), ("new", 4.0, 24.0), ("old", 22.0, 99.0))
    number = 0
    for side, first, leave in generations:
        for place in range(3):
            number += 1
            start = first if first < 0 else first + place * 4.5
            stop = leave + place * 4.5
            ends = stop < BOUNDS[-1]
            yield InstanceRecord(
                id=f"{side}-{number}",
                release=side,
                port=8000 + number,
                started=start,
                ready=start + 1.3,
                drain=stop if ends else None,
                exited=stop + drain if ends else None,
                code=0 if ends else None,
            )


def _samples(chance: random.Random, instances: tuple[InstanceRecord, ...], rate: int, *, sdk: bool) -> Iterator[Sample]:
    for index in range(int(BOUNDS[-1] * rate)):
        at = index / rate + chance.random() / rate
        alive = [each for each in instances if (each.ready or 0) <= at < (each.drain or 99)]
        target = chance.choice(alive)
        method, route, base = chance.choice(ROUTES)
        starting = sum(each.started <= at < (each.ready or 0) for each in instances)
        ms = base * chance.lognormvariate(0.1 if target.release == "old" else -0.1, 0.45) * (1 + starting)
        gone = any(each.drain is not None and 0 <= at - each.drain < 0.5 for each in instances)
        failure = chance.choice(("refused", "reset")) if gone and not sdk and chance.random() < 0.3 else ""
        phase = PHASES[sum(at >= bound for bound in BOUNDS[1:-1])]
        status = 0 if failure else 200
        yield Sample(at, ms, method, route, status, failure, target.release, target.id, index % 40, phase)


def _violations(chance: random.Random) -> Iterator[Violation]:
    for index in range(260):
        at = 6.0 + index * 0.1
        phase = PHASES[sum(at >= bound for bound in BOUNDS[1:-1])]
        kind = chance.choice(("login", "login", "field"))
        text = f"user-{index % 40} is logged out" if kind == "login" else "cart is {}, expected {'tea': 2} </script>"
        yield Violation(kind, at, index % 40, text, phase, chance.choice(("old", "new")))
