"""Each framework in this process, two releases at a time: the cookies, what the other release sees, what goes wrong."""

from __future__ import annotations

import base64
import datetime as dt
import random
from pathlib import Path

import pytest
from flask import session
from starlette.testclient import TestClient

from tests.adoption.apps import flask_app, starlette_app
from zdd_sdk.store.engine import start_engine

ROOMY = {"connect_timeout": 5.0, "operation_timeout": 5.0, "total_timeout": 10.0}
ABSENT = "redis://127.0.0.1:1"


@pytest.fixture(scope="module")
def legacy_engine():
    with start_engine("real") as engine:
        yield engine


class Site:
    """The releases of one application, and a browser that goes from one to another."""

    def __init__(self, kind, url, legacy_url, directory):
        self.kind, self.url, self.legacy_url, self.directory = kind, url, legacy_url, directory
        self.cookies = {}
        self.apps = {}

    def app(self, release, **options):
        options = {"redis_url": self.url, "fleet": {"enabled": False}, "store": ROOMY, **options}
        options = {} if release == "none" else options
        if self.kind == "starlette":
            return starlette_app.make(release, **options)
        return flask_app.make(release, self.kind, self.legacy_url, Path(self.directory), **options)

    def ask(self, release, path, app=None, method="GET", **headers):
        app = app or self.apps.setdefault(release, self.app(release))
        header = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        headers |= {"cookie": header} if header else {}
        if self.kind == "starlette":
            client = TestClient(app, base_url="http://localhost", raise_server_exceptions=False)
            response = client.request(method, path, headers=headers)
            lines, status, body = response.headers.get_list("set-cookie"), response.status_code, response.json
        else:
            client = app.test_client(use_cookies=False)
            response = client.open(path, method=method, base_url="http://localhost", headers=headers)
            lines, status, body = response.headers.getlist("set-cookie"), response.status_code, lambda: response.json
        for line in lines:
            name, value = line.split(";")[0].split("=", 1)
            if value in {"", "null"}:
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value
        self.lines = lines
        return body() if status == 200 else status


@pytest.fixture(params=["starlette", "cookie", "redis", "cachelib"])
def site(request, real_engine, legacy_engine, tmp_path):
    legacy_engine.recover()
    return Site(request.param, real_engine.url, legacy_engine.url, tmp_path)


ADA = {"user": "ada"}


def test_a_user_of_the_stock_release_is_known_to_every_step(site):
    site.ask("none", "/login/ada")
    for release in ("none", "mirror", "lead", "final"):
        assert site.ask(release, "/me") == ADA


@pytest.mark.parametrize("pair", [("none", "mirror"), ("mirror", "lead"), ("lead", "final")])
def test_neighbours_see_each_others_writes_logins_and_logouts(site, pair):
    for first, second in (pair, pair[::-1]):
        assert site.ask(first, "/login/ada") == ADA
        assert site.ask(second, "/put/a/1") == {**ADA, "a": "1"}
        assert site.ask(first, "/put/a/2") == {**ADA, "a": "2"}
        assert site.ask(second, "/me") == {**ADA, "a": "2"}
        assert site.ask(first, "/logout") == {}
        assert site.ask(second, "/me") == {}
        assert site.ask(first, "/me") == {}


def test_a_copy_that_went_stale_after_a_rollback_is_taken_over_anew(site):
    site.ask("mirror", "/login/ada")
    site.ask("mirror", "/put/a/1")
    site.ask("none", "/put/a/2")
    site.ask("none", "/put/b/1")
    for release in ("mirror", "lead", "final"):
        assert site.ask(release, "/me") == {**ADA, "a": "2", "b": "1"}


def test_a_value_that_goes_back_to_what_it_was_is_a_write_like_any_other(site):
    """A history of fingerprints would take it for an old copy."""
    site.ask("mirror", "/login/ada")
    for value in ("light", "dark"):
        site.ask("mirror", f"/put/theme/{value}")
    site.ask("none", "/put/theme/light")
    assert site.ask("mirror", "/me") == {**ADA, "theme": "light"}


def test_one_way_take_over_loses_what_happened_elsewhere(site):
    """The control: `final` beside the stock release is a take-over on first read."""
    site.ask("none", "/login/ada")
    site.ask("final", "/put/a/1")
    assert site.ask("none", "/me") == ADA


def test_an_agreement_costs_one_trip_and_sets_no_cookie(site, open_tap):
    site.ask("mirror", "/login/ada")
    for release in ("mirror", "lead", "final"):
        site.ask(release, "/me")
        tap = open_tap(site.url)
        app = site.app(release, redis_url=tap.url)
        site.ask(release, "/me", app)
        before = tap.trips
        assert site.ask(release, "/me", app) == ADA
        assert (tap.trips - before, site.lines) == (1, [])


def test_in_mirror_nobody_notices_that_redis_is_away(site):
    away = site.app("mirror", redis_url=ABSENT)
    assert site.ask("none", "/login/ada") == ADA
    assert site.ask("mirror", "/put/a/1", away) == {**ADA, "a": "1"}
    assert site.ask("none", "/put/b/1") == {**ADA, "a": "1", "b": "1"}
    assert site.ask("mirror", "/me") == {**ADA, "a": "1", "b": "1"}
    assert site.ask("mirror", "/put/a/2", away) == {**ADA, "a": "2", "b": "1"}
    assert site.ask("lead", "/me") == {**ADA, "a": "2", "b": "1"}
    assert site.ask("mirror", "/logout", away) == {}
    assert site.ask("lead", "/me") == {}


@pytest.mark.parametrize("step", ["lead", "final"])
def test_in_lead_redis_away_is_a_503_and_the_cookies_stay(site, step):
    site.ask(step, "/login/ada")
    cookies = dict(site.cookies)
    assert site.ask(step, "/put/a/1", site.app(step, redis_url=ABSENT)) == 503
    assert site.cookies == cookies
    assert site.ask(step, "/me") == ADA


@pytest.mark.parametrize("site", ["redis"], indirect=True)
def test_in_lead_nobody_notices_that_the_frameworks_store_is_away(site):
    site.ask("mirror", "/login/ada")
    site.ask("mirror", "/put/a/1")
    elsewhere = Site("redis", site.url, ABSENT, site.directory)
    elsewhere.cookies = site.cookies
    assert elsewhere.ask("lead", "/put/a/2") == {**ADA, "a": "2"}
    assert elsewhere.ask("lead", "/me") == {**ADA, "a": "2"}
    assert site.ask("mirror", "/me") == {**ADA, "a": "2"}
    assert site.ask("none", "/me") == {**ADA, "a": "2"}
    assert elsewhere.ask("lead", "/logout") == {}
    assert site.ask("mirror", "/me") == {}


@pytest.mark.parametrize("site", ["redis"], indirect=True)
def test_in_mirror_the_frameworks_store_away_is_the_frameworks_error(site):
    elsewhere = Site("redis", site.url, ABSENT, site.directory)
    site.ask("mirror", "/login/ada")
    elsewhere.cookies = site.cookies
    assert elsewhere.ask("mirror", "/me") == 500
    assert site.ask("mirror", "/me") == ADA


@pytest.mark.parametrize("site", ["starlette", "cookie"], indirect=True)
def test_four_kilobytes_are_the_cookies_limit_and_not_ours(site):
    site.ask("lead", "/login/ada")
    big = base64.urlsafe_b64encode(random.Random(1).randbytes(3300)).decode()  # nothing that Flask could compress
    stock = dict(site.cookies)
    assert site.ask("lead", f"/put/big/{big}") == {**ADA, "big": big}
    assert site.cookies == stock
    for release in ("mirror", "lead"):
        assert site.ask(release, "/me") == {**ADA, "big": big}
    assert site.ask("mirror", "/put/big/small") == {**ADA, "big": "small"}
    assert site.ask("none", "/me") == {**ADA, "big": "small"}


@pytest.mark.parametrize("site", ["starlette", "cookie"], indirect=True)
def test_a_parallel_request_with_an_older_cookie_is_no_write(site):
    site.ask("lead", "/login/ada")
    older = dict(site.cookies)
    site.ask("lead", "/put/a/1")
    newer = dict(site.cookies)
    site.cookies = older
    assert site.ask("lead", "/put/b/1") == {**ADA, "a": "1", "b": "1"}
    site.cookies = newer
    for release in ("lead", "mirror"):
        assert site.ask(release, "/me") == {**ADA, "a": "1", "b": "1"}


@pytest.mark.parametrize("site", ["cookie"], indirect=True)
def test_types_come_back_as_flask_had_them(site):
    moment = dt.datetime(2026, 11, 20, tzinfo=dt.UTC)

    def keep():
        session["kept"] = [(1, 2), b"\x00", moment]
        return {}

    def kept():
        return {"same": session["kept"] == [(1, 2), b"\x00", moment]}

    for release in ("none", "mirror", "lead", "final"):
        app = site.apps[release] = site.app(release)
        app.add_url_rule("/keep", "keep", keep)
        app.add_url_rule("/kept", "kept", kept)
    for first, second in (("none", "mirror"), ("mirror", "lead"), ("lead", "mirror"), ("lead", "final")):
        site.ask(first, "/keep")
        assert site.ask(second, "/kept") == {"same": True}


class Odd:
    """A value of the application's own."""


@pytest.mark.parametrize("site", ["cachelib"], indirect=True)
@pytest.mark.parametrize("step", ["mirror", "lead", "final"])
def test_what_ours_cannot_hold_stays_with_the_framework(site, step, caplog):
    def keep():
        session["odd"] = Odd()
        return {}

    for release in ("none", step):
        app = site.apps[release] = site.app(release)
        app.add_url_rule("/keep", "keep", keep)
        app.add_url_rule("/odd", "odd", lambda: {"odd": type(session.get("odd")).__name__})
    site.ask("none", "/login/ada")
    site.ask("none", "/keep")
    assert site.ask(step, "/odd") == {"odd": "Odd"}
    assert "session['odd']" in caplog.text
    assert site.ask(step, "/put/a/1") == 500 or site.ask("none", "/odd") == {"odd": "Odd"}


@pytest.mark.parametrize("site", ["starlette", "cookie"], indirect=True)
def test_log_out_everywhere_ends_the_frameworks_sessions_too(site):
    site.ask("lead", "/login/ada")
    phone = dict(site.cookies)
    site.cookies = {}
    site.ask("lead", "/login/ada")
    app = site.apps["lead"]
    zdd = app.extensions["zdd"] if site.kind == "cookie" else app.user_middleware[0].kwargs["zdd"]
    assert zdd.sessions.logout_everywhere("ada") == 2
    for device in (site.cookies, phone):
        site.cookies = device
        assert site.ask("lead", "/me") == {}
        assert "session" not in site.cookies


@pytest.mark.parametrize("step", ["lead", "final"])
def test_a_cross_site_post_without_our_cookie_sets_none(site, step):
    """A payment gateway's return: the browser withholds both cookies, and must still have them afterwards."""
    site.ask("none", "/login/ada")
    site.ask(step, "/me")
    kept, site.cookies = site.cookies, {}
    site.ask(step, "/put/a/1", method="POST", sec_fetch_site="cross-site")
    assert site.lines == []
    site.cookies = kept
    assert site.ask(step, "/me") == ADA


def test_a_cross_site_post_with_the_frameworks_cookie_alone_is_the_frameworks(site):
    """Ours is Lax and stays at home; where the framework's comes along, what it says is taken over later."""
    site.ask("lead", "/login/ada")
    ours = {name: value for name, value in site.cookies.items() if name.startswith("zdd")}
    site.cookies = {name: value for name, value in site.cookies.items() if name not in ours}
    assert site.ask("lead", "/put/a/1", method="POST", sec_fetch_site="cross-site") == {**ADA, "a": "1"}
    site.cookies |= ours
    assert site.ask("lead", "/me") == {**ADA, "a": "1"}


@pytest.mark.parametrize("site", ["cookie", "redis", "cachelib"], indirect=True)
@pytest.mark.parametrize("name", ["session", "shop"], ids=["flask's name", "a custom name"])
def test_final_is_left_and_come_back_to_under_the_name_of_our_cookie(site, name):
    """Flask's sessions and `SESSION_COOKIE_NAME` are removed together with the option."""
    for release in ("none", "mirror", "lead", "final"):
        site.apps[release] = site.app(release)
        site.apps[release].config["SESSION_COOKIE_NAME"] = name
        assert site.ask(release, "/login/ada" if release == "none" else "/me") == ADA
    site.ask("final", "/put/a/1")
    off = Site("cookie", site.url, site.legacy_url, site.directory)
    off.cookies = site.cookies
    ours = site.cookies["zdd_session"]
    for value in ("1", "2"):
        assert off.ask("off", f"/put/b/{value}") == {**ADA, "a": "1", "b": value}
        assert site.ask("final", f"/put/b/{value}{value}") == {**ADA, "a": "1", "b": value * 2}
    assert site.cookies["zdd_session"] == ours
    kept = off.app("off")
    kept.config["SESSION_COOKIE_NAME"] = "shop"
    assert off.ask("off", "/me", kept) == {}, "control: under a name of the application's"
    assert off.ask("off", "/me") == {**ADA, "a": "1", "b": "22"}
    assert off.ask("off", "/logout") == {}
    assert site.ask("final", "/me") == {}, "the framework's copy does not bring it back"
