"""The real flask-login over our sessions: a login through it rotates, and its user is our user."""

from __future__ import annotations

from typing import Any

import flask_login
import pytest
from flask import Flask, session
from flask.testing import FlaskClient

from tests.integrations.flask.harness import browser, carry, cookie, eventually, trips
from zdd_flask import current_session
from zdd_sdk.sessions.ids import mint_id, random_tag

# flask-login 0.6.3 calls datetime.utcnow() for its remember cookie.
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")


class Person(flask_login.UserMixin):  # type: ignore[misc]
    def __init__(self, name: str) -> None:
        self.id = name


@pytest.fixture
def app(app: Flask) -> Flask:
    app.secret_key = "for flask-login's remember cookie"
    manager = flask_login.LoginManager(app)
    manager.user_loader(Person)

    @app.post("/in/<name>")
    def log_in(name: str) -> str:
        flask_login.login_user(Person(name), remember=name.startswith("remembered"))
        return ""

    @app.post("/out")
    def log_out() -> str:
        flask_login.logout_user()
        return ""

    @app.get("/secret")
    @flask_login.login_required  # type: ignore[untyped-decorator]
    def secret() -> dict[str, Any]:
        return {"person": flask_login.current_user.id, "ours": current_session().user, "cart": session.get("cart")}

    return app


def test_a_login_rotates_and_keeps_the_cart(client: FlaskClient, tap: Any) -> None:
    client.post("/append/pen")
    before = cookie(client)
    assert 2 == trips(tap, lambda: client.post("/in/ada"))
    assert before != cookie(client)
    assert {"person": "ada", "ours": "ada", "cart": ["pen"]} == client.get("/secret").json
    assert 1 == trips(tap, lambda: client.get("/secret"))


def test_a_planted_id_leads_nowhere(app: Flask, client: FlaskClient) -> None:
    attacker = browser(app)
    attacker.post("/append/planted")
    carry(client, cookie(attacker))
    client.post("/in/victim")
    assert 401 == attacker.get("/secret").status_code


def test_a_logout_ends_the_session_and_what_flask_login_keeps_goes_on_in_a_new_one(
    app: Flask, client: FlaskClient
) -> None:
    client.post("/append/pen")
    client.post("/in/ada")
    stolen = cookie(client)
    client.post("/out")
    assert cookie(client) not in {None, stolen}
    assert 401 == client.get("/secret").status_code
    assert ["pen"] == client.get("/me").json["all"]["cart"]  # type: ignore[index]
    thief = browser(app)
    carry(thief, stolen)
    assert 401 == thief.get("/secret").status_code
    assert {} == thief.get("/me").json["all"]  # type: ignore[index]


def test_requests_under_way_at_a_login_do_not_fail(app: Flask, client: FlaskClient) -> None:
    """flask-login notes ``_fresh`` in them, which a snapshot of before the login must not refuse."""
    client.post("/append/pen")
    late = browser(app)
    carry(late, cookie(client))
    client.post("/in/ada")
    answer = late.get("/secret")
    assert 401 == answer.status_code
    assert "Set-Cookie" not in answer.headers
    assert 409 == late.post("/put/cart/ink").status_code, "the application's own data is not taken and lost"


def test_two_logins_at_once_both_work(app: Flask, client: FlaskClient) -> None:
    client.post("/append/pen")
    second = browser(app)
    carry(second, cookie(client))
    client.post("/in/ada")
    assert 200 == second.post("/in/ada").status_code
    for tab in (client, second):
        assert {"person": "ada", "ours": "ada", "cart": ["pen"]} == tab.get("/secret").json


def test_a_logout_with_nothing_left_deletes_the_cookie(client: FlaskClient, tap: Any) -> None:
    client.post("/in/ada")
    client.post("/out")
    assert cookie(client) is None


def test_the_next_user_of_a_browser_does_not_see_the_first_ones_data(client: FlaskClient) -> None:
    client.post("/in/ada")
    client.post("/append/secret")
    client.post("/in/eve")
    assert {"person": "eve", "ours": "eve", "cart": None} == client.get("/secret").json


def test_remember_me_logs_in_again_after_the_session_has_gone(client: FlaskClient) -> None:
    client.post("/in/remembered-ada")
    carry(client, mint_id(random_tag()).text)
    answer = client.get("/secret").json
    assert answer is not None
    assert ("remembered-ada", "remembered-ada") == (answer["person"], answer["ours"])
    client.post("/out")
    assert 401 == client.get("/secret").status_code


def test_redis_away_is_a_503_and_nobody_is_logged_out(client: FlaskClient, tap: Any) -> None:
    client.post("/in/ada")
    before = cookie(client)
    tap.refuse()
    for answer in (client.get("/secret"), client.post("/in/eve"), client.post("/out")):
        assert (503, "application/problem+json") == (answer.status_code, answer.content_type)
        assert "Set-Cookie" not in answer.headers
    assert before == cookie(client)
    tap.heal()
    assert "ada" == eventually(lambda: client.get("/secret")).json["person"]
