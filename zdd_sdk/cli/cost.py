"""``zdd cost``: what idempotency keys cost in Redis, measured with records that are really written."""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict, dataclass

from zdd_sdk.cli.service import read_settings
from zdd_sdk.cli.units import seconds, size
from zdd_sdk.idempotency.answer import StoredAnswer
from zdd_sdk.idempotency.calls import IdempotencyCalls
from zdd_sdk.settings import IdempotencySettings, StoreSettings
from zdd_sdk.settings.units import format_duration, format_size
from zdd_sdk.store import Call, Keys, Store, finish
from zdd_sdk.store.connect import Stores
from zdd_sdk.store.engine import start_engine

__all__ = ["HELP", "Cost", "arguments", "measure", "run"]

HELP = "Measure what idempotency keys cost in Redis: bytes per record, and memory for a rate."

_SAMPLES = 500
_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Cost:
    """What keys cost.

    Attributes:
        record: bytes of a record whose answer has no body, or whose body is gone.
        body: bytes the body adds while it is kept.
        memory: bytes at the rate asked for, once it has lasted for the retention.
    """

    record: int
    body: int
    memory: int


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``zdd cost``."""
    parser.add_argument("--rate", type=float, default=10.0, help="keys per second (default: 10)")
    parser.add_argument(
        "--body", type=size, default="1KiB", help="size of an answer (default: 1KiB), as if incompressible"
    )
    parser.add_argument("--retention", type=seconds, help="default: idempotency.retention")
    parser.add_argument("--body-ttl", type=seconds, help="default: idempotency.body_ttl")
    parser.add_argument("--json", action="store_true", help="machine-readable")


def run(options: argparse.Namespace) -> int:
    """Measure on an engine of its own, and print."""
    settings = read_settings().values.idempotency
    retention = settings.retention if options.retention is None else options.retention
    body_ttl = settings.body_ttl if options.body_ttl is None else options.body_ttl
    with start_engine("real") as engine:
        stores = Stores(StoreSettings(redis_url=engine.url), Keys("cost", "cost"))
        try:
            empty = finish(measure(stores.blocking, settings, 0))
            whole = finish(measure(stores.blocking, settings, options.body))
        finally:
            stores.close()
    memory = options.rate * (empty * retention + (whole - empty) * min(body_ttl, retention))
    cost = Cost(empty, whole - empty, round(memory))
    if options.json:
        print(json.dumps(asdict(cost), indent=2))
        return 0
    print(f"a record          {cost.record:>10,} bytes, kept for {format_duration(retention)}")
    print(f"a body of {format_size(options.body):<8}{cost.body:>10,} bytes, kept for {format_duration(body_ttl)}")
    print(f"{options.rate:g} keys/s {'':<10}{cost.memory / _MIB:>10,.0f} MiB of Redis")
    return 0


async def measure(store: Store, settings: IdempotencySettings, size: int) -> int:
    """Return the bytes one completed key takes, from the growth of Redis' memory over 500 of them.

    Args:
        store: of an engine of our own.
        settings: the idempotency options.
        size: bytes of the body, random ones.
    """
    calls = IdempotencyCalls(Keys("cost", str(size)), settings, "instance-1", "1.0.0")
    (before,) = await store.ask(_used())
    for number in range(_SAMPLES):
        name, token = f"{number:043d}", os.urandom(16)
        answer = StoredAnswer(201, (("content-type", "application/json"),), os.urandom(size))
        fingerprint = (f"j1.abcd.{number:022d}",)
        await store.ask(
            calls.claim(name, token, fingerprint, "external", "orders.create", retention=settings.retention),
            calls.complete(name, token, answer),
        )
    (after,) = await store.ask(_used())
    return (after - before) // _SAMPLES


def _used() -> Call[int]:
    return Call(_read_used, ("INFO", "memory"), again=True)


def _read_used(reply: bytes) -> int:
    line = next(line for line in reply.split(b"\r\n") if line.startswith(b"used_memory:"))
    return int(line.partition(b":")[2])
