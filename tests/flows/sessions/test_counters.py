"""What is counted, and what a request is told whose session has ended under it."""

from __future__ import annotations

import pytest

from tests.flows.sessions.visitor import Visitor, login, logout, make_sessions, reading, writing
from zdd_sdk.errors import SessionGone
from zdd_sdk.sessions import codec
from zdd_sdk.store import finish


def late_save(flow, visitor, *, hold=False):
    """A request that changes its session, and whose user logs out elsewhere before it ends."""
    exchange = visitor.exchange()
    session = flow(visitor.sessions.load(exchange))
    session["late"] = 1
    flow(Visitor(visitor.sessions, flow.store, visitor.cookie).visit(logout))
    if hold:
        exchange.hold()
    return exchange, session


@pytest.fixture(params=["ignore", "401", "409"])
def policy(request, flow):
    visitor = Visitor(make_sessions(on_gone=request.param), flow.store)
    flow(visitor.visit(login("ada")))
    return request.param, visitor


def test_trips_and_bytes(flow, tap):
    visitor = Visitor(make_sessions(), flow.store)
    size = len(codec.encode("x" * 100))
    flow(visitor.visit(writing(a="x" * 100)))
    flow(visitor.visit(reading("a")))
    counters = visitor.sessions.counters
    assert (counters["trips"], counters["written_bytes"]) == (2, size)
    assert size < counters["read_bytes"] < size + 200
    flow(visitor.visit(None))
    assert counters["trips"] == 2


def test_at_the_leave_the_policy_decides(flow, policy):
    wanted, visitor = policy
    exchange, _ = late_save(flow, visitor)
    reply = flow(visitor.depart(exchange))
    assert (str(reply.status), reply.cookie) == ("200" if wanted == "ignore" else wanted, None)
    if wanted != "ignore":
        assert ("session-gone" if wanted == "409" else "session-login-needed") in reply.result
    assert visitor.sessions.counters["gone"] == 1


def test_while_a_claim_is_held_it_never_changes_the_answer(flow, policy):
    _, visitor = policy
    exchange, _ = late_save(flow, visitor, hold=True)
    assert flow(visitor.depart(exchange)).status == 200


def test_an_explicit_save_raises_with_the_same_status(flow, policy):
    wanted, visitor = policy
    _, session = late_save(flow, visitor)
    with pytest.raises(SessionGone) as caught:
        flow(session.save())
    assert caught.value.status == (401 if wanted == "401" else 409)


def test_in_memory_alike():
    visitor = Visitor(make_sessions(on_gone="401", stock=True), None)
    finish(visitor.visit(login("ada")))
    exchange = visitor.exchange()
    finish(visitor.sessions.load(exchange))["late"] = 1
    finish(visitor.answer(visitor.exchange(), logout, load=False, keep=False))
    assert finish(visitor.depart(exchange)).status == 401
