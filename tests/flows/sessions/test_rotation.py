"""Periodic rotation: a new id now and then, and the old one leads to it until the new one has been used for a while."""

from __future__ import annotations

import hashlib
import time
from base64 import urlsafe_b64encode

import pytest

from tests.flows.sessions.visitor import (
    COOKIE,
    PLACES,
    Visitor,
    id_of,
    index_of,
    key_of,
    login,
    logout,
    make_sessions,
    reading,
    state,
    writing,
)
from zdd_sdk.errors import SessionReadOnly
from zdd_sdk.secrets import Secrets
from zdd_sdk.sessions import Sessions
from zdd_sdk.sessions import turn as turns
from zdd_sdk.settings import SessionSettings
from zdd_sdk.store import Keys

HOUR = 3600
GRACE = 30_000
OUT = (None, {})


def rotating(*, can=True, stock=False, **options):
    sessions = make_sessions(rotate_every=float(HOUR), stock=stock, **options)
    sessions._can_rotate = lambda: can
    return sessions


@pytest.fixture
def visitor(flow):
    visitor = Visitor(rotating(), flow.store)
    flow(visitor.visit(writing(cart=[1])))
    flow(visitor.visit(login("ada")))
    return visitor


@pytest.fixture
def grow_old(wire):
    """Have a session's id, or its last use of the new one, lie back by so many milliseconds."""

    def change(cookie, milliseconds=HOUR * 1000 + 1, fields=("_c", "_r", "_p")):
        for field in fields:
            value = wire.ask("HGET", key_of(cookie), field)
            if value is not None:
                wire.ask("HSET", key_of(cookie), field, int(value) - milliseconds)

    return change


@pytest.fixture
def rotated(flow, visitor, grow_old):
    """The old cookie of a session that has just been rotated; the visitor has the new one and has not used it."""
    old = visitor.cookie
    grow_old(old)
    flow(visitor.visit(state))
    assert visitor.cookie != old
    return old


def holder(visitor, cookie):
    return Visitor(visitor.sessions, visitor.store, cookie)


def test_it_comes_with_the_load_and_costs_one_trip_more_before_the_answer(tap, flow, grow_old):
    visitor = Visitor(rotating(), flow.store)
    for _ in range(2):
        flow(visitor.visit(login("ada")))
        grow_old(visitor.cookie)
        before = visitor.cookie
        tap.reset()
        reply = flow(visitor.visit(state))
        trips = tap.trips
    assert (trips, reply.result, reply.cookie is not None) == (2, ("ada", {}), True)
    assert visitor.cookie != before
    assert visitor.cookie == PLACES.place(id_of(before)).successors[0][0].text
    assert visitor.sessions.counters["rotations"] == 2


def test_everything_stays_but_the_id(flow, visitor, grow_old, hash_of):
    before = hash_of(visitor.cookie)
    grow_old(visitor.cookie, fields=("_r",))
    flow(visitor.visit(state))
    after = hash_of(visitor.cookie)
    ours = {b"_r", b"_o", b"_p"}
    assert {n: v for n, v in after.items() if n not in ours} == {n: v for n, v in before.items() if n not in ours}
    assert flow(visitor.visit(state)).result == ("ada", {"cart": [1]})


def test_no_id_is_kept(flow, rotated, visitor, wire):
    for key in wire.ask("KEYS", "*"):
        for secret in (rotated, visitor.cookie):
            assert secret.partition(".")[2].encode() not in b" ".join([key, *wire.ask("HGETALL", key)])


def test_the_old_id_reads_saves_and_is_told_the_new_one(flow, visitor, rotated):
    other = holder(visitor, rotated)
    reply = flow(other.visit(writing(more=2)))
    assert (reply.status, other.cookie) == (200, visitor.cookie)
    assert flow(visitor.visit(reading())).result == {"cart": [1], "more": 2}


def test_a_save_under_way_goes_through_and_is_told(flow, visitor, grow_old):
    exchange = visitor.exchange()
    session = flow(visitor.sessions.load(exchange))
    session["late"] = 1
    grow_old(visitor.cookie)
    flow(visitor.visit(state))
    reply = flow(visitor.depart(exchange))
    assert reply.cookie.startswith(f"{COOKIE}={visitor.cookie};")
    assert flow(visitor.visit(reading())).result == {"cart": [1], "late": 1}
    assert visitor.sessions.counters["gone"] == 0


def test_parallel_requests_end_up_on_one_new_id(flow, visitor, grow_old):
    grow_old(visitor.cookie)
    twins = [holder(visitor, visitor.cookie) for _ in range(10)]
    flow.gather(*(twin.visit(writing(**{f"f{number}": number})) for number, twin in enumerate(twins)))
    assert len({twin.cookie for twin in twins}) == 1
    assert twins[0].cookie != visitor.cookie
    assert visitor.sessions.counters["rotations"] == 1
    expected = {"cart": [1], **{f"f{number}": number for number in range(10)}}
    assert flow(twins[0].visit(reading())).result == expected


def test_the_grace_ends_after_the_new_id_was_used(flow, visitor, rotated, wire, grow_old):
    flow(visitor.visit(state))
    assert flow(holder(visitor, rotated).visit(state)).result[0] == "ada"
    grow_old(visitor.cookie, GRACE + 1, fields=("_p",))
    reply = flow(holder(visitor, rotated).visit(state))
    assert (reply.result, reply.cookie) == (OUT, None)
    assert flow(visitor.visit(state)).result[0] == "ada"


def test_an_answer_lost_on_its_way_costs_nobody_the_session(flow, visitor, rotated, grow_old):
    """The browser never heard of the new id: the old one leads there for as long as the session lives."""
    grow_old(visitor.cookie, 10 * HOUR * 1000, fields=("_r",))
    late = holder(visitor, rotated)
    assert flow(late.visit(state)).result[0] == "ada"
    assert late.cookie == visitor.cookie


def test_control_a_pointer_that_expires_by_itself_loses_it(flow, wire):
    wire.ask("SET", "pointer:old", "new", "PX", 1)
    wire.ask("SET", "session:new", "ada")
    time.sleep(0.01)
    assert wire.ask("GET", "pointer:old") is None


def test_without_grace_the_old_id_is_unknown_once_the_new_one_was_used(flow, grow_old):
    visitor = Visitor(rotating(rotation_grace=0.0), flow.store)
    flow(visitor.visit(login("ada")))
    old = visitor.cookie
    grow_old(old)
    flow(visitor.visit(state))
    assert flow(holder(visitor, old).visit(state)).result[0] == "ada"
    flow(visitor.visit(state))
    assert flow(holder(visitor, old).visit(state)).result == OUT


def test_the_id_before_the_last_is_unknown(flow, visitor, rotated, grow_old):
    flow(visitor.visit(state))
    grow_old(visitor.cookie)
    flow(visitor.visit(state))
    assert flow(holder(visitor, rotated).visit(state)).result == OUT
    assert flow(visitor.visit(state)).result[0] == "ada"


def test_it_waits_for_the_grace_of_the_last_one(flow, visitor, rotated, grow_old):
    grow_old(visitor.cookie, fields=("_r",))
    before = visitor.cookie
    flow(visitor.visit(state))
    assert visitor.cookie == before


@pytest.mark.parametrize(
    "why", ["young", "nobody is logged in", "the fleet cannot follow", "off", "websocket", "headers out"]
)
def test_when_it_does_not_rotate(flow, grow_old, why):
    visitor = Visitor(rotating(can=why != "the fleet cannot follow"), flow.store)
    if why == "off":
        visitor.sessions = make_sessions()
        visitor.sessions._can_rotate = lambda: True
    flow(visitor.visit(writing(a=1) if why == "nobody is logged in" else login("ada")))
    if why != "young":
        grow_old(visitor.cookie)
    exchange = visitor.exchange("WEBSOCKET" if why == "websocket" else "GET")
    if why == "headers out":
        exchange.status = 200
    flow(visitor.sessions.load(exchange))
    assert visitor.sessions.counters["rotations"] == 0
    assert flow(visitor.visit(state)).status == 200


def test_logout_by_the_old_id_ends_the_session(flow, visitor, rotated, wire):
    other = holder(visitor, rotated)
    flow(other.answer(other.exchange(), logout, load=False))
    assert flow(visitor.visit(state)).result == OUT
    assert [f for f in wire.ask("HKEYS", index_of("ada")) if f.startswith(b"d:")] == []


def test_log_out_everywhere_ends_it_under_both_ids_and_may_keep_it_under_either(flow, visitor, rotated):
    async def others(session):
        return await session.logout_everywhere()

    assert flow(holder(visitor, rotated).visit(others)).result == 0
    assert flow(visitor.visit(state)).result[0] == "ada"
    flow(visitor.sessions.directory.logout_everywhere(flow.store, "ada"))
    assert [flow(holder(visitor, cookie).visit(state)).result for cookie in (rotated, visitor.cookie)] == [OUT, OUT]


def test_kept_while_another_request_rotates_it(flow, visitor, grow_old):
    exchange = visitor.exchange()
    session = flow(visitor.sessions.load(exchange))
    grow_old(visitor.cookie)
    flow(visitor.visit(state))

    async def others():
        return await session.logout_everywhere()

    assert flow(others()) == 0
    assert flow(visitor.visit(state)).result[0] == "ada"


def test_a_device_stays_one(flow, visitor, rotated):
    (device,) = flow(visitor.sessions.directory.devices(flow.store, "ada"))
    assert device.handle[22:] == key_of(visitor.cookie)[-64:]
    assert flow(visitor.sessions.directory.logout_device(flow.store, "ada", device.handle))
    assert flow(visitor.visit(state)).result == OUT


def test_fixation_during_the_grace_reads_nothing_of_a_login(flow, visitor, rotated, wire):
    """Who holds an id of before a rotation follows it to what was, never to what a login makes of it."""
    attacker = holder(visitor, rotated)
    flow(visitor.visit(login("bob")))
    flow(visitor.visit(writing(card="4242")))
    reply = flow(attacker.visit(state))
    assert (reply.result, reply.cookie) == (OUT, None)
    assert isinstance(flow(attacker.visit(writing(a=1))).error, SessionReadOnly)
    assert flow(visitor.visit(state)).result == ("bob", {"card": "4242"})


def test_a_login_of_the_same_user_leaves_the_old_ids_a_marker_and_no_cookie(flow, visitor, rotated):
    flow(visitor.visit(login("ada")))
    for cookie in (rotated,):
        reply = flow(holder(visitor, cookie).visit(state))
        assert (reply.result, reply.cookie) == (("ada", {"cart": [1]}), None)
        assert isinstance(flow(holder(visitor, cookie).visit(writing(a=1))).error, SessionReadOnly)


def test_a_login_under_way_marks_what_a_rotation_has_renamed(flow, visitor, grow_old):
    exchange = visitor.exchange()
    session = flow(visitor.sessions.load(exchange))
    other = holder(visitor, visitor.cookie)
    grow_old(visitor.cookie)
    flow(other.visit(state))
    session.login("ada")
    visitor.receive(flow(visitor.depart(exchange)))
    assert flow(visitor.visit(state)).result == ("ada", {"cart": [1]})
    assert isinstance(flow(other.visit(writing(a=1))).error, SessionReadOnly)
    assert len(flow(visitor.sessions.directory.devices(flow.store, "ada"))) == 1


def test_an_explicit_rotation_under_way_meets_a_periodic_one(flow, visitor, grow_old):
    exchange = visitor.exchange()
    session = flow(visitor.sessions.load(exchange))
    other = holder(visitor, visitor.cookie)
    grow_old(visitor.cookie)
    flow(other.visit(state))
    session.rotate()
    visitor.receive(flow(visitor.depart(exchange)))
    assert flow(visitor.visit(state)).result == ("ada", {"cart": [1]})


@pytest.mark.parametrize("order", [1, -1])
def test_of_several_cookies_of_one_name_the_latest_id_wins(flow, visitor, rotated, grow_old, order):
    flow(visitor.visit(state))
    cookies = [f"{COOKIE}={rotated}", f"{COOKIE}={visitor.cookie}"][::order]
    reply = flow(visitor.visit(state, cookies=["; ".join(cookies)], keep=False))
    assert (reply.result[0], reply.cookie) == ("ada", None)
    grow_old(visitor.cookie)
    before = visitor.cookie
    flow(visitor.visit(state, cookies=["; ".join(cookies)]))
    assert visitor.cookie == PLACES.place(id_of(before)).successors[0][0].text
    assert flow(visitor.visit(state)).result[0] == "ada"


def test_other_roots_are_followed(flow, grow_old):
    """Release N rotates under its first secret; N+1 has another one in front."""

    def sessions(*roots):
        settings = SessionSettings(rotate_every=float(HOUR))
        return Sessions(settings, Keys("test", "test"), lambda: Secrets(roots), release="1", can_rotate=lambda: True)

    old, new = sessions("a" * 40, "b" * 40), sessions("b" * 40, "a" * 40)
    visitor = Visitor(old, flow.store)
    flow(visitor.visit(login("ada")))
    before = visitor.cookie
    grow_old(before)
    flow(visitor.visit(state))
    assert flow(Visitor(new, flow.store, before).visit(state)).result[0] == "ada"
    assert flow(Visitor(sessions("c" * 40), flow.store, before).visit(state)).result == OUT


def test_who_knows_an_id_cannot_work_out_the_next(flow, visitor, rotated):
    tag = rotated.partition(".")[0]
    guess = urlsafe_b64encode(hashlib.sha256(rotated.encode()).digest()).rstrip(b"=").decode()
    assert flow(holder(visitor, f"{tag}.{guess}").visit(state)).result == OUT


class Clock:
    now = 1_700_000_000_000

    def __call__(self):
        return self.now


def test_stock_sessions_behave_alike(flow):
    visitor = Visitor(rotating(stock=True), None)
    clock = visitor.sessions.keeper.shelf._clock = Clock()
    flow(visitor.visit(login("ada")))
    old = visitor.cookie
    clock.now += HOUR * 1000
    flow(visitor.visit(state))
    assert visitor.cookie != old
    late = holder(visitor, old)
    assert flow(late.visit(writing(a=1))).result is None
    assert late.cookie == visitor.cookie
    assert flow(visitor.visit(state)).result == ("ada", {"a": 1})
    clock.now += GRACE
    assert flow(holder(visitor, old).visit(state)).result == OUT
    assert flow(visitor.visit(state)).result == ("ada", {"a": 1})
    assert len(flow(visitor.sessions.directory.devices(None, "ada"))) == 1


def test_an_answer_overtaken_by_a_logins_takes_the_cookie_nowhere(flow, visitor, grow_old):
    """Its load rotated, a login came in between: its save finds that out, and the answer says nothing of an id."""
    exchange = visitor.exchange()
    grow_old(visitor.cookie)
    session = flow(visitor.sessions.load(exchange))
    session["late"] = 1
    flow(visitor.visit(login("ada")))
    visitor.receive(flow(visitor.depart(exchange)))
    assert flow(visitor.visit(state)).result == ("ada", {"cart": [1]})
    assert not isinstance(flow(visitor.visit(writing(a=1))).error, SessionReadOnly)


@pytest.mark.parametrize("with_the_old_id", [False, True])
def test_a_slow_answer_tells_nothing_of_a_rotation(flow, visitor, grow_old, monkeypatch, with_the_old_id):
    """A long poll: the login meanwhile has given the browser an id that no later answer may replace."""
    grow_old(visitor.cookie)
    twin = holder(visitor, visitor.cookie)
    if with_the_old_id:
        flow(twin.visit(state, keep=False))
    exchange = twin.exchange()
    flow(visitor.sessions.load(exchange))
    flow(visitor.visit(login("ada")))
    clock = turns.time.monotonic
    monkeypatch.setattr(turns.time, "monotonic", lambda: clock() + turns.FRESH)
    assert flow(twin.depart(exchange)).cookie is None
    monkeypatch.undo()
    assert flow(visitor.visit(writing(a=1))).error is None


def test_control_a_fresh_one_tells_it(flow, visitor, grow_old):
    grow_old(visitor.cookie)
    exchange = visitor.exchange()
    flow(visitor.sessions.load(exchange))
    assert flow(visitor.depart(exchange)).cookie is not None


def test_who_was_not_told_is_told_by_the_next_answer(flow, visitor, grow_old, monkeypatch):
    grow_old(visitor.cookie)
    exchange, before = visitor.exchange(), visitor.cookie
    flow(visitor.sessions.load(exchange))
    clock = turns.time.monotonic
    monkeypatch.setattr(turns.time, "monotonic", lambda: clock() + turns.FRESH)
    visitor.receive(flow(visitor.depart(exchange)))
    monkeypatch.undo()
    assert visitor.cookie == before
    assert flow(visitor.visit(state)).result[0] == "ada"
    assert visitor.cookie != before


@pytest.mark.parametrize("change", ["a save", "an explicit rotation", "a login", "a logout", "everybody else"])
def test_a_slow_request_is_not_held_to_the_grace(flow, visitor, grow_old, change):
    """Loaded in time with the id of before; a minute later the new one has long been used by others."""
    exchange, other = visitor.exchange(), holder(visitor, visitor.cookie)
    session = flow(visitor.sessions.load(exchange))
    grow_old(visitor.cookie)
    flow(other.visit(state))
    flow(other.visit(state))
    grow_old(other.cookie, 2 * GRACE, fields=("_p",))
    if change == "a save":
        session["late"] = 1
    elif change == "an explicit rotation":
        session.rotate()
    elif change == "a login":
        session.login("ada")
    elif change == "a logout":
        session.logout()
    else:

        async def others():
            return await session.logout_everywhere()

        assert flow(others()) == 0
    flow(visitor.depart(exchange))
    assert visitor.sessions.counters["gone"] == 0
    if change == "a save":
        assert flow(other.visit(reading())).result == {"cart": [1], "late": 1}
    elif change == "everybody else":
        assert flow(other.visit(state)).result[0] == "ada"
    elif change == "a logout":
        assert flow(other.visit(state)).result == OUT
    else:
        assert isinstance(flow(other.visit(writing(a=1))).error, SessionReadOnly)


def test_a_load_is_held_to_the_grace(flow, visitor, rotated, grow_old):
    flow(visitor.visit(state))
    grow_old(visitor.cookie, GRACE + 1, fields=("_p",))
    assert flow(holder(visitor, rotated).visit(writing(a=1))).cookie != visitor.cookie
    assert flow(visitor.visit(reading())).result == {"cart": [1]}


def test_a_websocket_saves_long_after_a_rotation_elsewhere(flow, visitor, grow_old):
    socket = visitor.exchange("WEBSOCKET")
    session = flow(visitor.sessions.load(socket))
    grow_old(visitor.cookie)
    for _ in range(2):
        flow(visitor.visit(state))
    grow_old(visitor.cookie, 10 * GRACE, fields=("_p",))
    session["seen"] = 7
    flow(session.save())
    assert flow(visitor.visit(reading())).result == {"cart": [1], "seen": 7}


def test_a_reply_that_is_lost_rotates_once(tap, flow, visitor, grow_old):
    grow_old(visitor.cookie)
    tap.drop_replies()
    assert flow(visitor.visit(state)).result[0] == "ada"
    assert flow(visitor.visit(state)).result[0] == "ada"
    assert len(flow(visitor.sessions.directory.devices(flow.store, "ada"))) == 1
