"""``flask.session`` is what it was: the same surface, the same types, the same ways to test it."""

# ruff: noqa: DTZ001 - naive moments are among what people keep
from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal
from typing import Any

import flask
import pytest
from flask import Flask, Response, session
from flask.sessions import SecureCookieSession, SessionMixin
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from markupsafe import Markup

from tests.integrations.flask.harness import SITE, browser, cookie, zdd_of
from zdd_flask import ZddSession, current_session
from zdd_sdk.errors import SessionTooLarge, SessionValueError, SettingsError

NAMES = st.sampled_from("abc")
OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), NAMES, st.integers(0, 3)),
        st.tuples(st.just("delete"), NAMES),
        st.tuples(st.just("pop"), NAMES),
        st.tuples(st.just("pop or"), NAMES),
        st.tuples(st.just("popitem")),
        st.tuples(st.just("setdefault"), NAMES, st.integers(0, 3)),
        st.tuples(st.just("update"), st.dictionaries(NAMES, st.integers(0, 3), min_size=1)),
        st.tuples(st.just("|="), st.dictionaries(NAMES, st.integers(0, 3), min_size=1)),
        st.tuples(st.just("clear")),
        st.tuples(st.just("permanent"), st.booleans()),
        st.tuples(st.just("unmodified")),
    ),
    max_size=8,
)

LENIENT = {"pop or", "update", "|=", "setdefault"}
"""Where nothing changes, versions of Werkzeug differ in whether that is a modification."""


def perform(held: Any, operation: tuple[Any, ...]) -> Any:
    match operation:
        case ("set", name, value):
            held[name] = value
        case ("delete", name):
            del held[name]
        case ("pop", name):
            return held.pop(name)
        case ("pop or", name):
            return held.pop(name, "none")
        case ("popitem",):
            return held.popitem()
        case ("setdefault", name, value):
            return held.setdefault(name, value)
        case ("update", values):
            held.update(values)
        case ("|=", values):
            held |= values
        case ("clear",):
            held.clear()
        case ("permanent", value):
            held.permanent = value
        case ("unmodified",):
            held.modified = False
    return None


def outcome(held: Any, operation: tuple[Any, ...]) -> Any:
    try:
        return perform(held, operation)
    except KeyError:
        return KeyError


def shown(held: Any) -> Any:
    return (
        dict(held), list(held), list(reversed(held)), len(held), bool(held), held.permanent, held.get("a"), "a" in held,
        held == dict(held), held.copy(), held | {"z": 1}, {"z": 1} | held, sorted(held.items()),
    )  # fmt: skip


@given(OPERATIONS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_it_does_what_flasks_own_does(app: Flask, operations: list[tuple[Any, ...]]) -> None:
    theirs = SecureCookieSession()
    with app.test_request_context(base_url=SITE):
        ours = current_session()
        for operation in operations:
            assert outcome(ours, operation) == outcome(theirs, operation)
            assert shown(ours) == shown(theirs)
            if operation[0] not in {
                "pop or",
                "update",
                "|=",
                "setdefault",
            }:  # whether no change is one differs by version
                assert ours.modified == theirs.modified


def test_it_is_a_session_to_extensions(app: Flask) -> None:
    with app.test_request_context(base_url=SITE):
        assert isinstance(current_session(), SessionMixin)
        assert current_session() == {}
        assert not session.modified
        assert not app.session_interface.pickle_based
        assert repr(session) in {"<ZddSession: not loaded>", "<ZddSession: 0 attributes>"}


VALUES = [
    (1, 2, (3, [4])), b"\xff\x00", Markup("<b>&amp;</b>"), uuid.UUID(int=7), dt.datetime(2026, 1, 2, 3, tzinfo=dt.UTC),
    dt.datetime(2026, 1, 2, 3, 4, 5, 6), {"nested": [(1,), {"deep": Markup("<i>")}]}, [None, True, 1.5, "text"],
    Decimal("1.10"), dt.date(2026, 1, 2), {" t": "not a tuple", " di": {" b": 1}},
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_types_come_back_equal(app: Flask, value: Any) -> None:
    client = browser(app)

    @app.get("/give")
    def give() -> str:
        session["value"] = value
        return ""

    @app.get("/take")
    def take() -> str:
        found = session["value"]
        assert (found, type(found)) == (value, type(value))
        if isinstance(value, dict) and "nested" in value:
            assert type(found["nested"][1]["deep"]) is Markup
        return "same"

    client.get("/give")
    assert "same" == client.get("/take").text


class Thing:
    pass


@pytest.mark.parametrize(("value", "error"), [(Thing(), SessionValueError), ("x" * 70_000, SessionTooLarge)])
def test_what_cannot_be_kept_is_refused_where_it_is_put(app: Flask, value: Any, error: type[Exception]) -> None:
    with app.test_request_context(base_url=SITE), pytest.raises(error):
        session["thing"] = value


def test_what_cannot_be_kept_and_was_put_inside_is_a_clear_answer(app: Flask, client: FlaskClient) -> None:
    @app.post("/inside")
    def inside() -> str:
        session.setdefault("cart", []).append(Thing())
        return ""

    @app.post("/too-much")
    def too_much() -> str:
        session.setdefault("cart", []).extend("x" * 1000 for _ in range(100))
        return ""

    client.post("/append/pen")
    assert (500, "application/problem+json") == (
        client.post("/inside").status_code,
        client.post("/inside").content_type,
    )
    assert 413 == client.post("/too-much").status_code
    assert ["pen"] == client.get("/me").json["all"]["cart"]  # type: ignore[index]


def test_a_change_inside_a_value_is_noticed(client: FlaskClient) -> None:
    for item in "ab":
        client.post(f"/append/{item}")
    assert ["a", "b"] == client.get("/me").json["all"]["cart"]  # type: ignore[index]


def test_modified_set_to_false_drops_the_change(app: Flask, client: FlaskClient) -> None:
    @app.post("/regret")
    def regret() -> str:
        session["x"] = 1
        session.modified = False
        return ""

    client.post("/append/pen")
    client.post("/regret")
    assert {"cart": ["pen"]} == client.get("/me").json["all"]  # type: ignore[index]


def test_flashes_arrive_once(app: Flask, client: FlaskClient) -> None:
    @app.post("/flash")
    def flash() -> str:
        flask.flash("saved")
        flask.flash(Markup("<b>bold</b>"), "warning")
        return ""

    @app.get("/flashed")
    def flashed() -> list[Any]:
        return [[category, str(text), type(text).__name__] for category, text in flask.get_flashed_messages(True)]

    client.post("/append/pen")
    client.post("/flash")
    assert [["message", "saved", "str"], ["warning", "<b>bold</b>", "Markup"]] == client.get("/flashed").json
    assert [] == client.get("/flashed").json


def test_a_session_transaction_reads_and_writes_what_requests_do(client: FlaskClient) -> None:
    client.post("/append/pen")
    with client.session_transaction() as held:
        assert ["pen"] == held["cart"]
        held["cart"].append("ink")
        held["seen"] = Markup("<i>")
    assert {"cart": ["pen", "ink"], "seen": "<i>"} == client.get("/me").json["all"]  # type: ignore[index]
    with client.session_transaction() as held:
        held.clear()
    assert cookie(client) is None


def test_a_session_transaction_may_log_in(client: FlaskClient) -> None:
    with client.session_transaction() as held:
        assert isinstance(held, ZddSession)
        held.login("ada")
    assert "ada" == client.get("/me").json["user"]  # type: ignore[index]


def test_a_transaction_without_a_change_asks_and_sets_nothing(client: FlaskClient, tap: Any) -> None:
    client.get("/plain")
    tap.reset()
    with client.session_transaction() as held:
        assert len(held) == 0
    assert (0, None) == (tap.trips, cookie(client))


def test_a_request_context_of_a_test_keeps_its_session(app: Flask) -> None:
    with app.test_request_context(base_url=SITE):
        session["x"] = 1
        current_session().login("ada")
        response = app.process_response(Response("x"))
    assert "__Host-zdd_session=" in response.headers["Set-Cookie"]
    assert ["Cookie"] == response.headers.getlist("Vary")
    with app.test_request_context(base_url=SITE, headers={"Cookie": response.headers["Set-Cookie"].partition(";")[0]}):
        assert ("ada", {"x": 1}) == (current_session().user, dict(session))


def test_an_async_view_uses_the_blocking_store(app: Flask, client: FlaskClient, tap: Any) -> None:
    """Flask runs each on a loop of its own, so a pool per loop would be a connection per call."""

    @app.post("/async/<item>")
    async def later(item: str) -> dict[str, Any]:
        session.setdefault("cart", []).append(item)
        found = await zdd_of(app).sessions.open(flask.request.environ["zdd.exchange"]).load()
        return {"all": dict(session), "same": dict(found)}

    for number in range(5):
        client.post(f"/async/{number}")
    tap.reset()
    answer = client.post("/async/last").json
    assert answer is not None
    assert answer["all"]["cart"] == answer["same"]["cart"] == [*"01234", "last"]
    assert 2 == tap.trips


def test_a_session_elsewhere_is_not_ours(real_engine: Any) -> None:
    app = Flask("plain", instance_relative_config=False)
    app.secret_key = "k"
    with app.test_request_context(), pytest.raises(SettingsError, match=r"Zdd\(app\)"):
        current_session()


def test_without_a_store_it_reads_empty_and_says_why_it_cannot_be_written(make: Any) -> None:
    app = make(redis_url="off")
    with app.test_request_context():
        assert session.get("x") is None
        with pytest.raises(RuntimeError, match="session is unavailable.*ZDD_REDIS_URL"):
            session["x"] = 1
