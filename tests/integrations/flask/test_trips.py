"""What a request costs in round trips, what an answer carries, and what is left of it when Redis is away."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, Response, request, session, stream_with_context
from flask.testing import FlaskClient

from tests.integrations.flask.harness import add_views, browser, carry, cookie, eventually, given, trips, zdd_of
from zdd_flask import Zdd, current_session
from zdd_sdk.errors import SessionUnavailable, ZddError
from zdd_sdk.sessions.ids import mint_id, random_tag
from zdd_sdk.testing.tap import RespTap


def test_trip_budgets(client: FlaskClient, tap: RespTap) -> None:
    client.get("/me")

    assert 0 == trips(tap, lambda: client.get("/livez"))
    assert 0 == trips(tap, lambda: client.get("/plain"))
    assert 0 == trips(tap, lambda: client.get("/me")), "a visitor without a cookie needs no load"
    assert 1 == trips(tap, lambda: client.post("/login/ada"))
    assert 0 == trips(tap, lambda: client.get("/plain")), "an untouched session costs nothing"
    assert 1 == trips(tap, lambda: client.get("/me"))
    assert 2 == trips(tap, lambda: client.post("/append/pen"))
    assert 2 == trips(tap, lambda: client.post("/login/ada"))
    assert 2 == trips(tap, lambda: client.post("/rotate"))
    assert 1 == trips(tap, lambda: client.post("/logout")), "a logout needs no load"


def test_several_looks_are_one_trip(app: Flask, client: FlaskClient, tap: RespTap) -> None:
    @app.before_request
    def look_before() -> None:
        session.get("cart")

    @app.after_request
    def look_after(response: Response) -> Response:
        session.get("cart")
        return response

    client.post("/append/pen")
    assert 1 == trips(tap, lambda: client.get("/me"))


def test_what_is_permanent_costs_no_more(app: Flask, client: FlaskClient, tap: RespTap) -> None:
    @app.post("/stay")
    def stay() -> str:
        session.permanent = True
        return ""

    assert 1 == trips(tap, lambda: client.post("/stay"))
    assert 1 == trips(tap, lambda: client.get("/me"))
    assert 2 == trips(tap, lambda: client.post("/append/pen"))
    assert 2 == trips(tap, lambda: client.post("/login/ada"))


def test_only_what_looked_at_the_session_varies_by_cookie(client: FlaskClient) -> None:
    assert "vary" not in client.get("/plain").headers
    assert "Cookie" == client.get("/me").headers["vary"]
    saved = client.post("/append/pen")
    assert ["Cookie"] == saved.headers.getlist("vary")
    assert ["no-store"] == saved.headers.getlist("cache-control")
    assert "cache-control" not in client.get("/me").headers


def test_headers_of_the_applications_own_stay_beside_ours(app: Flask, client: FlaskClient) -> None:
    @app.post("/headers")
    def headers() -> Response:
        session["x"] = 1
        response = Response("x", headers={"Vary": "Accept", "Cache-Control": "public, max-age=60"})
        response.set_cookie("mine", "1")
        return response

    answer = client.post("/headers")
    assert {"mine", "__Host-zdd_session"} == {line.partition("=")[0] for line in answer.headers.getlist("set-cookie")}
    assert ["no-store"] == answer.headers.getlist("cache-control"), "an answer that sets our cookie is not shared"
    assert ["Accept, Cookie"] == answer.headers.getlist("vary")


def test_a_5xx_saves_nothing_and_a_4xx_saves(client: FlaskClient) -> None:
    assert 500 == client.post("/put-then-fail").status_code
    assert cookie(client) is None
    assert 409 == client.post("/put-then-refuse").status_code
    assert {"refused": True} == client.get("/me").json["all"]  # type: ignore[index]


def test_a_5xx_saves_if_told_so(make: Callable[..., Flask]) -> None:
    client = browser(make(sessions={"save_on_error": True}))
    assert 500 == client.post("/put-then-fail").status_code
    assert {"never": "saved"} == client.get("/me").json["all"]  # type: ignore[index]


def test_it_is_saved_before_the_first_byte_of_a_stream(app: Flask, client: FlaskClient) -> None:
    other, seen = browser(app), []

    @app.post("/stream")
    def stream() -> Response:
        session["begun"] = True

        @stream_with_context
        def chunks() -> Any:
            seen.append(other.get("/me").json["all"])
            yield session["begun"] and "a"
            session["late"] = True
            yield "b"

        return Response(chunks())

    client.post("/append/pen")
    carry(other, cookie(client))
    assert "ab" == client.post("/stream").text
    assert {"cart": ["pen"], "begun": True} == seen[0]
    assert {"cart": ["pen"], "begun": True} == client.get("/me").json["all"], "what comes late is not saved by itself"  # type: ignore[index]


def test_a_stream_saves_when_told(app: Flask, client: FlaskClient) -> None:
    @app.post("/stream")
    def stream() -> Response:
        @stream_with_context
        def chunks() -> Any:
            yield "a"
            session["late"] = True
            current_session().save()
            yield "b"

        session["begun"] = True
        return Response(chunks())

    assert "ab" == client.post("/stream").text
    assert {"begun": True, "late": True} == client.get("/me").json["all"]  # type: ignore[index]


def test_redis_away_is_a_clear_503_only_where_the_session_is_needed(
    app: Flask, client: FlaskClient, tap: RespTap
) -> None:
    @app.after_request
    def allow(response: Response) -> Response:
        response.headers["Access-Control-Allow-Origin"] = "https://a.example"
        return response

    client.post("/login/ada")
    before = cookie(client)
    tap.refuse()

    for answer in (client.get("/me"), client.post("/append/pen"), client.post("/login/bob"), client.post("/logout")):
        assert 503 == answer.status_code
        assert "application/problem+json" == answer.headers["content-type"]
        assert int(answer.headers["retry-after"]) >= 1
        assert "https://a.example" == answer.headers["access-control-allow-origin"], "through Flask's error handling"
        assert "set-cookie" not in answer.headers
    assert 200 == client.get("/plain").status_code
    assert 200 == client.get("/readyz").status_code
    assert before == cookie(client)
    tap.heal()
    assert "ada" == eventually(lambda: client.get("/me")).json["user"]


def test_redis_away_is_a_503_also_where_only_after_request_looks(app: Flask, client: FlaskClient, tap: RespTap) -> None:
    """As flask-login does at every answer."""

    @app.after_request
    def look(response: Response) -> Response:
        session.get("x")
        return response

    client.post("/append/pen")
    tap.refuse()
    answer = client.get("/plain")
    assert (503, "application/problem+json") == (answer.status_code, answer.headers["content-type"])
    assert int(answer.headers["retry-after"]) >= 1


def test_redis_gone_between_load_and_save_loses_the_change_and_not_the_answer(
    app: Flask, client: FlaskClient, tap: RespTap
) -> None:
    @app.post("/late")
    def late() -> str:
        session["x"] = 1
        tap.refuse()
        return "done"

    client.post("/append/pen")
    before = cookie(client)
    answer = client.post("/late")
    assert (200, "done") == (answer.status_code, answer.text)
    assert "set-cookie" not in answer.headers
    tap.heal()
    assert {"cart": ["pen"]} == eventually(lambda: client.get("/me")).json["all"]
    assert before == cookie(client)


@pytest.mark.parametrize("path", ["/login/ada", "/logout"])
def test_a_login_or_logout_that_redis_did_not_keep_is_a_503(
    app: Flask, client: FlaskClient, tap: RespTap, path: str
) -> None:
    @app.after_request
    def cut(response: Response) -> Response:
        if "cut" in request.args:
            tap.refuse()
        response.headers["Access-Control-Allow-Origin"] = "https://a.example"
        return response

    client.post("/append/pen")
    before = cookie(client)
    answer = client.post(f"{path}?cut")
    assert 503 == answer.status_code
    assert "https://a.example" == answer.headers["access-control-allow-origin"]
    assert before == cookie(client)


def test_a_handler_of_the_users_own_answers_our_errors(app: Flask, client: FlaskClient, tap: RespTap) -> None:
    @app.errorhandler(SessionUnavailable)
    def away(error: SessionUnavailable) -> tuple[str, int]:
        return f"come back in {error.retry_after:.0f} s", 503

    client.post("/append/pen")
    tap.refuse()
    assert client.get("/me").text.startswith("come back in")


@pytest.mark.parametrize("first", [True, False])
def test_a_handler_for_all_our_errors_wins_wherever_it_was_registered(first: bool) -> None:
    app = Flask("shop")

    def answer(error: ZddError) -> tuple[str, int]:
        return f"ours: {error.code}", 418

    if first:
        app.register_error_handler(ZddError, answer)
    Zdd(app, service="shop", **given("redis://127.0.0.1:1"))
    if not first:
        app.register_error_handler(ZddError, answer)
    add_views(app)
    client = browser(app)
    carry(client, mint_id(random_tag()).text)
    assert "ours: session-unavailable" == client.get("/me").text


@pytest.mark.parametrize("mode", ["anonymous", "stale"])
def test_other_policies_for_an_outage(make: Callable[..., Flask], tap: RespTap, mode: str) -> None:
    client = browser(make(sessions={"on_unavailable": mode}))
    client.post("/login/ada")
    client.post("/append/pen")
    client.get("/me")
    before = cookie(client)
    tap.refuse()
    answer = client.get("/me")
    assert 200 == answer.status_code
    assert answer.json is not None
    assert not answer.json["available"]
    assert answer.json["user"] == ("ada" if mode == "stale" else None)
    changed = client.post("/put/ink/1")
    assert changed.status_code == (409 if mode == "stale" else 200), "a stale copy can only be read"
    assert 503 == client.post("/login/eve").status_code
    assert before == cookie(client)
    tap.heal()
    assert "ada" == eventually(lambda: client.get("/me")).json["user"]
    assert ["pen"] == client.get("/me").json["all"]["cart"]  # type: ignore[index]


def test_a_request_asks_once_however_often_it_looks_while_redis_is_away(
    app: Flask, client: FlaskClient, tap: RespTap
) -> None:
    @app.get("/stubborn")
    def stubborn() -> str:
        for _ in range(3):
            with contextlib.suppress(SessionUnavailable):
                session.get("x")
        return "served all the same"

    client.post("/append/pen")
    tap.refuse()
    before = zdd_of(app).sessions.counters["unavailable"]
    assert "served all the same" == client.get("/stubborn").text
    assert 1 == zdd_of(app).sessions.counters["unavailable"] - before
