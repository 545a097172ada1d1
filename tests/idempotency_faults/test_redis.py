"""Redis full, restarted, silent, or gone in the middle of a run: what a client hears, and how often it was done."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.idempotency_faults.conftest import World, eventually
from zdd_sdk.store.engine import Engine
from zdd_sdk.testing.tap import RespTap

QUICK = {"connect_timeout": "1s", "operation_timeout": "1s", "total_timeout": "2s"}
FOR_EVER = 1_000_000


@pytest.fixture
def tap(real_engine: Engine, open_tap: Callable[[str], RespTap]) -> RespTap:
    return open_tap(real_engine.url)


@contextmanager
def full(engine: Engine) -> Iterator[None]:
    engine.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
    engine.ask("CONFIG", "SET", "maxmemory", "1")
    try:
        yield
    finally:
        engine.ask("CONFIG", "SET", "maxmemory", "0")


# Full


@pytest.mark.parametrize("path", ["/unsafe", "/external", "/pure"])
def test_a_full_redis_takes_no_claim_and_nothing_is_done(world: World, real_engine: Engine, path: str) -> None:
    service = world.service("one", real_engine.url)
    with full(real_engine):
        refused = service.post(path)
    assert (refused.status_code, refused.headers["x-should-retry"]) == (503, "true")
    assert world.runs == []
    assert service.settled(path).status_code == 200
    assert world.runs == ["one"]


def test_what_has_its_claim_ends_in_a_full_redis(world: World, real_engine: Engine) -> None:
    service = world.service("one", real_engine.url)
    first = world.cut_off(service)
    with full(real_engine):
        answer = world.finish(first)
        again = service.post()
    assert (answer.status_code, again.content, again.headers["idempotent-replayed"]) == (200, answer.content, "true")
    assert "idempotency-stored" not in answer.headers
    assert world.runs == ["one"]


# Restarted without a file


@pytest.mark.parametrize("path", ["/unsafe", "/external"])
def test_a_restart_that_keeps_nothing_forgets_what_was_carried_out(
    world: World, real_engine: Engine, path: str
) -> None:
    """Documented: ``unsafe`` is as good as Redis' memory. An ``external`` run charges the same child key again."""
    service = world.service("one", real_engine.url)
    service.post(path)
    real_engine.restart()
    again = service.settled(path)
    assert (again.status_code, "idempotent-replayed" in again.headers) == (200, False)
    assert world.runs == ["one", "one"]
    assert len(world.ledger.charges) == 1


def test_a_run_that_ends_after_a_restart_restores_its_record(world: World, real_engine: Engine) -> None:
    service = world.service("one", real_engine.url)
    first = world.cut_off(service)
    real_engine.restart()
    answer = world.finish(first)
    again = service.settled()
    assert (again.content, again.headers["idempotent-replayed"]) == (answer.content, "true")
    assert world.runs == ["one"]


# Replies that are lost


@pytest.mark.parametrize("path", ["/unsafe", "/external", "/pure"])
def test_a_claim_whose_reply_is_lost_is_given_back_by_the_pulse(world: World, tap: RespTap, path: str) -> None:
    """… and not by its lease, which here outlives the test by an hour."""
    service = world.service("one", tap.url, idempotency={"lease": "1h"}, fleet={"pulse": "1s"})
    refused = _while_claims_are_lost(service, tap, path)
    assert (refused.status_code, refused.headers["x-should-retry"]) == (503, "true")
    assert world.runs == []
    assert service.settled(path).status_code == 200
    assert world.runs == ["one"]


def test_control_without_a_pulse_the_key_waits_for_its_lease(world: World, tap: RespTap) -> None:
    service = world.service("one", tap.url, fleet={"role": "test"}, idempotency={"lease": "1h"})
    _while_claims_are_lost(service, tap, "/unsafe")
    assert service.settled(seconds=1.0).json()["type"] == "urn:zdd:idempotency-in-progress"
    assert world.runs == []


def _while_claims_are_lost(service: Any, tap: RespTap, path: str) -> Any:
    tap.drop_replies(FOR_EVER)
    try:
        return service.post(path)
    finally:
        tap.heal()


def test_the_reply_to_the_completion_is_lost(world: World, tap: RespTap) -> None:
    service = world.service("one", tap.url)
    first = world.cut_off(service)
    tap.drop_replies(FOR_EVER)
    answer = world.finish(first)
    tap.heal()
    again = service.settled()
    assert (answer.status_code, again.content, again.headers["idempotent-replayed"]) == (200, answer.content, "true")
    assert world.runs == ["one"]


# Silent in the middle of a run


@pytest.mark.parametrize("fault", ["pause", "refuse"])
def test_a_redis_that_is_silent_or_gone_while_it_runs_hears_of_it_later(world: World, tap: RespTap, fault: str) -> None:
    """The lease is shorter than the fault: the answer goes out all the same, and the pulse says how it ended."""
    service = world.service("one", tap.url, store=QUICK, idempotency={"lease": "1s"})
    other = world.service("two", tap.url, fleet={"role": "test"})
    first = world.cut_off(service)
    getattr(tap, fault)()
    time.sleep(1.5)
    answer = world.finish(first)
    assert (answer.status_code, answer.json()) == (200, {"by": "one"})
    assert service.zdd.idempotency.live.owed, "what Redis does not know yet"
    tap.heal()
    eventually(lambda: not service.zdd.idempotency.live.owed, "the pulse has told Redis")
    again = other.post()
    assert (again.content, again.headers["idempotent-replayed"]) == (answer.content, "true")
    assert world.runs == ["one"]


def test_control_where_a_lapsed_lease_means_that_nothing_happened(world: World, tap: RespTap) -> None:
    """What libraries do that keep keys in a cache only."""
    service = world.service("one", tap.url, store=QUICK, idempotency={"lease": "1s"}, fleet={"role": "test"})
    other = world.service("two", tap.url, said={"on_unknown": "takeover"})
    first = world.cut_off(service)
    tap.refuse()
    world.finish(first)
    tap.heal()
    assert other.settled().status_code == 200
    assert world.runs == ["one", "two"]


def test_a_lease_is_renewed_in_the_pulses_own_trips(world: World, tap: RespTap) -> None:
    service = world.service("one", tap.url, idempotency={"lease": "400ms"})
    first = world.cut_off(service)
    pulser = service.zdd.fleet._pulser
    before = pulser.pulses
    tap.reset()
    eventually(lambda: pulser.pulses >= before + 10, "ten pulses")
    commands, trips, pulses = len(tap.commands), tap.trips, pulser.pulses - before
    assert commands > trips, "renewals rode along"
    assert trips <= pulses + 1, "and made no trip of their own"
    assert world.finish(first).status_code == 200
