"""This release beside the one before devices, lifetimes and rotations: its scripts, its bytes, both ways."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.flows.sessions.earlier import EarlierRelease
from tests.flows.sessions.visitor import (
    Visitor,
    key_of,
    login,
    logout,
    make_sessions,
    reading,
    state,
    writing,
)
from zdd_sdk.sessions import codec

OUT = (None, {})


@pytest.fixture
def earlier(wire):
    return EarlierRelease(wire)


@pytest.fixture
def devices(flow, visitor):
    return lambda: flow(visitor.sessions.directory.devices(flow.store, "ada"))


@pytest.fixture
def everywhere(flow, visitor):
    return lambda: flow(visitor.sessions.directory.logout_everywhere(flow.store, "ada"))


def at_fields(raw):
    return {name[2:].decode(): codec.decode(data) for name, data in raw.items() if name.startswith(b"a:")}


def test_the_earlier_one_reads_saves_and_ends_what_we_wrote(flow, visitor, earlier):
    async def begin(session):
        session["cart"] = [1]
        session.login("ada", label="Firefox")
        session.set_lifetime(idle=600, browser=True)

    flow(visitor.visit(begin))
    assert at_fields(earlier.load(visitor.cookie)) == {"cart": [1]}
    assert earlier.save(visitor.cookie, theirs=1) == b"ok"
    assert flow(visitor.visit(state)).result == ("ada", {"cart": [1], "theirs": 1})
    earlier.logout(visitor.cookie)
    assert flow(visitor.visit(state)).result == OUT


def test_we_read_save_list_and_end_what_the_earlier_one_wrote(flow, visitor, earlier, devices, wire):
    visitor.cookie = earlier.login("ada", cart=[1])
    flow(visitor.visit(writing(ours=2)))
    assert at_fields(earlier.load(visitor.cookie)) == {"cart": [1], "ours": 2}
    assert devices() == ()
    wire.ask("PEXPIRE", key_of(visitor.cookie), 86_400_000)  # the next touch lists it
    flow(visitor.visit(state))
    (device,) = devices()
    assert device.label == ""
    assert flow(visitor.sessions.directory.logout_device(flow.store, "ada", device.handle))
    assert earlier.load(visitor.cookie) is None


def test_log_out_everywhere_ends_what_the_earlier_one_has_begun(flow, visitor, earlier, everywhere):
    visitor.cookie = earlier.login("ada", cart=[1])
    everywhere()
    assert flow(visitor.visit(state)).result == OUT
    assert earlier.load(visitor.cookie) is None  # we have deleted it


def test_a_login_at_the_earlier_one_after_that_is_a_login(flow, visitor, earlier, everywhere):
    everywhere()
    time.sleep(0.005)  # to the millisecond, which all it wrote is
    visitor.cookie = earlier.login("ada")
    assert flow(visitor.visit(state)).result[0] == "ada"


def test_its_rotation_does_not_bring_back_what_has_ended(flow, visitor, earlier, everywhere):
    visitor.cookie = earlier.login("ada")
    everywhere()
    rotated = earlier.rotate(visitor.cookie, "ada")
    assert flow(Visitor(visitor.sessions, flow.store, rotated).visit(state)).result == OUT


def test_its_rotation_of_what_a_log_out_everywhere_has_kept_stays_logged_in(flow, visitor, earlier):
    async def others(session):
        await session.logout_everywhere()

    flow(visitor.visit(login("ada")))
    flow(visitor.visit(others))
    visitor.cookie = earlier.rotate(visitor.cookie, "ada")
    assert flow(visitor.visit(state)).result == ("ada", {})


def test_its_rotation_of_ours_stays_logged_in(flow, visitor, earlier):
    flow(visitor.visit(login("ada")))
    visitor.cookie = earlier.rotate(visitor.cookie, "ada")
    assert flow(visitor.visit(state)).result[0] == "ada"
    flow(visitor.visit(writing(a=1)))
    assert flow(visitor.visit(state)).result == ("ada", {"a": 1})


def test_our_login_and_rotation_on_top_of_theirs(flow, visitor, earlier, devices):
    visitor.cookie = earlier.login("ada", cart=[1])

    async def rotate(session):
        session.rotate()

    flow(visitor.visit(rotate))
    assert flow(visitor.visit(state)).result == ("ada", {"cart": [1]})
    assert len(devices()) == 1
    flow(visitor.visit(login("ada")))
    assert len(devices()) == 1
    flow(visitor.answer(visitor.exchange(), logout, load=False))
    assert devices() == ()


def test_control_while_the_earlier_one_serves_a_rotated_id_is_unknown_there(flow, earlier, wire):
    """Why nothing is rotated before every live worker follows: the earlier release takes its user for logged out."""
    visitor = Visitor(make_sessions(rotate_every=3600.0), flow.store)
    flow(visitor.visit(login("ada")))
    old = visitor.cookie
    wire.ask("HSET", key_of(old), "_r", 1)
    flow(visitor.visit(state))
    assert (visitor.cookie, earlier.load(old) is not None) == (old, True)  # the fleet has not agreed
    visitor.sessions._can_rotate = lambda: True
    flow(visitor.visit(state))
    assert (visitor.cookie != old, earlier.load(old)) == (True, None)
    assert earlier.load(visitor.cookie) is not None


def test_both_releases_alternate_and_lose_nothing(flow, visitor, earlier):
    flow(visitor.visit(login("ada")))
    for number in range(6):
        earlier.save(visitor.cookie, **{f"theirs{number}": number})
        flow(visitor.visit(writing(**{f"ours{number}": number})))
    expected = {f"{who}{number}": number for number in range(6) for who in ("theirs", "ours")}
    assert flow(visitor.visit(reading())).result == expected


def test_the_golden_session_is_served(flow, visitor, wire):
    """The bytes of layout 1, under a live end: read, saved and ended as any other."""
    golden = json.loads(Path("tests/golden/sessions/v1.json").read_text(encoding="utf-8"))["session"]
    flow(visitor.visit(writing(a=1)))
    key, now = key_of(visitor.cookie), int(wire.ask("TIME")[0]) * 1000
    wire.ask("DEL", key)
    flat = [part for name, data in golden.items() for part in (name, bytes.fromhex(data))]
    wire.ask("HSET", key, *flat)
    wire.ask("HSET", key, "_x", now + 86_400_000)
    wire.ask("PEXPIRE", key, 1_000_000)
    user, fields = flow(visitor.visit(state)).result
    assert (user, fields) == ("ada", {"cart": [{"sku": "tea", "count": 2}], "ключ": None})
    flow(visitor.visit(writing(a=2)))
    assert wire.ask("HMGET", key, "z:later", "_z") == [b"kept", b"meta of a later release"]
