"""Limits at their edges, met by requests at the same time and by two releases: a typed answer, and nothing is lost."""

from __future__ import annotations

import functools

import pytest

from tests.flows.sessions.controls import save_carelessly
from tests.flows.sessions.visitor import Visitor, key_of, login, make_sessions, place_of, reading, state, writing
from zdd_sdk.errors import SessionTooLarge, SessionValueError
from zdd_sdk.sessions import codec
from zdd_sdk.sessions.calls import SessionCalls
from zdd_sdk.sessions.model import MAX_FIELDS
from zdd_sdk.sessions.operations import Save
from zdd_sdk.settings import SessionSettings

KIB = 1024
HEADER = len(codec.encode("x" * 60_000)) - 60_000


def many(letter, count):
    """Write so many small fields."""
    return writing(**{f"{letter}{number}": number for number in range(count)})


def bulky(letter, count=2, size=60_000):
    """Write so many large fields."""
    return writing(**{f"{letter}{number}": "x" * size for number in range(count)})


def deleting(*names, **values):
    async def handler(session):
        for name in names:
            del session[name]
        session.update(values)

    return handler


def at_once(flow, visitor, *handlers):
    """Requests of one browser, all loaded before the first one saves."""
    exchanges = [visitor.exchange() for _ in handlers]
    for exchange in exchanges:
        flow(visitor.sessions.load(exchange))
    pairs = zip(exchanges, handlers, strict=True)
    return [flow(visitor.answer(exchange, handler, keep=False, load=False)) for exchange, handler in pairs]


def grown_elsewhere(wire, cookie, count, size=1):
    """What releases have left that looked at their own changes only."""
    for number in range(count):
        save_carelessly(wire, key_of(cookie), f"a:old{number}", codec.encode("x" * size))


def test_what_together_is_too_large_is_refused_to_those_who_come_later(flow, visitor, hash_of):
    flow(visitor.visit(writing(a="1")))
    replies = at_once(flow, visitor, *(bulky(letter) for letter in "bcdef"))
    assert [reply.status for reply in replies] == [200, 200, 413, 413, 413]
    assert all(reply.cookie is None for reply in replies)
    held = hash_of(visitor.cookie)
    assert sum(len(name) + len(data) for name, data in held.items() if name.startswith(b"a:")) <= 256 * KIB
    assert set(flow(visitor.visit(reading())).result) == {"a", "b0", "b1", "c0", "c1"}


def test_so_are_fields(flow, visitor):
    flow(visitor.visit(writing(a="1")))
    replies = at_once(flow, visitor, many("b", 600), many("c", 423), many("d", 1), many("b", 1), bulky("b", 1))
    assert [reply.status for reply in replies] == [200, 200, 413, 200, 200]
    assert len(flow(visitor.visit(reading())).result) == MAX_FIELDS


def test_to_the_byte(flow):
    visitor = Visitor(make_sessions(max_field=8 * KIB, max_session=8 * KIB), flow.store)
    flow(visitor.visit(writing(a="x" * (4000 - HEADER))))
    free = 8 * KIB - 4000 - 3 * len("a:a")
    for more, status in ((0, 200), (1, 413)):
        flow(visitor.visit(deleting(b="", c="")))
        first, last = writing(b="x" * (free - 2000 - HEADER)), writing(c="x" * (2000 - HEADER + more))
        assert [reply.status for reply in at_once(flow, visitor, first, last)] == [200, status]


def test_an_explicit_save_is_told_and_may_try_with_less(flow, visitor):
    async def handler(session):
        session["late"] = "x" * 60_000
        session["small"] = 1
        with pytest.raises(SessionTooLarge, match="what other requests have saved"):
            await session.save()
        del session["late"]
        await session.save()

    flow(visitor.visit(writing(a="1")))
    replies = at_once(flow, visitor, bulky("b", 4), handler)
    assert [reply.status for reply in replies] == [200, 200]
    assert set(flow(visitor.visit(reading())).result) == {"a", "b0", "b1", "b2", "b3", "small"}


def test_control_without_the_look_it_grows_beyond_every_limit(flow, visitor, wire):
    flow(visitor.visit(writing(a="1")))
    for letter in "bcdef":
        calls = SessionCalls(SessionSettings(), "1")
        sets = {f"a:{letter}{number}".encode(): codec.encode("x" * 60_000) for number in range(4)}
        flow(flow.store.ask(calls.call(Save(place_of(visitor.cookie), letter.encode() * 8, sets, []))))
    assert wire.ask("HSTRLEN", key_of(visitor.cookie), "a:f3") > 60_000
    assert len(flow(visitor.visit(reading())).result) == 21


def test_one_that_has_grown_beyond_a_limit_can_be_made_smaller_and_not_larger(flow, visitor, wire):
    flow(visitor.visit(writing(a="1")))
    grown_elsewhere(wire, visitor.cookie, 8, size=60_000)
    assert flow(visitor.visit(writing(b="more"))).status == 413
    assert flow(visitor.visit(deleting("old0", a="2"))).status == 200
    grown_elsewhere(wire, visitor.cookie, 7, size=60_000)
    replies = at_once(flow, visitor, writing(a="3"), deleting("old1", b="less"), writing(c="more"))
    assert [reply.status for reply in replies] == [200, 200, 413]
    assert flow(visitor.visit(reading("a", "b", "c"))).result == {"a": "3", "b": "less", "c": None}


@pytest.mark.parametrize("count", [1500, 4500, 9000])
def test_a_session_with_thousands_of_fields_is_loaded_logged_in_and_cleared(flow, visitor, wire, count):
    """Lua's ``unpack`` ends at 8,000: a login that failed there had left the session behind as a marker."""
    flow(visitor.visit(writing(a="1")))
    pairs = [part for number in range(count) for part in (f"a:old{number}", codec.encode(number))]
    wire.ask("HSET", key_of(visitor.cookie), *pairs)
    assert flow(visitor.visit(login("ada"))).status == 200
    user, fields = flow(visitor.visit(state)).result
    assert (user, len(fields), fields["a"], fields[f"old{count - 1}"]) == ("ada", count + 1, "1", count - 1)

    async def clear(session):
        session.clear()
        session["b"] = 1

    assert flow(visitor.visit(clear)).status == 200
    assert flow(visitor.visit(state)).result == ("ada", {"b": 1})


def test_a_login_takes_along_what_another_request_saved_even_beyond_the_limit(flow, visitor):
    """Both were within it when they were judged, and what was accepted is not thrown away."""
    flow(visitor.visit(writing(a="1")))
    logging_in, writer = visitor.exchange(), visitor.exchange()
    for exchange in (logging_in, writer):
        flow(visitor.sessions.load(exchange))
    flow(visitor.answer(writer, bulky("b", 4), keep=False, load=False))

    async def both(session):
        session["c"] = "x" * 60_000
        session.login("ada")

    assert flow(visitor.answer(logging_in, both, load=False)).status == 200
    user, fields = flow(visitor.visit(state)).result
    assert (user, set(fields)) == ("ada", {"a", "b0", "b1", "b2", "b3", "c"})
    assert flow(visitor.visit(deleting("b0", "b1", d=1))).status == 200


def test_a_list_that_grows_over_the_limit_in_parallel_is_refused_to_some_and_whole(flow, visitor):
    async def append(session, item):
        session.append("log", item * 10_000)

    flow(visitor.visit(writing(other="1")))
    replies = at_once(flow, visitor, *(functools.partial(append, item=letter) for letter in "abcdefgh"))
    assert [reply.status for reply in replies] == [200] * 6 + [413] * 2
    found = flow(visitor.visit(reading())).result
    assert ([item[0] for item in found["log"]], found["other"]) == (list("abcdef"), "1")


def test_two_releases_that_merge_up_to_the_limit_lose_nothing(flow, visitor):
    """The old release allows a smaller session and smaller fields; each refuses by its own limits."""
    old, new = make_sessions(release="1", max_session=128 * KIB), make_sessions(release="2")
    flow(visitor.visit(writing(n=0)))
    accepted = 0
    for number in range(12):
        visitor.sessions = old if number % 2 else new

        async def grow(session, number=number):
            session.add("n", 1)
            session.append(f"log{number % 3}", "x" * 14_000)

        reply = flow(visitor.visit(grow))
        accepted += reply.status == 200
        assert reply.status in (200, 413)
    found = flow(visitor.visit(reading())).result
    assert found["n"] == accepted == sum(len(found[f"log{number}"]) for number in range(3))
    assert 8 < accepted < 12


def test_128_saves_within_ten_seconds_are_each_known_again(flow, visitor, wire):
    """A save sent again after 127 others counts once; after 128 it is not known any more, as the docs say."""
    flow(visitor.visit(writing(n=0)))
    calls, place = SessionCalls(SessionSettings(), "1"), place_of(visitor.cookie)

    def save(number):
        data = {b"a:n": codec.encode(number)}
        return flow(flow.store.ask(calls.call(Save(place, b"%08d" % number, data, []))))[0]

    revisions = [save(number).revision for number in range(128)]
    assert save(0).revision == revisions[-1]
    assert codec.decode(wire.ask("HGET", key_of(visitor.cookie), "a:n")) == 127
    assert len(wire.ask("HGET", key_of(visitor.cookie), "_t")) == 128 * 8
    save(128)
    assert save(0).revision == revisions[-1] + 2, "control: the oldest has been forgotten"


@pytest.mark.parametrize(
    "name", ["n" * 256, "n" * 4096, "é" * 128, "\ud800"], ids=["256", "4 KiB", "bytes", "surrogate"]
)
def test_a_name_that_is_too_long_is_refused_where_it_is_used(flow, visitor, hash_of, name):
    async def handler(session):
        for use in (session.__setitem__, session.add, session.append):
            with pytest.raises(SessionValueError, match="at most 255 bytes"):
                use(name, 1)
        assert name not in session
        assert session.get(name) is None

    flow(visitor.visit(writing(a=1)))
    before = hash_of(visitor.cookie)
    assert flow(visitor.visit(handler)).status == 200
    assert hash_of(visitor.cookie) == before


def test_a_field_with_a_name_nobody_could_write_is_read_and_kept(flow, visitor, wire):
    flow(visitor.visit(writing(a=1)))
    wire.ask("HSET", key_of(visitor.cookie), b"a:" + b"n" * 4096, codec.encode(2), b"a:\xff", codec.encode(3))
    flow(visitor.visit(login("ada")))
    assert flow(visitor.visit(state)).result == ("ada", {"a": 1, "n" * 4096: 2})
    assert wire.ask("HEXISTS", key_of(visitor.cookie), b"a:\xff") == 1


def test_in_stock_mode_the_limits_are_the_same(flow):
    visitor = Visitor(make_sessions(stock=True), flow.store)
    flow(visitor.visit(writing(a="1")))
    replies = at_once(flow, visitor, *(bulky(letter) for letter in "bcd"), many("e", 1020))
    assert [reply.status for reply in replies] == [200, 200, 413, 413]
    assert set(flow(visitor.visit(reading())).result) == {"a", "b0", "b1", "c0", "c1"}
