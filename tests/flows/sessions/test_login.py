"""Login, rotation and logout: new ids, markers, and the attacks they have to withstand."""

from __future__ import annotations

import pytest

from tests.flows.sessions.controls import PointerSessions
from tests.flows.sessions.visitor import (
    COOKIE,
    PLACES,
    Visitor,
    key_of,
    login,
    logout,
    make_sessions,
    state,
    writing,
)
from zdd_sdk.errors import SessionCrossSite, SessionReadOnly, SessionUnavailable, StoreUnavailable
from zdd_sdk.sessions import keeper
from zdd_sdk.sessions.ids import SessionId


async def rotate(session):
    session.rotate()


class ClusterStore:
    """A store that says it is a Cluster, and can lose a wave."""

    available = True

    def __init__(self, store, *, lose=()):
        self._store = store
        self.waves: list[list[str]] = []
        self._lose = set(lose)

    cluster = True

    async def ask(self, *calls, probe=False):
        self.waves.append([call.name for call in calls])
        if len(self.waves) in self._lose:
            message = "lost by the test"
            raise StoreUnavailable(message)
        return await self._store.ask(*calls, probe=probe)

    async def shield(self, flow):
        return await self._store.shield(flow)


def test_login_gives_a_new_id_under_the_users_tag_and_keeps_the_data(flow, visitor):
    flow(visitor.visit(writing(cart=[1])))
    before = visitor.cookie
    flow(visitor.visit(login("ada")))
    assert visitor.cookie.partition(".")[2] != before.partition(".")[2]
    assert visitor.cookie.partition(".")[0] == PLACES.tags("ada")[0]
    assert flow(visitor.visit(state)).result == ("ada", {"cart": [1]})


def test_two_logins_of_a_user_share_the_slot_and_nothing_else(flow, visitor, sessions):
    other = Visitor(sessions, flow.store)
    flow(visitor.visit(login("ada")))
    flow(other.visit(login("ada")))
    assert visitor.cookie.partition(".")[0] == other.cookie.partition(".")[0]
    flow(visitor.visit(writing(a=1)))
    assert flow(other.visit(state)).result == ("ada", {})


def test_ids_are_not_in_redis(flow, visitor, wire):
    flow(visitor.visit(login("ada")))
    secret = visitor.cookie.partition(".")[2].encode()
    for key in wire.ask("KEYS", "*"):
        assert secret not in key
        assert all(secret not in part for part in wire.ask("HGETALL", key))


def test_fixation_attack_reads_nothing_of_the_login(flow, visitor, sessions):
    attacker = Visitor(sessions, flow.store)
    flow(attacker.visit(writing(cart=["planted"])))
    visitor.cookie = attacker.cookie
    flow(visitor.visit(login("victim")))
    flow(visitor.visit(writing(card="4242")))
    reply = flow(attacker.visit(state))
    assert reply.result == (None, {"cart": ["planted"]})
    assert reply.cookie is None
    for attempt in (writing(cart=[]), rotate):
        assert isinstance(flow(attacker.visit(attempt)).error, SessionReadOnly)
    assert flow(visitor.visit(state)).result == ("victim", {"cart": ["planted"], "card": "4242"})


def test_control_a_pointer_lets_the_attacker_in(wire):
    sessions = PointerSessions(wire)
    sessions.save("planted", {})
    sessions.login("planted", "fresh", "victim")
    assert sessions.load("planted")["user"] == "victim"


def test_a_marker_ends_with_its_grace(flow, visitor, wire):
    flow(visitor.visit(writing(a=1)))
    old = visitor.cookie
    flow(visitor.visit(login("ada")))
    assert 0 < wire.ask("PTTL", key_of(old)) <= 30_000
    wire.ask("HSET", key_of(old), "_x", 1)
    visitor.cookie = old
    assert flow(visitor.visit(state)).result == (None, {})


def test_without_grace_the_old_id_is_unknown_at_once(flow):
    visitor = Visitor(make_sessions(login_grace=0.0), flow.store)
    flow(visitor.visit(writing(a=1)))
    old = visitor.cookie
    flow(visitor.visit(login("ada")))
    assert flow(visitor.visit(state)).result == ("ada", {"a": 1})
    visitor.cookie = old
    assert flow(visitor.visit(state)).result == (None, {})


@pytest.mark.parametrize("grace", [30.0, 120.0])
def test_a_request_in_flight_at_the_login_neither_saves_nor_sets_a_cookie(flow, grace):
    visitor = Visitor(make_sessions(login_grace=grace), flow.store)
    flow(visitor.visit(writing(a=1)))
    exchange = visitor.exchange()
    flow(visitor.sessions.load(exchange))
    old = visitor.cookie
    flow(visitor.visit(login("ada")))
    reply = flow(visitor.answer(exchange, writing(a=2), keep=False, load=False))
    assert (reply.status, reply.cookie, visitor.sessions.counters["gone"]) == (200, None, 1)
    assert flow(visitor.visit(state)).result == ("ada", {"a": 1})
    assert flow(Visitor(visitor.sessions, flow.store, old).visit(state)).result == (None, {"a": 1})


def test_what_was_saved_between_load_and_login_comes_along(flow, visitor):
    flow(visitor.visit(writing(a=1, b=1, c=1)))
    exchange = visitor.exchange()
    session = flow(visitor.sessions.load(exchange))
    session["a"] = "login"

    async def meanwhile(other):
        other["a"], other["b"], other["d"] = "other", "other", "other"
        del other["c"]

    flow(visitor.visit(meanwhile))
    session.login("ada")
    visitor.receive(flow(visitor.depart(exchange)))
    assert flow(visitor.visit(state)).result == ("ada", {"a": "login", "b": "other", "d": "other"})
    assert visitor.sessions.counters["conflicts"] == 1


def test_logging_in_as_another_user_drops_the_data(flow, visitor):
    flow(visitor.visit(login("ada")))
    flow(visitor.visit(writing(secret="of ada")))
    old = visitor.cookie

    async def switch(session):
        session.login("bob")
        session["own"] = 1

    flow(visitor.visit(switch))
    assert flow(visitor.visit(state)).result == ("bob", {"own": 1})
    visitor.cookie = old
    reply = flow(visitor.visit(state))
    assert (reply.result, reply.cookie) == ((None, {}), None)
    assert isinstance(flow(visitor.visit(writing(a=1))).error, SessionReadOnly)


def test_logging_in_again_keeps_the_data_and_changes_the_id(flow, visitor):
    flow(visitor.visit(login("ada")))
    flow(visitor.visit(writing(a=1)))
    old = visitor.cookie
    flow(visitor.visit(login("ada")))
    assert visitor.cookie != old
    assert flow(visitor.visit(state)).result == ("ada", {"a": 1})


def test_of_two_logins_sent_at_once_both_succeed(flow, visitor, sessions):
    flow(visitor.visit(writing(a=1)))
    twin = Visitor(sessions, flow.store, visitor.cookie)
    flow(visitor.visit(login("ada")))
    flow(twin.visit(login("ada")))
    for one in (visitor, twin):
        assert flow(one.visit(state)).result == ("ada", {"a": 1})


def test_a_login_from_nothing(flow, visitor):
    reply = flow(visitor.visit(login("ada")))
    assert reply.cookie.startswith(f"{COOKIE}=")
    assert ("cache-control", "no-store") in reply.headers
    assert flow(visitor.visit(state)).result == ("ada", {})


def test_a_login_that_finds_no_redis_is_503_and_sets_no_cookie(tap, flow, visitor):
    flow(visitor.visit(writing(a=1)))
    old, exchange = visitor.cookie, visitor.exchange()
    flow(visitor.sessions.load(exchange)).login("ada")
    tap.refuse()
    reply = flow(visitor.depart(exchange))
    assert (reply.status, reply.cookie) == (503, None)
    assert reply.values("retry-after")
    tap.heal()
    visitor.cookie = old


def test_a_save_that_finds_no_redis_leaves_the_answer(tap, flow, visitor):
    flow(visitor.visit(writing(a=1)))
    exchange = visitor.exchange()
    flow(visitor.sessions.load(exchange))["a"] = 2
    tap.refuse()
    reply = flow(visitor.depart(exchange))
    assert (reply.status, reply.cookie) == (200, None)
    assert visitor.sessions.counters["unavailable"] == 1


def test_a_logout_that_finds_no_redis_keeps_the_cookie_and_says_so(tap, flow, visitor):
    flow(visitor.visit(login("ada")))
    exchange = visitor.exchange()
    session = visitor.sessions.open(exchange)
    session.logout()
    tap.refuse()
    with pytest.raises(SessionUnavailable):
        flow(session.save())
    reply = flow(visitor.depart(exchange))
    assert (reply.status, reply.cookie) == (503, None)


@pytest.mark.parametrize("engine", ["real"], indirect=True)  # fakeredis knows no maxmemory
def test_a_login_that_redis_has_no_memory_for_is_503(flow, visitor, engine, wire):
    flow(visitor.visit(writing(a=1)))
    wire.ask("CONFIG", "SET", "maxmemory", "1")
    try:
        reply = flow(visitor.visit(login("ada"), keep=False))
        plain = flow(visitor.visit(writing(b=1), keep=False))
    finally:
        wire.ask("CONFIG", "SET", "maxmemory", "0")
    assert (reply.status, reply.cookie) == (503, None)
    assert (plain.status, plain.cookie) == (200, None)
    assert flow(visitor.visit(state)).result == (None, {"a": 1})


def test_a_login_whose_key_is_no_hash_is_503(flow, visitor, wire, monkeypatch):
    taken = SessionId("A" * 16, f"{'A' * 16}.{'B' * 43}")
    wire.ask("SET", key_of(taken.text), "in the way")
    monkeypatch.setattr(keeper, "mint_id", lambda tag: taken)
    reply = flow(visitor.visit(login("ada")))
    assert (reply.status, reply.cookie) == (503, None)
    reply = flow(visitor.visit(writing(a=1)))
    assert (reply.status, reply.cookie) == (200, None)


def test_rotation_keeps_user_data_and_absolute_end(flow, visitor, hash_of):
    flow(visitor.visit(login("ada")))
    flow(visitor.visit(writing(a=1)))
    old, ends = visitor.cookie, hash_of(visitor.cookie)[b"_x"]
    flow(visitor.visit(rotate))
    assert visitor.cookie != old
    assert hash_of(visitor.cookie)[b"_x"] == ends
    assert flow(visitor.visit(state)).result == ("ada", {"a": 1})
    visitor.cookie = old
    assert isinstance(flow(visitor.visit(writing(a=2))).error, SessionReadOnly)


def test_rotating_nothing_asks_nothing(tap, flow, visitor):
    tap.reset()
    reply = flow(visitor.visit(rotate))
    assert (tap.trips, reply.cookie) == (0, None)


def test_a_rotation_does_not_undo_a_logout(flow, visitor, wire):
    flow(visitor.visit(login("ada")))
    exchange = visitor.exchange()
    flow(visitor.sessions.load(exchange)).rotate()
    flow(visitor.answer(visitor.exchange(), logout, load=False))
    reply = flow(visitor.depart(exchange))
    assert (reply.status, reply.cookie, visitor.sessions.counters["gone"]) == (200, None, 1)
    assert wire.ask("KEYS", "*:s:*") == []


def test_logout_ends_every_session_presented(flow, visitor, sessions, wire):
    other = Visitor(sessions, flow.store)
    flow(visitor.visit(login("ada")))
    flow(other.visit(writing(a=1)))
    both = [f"{COOKIE}={other.cookie}; {COOKIE}={visitor.cookie}"]
    reply = flow(visitor.answer(visitor.exchange(cookies=both), logout, load=False))
    assert "Max-Age=0" in reply.cookie
    assert wire.ask("KEYS", "*:s:*") == []


def test_after_a_logout_a_new_session_can_begin(flow, visitor):
    flow(visitor.visit(login("ada")))
    flow(visitor.visit(writing(secret=1)))

    async def leave_a_note(session):
        session.logout()
        assert session.user is None
        session["note"] = "bye"

    reply = flow(visitor.visit(leave_a_note))
    assert "Max-Age=0" not in reply.cookie
    assert flow(visitor.visit(state)).result == (None, {"note": "bye"})


def test_logout_and_login_in_one_request(flow, visitor):
    flow(visitor.visit(login("ada")))
    flow(visitor.visit(writing(secret=1)))

    async def switch(session):
        session.logout()
        session.login("bob")

    flow(visitor.visit(switch))
    assert flow(visitor.visit(state)).result == ("bob", {})


def test_logout_without_a_session_asks_nothing(tap, flow, visitor):
    tap.reset()
    reply = flow(visitor.answer(visitor.exchange(), logout, load=False))
    assert (tap.trips, reply.cookie) == (0, None)


def test_on_a_cluster_the_mark_follows_the_create(flow, sessions):
    store = ClusterStore(flow.store)
    visitor = Visitor(sessions, store)
    flow(visitor.visit(writing(a=1)))
    old, store.waves = visitor.cookie, []
    flow(visitor.visit(login("ada")))
    assert store.waves == [["load"], ["create"], ["mark"]]
    assert flow(visitor.visit(state)).result == ("ada", {"a": 1})
    visitor.cookie = old
    assert flow(visitor.visit(state)).result == (None, {"a": 1})


def test_on_a_cluster_a_lost_mark_does_not_lose_the_login(flow, sessions):
    visitor = Visitor(sessions, flow.store)
    flow(visitor.visit(writing(a=1)))
    visitor.store = ClusterStore(flow.store, lose=[3])
    reply = flow(visitor.visit(login("ada")))
    assert reply.status == 200
    visitor.store = flow.store
    assert flow(visitor.visit(state)).result == ("ada", {"a": 1})


def test_on_a_cluster_a_lost_create_changes_nothing(flow, sessions):
    visitor = Visitor(sessions, flow.store)
    flow(visitor.visit(writing(a=1)))
    visitor.store = ClusterStore(flow.store, lose=[2])
    reply = flow(visitor.visit(login("ada")))
    assert (reply.status, reply.cookie) == (503, None)
    visitor.store = flow.store
    flow(visitor.visit(writing(b=2)))
    assert flow(visitor.visit(state)).result == (None, {"a": 1, "b": 2})


@pytest.mark.parametrize("user", [None, "ada"])
def test_on_a_cluster_a_rotation_stays_in_its_slot_and_is_one_wave(flow, sessions, user):
    visitor = Visitor(sessions, ClusterStore(flow.store))
    flow(visitor.visit(login(user) if user else writing(a=1)))
    flow(visitor.visit(writing(a=1)))
    visitor.store, before = ClusterStore(flow.store, lose=[2]), visitor.cookie
    assert flow(visitor.visit(rotate)).cookie is None
    visitor.store = ClusterStore(flow.store)
    flow(visitor.visit(rotate))
    assert visitor.store.waves == [["load"], ["create+mark"]]
    assert visitor.cookie != before
    assert visitor.cookie.partition(".")[0] == before.partition(".")[0]
    assert flow(visitor.visit(state)).result == (user, {"a": 1})


def test_a_cross_site_post_without_our_cookie_sets_none(flow, visitor, wire):
    post = {"method": "POST", "headers": {"sec-fetch-site": "cross-site"}}
    reply = flow(visitor.visit(writing(paid=1), **post))
    assert (reply.status, reply.cookie, wire.ask("DBSIZE")) == (200, None, 0)
    reply = flow(visitor.visit(login("ada"), **post))
    assert isinstance(reply.error, SessionCrossSite)
    assert (reply.status, reply.cookie) == (403, None)


def test_a_payment_return_does_not_log_out(flow, visitor):
    flow(visitor.visit(login("ada")))
    reply = flow(
        visitor.visit(writing(paid=1), method="POST", headers={"sec-fetch-site": "cross-site"}, cookies=["other=1"])
    )
    assert reply.cookie is None
    assert flow(visitor.visit(state)).result == ("ada", {})


def test_a_cross_site_post_with_our_cookie_is_like_any_other(flow, visitor):
    flow(visitor.visit(writing(a=1)))
    reply = flow(visitor.visit(login("ada"), method="POST", headers={"sec-fetch-site": "cross-site"}))
    assert reply.cookie is not None


def test_control_a_same_site_post_sets_one(flow, visitor):
    reply = flow(visitor.visit(writing(a=1), method="POST", headers={"sec-fetch-site": "same-origin"}))
    assert reply.cookie is not None


def test_a_login_keeps_its_data_though_another_login_has_emptied_the_old_id(flow, visitor):
    """Three requests at once: one saves, one logs bob in (which empties ada's old session), one logs ada in again."""
    flow(visitor.visit(login("ada")))
    flow(visitor.visit(writing(cart=[1])))
    exchange = visitor.exchange()
    session = flow(visitor.sessions.load(exchange))
    flow(visitor.visit(writing(other=1)))
    flow(visitor.visit(login("bob"), keep=False))
    session.login("ada")
    visitor.receive(flow(visitor.depart(exchange)))
    assert flow(visitor.visit(state)).result == ("ada", {"cart": [1]})


async def begin_anew(session):
    """A logout, and another visitor at the same browser in the same request."""
    session.logout()
    session["x"] = 2


def test_a_logout_that_begins_anew_leaves_an_empty_marker(flow, visitor, hash_of):
    """A request under way with the old id is no new visitor's: it must not put another cookie over the new one."""
    flow(visitor.visit(writing(x=1)))
    old = visitor.cookie
    reply = flow(visitor.visit(begin_anew))
    assert reply.cookie is not None
    assert visitor.cookie != old
    assert flow(visitor.visit(state)).result == (None, {"x": 2})
    visitor.cookie = old
    late = flow(visitor.visit(writing(x=3)))
    assert isinstance(late.error, SessionReadOnly)
    assert late.cookie is None
    assert b"a:x" not in hash_of(old)
