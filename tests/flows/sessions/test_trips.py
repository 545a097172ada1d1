"""The trips of each kind of request, counted from the bytes (design 5)."""

from __future__ import annotations

import pytest

from tests.flows.sessions.visitor import Visitor, login, logout, make_sessions, reading, state, writing


@pytest.fixture
def visitor(tap, flow):
    return Visitor(make_sessions(), flow.store)


@pytest.fixture
def trips(tap, flow, visitor):
    """Run one visit and return its trips; scripts are loaded before, as they are from the second request on."""

    def warm_up():
        other = Visitor(visitor.sessions, flow.store)
        for handler in (writing(a=1), writing(a=2), login("w"), state):
            flow(other.visit(handler))
        flow(other.answer(other.exchange(), logout, load=False))

    def count(*args, **kwargs):
        tap.reset()
        reply = flow(visitor.visit(*args, **kwargs))
        return tap.trips, reply

    warm_up()
    return count


def test_untouched_costs_nothing(trips, visitor):
    assert trips(None)[0] == 0
    trips(writing(a=1))
    assert trips(None)[0] == 0


def test_new_visitor_who_reads_costs_nothing(trips):
    count, reply = trips(reading("a"))
    assert (count, reply.cookie) == (0, None)


def test_create_costs_one(trips):
    count, reply = trips(writing(a=1))
    assert count == 1
    assert reply.cookie is not None


def test_read_costs_one(trips):
    trips(writing(a=1))
    count, reply = trips(reading("a"))
    assert (count, reply.result, reply.cookie) == (1, {"a": 1}, None)


def test_read_and_write_costs_two(trips):
    trips(writing(a=1))
    count, reply = trips(writing(a=2))
    assert (count, reply.cookie) == (2, None)


def test_login_costs_two(trips, visitor):
    trips(writing(a=1))
    before = visitor.cookie
    assert trips(login("ada"))[0] == 2
    assert visitor.cookie != before
    assert trips(state)[1].result == ("ada", {"a": 1})


def test_logout_costs_one(trips, tap, flow, visitor):
    trips(login("ada"))
    tap.reset()
    reply = flow(visitor.answer(visitor.exchange(), logout, load=False))
    assert tap.trips == 1
    assert "Max-Age=0" in reply.cookie
    assert visitor.cookie is None


def test_four_cookies_of_one_name_cost_one(trips, tap, flow, visitor):
    trips(writing(a=1))
    line = (
        "; ".join(f"{visitor.name}={'A' * 16}.{letter * 43}" for letter in "abc") + f"; {visitor.name}={visitor.cookie}"
    )
    count, reply = trips(reading("a"), cookies=[line])
    assert (count, reply.result) == (1, {"a": 1})


def test_cookies_of_the_wrong_form_cost_nothing(trips, visitor):
    assert trips(reading("a"), cookies=[f"{visitor.name}=garbage"])[0] == 0


def test_stock_mode_costs_nothing(tap, flow):
    visitor = Visitor(make_sessions(stock=True), flow.store)
    for handler in (writing(a=1), writing(b=2), login("ada"), state):
        reply = flow(visitor.visit(handler))
    assert reply.result == ("ada", {"a": 1, "b": 2})
    flow(visitor.answer(visitor.exchange(), logout, load=False))
    assert flow(visitor.visit(state)).result == (None, {})
    assert tap.trips == 0
