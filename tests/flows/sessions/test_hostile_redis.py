"""What Redis may turn into under us: clocks that go back, indexes that are lost, fields and keys full of garbage."""

from __future__ import annotations

import time

import pytest

from tests.flows.sessions.visitor import Visitor, index_of, key_of, login, logout, make_sessions, state, writing

OUT = (None, {})
AHEAD = 60_000


@pytest.fixture
def ahead(wire):
    """Have all that a login wrote stem from a server whose clock was ahead: the one before a failover."""

    def change(cookie, user="ada", milliseconds=AHEAD):
        key, index = key_of(cookie), index_of(user)
        for field in ("_c", "_e", "_r"):
            wire.ask("HSET", key, field, int(wire.ask("HGET", key, field)) + milliseconds)
        entries = [field for field in wire.ask("HKEYS", index) if field.startswith(b"d:")]
        for field in entries:
            one, digest, created, seen, expires, label = wire.ask("HGET", index, field).split(b" ", 5)
            if digest.decode() == key[-64:]:
                times = [b"%d" % (int(number) + milliseconds) for number in (created, seen, expires)]
                wire.ask("HSET", index, field, b" ".join((one, digest, *times, label)))
        if len(entries) == 1:
            wire.ask("HSET", index, "_b", int(wire.ask("HGET", index, "_b")) + milliseconds)

    return change


def test_log_out_everywhere_ends_logins_from_before_the_clock_went_back(flow, visitor, ahead):
    flow(visitor.visit(login("ada")))
    ahead(visitor.cookie)
    flow(visitor.sessions.directory.logout_everywhere(flow.store, "ada"))
    assert flow(visitor.visit(state)).result == OUT
    again = Visitor(visitor.sessions, flow.store)
    flow(again.visit(login("ada")))
    assert flow(again.visit(state)).result[0] == "ada"


def test_also_one_that_was_touched_in_between(flow, visitor, ahead, wire):
    flow(visitor.visit(login("ada")))
    ahead(visitor.cookie)
    wire.ask("PEXPIRE", key_of(visitor.cookie), 600_000)
    assert flow(visitor.visit(state)).result[0] == "ada"
    flow(visitor.sessions.directory.logout_everywhere(flow.store, "ada"))
    assert flow(visitor.visit(state)).result == OUT


def test_the_kept_one_stays_through_it(flow, visitor, ahead):
    other = Visitor(visitor.sessions, flow.store)
    flow(visitor.visit(login("ada")))
    flow(other.visit(login("ada")))
    ahead(other.cookie)

    async def everybody_else(session):
        return await session.logout_everywhere()

    assert flow(visitor.visit(everybody_else)).result == 1
    assert flow(other.visit(state)).result == OUT
    assert flow(visitor.visit(state)).result[0] == "ada"


def test_control_now_as_the_epoch_misses_them():
    since, now = AHEAD, 0
    assert not since < now + 1


@pytest.mark.parametrize("first", ["a login", "a visit"])
def test_what_had_ended_stays_ended_when_the_index_is_lost_and_begun_anew(flow, visitor, wire, first):
    thief, owner = visitor, Visitor(visitor.sessions, flow.store)
    flow(thief.visit(login("ada")))
    time.sleep(0.002)
    flow(visitor.sessions.directory.logout_everywhere(flow.store, "ada"))
    wire.ask("DEL", index_of("ada"))
    if first == "a visit":
        assert flow(Visitor(thief.sessions, flow.store, thief.cookie).visit(state)).result == OUT
    flow(owner.visit(login("ada")))
    assert flow(thief.visit(state)).result == OUT
    assert flow(thief.visit(writing(a=1))).result is None
    assert flow(owner.visit(state)).result[0] == "ada"
    assert len(flow(owner.sessions.directory.devices(flow.store, "ada"))) == 1


def test_of_a_release_without_lists_it_lives_on_beside_an_index_begun_later(flow, visitor, wire):
    older, newer = visitor, Visitor(visitor.sessions, flow.store)
    flow(older.visit(login("ada")))
    wire.ask("HDEL", key_of(older.cookie), "_i", "_e", "_r")
    wire.ask("DEL", index_of("ada"))
    time.sleep(0.002)
    flow(newer.visit(login("ada")))
    wire.ask("PEXPIRE", key_of(older.cookie), 600_000)
    for _ in range(2):
        assert [flow(visitor.visit(state)).result[0] for visitor in (older, newer)] == ["ada", "ada"]
    assert len(flow(older.sessions.directory.devices(flow.store, "ada"))) == 2
    flow(older.sessions.directory.logout_everywhere(flow.store, "ada"))
    assert [flow(visitor.visit(state)).result for visitor in (older, newer)] == [OUT, OUT]


HASH = "0" * 64
ENTRIES = [
    "",
    "1",
    "garbage",
    "2 a new layout",
    f"1 {HASH} 1 1 {'9' * 400} far",
    f"1 {HASH} {'9' * 17} 1 {'9' * 16} x",
    f"1 {HASH} {'9' * 5000} 1 {'9' * 15} x",
    f"1 {HASH} -1 -1 -1 x",
    b"1 \xff\xfe",
    b"\x00" * 300,
]


@pytest.mark.parametrize("entry", ENTRIES, ids=range(len(ENTRIES)))
def test_garbage_in_the_index_hides_nobody(flow, visitor, wire, entry):
    flow(visitor.visit(login("ada")))
    device, directory = "0" * 22, visitor.sessions.directory
    for name in ("x", device, ""):
        wire.ask("HSET", index_of("ada"), f"d:{name}", entry)
    assert len([d for d in flow(directory.devices(flow.store, "ada")) if d.handle[22:] != HASH]) == 1
    assert not flow(directory.logout_device(flow.store, "ada", device + "1" * 64))
    other = Visitor(visitor.sessions, flow.store)
    flow(other.visit(login("ada")))
    assert [flow(v.visit(state)).result[0] for v in (visitor, other)] == ["ada", "ada"]
    flow(directory.logout_everywhere(flow.store, "ada"))
    assert [flow(v.visit(state)).result for v in (visitor, other)] == [OUT, OUT]


GARBAGE = ["", "x", "nan", "inf", "-1", "9" * 400, "0x10", b"\xff"]


@pytest.mark.parametrize("field", ["_c", "_m", "_x", "_e", "_i", "_r", "_o", "_p", "_g", "_d", "_t", "_n", "_l"])
def test_garbage_in_a_session_is_no_error(flow, field, wire):
    sessions = make_sessions(rotate_every=60.0)
    sessions._can_rotate = lambda: True
    for value in GARBAGE:
        visitor = Visitor(sessions, flow.store)
        flow(visitor.visit(login("ada")))
        wire.ask("HSET", key_of(visitor.cookie), field, value)
        for handler in (state, writing(a=1), login("ada"), state, logout):
            assert (flow(visitor.visit(handler)).status, value) == (200, value)


@pytest.mark.parametrize("field", ["_v", "_e", "_b", "_t", "_n"])
def test_garbage_in_the_index_is_no_error(flow, sessions, wire, field):
    for value in GARBAGE:
        visitor = Visitor(sessions, flow.store)
        flow(visitor.visit(login("ada")))
        wire.ask("HSET", index_of("ada"), field, value)
        for handler in (state, writing(a=1), login("ada"), state):
            assert (flow(visitor.visit(handler)).status, value) == (200, value)
        flow(sessions.directory.logout_everywhere(flow.store, "ada"))
        assert flow(visitor.visit(state)).result == OUT


def test_an_index_of_another_type_answers_503_or_ends_and_a_logout_works(flow, visitor, wire):
    flow(visitor.visit(login("ada")))
    wire.ask("DEL", index_of("ada"))
    wire.ask("SET", index_of("ada"), "x")
    assert flow(Visitor(visitor.sessions, flow.store).visit(login("ada"))).status == 503
    reply = flow(visitor.visit(logout))
    assert (reply.status, "Max-Age=0" in reply.cookie) == (200, True)
    assert wire.ask("GET", index_of("ada")) == b"x"


def test_a_session_of_another_type_is_a_503_and_keeps_its_cookie(flow, visitor, wire):
    flow(visitor.visit(login("ada")))
    wire.ask("DEL", key_of(visitor.cookie))
    wire.ask("SET", key_of(visitor.cookie), "x")
    reply = flow(visitor.visit(state))
    assert (reply.status, reply.cookie) == (503, None)


def test_a_session_without_a_ttl_gets_one_back(flow, visitor, wire):
    flow(visitor.visit(login("ada")))
    wire.ask("PERSIST", key_of(visitor.cookie))
    wire.ask("PERSIST", index_of("ada"))
    assert flow(visitor.visit(state)).result[0] == "ada"
    assert wire.ask("PTTL", key_of(visitor.cookie)) > 0
    assert wire.ask("PTTL", index_of("ada")) > 0


def test_an_index_of_many_thousands_shrinks_and_never_grows(flow, visitor, wire):
    flow(visitor.visit(login("ada")))
    far = 1 << 42
    many = [part for n in range(3000) for part in (f"d:{n:022x}", f"1 {HASH} 1 {n} {far} x")]
    for at in range(0, len(many), 2000):
        wire.ask("HSET", index_of("ada"), *many[at : at + 2000])
    other = Visitor(visitor.sessions, flow.store)
    flow(other.visit(login("ada")))
    fields = [field for field in wire.ask("HKEYS", index_of("ada")) if field.startswith(b"d:")]
    assert len(fields) == 1000
    assert len(flow(visitor.sessions.directory.devices(flow.store, "ada"))) == 1000
    assert [flow(v.visit(state)).result[0] for v in (visitor, other)] == ["ada", "ada"]


def test_who_fell_off_a_full_list_lives_on_and_does_not_make_it_longer(flow, visitor, wire):
    flow(visitor.visit(login("ada")))
    (own,) = [field for field in wire.ask("HKEYS", index_of("ada")) if field.startswith(b"d:")]
    wire.ask("HDEL", index_of("ada"), own)
    far = 1 << 42
    full = [part for n in range(1000) for part in (f"d:{n:022x}", f"1 {HASH} 1 {n} {far} x")]
    wire.ask("HSET", index_of("ada"), *full)
    wire.ask("PEXPIRE", key_of(visitor.cookie), 600_000)
    assert flow(visitor.visit(state)).result[0] == "ada"
    assert sum(field.startswith(b"d:") for field in wire.ask("HKEYS", index_of("ada"))) == 1000
    flow(visitor.sessions.directory.logout_everywhere(flow.store, "ada"))
    assert flow(visitor.visit(state)).result == OUT
