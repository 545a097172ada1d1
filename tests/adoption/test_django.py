"""Django's engines in this process, two releases at a time: what the other release sees, and what goes wrong."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import os
import random
from dataclasses import dataclass, field
from typing import Any

import django
import pytest
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.db import OperationalError, connection
from django.db.backends.utils import CursorWrapper
from django.http import HttpRequest, JsonResponse
from django.test import override_settings
from django.urls import path

from tests.guarantees.stacks import Answer, Asked, call_asgi, call_wsgi
from zdd_sdk.store.engine import start_engine

if not settings.configured:
    # A process has one project, whichever test comes first.
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.integrations.django.project.settings"
    django.setup()
    del os.environ["DJANGO_SETTINGS_MODULE"]

ROOMY = {"connect_timeout": 5.0, "operation_timeout": 5.0, "total_timeout": 10.0}
ABSENT = "redis://127.0.0.1:1"
ADA = {"user": "ada"}
MOMENT = dt.datetime(2026, 11, 20, tzinfo=dt.UTC)


class Odd:
    """A value of the application's own."""


def shown(items: Any) -> JsonResponse:
    named = {"user" if name == "_auth_user_id" else name: value for name, value in items}
    return JsonResponse({name: value for name, value in named.items() if isinstance(value, str)})


def login(request: HttpRequest, user: str) -> JsonResponse:
    """Do with the session what `django.contrib.auth.login` does."""
    request.session.cycle_key()
    request.session["_auth_user_id"] = user
    return shown(request.session.items())


def logout(request: HttpRequest) -> JsonResponse:
    request.session.flush()
    return shown(request.session.items())


def put(request: HttpRequest, name: str, value: str) -> JsonResponse:
    request.session[name] = {"an-object": Odd(), "a-moment": MOMENT}.get(value, value)
    return shown(request.session.items())


def drop(request: HttpRequest, name: str) -> JsonResponse:
    request.session.pop(name)
    return shown(request.session.items())


def kind(request: HttpRequest, name: str) -> JsonResponse:
    return JsonResponse({"kind": type(request.session.get(name)).__name__})


def me(request: HttpRequest) -> JsonResponse:
    return shown(request.session.items())


async def alogin(request: HttpRequest, user: str) -> JsonResponse:
    await request.session.acycle_key()
    await request.session.aset("_auth_user_id", user)
    return shown(await request.session.aitems())


async def alogout(request: HttpRequest) -> JsonResponse:
    await request.session.aflush()
    return shown(await request.session.aitems())


async def aput(request: HttpRequest, name: str, value: str) -> JsonResponse:
    await request.session.aset(name, {"an-object": Odd(), "a-moment": MOMENT}.get(value, value))
    return shown(await request.session.aitems())


async def adrop(request: HttpRequest, name: str) -> JsonResponse:
    await request.session.apop(name)
    return shown(await request.session.aitems())


async def akind(request: HttpRequest, name: str) -> JsonResponse:
    return JsonResponse({"kind": type(await request.session.aget(name)).__name__})


async def ame(request: HttpRequest) -> JsonResponse:
    return shown(await request.session.aitems())


PATTERNS = ("login/<str:user>", "logout", "put/<str:name>/<str:value>", "drop/<str:name>", "kind/<str:name>", "me")
VIEWS = {"": (login, logout, put, drop, kind, me), "a/": (alogin, alogout, aput, adrop, akind, ame)}
urlpatterns = [
    path(prefix + pattern, view)
    for prefix, views in VIEWS.items()
    for pattern, view in zip(PATTERNS, views, strict=True)
]


@dataclass
class Site:
    """The releases of one project, and a browser that goes from one to another."""

    source: str
    colour: str
    url: str
    legacy_url: str
    cookies: dict[str, str] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    own: dict[str, Any] = field(default_factory=dict)
    """Settings of the project."""

    def settings(self, release: str, *, url: str = "", legacy_url: str = "", **own: Any) -> dict[str, Any]:
        stock = ["django.contrib.sessions.middleware.SessionMiddleware"]
        # The last one, because a process knows all idempotent views there are, those of other tests included.
        ours = [f"zdd_django.middleware.{name}Middleware" for name in ("Zdd", "Session", "Capture")]
        return {
            "ROOT_URLCONF": __name__,
            "MIDDLEWARE": stock if release == "none" else ours,
            "SESSION_ENGINE": f"django.contrib.sessions.backends.{self.source}",
            "CACHES": {
                "default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": legacy_url or self.legacy_url}
            },
            "ZDD": {
                "service": "adoption", "environment": "test", "secret": ("k" * 40,), "redis_url": url or self.url,
                "fleet": {"enabled": False}, "store": ROOMY,
                "sessions": {"adopt": release if release in {"mirror", "lead", "final"} else "off"},
            },
            **self.own,
            **own,
        }  # fmt: skip

    def ask(self, release: str, path: str, method: str = "GET", headers: Any = None, **own: Any) -> Any:
        """Send one request to an instance of a release; the body of its answer, or the status of a failure."""
        said = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        sent = {"host": "shop.example", **({"cookie": said} if said else {}), **(headers or {})}
        place = "/a/" if self.colour == "asgi" else "/"
        with override_settings(**self.settings(release, **own)):
            answer = self._send(Asked(method, f"{place}{path}", {}, sent))
        self.lines = answer.cookies
        for line in self.lines:
            name, _, value = line.partition(";")[0].partition("=")
            if value in {"", '""'} or "max-age=0" in line.lower():
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value
        return answer.json if answer.status == 200 else answer.status

    def _send(self, asked: Asked) -> Answer:
        from zdd_django import get_zdd

        async def serve() -> Answer:
            try:
                return await call_asgi(ASGIHandler(), asked)
            finally:
                await get_zdd().stores.aio.close()

        return asyncio.run(serve()) if self.colour == "asgi" else call_wsgi(WSGIHandler(), asked)


@pytest.fixture(scope="module")
def legacy_engine():
    with start_engine("real") as engine:
        yield engine


@pytest.fixture
def table():
    """The table of the ``db`` engine, unless the tests of the project have made it."""
    from django.contrib.sessions.models import Session

    made = Session._meta.db_table not in connection.introspection.table_names()
    if made:
        with connection.schema_editor() as editor:
            editor.create_model(Session)
    yield
    Session.objects.all().delete()
    if made:
        with connection.schema_editor() as editor:
            editor.delete_model(Session)


SOURCES = ["cache-wsgi", "cache-asgi", "signed_cookies-wsgi", "signed_cookies-asgi", "db-wsgi"]


@pytest.fixture(params=SOURCES)
def site(request, real_engine, legacy_engine, table):
    legacy_engine.recover()
    legacy_engine.flush()
    source, _, colour = request.param.partition("-")
    return Site(source, colour, real_engine.url, legacy_engine.url)


def of(*sources):
    """Only with sessions kept there."""
    return pytest.mark.parametrize("site", [one for one in SOURCES if one.startswith(sources)], indirect=True)


@pytest.mark.parametrize("pair", [("none", "mirror"), ("mirror", "lead"), ("lead", "final")])
def test_neighbours_see_each_others_writes_logins_and_logouts(site, pair):
    for first, second in (pair, pair[::-1]):
        assert site.ask(first, "login/ada") == ADA
        assert site.ask(second, "put/a/1") == {**ADA, "a": "1"}
        assert site.ask(first, "put/a/2") == {**ADA, "a": "2"}
        assert site.ask(second, "me") == {**ADA, "a": "2"}
        assert site.ask(first, "logout") == {}
        assert site.ask(second, "me") == {}


def test_one_way_take_over_loses_what_happened_elsewhere(site):
    """The control: `final` beside the stock release is a take-over on first read."""
    site.ask("none", "login/ada")
    site.ask("final", "put/a/1")
    assert site.ask("none", "me") == ADA


def test_in_mirror_nobody_notices_that_redis_is_away(site):
    assert site.ask("none", "login/ada") == ADA
    assert site.ask("mirror", "put/a/1", url=ABSENT) == {**ADA, "a": "1"}
    assert site.ask("none", "put/b/1") == {**ADA, "a": "1", "b": "1"}
    assert site.ask("mirror", "me") == {**ADA, "a": "1", "b": "1"}
    assert site.ask("mirror", "put/a/2", url=ABSENT) == {**ADA, "a": "2", "b": "1"}
    assert site.ask("lead", "me") == {**ADA, "a": "2", "b": "1"}
    assert site.ask("mirror", "logout", url=ABSENT) == {}
    assert site.ask("lead", "me") == {}


@pytest.mark.parametrize("step", ["lead", "final"])
def test_in_lead_redis_away_is_a_503_and_the_cookies_stay(site, step):
    site.ask(step, "login/ada")
    cookies = dict(site.cookies)
    for asked in ("me", "put/a/1", "logout"):
        assert site.ask(step, asked, url=ABSENT) == 503
    assert site.cookies == cookies
    assert site.ask(step, "me") == ADA


@pytest.fixture
def away(site, monkeypatch):
    """Ask while the engine's own store is away."""

    def gone(*_, **__):
        message = "the database is away"
        raise OperationalError(message)

    def ask(release, path):
        with monkeypatch.context() as fault:
            if site.source == "db":
                fault.setattr(CursorWrapper, "execute", gone)
            return site.ask(release, path, legacy_url=ABSENT)

    return ask


@of("cache", "db")
def test_in_lead_nobody_notices_that_the_engines_store_is_away(site, away):
    site.ask("mirror", "login/ada")
    site.ask("mirror", "put/a/1")
    assert away("lead", "put/a/2") == {**ADA, "a": "2"}
    assert away("lead", "me") == {**ADA, "a": "2"}
    assert site.ask("mirror", "me") == {**ADA, "a": "2"}
    assert site.ask("none", "me") == {**ADA, "a": "2"}
    assert away("lead", "logout") == {}
    assert site.ask("mirror", "me") == {}


@of("cache", "db")
def test_in_mirror_the_engines_store_away_is_what_django_makes_of_it(site, away):
    """Its cache engine takes it for an empty session, its own middleware then deletes the cookie; db is an error."""
    site.ask("mirror", "login/ada")
    kept = dict(site.cookies)
    stock, site.cookies = away("none", "me"), kept
    site.cookies = dict(kept)
    assert away("mirror", "me") == stock
    assert stock == (500 if site.source == "db" else {})
    site.cookies = kept
    assert site.ask("mirror", "me") == ADA


@of("signed_cookies")
def test_four_kilobytes_are_the_cookies_limit_and_not_ours(site):
    site.ask("lead", "login/ada")
    big = base64.urlsafe_b64encode(random.Random(1).randbytes(3300)).decode()  # nothing that Django could compress
    stock = dict(site.cookies)
    assert site.ask("lead", f"put/big/{big}") == {**ADA, "big": big}
    assert site.cookies == stock
    for release in ("mirror", "lead"):
        assert site.ask(release, "me") == {**ADA, "big": big}
    assert site.ask("mirror", "put/big/small") == {**ADA, "big": "small"}
    assert site.ask("none", "me") == {**ADA, "big": "small"}


@of("signed_cookies")
def test_a_parallel_request_with_an_older_cookie_is_no_write(site):
    site.ask("lead", "login/ada")
    older = dict(site.cookies)
    site.ask("lead", "put/a/1")
    newer, site.cookies = site.cookies, older
    assert site.ask("lead", "put/b/1") == {**ADA, "a": "1", "b": "1"}
    site.cookies = newer
    for release in ("lead", "mirror"):
        assert site.ask(release, "me") == {**ADA, "a": "1", "b": "1"}


@of("cache")
@pytest.mark.parametrize("step", ["mirror", "lead", "final"])
def test_what_ours_cannot_hold_stays_with_django(site, step, caplog):
    """django-redis pickles; ours does not."""
    site.ask("none", "login/ada")
    site.ask("none", "put/odd/an-object")
    assert site.ask(step, "kind/odd") == {"kind": "Odd"}
    assert "session['odd']" in caplog.text
    assert site.ask(step, "put/a/1") == {**ADA, "a": "1"}
    assert site.ask("none", "kind/odd") == {"kind": "Odd"}
    assert site.ask("none", "me") == {**ADA, "a": "1"}


@of("signed_cookies", "db")
def test_what_djangos_serializer_cannot_hold_ours_goes_on_without(site):
    """Its JSON refuses a moment, which in `none` is a 500; in `lead` ours has it, and the engine's copy waits."""
    site.ask("lead", "login/ada")
    assert site.ask("none", "put/when/a-moment") == 500
    assert site.ask("lead", "put/when/a-moment") == ADA
    assert site.ask("lead", "kind/when") == {"kind": "datetime"}
    assert site.ask("none", "me") == ADA
    assert site.ask("lead", "put/when/gone") == {**ADA, "when": "gone"}
    assert site.ask("none", "me") == {**ADA, "when": "gone"}


def test_log_out_everywhere_ends_the_engines_sessions_too(site):
    from zdd_django import get_zdd

    site.ask("lead", "login/ada")
    phone, site.cookies = site.cookies, {}
    site.ask("lead", "login/ada")
    with override_settings(**site.settings("lead")):
        assert get_zdd().sessions.logout_everywhere("ada") == 2
    for device in (site.cookies, phone):
        site.cookies = device
        assert site.ask("lead", "me") == {}
        assert "sessionid" not in site.cookies


@pytest.mark.parametrize("step", ["lead", "final"])
def test_a_cross_site_post_without_our_cookie_sets_none(site, step):
    """A payment gateway's return: the browser withholds both cookies, and must still have them afterwards."""
    site.ask("none", "login/ada")
    site.ask(step, "me")
    kept, site.cookies = site.cookies, {}
    site.ask(step, "put/a/1", "POST", {"sec-fetch-site": "cross-site"})
    assert site.lines == []
    site.cookies = kept
    assert site.ask(step, "me") == ADA


OFF = {"SESSION_ENGINE": "zdd_django.sessions"}


@pytest.mark.parametrize(
    ("own", "name"),
    [
        ({}, "__Host-zdd_session"),
        ({"SESSION_COOKIE_NAME": "shop"}, "__Host-zdd_session"),
        ({"SESSION_COOKIE_NAME": "shop", "SESSION_COOKIE_DOMAIN": "shop.example"}, "__Secure-zdd_session"),
    ],
    ids=["django's name", "a custom name", "a custom name and a domain"],
)
def test_final_is_left_and_come_back_to_under_the_name_of_our_cookie(site, own, name):
    site.own = own
    for release in ("none", "mirror", "lead", "final"):
        assert site.ask(release, "login/ada" if release == "none" else "me") == ADA
    site.ask("final", "put/a/1")
    ours, legacy = site.cookies[name], own.get("SESSION_COOKIE_NAME", "sessionid")
    for value in ("1", "2"):
        assert site.ask("off", "me", **OFF, SESSION_COOKIE_NAME=name) == {**ADA, "a": "1"}
        assert site.ask("off", f"put/b/{value}", **OFF, SESSION_COOKIE_NAME=name) == {**ADA, "a": "1", "b": value}
        assert site.ask("final", f"put/b/{value}{value}") == {**ADA, "a": "1", "b": value * 2}
        assert site.ask("off", "drop/b", **OFF, SESSION_COOKIE_NAME=name) == {**ADA, "a": "1"}
    assert site.cookies[name] == ours
    assert site.ask("off", "me", **OFF, SESSION_COOKIE_NAME=legacy) == {}, "control: under the name of before"
    assert site.ask("off", "me", **OFF, SESSION_COOKIE_NAME=name) == {**ADA, "a": "1"}
    assert site.ask("off", "logout", **OFF, SESSION_COOKIE_NAME=name) == {}
    assert site.ask("final", "me") == {}
