"""The mapping an application holds, on sessions in memory."""

from __future__ import annotations

import pytest

from tests.flows.sessions.visitor import Visitor, login, make_sessions, state, writing
from zdd_sdk.errors import SessionError, SessionValueError, SettingsError
from zdd_sdk.http import Participant
from zdd_sdk.sessions import Session
from zdd_sdk.store import finish


@pytest.fixture
def visitor():
    return Visitor(make_sessions(stock=True), None)


@pytest.fixture
def session(visitor):
    return finish(visitor.sessions.load(visitor.exchange()))


def test_it_is_one_object_per_exchange(visitor):
    exchange = visitor.exchange()
    session = visitor.sessions.open(exchange)
    assert visitor.sessions.open(exchange) is session is exchange.parts["session"]
    assert finish(session.load()) is session


@pytest.mark.parametrize(
    "use",
    [
        lambda s: s["a"],
        lambda s: s.get("a"),
        lambda s: "a" in s,
        len,
        list,
        lambda s: s.user,
        lambda s: s.is_new,
        lambda s: s.update(a=1),
        lambda s: s.clear(),
        lambda s: s.login("ada"),
        lambda s: s.rotate(),
    ],
    ids=range(11),
)
def test_using_it_before_the_load_says_so(visitor, use):
    with pytest.raises(SessionError, match=r"await session\.load\(\)"):
        use(visitor.sessions.open(visitor.exchange()))


def test_a_logout_needs_no_load(visitor):
    session = visitor.sessions.open(visitor.exchange())
    session.logout()
    assert session.user is None
    assert dict(session) == {}


def test_it_behaves_as_a_mapping(session):
    session["a"] = [1]
    session.setdefault("b", 2)
    assert dict(session) == {"a": [1], "b": 2}
    assert session == {"a": [1], "b": 2}
    assert session.pop("b") == 2
    with pytest.raises(KeyError):
        session["b"]
    with pytest.raises(KeyError):
        del session["b"]
    assert 5 not in session
    assert session.get("b", "none") == "none"


def test_its_repr_shows_no_value(visitor, session):
    session["token"] = "secret"
    session.login("ada@example.org")
    assert repr(session) == "<Session: 1 attributes>"
    assert repr(visitor.sessions.open(visitor.exchange())) == "<Session: not loaded>"


@pytest.mark.parametrize("user", ["", None, 5, b"ada", "x" * 256, "\ud800"])
def test_users_that_cannot_be(session, user):
    with pytest.raises(SessionValueError, match="a user's id"):
        session.login(user)


def test_names_that_cannot_be(session):
    with pytest.raises(SessionValueError, match="must be a str"):
        session[5] = 1


def test_vary_is_asked_for_once_it_was_read(visitor):
    exchange = visitor.exchange()
    assert exchange.response_headers == []
    for _ in range(2):
        finish(visitor.sessions.load(exchange))
    assert exchange.response_headers == [("vary", "Cookie")]


def test_a_session_cannot_start_once_the_headers_are_out(visitor):
    exchange = visitor.exchange("WEBSOCKET")
    session = finish(visitor.sessions.load(exchange))
    exchange.status = 101
    session["a"] = 1
    with pytest.raises(SessionError, match="headers are out"):
        finish(session.save())


def test_an_existing_one_can_be_saved_then(visitor):
    finish(visitor.visit(writing(a=1)))
    exchange = visitor.exchange("WEBSOCKET")
    session = finish(visitor.sessions.load(exchange))
    exchange.status = 101
    session["a"] = 2
    finish(session.save())
    assert finish(visitor.visit(state)).result == (None, {"a": 2})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"login_grace": 121.0}, "login_grace cannot be 121s"),
        ({"login_grace": -1.0}, "login_grace"),
        ({"idle_timeout": 0.0}, "idle_timeout"),
        ({"absolute_timeout": 0.5}, "absolute_timeout"),
        ({"max_field": 0}, "max_field"),
        ({"max_field": 2, "max_session": 1}, r"max_field \(2\) must fit sessions.max_session \(1\)"),
    ],
)
def test_impossible_settings_refuse_to_start(options, message):
    with pytest.raises(SettingsError, match=message):
        make_sessions(**options)


def test_stock_sessions_live_in_one_process_only():
    one, other = make_sessions(stock=True), make_sessions(stock=True)
    visitor = Visitor(one, None)
    finish(visitor.visit(login("ada")))
    assert finish(visitor.visit(state)).result == ("ada", {})
    visitor.sessions = other
    assert finish(visitor.visit(state)).result == (None, {})


def test_it_is_a_participant_and_cheap_when_unused(visitor):
    participant: Participant = visitor.sessions
    exchange = visitor.exchange()
    assert participant.leaving(exchange) == ()
    assert exchange.parts == {}
    assert isinstance(visitor.sessions.open(exchange), Session)
    assert list(participant.leaving(exchange)) == []
