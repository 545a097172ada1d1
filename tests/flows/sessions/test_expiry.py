"""Idle and absolute timeout by the server's clock, and the throttled touch."""

from __future__ import annotations

import pytest

from tests.flows.sessions.visitor import Visitor, key_of, login, make_sessions, state, writing
from zdd_sdk.sessions.calls import SPARE

IDLE, ABSOLUTE = 1000, 5000


@pytest.fixture
def visitor(flow):
    visitor = Visitor(make_sessions(idle_timeout=IDLE, absolute_timeout=ABSOLUTE), flow.store)
    flow(visitor.visit(writing(a=1)))
    return visitor


@pytest.fixture
def age(wire, visitor):
    """Leave this many seconds of idle time to the visitor's session."""
    return lambda left: wire.ask("PEXPIRE", key_of(visitor.cookie), round(left * 1000) + SPARE)


@pytest.fixture
def left(wire, visitor):
    """Seconds of idle time left."""
    return lambda: (wire.ask("PTTL", key_of(visitor.cookie)) - SPARE) / 1000


def test_storage_outlives_the_idle_timeout_by_a_minute(left):
    assert left() == pytest.approx(IDLE, abs=5)


def test_the_cookie_lives_until_the_absolute_end(visitor):
    assert f"Max-Age={ABSOLUTE}" in visitor.history[0].cookie


def test_the_touch_is_throttled(flow, visitor, age, left):
    age(0.95 * IDLE)
    flow(visitor.visit(state))
    assert left() == pytest.approx(0.95 * IDLE, abs=5)
    age(0.85 * IDLE)
    flow(visitor.visit(state))
    assert left() == pytest.approx(IDLE, abs=5)


def test_a_save_touches_too(flow, visitor, age, left):
    exchange = visitor.exchange()
    session = flow(visitor.sessions.load(exchange))
    age(0.5 * IDLE)
    session["a"] = 2
    flow(session.save())
    assert left() == pytest.approx(IDLE, abs=5)


def test_idle_sessions_end_though_redis_still_has_them(flow, visitor, age):
    age(-1)
    old = visitor.cookie
    reply = flow(visitor.visit(state))
    assert (reply.status, reply.result, reply.cookie) == (200, (None, {}), None)
    flow(visitor.visit(writing(b=1)))
    assert visitor.cookie != old


def test_a_save_after_the_idle_end_is_gone(flow, visitor, age):
    exchange = visitor.exchange()
    flow(visitor.sessions.load(exchange))["a"] = 2
    age(-1)
    reply = flow(visitor.depart(exchange))
    assert (reply.cookie, visitor.sessions.counters["gone"]) == (None, 1)


def test_the_touch_never_passes_the_absolute_end(flow, visitor, wire, age, left):
    server = int(wire.ask("TIME")[0])
    wire.ask("HSET", key_of(visitor.cookie), "_x", (server + 300) * 1000)
    age(100)
    flow(visitor.visit(state))
    assert left() == pytest.approx(300, abs=5)
    age(290)
    flow(visitor.visit(state))
    assert left() == pytest.approx(290, abs=5)


def test_the_absolute_end_ends_everything(flow, visitor, wire):
    exchange = visitor.exchange()
    flow(visitor.sessions.load(exchange))["a"] = 2
    wire.ask("HSET", key_of(visitor.cookie), "_x", int(wire.ask("TIME")[0]) * 1000 - 1)
    assert flow(visitor.depart(exchange)).cookie is None
    assert visitor.sessions.counters["gone"] == 1
    assert flow(visitor.visit(state)).result == (None, {})


def test_a_rotation_at_the_absolute_end_sets_no_cookie(flow, visitor, wire):
    exchange = visitor.exchange()
    flow(visitor.sessions.load(exchange)).rotate()
    turn = visitor.sessions.open(exchange)._turn
    turn.stored = turn.stored.described(ends=1)
    assert flow(visitor.depart(exchange)).cookie is None
    assert visitor.sessions.counters["gone"] == 1


def test_a_login_begins_anew(flow, visitor, wire, hash_of):
    wire.ask("HSET", key_of(visitor.cookie), "_x", (int(wire.ask("TIME")[0]) + 300) * 1000)
    reply = flow(visitor.visit(login("ada")))
    assert f"Max-Age={ABSOLUTE}" in reply.cookie


def test_a_lost_ttl_is_mended(flow, visitor, wire, left):
    wire.ask("PERSIST", key_of(visitor.cookie))
    assert flow(visitor.visit(state)).result == (None, {"a": 1})
    assert left() == pytest.approx(IDLE, abs=5)


def test_another_releases_timeout_does_not_flip_flop(flow, visitor, left):
    other = Visitor(make_sessions(idle_timeout=50.0), flow.store, visitor.cookie)
    flow(other.visit(state))
    assert left() == pytest.approx(IDLE, abs=5)


def test_shorter_absolute_than_idle_bounds_storage(flow, wire):
    visitor = Visitor(make_sessions(idle_timeout=1000.0, absolute_timeout=100.0), flow.store)
    flow(visitor.visit(writing(a=1)))
    assert wire.ask("PTTL", key_of(visitor.cookie)) <= 100_000 + SPARE
