"""Ageing keys is the same as waiting."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest

from zdd_sdk.store.engine import Engine
from zdd_sdk.testing.clock import Clock


@pytest.fixture
def clock(engine: Engine) -> Clock:
    return Clock(engine)


@pytest.mark.parametrize("by", ["1h", 3600, timedelta(hours=1)])
def test_deadlines_come_nearer(engine: Engine, clock: Clock, by: str | float | timedelta) -> None:
    engine.ask("SET", "long", "1", "EX", 7200)
    engine.ask("SET", "short", "1", "EX", 3600)
    engine.ask("SET", "forever", "1")
    clock.advance(by)

    assert 3590 < engine.ask("TTL", "long") <= 3600
    assert (engine.ask("GET", "short"), engine.ask("GET", "forever")) == (None, b"1")
    assert clock.advanced == 3600


def test_absolute_ends_inside_records_come_nearer(engine: Engine, clock: Clock) -> None:
    now = round(time.time() * 1000)
    engine.ask("HSET", "zdd:shop:test:session:{a}:s", "_x", now + 86_400_000, "_c", now, "a:_x", now)
    clock.advance("2h")

    assert [str(now + 79_200_000).encode(), str(now - 7_200_000).encode(), str(now).encode()] == engine.ask(
        "HMGET", "zdd:shop:test:session:{a}:s", "_x", "_c", "a:_x"
    )


def test_other_types_and_foreign_hashes_are_aged_without_harm(engine: Engine, clock: Clock) -> None:
    engine.ask("ZADD", "z", 1, "member")
    engine.ask("HSET", "h", "_x", "not a number")
    for key in ("z", "h"):
        engine.ask("EXPIRE", key, 100)
    clock.advance(40)

    assert all(50 < engine.ask("TTL", key) <= 60 for key in ("z", "h"))
    assert engine.ask("HGET", "h", "_x") == b"not a number"


def test_live_workers_do_not_die_of_it(engine: Engine, clock: Clock) -> None:
    engine.ask("SET", "zdd:shop:test:fleet:{fleet}:meta", "1", "EX", 10)
    clock.advance("1d")

    assert engine.ask("GET", "zdd:shop:test:fleet:{fleet}:meta") == b"1"


def test_control_without_the_clock_nothing_expires(engine: Engine) -> None:
    engine.ask("SET", "short", "1", "EX", 3600)

    assert engine.ask("GET", "short") == b"1"


@pytest.mark.parametrize("by", ["-1h", -1, "soon"])
def test_time_cannot_go_back(clock: Clock, by: str | float) -> None:
    with pytest.raises(ValueError, match=r"must be finite and not negative|is not a duration"):
        clock.advance(by)
