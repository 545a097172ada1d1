"""Redis away: what each policy answers, and that no cookie is ever touched."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tests.flows.sessions.visitor import Visitor, key_of, login, logout, make_sessions, reading, state, writing
from zdd_sdk.errors import SessionReadOnly, SessionUnavailable, StoreUnavailable
from zdd_sdk.sessions import stale
from zdd_sdk.sessions.calls import SessionCalls
from zdd_sdk.sessions.operations import Delete
from zdd_sdk.store import Call


@pytest.fixture
def loaded(tap, flow):
    """A visitor with data under a policy, loaded once; Redis has gone away since."""

    def make(policy):
        visitor = Visitor(make_sessions(on_unavailable=policy), flow.store)
        flow(visitor.visit(login("ada")))
        flow(visitor.visit(writing(a=1, cart=[1])))
        flow(visitor.visit(state))
        tap.refuse()
        return visitor

    return make


@pytest.mark.parametrize("policy", ["fail", "anonymous", "stale"])
def test_routes_without_a_session_notice_nothing(flow, loaded, policy):
    reply = flow(loaded(policy).visit(None))
    assert (reply.status, reply.headers) == (200, [])


@pytest.mark.parametrize("policy", ["fail", "anonymous", "stale"])
def test_afterwards_everybody_is_still_logged_in(tap, flow, loaded, policy):
    visitor = loaded(policy)
    cookie = visitor.cookie
    for handler in (state, writing(b=1), reading("a"), login("eve")):
        assert flow(visitor.visit(handler)).cookie is None
    tap.heal()
    assert visitor.cookie == cookie
    assert patiently(flow, visitor).result == ("ada", {"a": 1, "cart": [1]})


def test_fail_answers_503_with_retry_after(flow, loaded):
    visitor = loaded("fail")
    reply = flow(visitor.visit(state))
    assert isinstance(reply.error, SessionUnavailable)
    assert (reply.status, reply.cookie, reply.error.retry_after > 0) == (503, None, True)
    assert visitor.sessions.counters["unavailable"] == 1


def test_anonymous_goes_on_without_and_drops_changes(flow, loaded):
    visitor = loaded("anonymous")

    async def handler(session):
        session["b"] = 2
        return session.available, session.read_only, session.user, dict(session)

    reply = flow(visitor.visit(handler))
    assert reply.result == (False, False, None, {"b": 2})
    assert (reply.status, reply.cookie) == (200, None)


def test_anonymous_lets_nobody_log_in_and_says_so(flow, loaded):
    reply = flow(loaded("anonymous").visit(login("eve")))
    assert isinstance(reply.error, SessionUnavailable)
    assert (reply.status, reply.cookie) == (503, None)


def test_anonymous_refuses_an_explicit_save(flow, loaded):
    async def handler(session):
        session["b"] = 2
        await session.save()

    assert isinstance(flow(loaded("anonymous").visit(handler)).error, SessionUnavailable)


def test_stale_reads_what_was_last_seen_and_nothing_else(flow, loaded):
    visitor = loaded("stale")

    async def handler(session):
        return session.available, session.read_only, session.user, dict(session)

    assert flow(visitor.visit(handler)).result == (False, True, "ada", {"a": 1, "cart": [1]})
    assert isinstance(flow(visitor.visit(writing(a=2))).error, SessionReadOnly)


def test_stale_fails_without_a_copy_or_with_an_old_one(flow, loaded, monkeypatch):
    visitor = loaded("stale")
    stranger = Visitor(visitor.sessions, flow.store, "A" * 16 + "." + "b" * 43)
    assert flow(stranger.visit(state)).status == 503
    monkeypatch.setattr(stale, "MAX_AGE", -1.0)
    assert flow(visitor.visit(state)).status == 503


def test_stale_forgets_what_was_logged_out_here(tap, flow):
    visitor = Visitor(make_sessions(on_unavailable="stale"), flow.store)
    flow(visitor.visit(login("ada")))
    cookie = visitor.cookie
    flow(visitor.visit(state))
    flow(visitor.visit(logout))
    visitor.cookie = cookie
    tap.refuse()
    assert flow(visitor.visit(state)).status == 503


def test_stale_sees_what_was_saved_here(tap, flow):
    visitor = Visitor(make_sessions(on_unavailable="stale"), flow.store)
    flow(visitor.visit(writing(a=1, b=1)))
    flow(visitor.visit(writing(a=2)))
    tap.refuse()
    assert flow(visitor.visit(reading())).result == {"a": 2, "b": 1}


def test_an_error_reply_counts_as_away(flow, visitor, wire):
    flow(visitor.visit(writing(a=1)))
    wire.ask("DEL", key_of(visitor.cookie))
    wire.ask("SET", key_of(visitor.cookie), "not a hash")
    reply = flow(visitor.visit(state))
    assert (reply.status, reply.cookie) == (503, None)


def test_a_new_visitor_needs_no_redis_to_read(tap, flow, visitor):
    tap.refuse()
    assert flow(visitor.visit(reading("a"))).result == {"a": None}


def test_without_any_store(flow, sessions):
    visitor = Visitor(sessions, None, "A" * 16 + "." + "b" * 43)
    assert flow(visitor.visit(state)).status == 503
    assert flow(visitor.visit(None)).status == 200


@pytest.mark.parametrize("policy", ["fail", "anonymous", "stale"])
def test_a_logout_that_cannot_be_kept_is_answered_503_and_can_be_sent_again(tap, flow, loaded, policy):
    visitor = loaded(policy)
    cookie = visitor.cookie
    reply = flow(visitor.answer(visitor.exchange(), logout, load=False))
    assert (reply.status, reply.cookie, visitor.cookie) == (503, None, cookie)
    assert reply.values("retry-after") == ["1"]
    tap.heal()
    assert patiently(flow, visitor).result == ("ada", {"a": 1, "cart": [1]})
    assert patiently(flow, visitor, logout).status == 200
    assert visitor.cookie is None


def test_a_logout_that_redis_refuses_is_answered_503(flow, visitor, monkeypatch):
    """Redis answers, with an error: a replica that was the master a moment ago, an ACL."""
    flow(visitor.visit(login("ada")))
    cookie, build = visitor.cookie, SessionCalls.call

    def refused(self, operation):
        call = build(self, operation)
        return (
            replace(call, script=None, command=("LPUSH", call.keys[0], "x"), args=())
            if isinstance(operation, Delete)
            else call
        )

    monkeypatch.setattr(SessionCalls, "call", refused)
    reply = flow(visitor.visit(logout))
    assert (reply.status, reply.cookie, visitor.cookie) == (503, None, cookie)
    assert flow(visitor.visit(state)).result == ("ada", {})


def test_a_logout_is_answered_503_even_where_the_handler_failed(flow, loaded):
    visitor = loaded("fail")
    assert flow(visitor.answer(visitor.exchange(), logout, load=False, status=500)).status == 503


def test_a_visitor_without_a_cookie_logs_out_without_redis(tap, flow, visitor):
    tap.refuse()
    assert flow(visitor.answer(visitor.exchange(), logout, load=False)).status == 200


def test_a_change_that_cannot_be_saved_leaves_the_answer_as_it_is(tap, flow, visitor):
    """What the logout's 503 must not spread to."""
    flow(visitor.visit(writing(a=1)))

    async def handler(session):
        session["a"] = 2
        tap.refuse()

    reply = flow(visitor.visit(handler))
    assert (reply.status, reply.cookie) == (200, None)


def patiently(flow, visitor, handler=state):
    """Ask again until the breaker has let a probe through."""
    for _ in range(100):
        reply = flow(visitor.visit(handler))
        if reply.status == 200 and (handler is logout or reply.result[0] is not None):
            return reply
        flow(visitor.store.sleep(0.05))
    return reply


@pytest.mark.parametrize("policy", ["fail", "stale"])
def test_a_stranger_reads_an_empty_session_and_is_told_that_nothing_can_be_kept(tap, flow, policy):
    known_away(tap, flow)
    stranger = Visitor(make_sessions(on_unavailable=policy), flow.store)

    read = flow(stranger.visit(state))
    wrote = flow(stranger.visit(writing(cart=["tea"])))

    assert (read.status, read.result) == (200, (None, {}))
    assert isinstance(wrote.error, SessionUnavailable)
    assert (wrote.status, wrote.cookie, wrote.error.retry_after > 0) == (503, None, True)


def test_a_stranger_goes_on_without_where_the_policy_says_so(tap, flow):
    known_away(tap, flow)
    stranger = Visitor(make_sessions(on_unavailable="anonymous"), flow.store)

    async def handler(session):
        session["cart"] = ["tea"]
        return session.available

    reply = flow(stranger.visit(handler))
    assert (reply.status, reply.result, reply.cookie) == (200, False, None)


def test_a_stranger_is_served_again_once_redis_is_back(tap, flow):
    known_away(tap, flow)
    stranger = Visitor(make_sessions(), flow.store)
    tap.heal()
    flow(probe(flow.store))

    assert flow(stranger.visit(writing(cart=["tea"]))).status == 200
    assert flow(stranger.visit(state)).result == (None, {"cart": ["tea"]})


async def probe(store):
    await store.ask(Call(bytes, ("PING",)), probe=True)


def known_away(tap, flow):
    tap.refuse()
    with pytest.raises(StoreUnavailable):
        flow(probe(flow.store))
    assert not flow.store.available
