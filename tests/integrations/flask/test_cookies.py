"""Flask's words for the cookie keep their meaning; where the application has said nothing, ours apply."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.cookies import SimpleCookie
from typing import Any

import pytest
from flask import Flask, session
from flask.testing import FlaskClient
from werkzeug.http import parse_date

from tests.integrations.flask.harness import add_views, browser, carry, cookie, service
from zdd_flask import Zdd, ZddSessionInterface
from zdd_sdk.store.wire import Wire

BEGIN = "/append/pen"


def answer(app: Flask, path: str = BEGIN, base_url: str = "https://shop.test", **options: Any) -> Any:
    return app.test_client().post(path, base_url=base_url, **options)


def morsel(response: Any) -> tuple[str, Any]:
    (line,) = response.headers.getlist("Set-Cookie")
    ((name, found),) = SimpleCookie(line).items()
    return name, found


def configured(url: str, before: dict[str, Any], **options: Any) -> Flask:
    app = Flask("shop")
    app.config.update(before)
    Zdd(app, service(url, **options))
    add_views(app)
    return app


def test_nothing_said_is_the_safe_cookie(app: Flask) -> None:
    name, found = morsel(answer(app))
    assert "__Host-zdd_session" == name
    assert (True, True, "Lax", "/", "") == tuple(
        found[key] for key in ("secure", "httponly", "samesite", "path", "domain")
    )
    assert ("", "") == (found["expires"], found["max-age"]), "a session that is not permanent ends with the browser"


@pytest.mark.parametrize(
    ("before", "name", "expected"),
    [
        ({"SESSION_COOKIE_NAME": "mine"}, "mine", {"secure": True}),
        ({"SESSION_COOKIE_NAME": "__Secure-mine"}, "__Secure-mine", {"secure": True}),
        ({"SESSION_COOKIE_DOMAIN": "shop.test"}, "__Secure-zdd_session", {"domain": "shop.test"}),
        ({"SESSION_COOKIE_PATH": "/a"}, "__Secure-zdd_session", {"path": "/a"}),
        ({"APPLICATION_ROOT": "/root"}, "__Secure-zdd_session", {"path": "/root"}),
        ({"SESSION_COOKIE_HTTPONLY": False}, "__Host-zdd_session", {"httponly": ""}),
        ({"SESSION_COOKIE_SAMESITE": "Strict"}, "__Host-zdd_session", {"samesite": "Strict"}),
    ],
)
def test_flasks_words_count(tap: Any, before: dict[str, Any], name: str, expected: dict[str, Any]) -> None:
    found = morsel(answer(configured(tap.url, before)))
    assert name == found[0]
    assert expected == {key: found[1][key] for key in expected}


def test_a_partitioned_cookie_is_secure_everywhere(tap: Any) -> None:
    app = configured(tap.url, {"SESSION_COOKIE_PARTITIONED": True})
    (line,) = answer(app, base_url="http://localhost").headers.getlist("Set-Cookie")
    assert line.startswith("__Host-zdd_session=")
    assert "Partitioned" in line


@pytest.mark.parametrize(
    ("options", "name", "expected"),
    [
        ({"cookie_name": "ours"}, "__Host-ours", {}),
        ({"cookie_domain": "shop.test"}, "__Secure-zdd_session", {"domain": "shop.test"}),
        ({"cookie_path": "/x"}, "__Secure-zdd_session", {"path": "/x"}),
        ({"same_site": "None"}, "__Host-zdd_session", {"samesite": "None"}),
        ({"insecure": True}, "zdd_session", {"secure": ""}),
    ],
)
def test_our_words_count_where_flasks_say_nothing(
    tap: Any, options: dict[str, Any], name: str, expected: dict[str, Any]
) -> None:
    found = morsel(answer(configured(tap.url, {}, sessions=options)))
    assert name == found[0]
    assert expected == {key: found[1][key] for key in expected}


def test_what_is_set_after_the_extension_is_taken_at_its_word(app: Flask) -> None:
    assert "Lax" == app.config["SESSION_COOKIE_SAMESITE"]
    app.config["SESSION_COOKIE_SAMESITE"] = None
    assert "" == morsel(answer(app))[1]["samesite"]


def test_plain_http_to_this_machine_gets_a_plain_cookie_and_it_is_said_once(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "zdd.sessions"):
        for base_url in ("http://localhost:5000", "http://127.0.0.1"):
            name, found = morsel(answer(app, base_url=base_url))
            assert ("zdd_session", "") == (name, found["secure"])
    assert 1 == caplog.text.count("plain http")
    assert "__Host-zdd_session" == morsel(answer(app, base_url="http://shop.test"))[0], "not to any other host"


def test_hooks_of_an_interface_of_ones_own(app: Flask) -> None:
    class Named(ZddSessionInterface):
        def get_cookie_name(self, app: Flask) -> str:
            return "named"

    app.session_interface = Named(app.extensions["zdd"])
    client = browser(app)
    assert "named" == morsel(client.post(BEGIN))[0]
    assert ["pen"] == client.get("/me").json["all"]["cart"]  # type: ignore[index]


def test_a_word_that_cannot_be_written_fails_before_anything_is_saved(app: Flask, tap: Any) -> None:
    app.config.update(SESSION_COOKIE_SAMESITE="Laxest", PROPAGATE_EXCEPTIONS=True)
    answer(app, "/logout")
    tap.reset()
    with pytest.raises(ValueError, match="SameSite"):
        answer(app)
    assert 0 == tap.trips


# A permanent session


@pytest.fixture
def stay(make: Callable[..., Flask]) -> Flask:
    app = make()
    app.config["PERMANENT_SESSION_LIFETIME"] = timedelta(hours=10)

    @app.post("/stay/<int:permanent>")
    def stay(permanent: int) -> str:
        session.permanent = bool(permanent)
        return ""

    return app


def remaining(response: Any) -> timedelta | None:
    name, found = morsel(response)
    del name
    if not found["expires"]:
        return None
    moment = parse_date(found["expires"])
    assert moment is not None
    return moment - datetime.now(UTC)


def lives(real_engine: Any) -> float:
    """Seconds until Redis forgets the only session there is; less the minute that storage outlives it."""
    with Wire(real_engine.port) as wire:
        (key,) = wire.ask("KEYS", "zdd:shop:test:session:*")
        return float(wire.ask("PTTL", key)) / 1000 - 60


def age(real_engine: Any, seconds: float) -> None:
    """Let time pass for the only session there is."""
    with Wire(real_engine.port) as wire:
        (key,) = wire.ask("KEYS", "zdd:shop:test:session:*")
        for name in ("_c", "_x"):
            wire.ask("HINCRBY", key, name, round(-seconds * 1000))
        wire.ask("PEXPIRE", key, round(wire.ask("PTTL", key) - seconds * 1000))


def test_a_permanent_session_lives_as_long_as_flask_says(stay: Flask, real_engine: Any) -> None:
    client = browser(stay)
    left = remaining(client.post("/stay/1"))
    assert left is not None
    assert timedelta(hours=9.9) < left < timedelta(hours=10.1)
    assert 9.9 * 3600 < lives(real_engine) <= 10 * 3600


def test_a_session_becomes_permanent_and_back(stay: Flask) -> None:
    client = browser(stay)
    assert remaining(client.post(BEGIN)) is None
    before = cookie(client)
    assert remaining(client.post("/stay/1")) is not None
    assert remaining(client.post("/stay/0")) is None
    assert before == cookie(client), "the same session, another lifetime"


def test_the_cookie_is_set_again_when_it_is_due_and_not_before(stay: Flask, real_engine: Any, tap: Any) -> None:
    client = browser(stay)
    client.post("/stay/1")
    assert "Set-Cookie" not in client.get("/me").headers
    assert "Set-Cookie" not in client.post(BEGIN).headers
    age(real_engine, 2 * 3600)
    tap.reset()
    left = remaining(client.get("/me"))
    assert 2 == tap.trips
    assert left is not None
    assert left > timedelta(hours=9.9)
    assert lives(real_engine) > 9.9 * 3600, "Redis keeps it as long as the cookie"
    assert "Set-Cookie" not in client.get("/me").headers


def test_refresh_each_request_said_aloud_is_each_request(stay: Flask, tap: Any) -> None:
    stay.config["SESSION_REFRESH_EACH_REQUEST"] = True
    client = browser(stay)
    client.post("/stay/1")
    for path in ("/me", "/plain"):
        assert remaining(client.get(path)) is not None
    tap.refuse()
    assert 200 == client.get("/plain").status_code, "but no route that does not need the session fails for it"


def test_no_refresh_means_a_life_from_the_last_change(stay: Flask, real_engine: Any) -> None:
    stay.config["SESSION_REFRESH_EACH_REQUEST"] = False
    client = browser(stay)
    client.post("/stay/1")
    age(real_engine, 2 * 3600)
    assert "Set-Cookie" not in client.get("/me").headers
    assert remaining(client.post(BEGIN)) is not None
    assert lives(real_engine) > 9.9 * 3600


def test_a_login_keeps_a_permanent_session_permanent(stay: Flask, real_engine: Any) -> None:
    client = browser(stay)
    client.post("/stay/1")
    left = remaining(client.post("/login/ada"))
    assert left is not None
    assert left > timedelta(hours=9.9)
    assert client.get("/me").json["all"]["_permanent"]  # type: ignore[index]


# The end of a session


def test_emptied_is_ended(client: FlaskClient, real_engine: Any) -> None:
    client.post("/put/name/ada")
    answer = client.post("/pop/name")
    assert "" == morsel(answer)[1].value
    assert cookie(client) is None
    with Wire(real_engine.port) as wire:
        assert [] == wire.ask("KEYS", "zdd:shop:test:session:*")


def test_a_user_of_ours_stays_logged_in_without_attributes(client: FlaskClient) -> None:
    client.post("/put/name/ada")
    client.post("/login/ada")
    assert "Set-Cookie" not in client.post("/pop/name").headers
    assert "ada" == client.get("/me").json["user"]  # type: ignore[index]


def test_a_session_that_only_looks_empty_is_not_ended(client: FlaskClient, app: Flask) -> None:
    """Another request has put something in since this one looked."""
    other = browser(app)

    @app.post("/slow-pop")
    def slow_pop() -> str:
        session.pop("name")
        other.post("/put/cart/full")
        return ""

    client.post("/put/name/ada")
    carry(other, cookie(client))
    answer = client.post("/slow-pop")
    assert "Set-Cookie" not in answer.headers
    assert {"cart": "full"} == client.get("/me").json["all"]  # type: ignore[index]


def test_clearing_and_filling_begins_another_session(client: FlaskClient, app: Flask) -> None:
    """How the tutorial of Flask logs in: the old id must lead nowhere."""

    @app.post("/log-in-by-hand")
    def log_in_by_hand() -> str:
        session.clear()
        session["user_id"] = 7
        return ""

    client.post("/put/planted/yes")
    planted = cookie(client)
    client.post("/log-in-by-hand")
    assert planted != cookie(client)
    assert {"user_id": 7} == client.get("/me").json["all"]  # type: ignore[index]
    attacker = browser(app)
    carry(attacker, planted)
    assert {} == attacker.get("/me").json["all"]  # type: ignore[index]
