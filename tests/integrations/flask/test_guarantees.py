"""Each guarantee of sessions, played as an attack or a race through Flask's whole stack."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import flask
import pytest
from fastapi import FastAPI
from flask import Flask, session
from flask.testing import FlaskClient
from starlette.testclient import TestClient

from tests.integrations.flask.harness import browser, carry, cookie, service, trips, zdd_of
from zdd_fastapi import UserSession, ZddMiddleware
from zdd_flask import current_session
from zdd_sdk.errors import RecordTooNew
from zdd_sdk.sessions.codec import encode
from zdd_sdk.sessions.ids import mint_id, parse_id, random_tag
from zdd_sdk.store.record import frame
from zdd_sdk.store.wire import Wire


class Slow:
    """Requests that stop half way until they are told to go on."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        self.begun, self.on = threading.Event(), threading.Event()
        self._pool = ThreadPoolExecutor(4)

    def view(self, path: str, before: Callable[[], Any], after: Callable[[], Any] = lambda: None) -> None:
        """Add a view that does one thing, waits, and does the other."""

        def slow() -> str:
            before()
            self.begun.set()
            assert self.on.wait(60)
            after()
            return "done"

        self.app.add_url_rule(path, path, slow, methods=["POST"])

    def begin(self, client: FlaskClient, path: str) -> Future[Any]:
        """Send the request from another tab of this browser, and return once it is half way."""
        tab = browser(self.app)
        carry(tab, cookie(client))
        future = self._pool.submit(tab.post, path)
        assert self.begun.wait(60)
        return future

    def end(self, future: Future[Any]) -> Any:
        self.on.set()
        return future.result(60)


@pytest.fixture
def slow(app: Flask) -> Iterator[Slow]:
    found = Slow(app)
    yield found
    found.on.set()
    found._pool.shutdown()


@pytest.fixture
def wire(real_engine: Any) -> Iterator[Wire]:
    with Wire(real_engine.port) as opened:
        yield opened


def everything(client: FlaskClient) -> dict[str, Any]:
    found = client.get("/me").json
    assert found is not None
    return dict(found["all"])


def user(client: FlaskClient) -> str | None:
    found = client.get("/me").json
    assert found is not None
    return found["user"]  # type: ignore[no-any-return]


def put(name: str, value: Any) -> Callable[[], None]:
    def assign() -> None:
        session[name] = value

    return assign


# No lost update


def test_two_requests_that_change_different_fields_both_count(client: FlaskClient, slow: Slow) -> None:
    slow.view("/slow", put("theirs", 1), put("late", 2))
    client.post("/put/first/x")
    request = slow.begin(client, "/slow")
    client.post("/put/ours/y")
    slow.end(request)
    assert {"first": "x", "ours": "y", "theirs": 1, "late": 2} == everything(client)


def test_a_slow_request_that_only_reads_overwrites_nothing(client: FlaskClient, slow: Slow) -> None:
    slow.view("/slow", lambda: dict(session))
    client.post("/put/cart/old")
    request = slow.begin(client, "/slow")
    client.post("/put/cart/new")
    assert "Set-Cookie" not in slow.end(request).headers
    assert {"cart": "new"} == everything(client)


def test_changes_inside_different_values_both_count(client: FlaskClient, slow: Slow) -> None:
    slow.view("/slow", lambda: session["a"].append("theirs"))
    with client.session_transaction() as held:
        held.update(a=[], b=[])
    request = slow.begin(client, "/slow")
    with client.session_transaction() as held:
        held["b"].append("ours")
    slow.end(request)
    assert {"a": ["theirs"], "b": ["ours"]} == everything(client)


def test_additions_of_parallel_requests_all_count(client: FlaskClient, slow: Slow) -> None:
    slow.view("/slow", lambda: current_session().add("visits", 1))
    client.post("/put/first/x")
    request = slow.begin(client, "/slow")
    with client.session_transaction() as held:
        held.add("visits", 10)  # type: ignore[attr-defined]
    slow.end(request)
    assert 11 == everything(client)["visits"]


# What has ended stays ended


@pytest.mark.parametrize("change", ["write", "read", "flash"])
def test_a_slow_request_does_not_undo_a_logout(client: FlaskClient, slow: Slow, wire: Wire, change: str) -> None:
    slow.view("/write", lambda: dict(session), put("late", 1))
    slow.view("/read", lambda: dict(session))
    slow.view("/flash", lambda: dict(session), lambda: flask.flash("late"))
    client.post("/login/ada")
    request = slow.begin(client, f"/{change}")
    client.post("/logout")
    answer = slow.end(request)
    assert 200 == answer.status_code
    assert "Set-Cookie" not in answer.headers
    assert [] == wire.ask("KEYS", "zdd:shop:test:session:*:s:*")


def test_an_expired_session_is_not_brought_back(client: FlaskClient, slow: Slow, wire: Wire) -> None:
    slow.view("/slow", lambda: dict(session), put("late", 1))
    client.post("/put/first/x")
    request = slow.begin(client, "/slow")
    wire.ask("FLUSHALL")
    assert "Set-Cookie" not in slow.end(request).headers
    assert {} == everything(client)


# Ids


def test_fixation_a_planted_id_leads_nowhere(app: Flask, client: FlaskClient) -> None:
    attacker = browser(app)
    attacker.post("/put/planted/yes")
    carry(client, cookie(attacker))
    client.post("/login/victim")
    client.post("/put/secret/1")
    assert cookie(client) != cookie(attacker)
    assert (None, {"planted": "yes"}) == (user(attacker), everything(attacker)), "what was there before, and no more"
    answer = attacker.post("/put/more/1")
    assert 409 == answer.status_code
    assert "Set-Cookie" not in answer.headers
    assert {"planted": "yes", "secret": "1"} == everything(client)


@pytest.mark.parametrize(
    "presented",
    [
        "attackerchosen",
        pytest.param(mint_id(random_tag()).text, id="well formed"),
        "",
        "x" * 5000,
        "é",
        '"quoted"',
        "a=b; c",
    ],
)
def test_an_unknown_id_is_never_adopted(client: FlaskClient, wire: Wire, presented: str) -> None:
    answer = client.post("/put/x/1", headers={"Cookie": f"__Host-zdd_session={presented}"})
    assert 200 == answer.status_code
    assert presented != cookie(client)
    keys = wire.ask("KEYS", "zdd:shop:test:session:*:s:*")
    identity = parse_id(cookie(client) or "")
    assert identity is not None
    assert 1 == len(keys)
    assert identity.text.encode() not in keys[0], "stored hashed"


def test_requests_under_way_at_a_login_neither_fail_nor_replace_the_cookie(client: FlaskClient, slow: Slow) -> None:
    slow.view("/slow", lambda: dict(session), put("late", 1))
    client.post("/put/cart/full")
    old = cookie(client)
    request = slow.begin(client, "/slow")
    client.post("/login/ada")
    answer = slow.end(request)
    assert 200 == answer.status_code
    assert "Set-Cookie" not in answer.headers
    late = browser(slow.app)
    carry(late, old)
    assert (200, "Set-Cookie" in late.get("/me").headers) == (200, False)
    assert ("ada", "full") == (user(client), everything(client)["cart"])


def test_a_request_under_way_with_a_cleared_id_is_no_new_visitor(client: FlaskClient, slow: Slow) -> None:
    """The login of Flask's tutorial, ``session.clear(); session["user_id"] = …``, beside another request."""

    @slow.app.post("/by-hand")
    def by_hand() -> str:
        session.clear()
        session["user_id"] = 7
        return ""

    client.post("/put/cart/full")
    late = browser(slow.app)
    carry(late, cookie(client))
    client.post("/by-hand")
    answer = late.post("/put/late/1")
    assert 409 == answer.status_code
    assert "Set-Cookie" not in answer.headers
    assert {"user_id": 7} == everything(client)


def test_what_another_request_saves_during_a_login_is_brought_along(client: FlaskClient, slow: Slow) -> None:
    slow.view("/slow-login", lambda: current_session().login("ada"))
    client.post("/put/cart/full")
    request = slow.begin(client, "/slow-login")
    client.post("/put/wish/list")
    answer = slow.end(request)
    carry(client, answer.headers["Set-Cookie"].partition("=")[2].partition(";")[0])
    assert ("ada", {"cart": "full", "wish": "list"}) == (user(client), everything(client))


def test_another_users_login_drops_what_was_there(client: FlaskClient) -> None:
    client.post("/login/ada")
    client.post("/put/secret/1")
    client.post("/login/eve")
    assert ("eve", {}) == (user(client), {name: value for name, value in everything(client).items() if value == "1"})


# Releases


@pytest.fixture
def releases(tap: Any, make: Callable[..., Flask]) -> tuple[FlaskClient, FlaskClient]:
    """One browser at two releases of the shop."""
    clients = [browser(make(release={"version": version})) for version in ("1", "2")]
    clients[1]._cookies = clients[0]._cookies
    return clients[0], clients[1]


def test_two_releases_share_a_session(releases: tuple[FlaskClient, FlaskClient]) -> None:
    old, new = releases
    old.post("/login/ada")
    new.post("/append/pen")
    old.post("/append/ink")
    assert ("ada", {"cart": ["pen", "ink"]}) == (user(new), everything(new))
    new.post("/logout")
    assert user(old) is None


def test_a_field_this_release_cannot_read_is_kept_and_raises_only_where_it_is_read(
    app: Flask, client: FlaskClient, wire: Wire
) -> None:
    @app.get("/one/<name>")
    def one(name: str) -> dict[str, Any]:
        return {"value": session[name]}

    newer = frame(b"\x63\x00later", format=1)
    client.post("/put/ours/1")
    (key,) = wire.ask("KEYS", "zdd:shop:test:session:*:s:*")
    wire.ask("HSET", key, "a:theirs", newer)
    assert {"value": "1"} == client.get("/one/ours").json
    answer = client.get("/one/theirs")
    assert (RecordTooNew.status, "application/problem+json") == (answer.status_code, answer.content_type)
    assert "Set-Cookie" not in answer.headers
    client.post("/login/ada")
    (key,) = [key for key in wire.ask("KEYS", "zdd:shop:test:session:*:s:*") if not wire.ask("HEXISTS", key, "_k")]
    assert newer == wire.ask("HGET", key, "a:theirs"), "a login takes it along, byte for byte"
    assert cookie(client) is not None


def test_garbage_for_one_field_costs_that_field_alone(app: Flask, client: FlaskClient, wire: Wire) -> None:
    @app.post("/set/ours")
    def set_ours() -> str:
        session["ours"] = 2
        return "x"

    client.post("/put/ours/1")
    (key,) = wire.ask("KEYS", "zdd:shop:test:session:*:s:*")
    wire.ask("HSET", key, "a:theirs", b"\x80\x04pickle")
    assert 200 == client.post("/set/ours").status_code
    assert [encode(2), b"\x80\x04pickle"] == wire.ask("HMGET", key, "a:ours", "a:theirs")
    assert 500 == client.get("/me").status_code, "which reads every field"
    assert 1 == sum(zdd_of(app).sessions.counters["undecodable"].values())


# The browser


def test_a_cross_site_post_without_our_cookie_sets_none(client: FlaskClient) -> None:
    """A payment gateway sends the customer back; with SameSite=Lax the cookie stays at home."""
    gateway = {"Origin": "https://pay.example", "Sec-Fetch-Site": "cross-site"}
    client.set_cookie("other", "1", domain="shop.test")
    for path in ("/put/paid/1", "/logout", "/rotate"):
        answer = client.post(path, headers=gateway)
        assert 200 == answer.status_code
        assert "Set-Cookie" not in answer.headers
    refused = client.post("/login/eve", headers=gateway)
    assert (403, "application/problem+json") == (refused.status_code, refused.content_type)
    assert cookie(client) is None


def test_a_same_site_post_may_begin_a_session(client: FlaskClient) -> None:
    """The control of the test above."""
    answer = client.post("/put/x/1", headers={"Origin": "https://shop.test", "Sec-Fetch-Site": "same-origin"})
    assert "Set-Cookie" in answer.headers


def test_every_cookie_of_our_name_is_tried(client: FlaskClient) -> None:
    client.post("/put/x/1")
    ours = f"__Host-zdd_session={cookie(client)}"
    planted = f"__Host-zdd_session={mint_id(random_tag()).text}"
    for header in (f"{planted}; {ours}", f"{ours}; {planted}"):
        answer = client.get("/me", headers={"Cookie": header}).json
        assert answer is not None
        assert {"x": "1"} == answer["all"]


def test_a_renamed_cookie_is_read_under_its_old_name(make: Callable[..., Flask]) -> None:
    before = browser(make())
    before.post("/put/x/1")
    renamed = make(sessions={"cookie_name": "renamed", "also_read_cookies": ["zdd_session"]})
    after = browser(renamed)
    carry(after, cookie(before))
    assert {"x": "1"} == everything(after)
    mine = make(sessions={"also_read_cookies": ["__Host-zdd_session"]})
    mine.config["SESSION_COOKIE_NAME"] = "mine"
    after = browser(mine)
    carry(after, cookie(before))
    assert {"x": "1"} == everything(after)


# Devices


def test_devices_and_logging_out_everywhere_are_one_trip_each(app: Flask, client: FlaskClient, tap: Any) -> None:
    @app.get("/devices")
    def devices() -> list[list[Any]]:
        return [[device.label, device.current] for device in current_session().devices()]

    @app.post("/log-in-as/<name>/<label>")
    def log_in_as(name: str, label: str) -> str:
        current_session().login(name, label=label)
        return ""

    @app.post("/log-out-elsewhere")
    def log_out_elsewhere() -> dict[str, int]:
        session.setdefault("log", []).append("logged out elsewhere")
        return {"ended": current_session().logout_everywhere()}

    @app.post("/log-out-everywhere")
    def log_out_everywhere() -> dict[str, int]:
        return {"ended": current_session().logout_everywhere(keep=False)}

    phone = browser(app)
    client.post("/log-in-as/ada/laptop")
    phone.post("/log-in-as/ada/phone")
    assert 2 == trips(tap, lambda: client.get("/devices")), "one to load the session, one to list"
    shown = client.get("/devices").json
    assert shown is not None
    assert [["laptop", True], ["phone", False]] == sorted(shown)
    assert {"ended": 1} == client.post("/log-out-elsewhere").json
    assert ("ada", None) == (user(client), user(phone))
    assert {"log": ["logged out elsewhere"]} == everything(client)
    phone.post("/log-in-as/ada/phone")
    assert {"ended": 2} == phone.post("/log-out-everywhere").json
    assert (None, None) == (user(client), user(phone))
    assert cookie(phone) is None


def test_limits(client: FlaskClient, app: Flask) -> None:
    @app.post("/big")
    def big() -> str:
        session["big"] = "x" * 70_000
        return ""

    @app.post("/bigger")
    def bigger() -> str:
        session.update({f"field{number}": "x" * 60_000 for number in range(5)})
        return ""

    for path in ("/big", "/bigger"):
        answer = client.post(path)
        assert (413, "application/problem+json") == (answer.status_code, answer.content_type)
        assert "Set-Cookie" not in answer.headers


def test_it_fits_beside_sessions_of_another_framework(tap: Any, client: FlaskClient) -> None:
    """The same service on FastAPI reads what Flask has written: one record, one layout."""
    api = FastAPI()
    api.add_middleware(ZddMiddleware, zdd=service(tap.url))

    @api.get("/me")
    async def me(session: UserSession) -> dict[str, Any]:
        return {"user": session.user, **session}

    client.post("/login/ada")
    client.post("/put/x/1")
    with TestClient(api, base_url="https://shop.test") as other:
        answer = other.get("/me", headers={"Cookie": f"__Host-zdd_session={cookie(client)}"})
        assert {"user": "ada", "x": "1"} == answer.json()


# Periodic rotation


def grow_old(wire: Wire, seconds: float) -> None:
    """Let the ids of all sessions have been given out that long ago."""
    for key in wire.ask("KEYS", "zdd:shop:test:session:*:s:*"):
        fields = wire.ask("HGETALL", key)
        for name, value in zip(fields[::2], fields[1::2], strict=True):
            if name in {b"_c", b"_r"} and value.isdigit():
                wire.ask("HSET", key, name, int(value) - round(seconds * 1000))


def test_an_id_grows_old_and_requests_under_way_follow_the_new_one(make: Callable[..., Flask], wire: Wire) -> None:
    app = make(sessions={"rotate_every": "1h"})
    zdd_of(app).sessions._can_rotate = lambda: True  # what the fleet says of releases that can all follow
    client, late = browser(app), browser(app)
    client.post("/login/ada")
    client.post("/put/x/1")
    old = cookie(client)
    carry(late, old)
    assert "Set-Cookie" not in client.get("/me").headers
    grow_old(wire, 2 * 3600)
    answer = client.get("/me")
    assert (200, "ada") == (answer.status_code, user(client))
    assert cookie(client) != old
    assert ("ada", {"x": "1"}) == (user(late), everything(late)), "the old id leads to the new one for a while"
    assert 200 == late.post("/put/y/2").status_code
    assert {"x": "1", "y": "2"} == everything(client)


@pytest.mark.parametrize(("setting", "status"), [("ignore", 200), ("409", 409), ("401", 401)])
def test_what_a_request_hears_whose_session_has_ended(make: Callable[..., Flask], setting: str, status: int) -> None:
    app = make(sessions={"on_gone": setting})
    slow = Slow(app)
    slow.view("/slow", lambda: dict(session), put("late", 1))
    client = browser(app)
    client.post("/login/ada")
    request = slow.begin(client, "/slow")
    client.post("/logout")
    answer = slow.end(request)
    assert status == answer.status_code
    assert "Set-Cookie" not in answer.headers
