"""Two releases on one cookie: whatever the other one wrote survives."""

from __future__ import annotations

import random

import pytest

from tests.flows.sessions.visitor import Visitor, key_of, login, make_sessions, reading, state, writing
from zdd_sdk.errors import RecordTooNew, RecordUndecodable
from zdd_sdk.sessions import codec
from zdd_sdk.store.record import frame

NEWER = frame(b"\x02\x00\xc0")
BROKEN = frame(b"\x01\x00\xc1")


@pytest.fixture
def later(flow, visitor, wire):
    """A session to which a later release has added what this one does not know."""
    flow(visitor.visit(writing(known=1)))
    key = key_of(visitor.cookie)
    wire.ask("HSET", key, "a:newer", NEWER, "a:broken", BROKEN, "_w", "2", "z:later", "other", "_y", "of theirs")
    return visitor


def test_saves_keep_what_they_do_not_know(flow, later, hash_of):
    flow(later.visit(writing(known=2, more=3)))
    raw = hash_of(later.cookie)
    assert (raw[b"a:newer"], raw[b"a:broken"], raw[b"z:later"], raw[b"_y"]) == (NEWER, BROKEN, b"other", b"of theirs")


def test_a_login_takes_along_what_it_does_not_know(flow, later, hash_of):
    flow(later.visit(login("ada")))
    raw = hash_of(later.cookie)
    assert (raw[b"a:newer"], raw[b"a:broken"], raw[b"z:later"]) == (NEWER, BROKEN, b"other")
    assert b"_y" not in raw
    flow(later.visit(login("bob")))
    assert b"z:later" not in hash_of(later.cookie)


def test_only_reading_the_field_raises(flow, later):
    async def handler(session):
        assert "newer" in session
        assert "broken" in session
        assert set(session) == {"known", "newer", "broken"}
        assert len(session) == 3
        assert session["known"] == 1
        with pytest.raises(RecordTooNew, match="'newer'"):
            session["newer"]
        with pytest.raises(RecordUndecodable, match="'broken'"):
            session.get("broken")

    assert flow(later.visit(handler)).error is None
    assert later.sessions.counters["undecodable"] == {"2": 2}


def test_setting_and_deleting_them_is_meant(flow, later):
    async def handler(session):
        session["newer"] = "mine"
        del session["broken"]

    flow(later.visit(handler))
    assert flow(later.visit(reading())).result == {"known": 1, "newer": "mine"}


def test_clear_needs_to_read_nothing(flow, later, hash_of):
    async def handler(session):
        session.clear()

    flow(later.visit(handler))
    assert not any(name.startswith(b"a:") for name in hash_of(later.cookie))


def test_a_session_for_newer_readers_only_is_left_alone(flow, later, wire, hash_of):
    wire.ask("HSET", key_of(later.cookie), "_n", "2")
    before = hash_of(later.cookie)
    reply = flow(later.visit(writing(known=9)))
    assert isinstance(reply.error, RecordTooNew)
    assert reply.cookie is None
    assert hash_of(later.cookie) == before


def test_the_writer_is_kept(flow, visitor, hash_of):
    flow(visitor.visit(writing(a=1)))
    assert hash_of(visitor.cookie)[b"_w"] == b"1"
    visitor.sessions = make_sessions(release="2")
    flow(visitor.visit(writing(a=2)))
    assert hash_of(visitor.cookie)[b"_w"] == b"2"


class Shop:
    """What two releases of one application do to a session: they share some fields and not others."""

    def __init__(self, flow, users):
        self.flow = flow
        self.old, self.new = make_sessions(release="1"), make_sessions(release="2")
        self.visitors = [Visitor(self.old, flow.store) for _ in range(users)]
        self.random = random.Random(7)

    async def old_release(self, session):
        session["removed"] = session.get("removed", 0) + 1
        session["cart"] = [*(session["cart"] if isinstance(session.get("cart"), list) else []), "old"]

    async def new_release(self, session):
        session["added"] = session.get("added", 0) + 1
        session["cart"] = {"items": session.get("cart"), "by": "new"}

    async def live(self, number, visitor):
        """One user: logs in, then meets both releases in turn."""
        visits = {"removed": 0, "added": 0}
        await visitor.visit(login(f"user{number}"))
        for _ in range(4):
            for sessions, handler, field in (
                (self.old, self.old_release, "removed"),
                (self.new, self.new_release, "added"),
            ):
                visitor.sessions = sessions
                if self.random.random() < 0.7:
                    visits[field] += 1
                    await visitor.visit(handler)
        user, fields = (await visitor.visit(state)).result
        wrong = user != f"user{number}" or any(fields.get(name, 0) != times for name, times in visits.items())
        return wrong or "cart" not in fields


def test_two_releases_alternate_on_one_cookie(flow, engine):
    users = 60 if engine.kind == "fakeredis" else 1000 if flow.kind == "blocking" else 200
    shop = Shop(flow, users)
    wrong = sum(flow(shop.live(number, visitor)) for number, visitor in enumerate(shop.visitors))
    assert wrong == 0
    assert all(sessions.counters["gone"] == 0 for sessions in (shop.old, shop.new))


def test_control_a_release_that_writes_what_it_knows_loses_fields(flow, visitor, wire):
    flow(visitor.visit(writing(known=1, added=2)))
    key = key_of(visitor.cookie)
    wire.ask("DEL", key)  # a release that rewrites the whole session from the fields of its own model
    wire.ask("HSET", key, "a:known", codec.encode(1))
    assert b"a:added" not in wire.ask("HKEYS", key)
