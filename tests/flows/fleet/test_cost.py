"""What a fleet of 50 costs its Redis, counted in commands and bytes."""

from __future__ import annotations

import pytest

from zdd_sdk.settings import StoreSettings
from zdd_sdk.store import finish
from zdd_sdk.store.connect import Stores

WORKERS = 50
ROUNDS = 10


@pytest.fixture
def engine(real_engine):
    """Only a real engine counts bytes."""
    return real_engine


@pytest.fixture
def store(keys, engine):
    settings = StoreSettings(redis_url=engine.url, connect_timeout=5.0, operation_timeout=5.0, total_timeout=10.0)
    stores = Stores(settings, keys)
    yield stores.blocking
    stores.close()


def counted(engine):
    text = engine.ask("INFO", "everything").decode()
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    scripts = fields.get("cmdstat_evalsha", "calls=0,usec=0")
    calls, spent = (int(part.split("=")[1]) for part in scripts.split(",")[:2])
    return int(fields["total_net_input_bytes"]), int(fields["total_net_output_bytes"]), calls, spent


def measured(engine, store, pulsing, rounds=ROUNDS):
    """Return bytes to and from Redis, scripts and microseconds in Redis, each per pulse."""
    before = counted(engine)
    for _ in range(rounds):
        for each in pulsing:
            finish(each.pulse(store))
    noise = counted(engine)
    after = counted(engine)
    pulses = rounds * len(pulsing)
    return [(end - start - (more - end)) / pulses for start, end, more in zip(before, noise, after, strict=True)]


def test_fifty_workers_at_rest_and_while_one_changes(engine, store, worker, registry):
    fleet = [worker("1.0" if number % 2 else "2.0") for number in range(WORKERS)]
    for _ in range(3):
        for each in fleet:
            finish(each.pulse(store))
    registry.age()
    for each in fleet:
        finish(each.pulse(store))
    assert len(registry.members()) == WORKERS

    sent, received, scripts, spent = measured(engine, store, fleet)
    print(f"\nat rest: {sent:.0f} B to and {received:.0f} B from Redis per pulse, {spent:.0f} us in Redis")
    assert scripts == 1
    assert sent < 700
    assert received < 64

    turn = iter(range(10_000))
    fleet[0]._lifecycle_state = lambda: f"state-{next(turn)}"
    sent, received, scripts, _ = measured(engine, store, fleet)
    print(f"one of {WORKERS} changes each round: {sent:.0f} B to and {received:.0f} B from Redis per pulse")
    assert scripts == 1
    assert received < WORKERS * 24 + 800, "ids of all, and one row, not all rows"

    newcomer = worker("3.0")
    _, received, _, _ = measured(engine, store, [newcomer], rounds=1)
    print(f"a newcomer reads {received:.0f} B once")
    assert received < WORKERS * 400
