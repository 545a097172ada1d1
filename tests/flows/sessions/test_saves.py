"""Saves: only what changed, merged with others', never twice, never back from the dead."""

from __future__ import annotations

import pytest

from tests.flows.sessions.controls import BlobSession, save_carelessly
from tests.flows.sessions.visitor import (
    Visitor,
    key_of,
    login,
    logout,
    make_sessions,
    place_of,
    reading,
    state,
    writing,
)
from zdd_sdk.errors import SessionGone
from zdd_sdk.sessions import codec
from zdd_sdk.sessions.calls import SessionCalls
from zdd_sdk.sessions.operations import Create, Save
from zdd_sdk.settings import SessionSettings
from zdd_sdk.store import finish


def slow_save(visitor, **values):
    """Two halves of a slow request: it loads now, and changes and leaves when told."""
    exchange = visitor.exchange()

    async def begin():
        await visitor.sessions.load(exchange)

    async def end(status=200):
        return await visitor.answer(exchange, writing(**values), status=status, keep=False, load=False)

    return begin, end


def test_different_fields_are_merged(flow, visitor):
    flow(visitor.visit(writing(a=0)))
    begin, end = slow_save(visitor, slow=1)
    flow(begin())
    flow(visitor.visit(writing(fast=1, a=5)))
    flow(end())
    assert flow(visitor.visit(reading())).result == {"a": 5, "fast": 1, "slow": 1}
    assert visitor.sessions.counters["conflicts"] == 1


def test_control_a_blob_loses_the_other_field(wire):
    BlobSession(wire, "blob").save()
    slow, fast = BlobSession(wire, "blob"), BlobSession(wire, "blob")
    fast.values["fast"] = 1
    fast.save()
    slow.values["slow"] = 1
    slow.save()
    assert "fast" not in BlobSession(wire, "blob").values


def test_parallel_requests_lose_nothing(flow, visitor):
    flow(visitor.visit(writing(a=0)))
    flow.gather(*(visitor.visit(writing(**{f"field{number}": number})) for number in range(12)))
    expected = {"a": 0, **{f"field{number}": number for number in range(12)}}
    assert flow(visitor.visit(reading())).result == expected


def test_a_slow_reader_overwrites_nothing(flow, visitor):
    flow(visitor.visit(writing(a=1, cart=[1])))
    exchange = visitor.exchange()
    session = flow(visitor.sessions.load(exchange))
    assert session["cart"] == [1]
    flow(visitor.visit(writing(cart=[1, 2])))
    flow(visitor.depart(exchange))
    assert flow(visitor.visit(reading("cart"))).result == {"cart": [1, 2]}


def test_changes_inside_a_value_are_noticed(flow, visitor):
    flow(visitor.visit(writing(cart={"items": [1]}, other=[0])))

    async def add(session):
        assert session["other"] == [0]
        session["cart"]["items"].append(2)

    flow(visitor.visit(add))
    assert flow(visitor.visit(reading())).result == {"cart": {"items": [1, 2]}, "other": [0]}


def test_only_changed_fields_are_sent(tap, flow, visitor, hash_of):
    flow(visitor.visit(writing(a=1, b=2)))
    revision = hash_of(visitor.cookie)[b"_g"]
    flow(visitor.visit(writing(a=1)))
    assert hash_of(visitor.cookie)[b"_g"] == revision


def test_deleted_fields_stay_deleted(flow, visitor):
    flow(visitor.visit(writing(a=1, b=2, c=3)))

    async def drop(session):
        del session["a"]
        assert session.pop("b") == 2
        assert "a" not in session

    flow(visitor.visit(drop))
    assert flow(visitor.visit(reading())).result == {"c": 3}


def test_a_slow_request_does_not_undo_a_logout(flow, visitor, wire):
    flow(visitor.visit(login("ada")))
    cookie = visitor.cookie
    begin, end = slow_save(visitor, late=1)
    flow(begin())
    flow(visitor.answer(visitor.exchange(), logout, load=False))
    reply = flow(end())
    assert (reply.status, reply.cookie) == (200, None)
    assert visitor.sessions.counters["gone"] == 1
    assert wire.ask("EXISTS", key_of(cookie)) == 0
    visitor.cookie = cookie
    assert flow(visitor.visit(state)).result == (None, {})


def test_control_a_careless_save_undoes_it(flow, visitor, wire):
    flow(visitor.visit(login("ada")))
    key = key_of(visitor.cookie)
    flow(visitor.answer(visitor.exchange(), logout, load=False))
    save_carelessly(wire, key, "a:late", codec.encode(1))
    assert wire.ask("EXISTS", key) == 1


def test_explicit_save_says_that_it_is_gone(flow, visitor):
    flow(visitor.visit(writing(a=1)))
    exchange = visitor.exchange()
    session = flow(visitor.sessions.load(exchange))
    flow(visitor.answer(visitor.exchange(), logout, load=False))
    session["a"] = 2
    with pytest.raises(SessionGone):
        flow(session.save())
    with pytest.raises(SessionGone):
        flow(session.save())
    assert flow(visitor.depart(exchange)).cookie is None


def test_explicit_save_is_seen_by_others_and_done_once(flow, visitor, hash_of):
    flow(visitor.visit(writing(a=[1])))
    exchange = visitor.exchange()
    session = flow(visitor.sessions.load(exchange))
    session["a"].append(2)
    flow(session.save())
    assert flow(visitor.visit(reading("a"))).result == {"a": [1, 2]}
    revision = hash_of(visitor.cookie)[b"_g"]
    flow(visitor.depart(exchange))
    assert hash_of(visitor.cookie)[b"_g"] == revision
    assert visitor.sessions.counters["conflicts"] == 0


def test_explicit_save_starts_a_session(flow, visitor):
    exchange = visitor.exchange()
    session = flow(visitor.sessions.load(exchange))
    assert session.is_new
    session["a"] = 1
    flow(session.save())
    assert not session.is_new
    session["b"] = 2
    visitor.receive(flow(visitor.depart(exchange)))
    assert flow(visitor.visit(reading())).result == {"a": 1, "b": 2}


def test_an_answer_sets_at_most_one_cookie(flow, visitor):
    exchange = visitor.exchange()
    session = flow(visitor.sessions.load(exchange))
    session["a"] = 1
    flow(session.save())
    session.login("ada")
    flow(session.save())
    session.rotate()
    reply = flow(visitor.depart(exchange))
    assert reply.values("set-cookie") == [reply.cookie]
    visitor.receive(reply)
    assert flow(visitor.visit(state)).result == ("ada", {"a": 1})


@pytest.mark.parametrize("first", ["create", "save", "login", "logout"])
def test_a_lost_reply_does_it_once(tap, flow, visitor, hash_of, first):
    if first != "create":
        flow(visitor.visit(writing(a=1)))
    exchange = visitor.exchange()
    session = flow(visitor.sessions.load(exchange))
    if first == "login":
        session.login("ada")
    if first == "logout":
        session.logout()
    else:
        session["b"] = 2
    tap.drop_replies(1)
    reply = flow(visitor.depart(exchange))
    assert reply.status == 200
    visitor.receive(reply)
    if first == "logout":
        assert visitor.cookie is None
    else:
        assert hash_of(visitor.cookie)[b"_g"] == (b"2" if first == "save" else b"1")
        assert hash_of(visitor.cookie)[b"a:b"] == codec.encode(2)


def test_a_save_sent_again_overwrites_nothing_newer(flow, visitor, hash_of):
    flow(visitor.visit(writing(a=1)))
    place, calls = place_of(visitor.cookie), SessionCalls(SessionSettings(), "1")
    saves = [Save(place, bytes([n]) * 8, {b"a:a": codec.encode(n)}, []) for n in (2, 3, 4)]
    for save in saves:
        flow(flow.store.ask(calls.call(save)))
    (again,) = flow(flow.store.ask(calls.call(saves[0])))
    assert (again.status, hash_of(visitor.cookie)[b"a:a"], hash_of(visitor.cookie)[b"_g"]) == (
        "ok",
        codec.encode(4),
        b"4",
    )


def test_a_create_sent_again_undoes_no_save(flow, hash_of):
    calls, cookie = SessionCalls(SessionSettings(), "1"), "A" * 16 + "." + "b" * 43
    create = calls.call(Create(place_of(cookie), None, {b"a:a": codec.encode(1)}))
    (first,) = flow(flow.store.ask(create))
    flow(flow.store.ask(calls.call(Save(place_of(cookie), b"token###", {b"a:a": codec.encode(2)}, []))))
    (again,) = flow(flow.store.ask(create))
    assert (again.status, again.ends) == ("ok", first.ends)
    assert (hash_of(cookie)[b"a:a"], hash_of(cookie)[b"_g"]) == (codec.encode(2), b"2")


def test_flush_leaves_a_fresh_session(engine, flow, visitor):
    flow(visitor.visit(login("ada")))
    old = visitor.cookie
    engine.flush()
    reply = flow(visitor.visit(state))
    assert (reply.status, reply.result, reply.cookie) == (200, (None, {}), None)
    flow(visitor.visit(writing(a=1)))
    assert visitor.cookie != old
    assert flow(visitor.visit(reading())).result == {"a": 1}


def test_flush_during_a_request_is_a_gone_session(engine, flow, visitor):
    flow(visitor.visit(writing(a=1)))
    begin, end = slow_save(visitor, b=1)
    flow(begin())
    engine.flush()
    reply = flow(end())
    assert (reply.status, reply.cookie, visitor.sessions.counters["gone"]) == (200, None, 1)


@pytest.mark.parametrize(("status", "saved"), [(200, True), (404, True), (302, True), (500, False), (503, False)])
def test_server_errors_save_nothing(flow, visitor, status, saved):
    flow(visitor.visit(writing(a=1)))
    flow(visitor.visit(writing(b=1), status=status))
    assert ("b" in flow(visitor.visit(reading())).result) is saved


def test_save_on_error_saves(flow, visitor):
    brave = Visitor(make_sessions(save_on_error=True), flow.store)
    flow(brave.visit(writing(a=1), status=500))
    assert flow(brave.visit(reading())).result == {"a": 1}


def test_a_logout_takes_effect_whatever_the_answer(flow, visitor):
    flow(visitor.visit(login("ada")))
    flow(visitor.visit(logout, status=500))
    assert visitor.cookie is None


def test_too_large_a_session_writes_nothing(flow, visitor):
    small = Visitor(make_sessions(max_field=100, max_session=250), flow.store)
    flow(small.visit(writing(a="x" * 80)))
    exchange = small.exchange()
    session = flow(small.sessions.load(exchange))
    session["b"], session["c"] = "y" * 80, "z" * 80
    answer = flow(small.depart(exchange))
    assert (413, True) == (answer.status, "max_session = 250" in answer.result)
    flow(small.depart(exchange, 500))
    assert set(flow(small.visit(reading())).result) == {"a"}


def test_what_cannot_be_stored_deep_inside_is_named_at_the_leave(flow, visitor):
    flow(visitor.visit(writing(cart={"items": []}, other=1)))
    exchange = visitor.exchange()
    session = flow(visitor.sessions.load(exchange))
    session["other"] = 2
    session["cart"]["items"].append(object())
    answer = flow(visitor.depart(exchange))
    assert (500, True) == (answer.status, "session['cart']" in answer.result)
    assert flow(visitor.visit(reading("other"))).result == {"other": 1}


def test_many_fields_fit_one_script(flow, visitor):
    names = {f"field{number}": number for number in range(1024)}
    flow(visitor.visit(writing(**names)))
    assert len(flow(visitor.visit(reading())).result) == 1024
    assert flow(visitor.visit(writing(one_more=1))).status == 413


def test_requests_of_both_stores_share_a_session(engine, flow, stores, visitor):
    flow(visitor.visit(writing(a=1)))
    other = Visitor(visitor.sessions, stores.blocking, visitor.cookie)
    finish(other.visit(writing(b=2)))
    assert flow(visitor.visit(reading())).result == {"a": 1, "b": 2}
