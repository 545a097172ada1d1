"""A rotation whose answer never arrives: the id it has left comes back, unless somebody has used the new one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from msgspec.structs import replace

from tests.flows.sessions.visitor import Visitor, key_of, login, logout, make_sessions, reading, state, writing
from zdd_sdk.errors import SessionReadOnly
from zdd_sdk.sessions.calls import SessionCalls
from zdd_sdk.sessions.operations import Create

OUT = (None, {})


async def rotate(session):
    session.rotate()


async def second_factor(session):
    session["sudo"] = True
    session.rotate()


async def others(session):
    await session.logout_everywhere()


@dataclass
class Left(Visitor):
    """Who has an id that a rotation has left behind."""

    wire: Any = None

    def pass_grace(self):
        self.wire.ask("HSET", key_of(self.cookie), "_x", 1)


@pytest.fixture
def leave(visitor, wire):
    """Have somebody keep the id that the visitor has now."""
    return lambda: Left(visitor.sessions, visitor.store, visitor.cookie, wire=wire)


@pytest.fixture
def left(flow, visitor, leave):
    """Who still has the id before a second factor; the visitor has the new one, and has not used it."""
    flow(visitor.visit(login("ada")))
    flow(visitor.visit(writing(cart=[1])))
    old = leave()
    flow(visitor.visit(second_factor))
    assert visitor.cookie != old.cookie
    return old


def listed(flow, visitor):
    return flow(visitor.sessions.directory.devices(flow.store, "ada"))


def test_it_is_read_only_until_the_grace_is_over_and_then_what_it_was(flow, visitor, left, hash_of):
    ends = hash_of(visitor.cookie)[b"_x"]
    assert flow(left.visit(state)).result == ("ada", {"cart": [1]})
    assert isinstance(flow(left.visit(writing(a=1))).error, SessionReadOnly)
    left.pass_grace()
    assert flow(left.visit(state)).result == ("ada", {"cart": [1]}), "and not what the rotation was for"
    assert flow(left.visit(writing(a=1))).status == 200
    assert flow(left.visit(state)).result == ("ada", {"cart": [1], "a": 1})
    assert hash_of(left.cookie)[b"_x"] == ends
    (device,) = listed(flow, visitor)
    assert device.handle[22:] == key_of(left.cookie)[-64:]


def test_once_the_new_one_was_used_it_does_not(flow, visitor, left):
    flow(visitor.visit(state))
    left.pass_grace()
    assert flow(left.visit(state)).result == OUT
    assert flow(visitor.visit(state)).result == ("ada", {"cart": [1], "sudo": True})


def test_control_what_expires_by_itself_is_lost(flow, left, wire):
    wire.ask("PEXPIRE", key_of(left.cookie), 0)
    assert flow(left.visit(state)).result == OUT


def test_who_comes_late_with_the_new_one_ends_what_has_come_back(flow, visitor, left):
    """An owner who was away for a minute, and a thief who was not."""
    left.pass_grace()
    assert flow(left.visit(state)).result[0] == "ada"
    exchange = left.exchange()
    session = flow(left.sessions.load(exchange))
    session["late"] = 1
    assert flow(visitor.visit(state)).result == ("ada", {"cart": [1], "sudo": True})
    flow(left.depart(exchange))
    assert left.sessions.counters["gone"] == 1
    assert flow(left.visit(state)).result == OUT
    assert flow(visitor.visit(state)).result[0] == "ada"
    assert len(listed(flow, visitor)) == 1


def test_who_comes_late_with_the_new_one_ends_what_that_has_rotated_to(flow, visitor, left):
    left.pass_grace()
    flow(left.visit(state))
    flow(left.visit(rotate))
    assert flow(left.visit(state)).result == ("ada", {"cart": [1]})
    assert flow(visitor.visit(state)).result == ("ada", {"cart": [1], "sudo": True})
    assert flow(left.visit(state)).result == OUT


@pytest.mark.parametrize("way", ["logout", "login", "another user", "log out everywhere", "device", "rotation"])
@pytest.mark.parametrize("came_back", [False, True])
def test_what_the_new_one_has_ended_stays_ended(flow, visitor, left, way, came_back):
    if came_back:
        left.pass_grace()
        assert flow(left.visit(state)).result[0] == "ada"
        flow(visitor.visit(state))
    handlers = {"logout": logout, "login": login("ada"), "another user": login("bob"), "rotation": rotate}
    if way in handlers:
        flow(visitor.visit(handlers[way]))
    elif way == "log out everywhere":
        flow(visitor.sessions.directory.logout_everywhere(flow.store, "ada"))
    else:
        (device,) = listed(flow, visitor)
        assert flow(visitor.sessions.directory.logout_device(flow.store, "ada", device.handle))
    if not came_back:
        left.pass_grace()
    assert flow(left.visit(state)).result == OUT


def test_a_login_from_what_was_left_ends_it(flow, visitor, left):
    """Whose answer was lost logs in again at once; a thief with the same id must not outlast that."""
    thief = Left(left.sessions, flow.store, left.cookie, wire=left.wire)
    flow(left.visit(login("ada")))
    thief.pass_grace()
    assert flow(thief.visit(state)).result == OUT
    assert flow(left.visit(state)).result == ("ada", {"cart": [1]})


@pytest.mark.parametrize("then", [login("ada"), login("bob"), logout], ids=["login", "another user", "logout"])
def test_what_has_come_back_is_a_session_like_any_other(flow, left, wire, then):
    left.pass_grace()
    flow(left.visit(state))
    thief = Left(left.sessions, flow.store, left.cookie, wire=wire)
    flow(left.visit(then))
    if wire.ask("EXISTS", key_of(thief.cookie)):
        assert not wire.ask("HEXISTS", key_of(thief.cookie), "_q")
        assert wire.ask("PTTL", key_of(thief.cookie)) <= 30_000
        thief.pass_grace()
    assert flow(thief.visit(state)).result == OUT


def test_it_may_rotate_again_and_that_answer_be_lost_too(flow, left):
    for _ in range(2):
        left.pass_grace()
        assert flow(left.visit(state)).result == ("ada", {"cart": [1]})
        flow(left.visit(second_factor, keep=False))


def test_a_login_never_comes_back(flow, visitor, leave):
    """Fixation: who planted the id of before must not wait for the grace to end."""
    flow(visitor.visit(writing(cart=[1])))
    for user in ("ada", "ada"):
        attacker = leave()
        flow(visitor.visit(login(user)))
        attacker.pass_grace()
        assert flow(attacker.visit(state)).result == OUT


@pytest.mark.parametrize("why", ["nobody is logged in", "no grace"])
def test_what_has_no_list_or_no_grace_does_not(flow, wire, why):
    visitor = Visitor(make_sessions(login_grace=0.0 if why == "no grace" else 30.0), flow.store)
    flow(visitor.visit(writing(a=1)))
    if why == "no grace":
        flow(visitor.visit(login("ada")))
    old = Visitor(visitor.sessions, flow.store, visitor.cookie)
    flow(visitor.visit(rotate))
    if why != "no grace":
        wire.ask("HSET", key_of(old.cookie), "_x", 1)
    assert flow(old.visit(state)).result == OUT


def test_a_reply_that_is_lost_changes_nothing(tap, flow, visitor, leave):
    flow(visitor.visit(login("ada")))
    old, exchange = leave(), visitor.exchange()
    flow(visitor.sessions.load(exchange)).rotate()
    tap.drop_replies()
    flow(visitor.depart(exchange))
    old.pass_grace()
    assert flow(old.visit(state)).result == ("ada", {})


def test_a_rotation_whose_new_session_redis_refuses_costs_nobody_the_old_one(flow, visitor, leave, wire, monkeypatch):
    flow(visitor.visit(login("ada")))
    flow(visitor.visit(writing(cart=[1])))
    build = SessionCalls.call

    def refused(self, operation):
        call = build(self, operation)
        if not isinstance(operation, Create):
            return call
        text = f"{operation.place.index}:text"  # which no hash can be written over
        wire.ask("SET", text, "x")
        return replace(call, keys=(text, *call.keys[1:]))

    monkeypatch.setattr(SessionCalls, "call", refused)
    assert flow(visitor.visit(second_factor)).cookie is None
    monkeypatch.undo()
    leave().pass_grace()
    assert flow(visitor.visit(state)).result == ("ada", {"cart": [1]})
    assert flow(visitor.visit(writing(a=1))).status == 200


class Clock:
    now = 1_700_000_000_000

    def __call__(self):
        return self.now


@pytest.mark.parametrize("used", [False, True])
def test_stock_sessions_behave_alike(flow, used):
    visitor = Visitor(make_sessions(stock=True), None)
    clock = visitor.sessions.keeper.shelf._clock = Clock()
    flow(visitor.visit(login("ada")))
    old = Visitor(visitor.sessions, None, visitor.cookie)
    flow(visitor.visit(second_factor))
    if used:
        flow(visitor.visit(state))
    assert isinstance(flow(old.visit(writing(a=1))).error, SessionReadOnly)
    clock.now += 30_000
    assert flow(old.visit(state)).result == (OUT if used else ("ada", {}))
    assert flow(visitor.visit(reading())).result == {"sudo": True}
    assert flow(old.visit(state)).result == OUT
