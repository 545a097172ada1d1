"""A lifetime per session: idle timeout, absolute end, a cookie that ends with the browser."""

from __future__ import annotations

import datetime as dt

import pytest

from tests.flows.sessions.visitor import Visitor, key_of, login, make_sessions, state, writing
from zdd_sdk.errors import SessionError
from zdd_sdk.sessions.calls import SPARE

DAY = 86400


@pytest.fixture
def visitor(flow):
    return Visitor(make_sessions(idle_timeout=14.0 * DAY, absolute_timeout=30.0 * DAY), flow.store)


@pytest.fixture(params=["redis", "stock"])
def either(request, flow, visitor):
    """A visitor of Redis, or of sessions in memory, which behave alike."""
    if request.param == "stock":
        visitor.sessions = make_sessions(idle_timeout=14.0 * DAY, absolute_timeout=30.0 * DAY, stock=True)
    return visitor


def living(user=None, **lifetime):
    async def handler(session):
        session["a"] = 1
        if user:
            session.login(user)
        session.set_lifetime(**lifetime)

    return handler


def max_age(reply):
    tail = reply.cookie.partition("Max-Age=")[2]
    return int(tail.partition(";")[0]) if tail else None


def test_it_is_saved_with_the_session_and_the_cookie(flow, visitor, wire, hash_of):
    reply = flow(visitor.visit(living(idle=600, absolute=3600)))
    raw = hash_of(visitor.cookie)
    assert (raw[b"_m"], raw[b"_l"]) == (b"600000", b"mx")
    assert wire.ask("PTTL", key_of(visitor.cookie)) == pytest.approx(600_000 + SPARE, abs=5000)
    assert max_age(reply) == pytest.approx(3600, abs=5)


def test_a_change_sets_the_cookie_anew(flow, either):
    flow(either.visit(writing(a=1)))
    before = either.cookie
    reply = flow(either.visit(living(absolute=dt.timedelta(hours=1))))
    assert either.cookie == before
    assert max_age(reply) == pytest.approx(3600, abs=5)
    assert flow(either.visit(writing(a=2))).cookie is None
    reply = flow(either.visit(living()))
    assert max_age(reply) == pytest.approx(30 * DAY, abs=5)


def test_browser_length_has_no_max_age_and_survives_logins_and_rotations(flow, either):
    reply = flow(either.visit(living(browser=True)))
    assert max_age(reply) is None
    assert "Expires" not in reply.cookie
    for handler in (login("ada"), rotate):
        before = either.cookie
        reply = flow(either.visit(handler))
        assert (max_age(reply), either.cookie != before) == (None, True)


async def rotate(session):
    session.rotate()


def test_a_rotation_goes_on_as_it_was(flow, visitor, hash_of):
    flow(visitor.visit(living("ada", idle=600, absolute=3600)))
    before = hash_of(visitor.cookie)
    flow(visitor.visit(rotate))
    after = hash_of(visitor.cookie)
    assert {name: after[name] for name in (b"_c", b"_m", b"_x", b"_l")} == {
        name: before[name] for name in (b"_c", b"_m", b"_x", b"_l")
    }


def test_a_login_keeps_what_was_chosen_and_another_users_does_not(flow, visitor, hash_of):
    flow(visitor.visit(living(idle=600, absolute=3600)))
    ends = hash_of(visitor.cookie)[b"_x"]
    flow(visitor.visit(login("ada")))
    raw = hash_of(visitor.cookie)
    assert (raw[b"_m"], raw[b"_x"]) == (b"600000", ends)
    flow(visitor.visit(login("bob")))
    raw = hash_of(visitor.cookie)
    assert (raw[b"_m"], raw.get(b"_l")) == (b"%d" % (14 * DAY * 1000), None)
    assert int(raw[b"_x"]) > int(ends)


def test_an_idle_timeout_longer_than_the_absolute_one_counts_for_both(flow, either):
    assert max_age(flow(either.visit(living(idle=90 * DAY)))) == pytest.approx(90 * DAY, abs=5)
    assert max_age(flow(either.visit(living(idle=60 * DAY)))) == pytest.approx(60 * DAY, abs=5)


@pytest.mark.parametrize(
    "lifetime",
    [{"idle": -10}, {"absolute": 0}, {"absolute": dt.datetime(2000, 1, 1, tzinfo=dt.UTC)}, {"idle": dt.timedelta(-1)}],
)
def test_a_lifetime_that_is_over_ends_the_session_at_once(flow, either, lifetime):
    flow(either.visit(login("ada")))
    stolen = either.cookie
    reply = flow(either.visit(living(**lifetime)))
    assert "Max-Age=0" in reply.cookie
    either.cookie = stolen
    assert flow(either.visit(state)).result == (None, {})
    assert either.sessions.counters["gone"] == 0


def test_a_new_session_that_is_over_is_never_made(flow, either):
    reply = flow(either.visit(living(idle=-1)))
    assert (reply.status, reply.cookie, either.sessions.counters["gone"]) == (200, None, 0)


def test_an_explicit_save_of_one_that_is_over_is_no_error(flow, either):
    async def handler(session):
        session["a"] = 1
        await session.save()
        session.set_lifetime(absolute=-1)
        await session.save()

    assert flow(either.visit(handler)).error is None


def test_setting_a_lifetime_starts_no_session(flow, either):
    async def handler(session):
        session.set_lifetime(browser=True)

    assert flow(either.visit(handler)).cookie is None


def test_shortening_is_not_throttled(flow, visitor, wire):
    flow(visitor.visit(writing(a=1)))
    flow(visitor.visit(living(idle=60)))
    assert wire.ask("PTTL", key_of(visitor.cookie)) <= 60_000 + SPARE


def test_once_the_headers_are_out_the_cookie_is_left_and_the_session_changed(flow, visitor, hash_of):
    flow(visitor.visit(writing(a=1)))
    exchange = visitor.exchange("WEBSOCKET")
    session = flow(visitor.sessions.load(exchange))
    exchange.status = 101
    session.set_lifetime(idle=60)
    flow(session.save())
    assert hash_of(visitor.cookie)[b"_m"] == b"60000"


def test_it_needs_a_loaded_session(flow, visitor):
    with pytest.raises(SessionError, match="not loaded"):
        visitor.sessions.open(visitor.exchange()).set_lifetime(browser=True)
