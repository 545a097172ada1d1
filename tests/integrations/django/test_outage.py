"""Redis away: 503 for those who need the session, nothing for the others, and nobody is logged out."""

from __future__ import annotations

import json
import time

import pytest

COOKIE = "sessionid"
FAST = {"connect_timeout": 0.5, "operation_timeout": 0.5, "total_timeout": 1.0}


@pytest.fixture
def visitor(configured, browser, tap, ada):
    """Somebody who is logged in, with a field."""
    configured(tap.url, store=FAST)
    browser.post("put?name=a&value=1")
    browser.post("log_in?user=ada")
    return browser


def eventually(browser, path):
    deadline = time.monotonic() + 10
    while (answer := browser.get(path)).status_code != 200 and time.monotonic() < deadline:
        time.sleep(0.1)
    return answer


def check_problem(answer):
    assert answer.status_code == 503
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert int(answer.headers["Retry-After"]) >= 1
    assert json.loads(answer.content)["type"] == "urn:zdd:session-unavailable"
    assert COOKIE not in answer.cookies


def test_who_needs_the_session_gets_503_and_others_notice_nothing(visitor, tap):
    before = visitor.cookies
    tap.refuse()
    check_problem(visitor.get("me"))
    check_problem(visitor.get("whoami"))
    check_problem(visitor.post("put?name=b&value=1"))
    check_problem(visitor.post("log_out"))
    check_problem(visitor.post("flush"))
    check_problem(visitor.get("/api/orders/", exact=True))
    check_problem(visitor.get("/admin/", exact=True))
    assert visitor.get("plain").status_code == 200
    assert visitor.get("/readyz", exact=True).status_code == 200
    assert visitor.cookies == before
    tap.heal()
    assert eventually(visitor, "whoami").json() == {"user": "ada"}


def test_a_redis_that_does_not_answer_costs_its_budget_and_no_login(visitor, tap):
    before = visitor.cookies
    tap.pause()
    check_problem(visitor.get("me"))
    assert visitor.get("plain").status_code == 200
    tap.heal()
    assert visitor.cookies == before
    assert eventually(visitor, "whoami").json() == {"user": "ada"}


def test_middleware_that_needs_the_session_is_answered_with_503_too(configured, visitor, tap, settings_middleware):
    """Django turns what middleware and process_view raise into 500 before we see it."""
    configured(tap.url, store=FAST, _MIDDLEWARE=settings_middleware)
    twin = visitor.another()
    assert twin.get("plain").status_code == 200
    tap.refuse()
    check_problem(twin.get("plain"))


@pytest.fixture
def settings_middleware():
    from django.conf import settings

    return [
        *settings.MIDDLEWARE[:-1],
        "django.contrib.auth.middleware.LoginRequiredMiddleware",
        settings.MIDDLEWARE[-1],
    ]


def test_control_djangos_own_sessions_delete_the_cookie(configured, browser, tap, ada):
    caches = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": tap.url}}
    configured(
        tap.url,
        _SESSION_ENGINE="django.contrib.sessions.backends.cache",
        _CACHES=caches,
        _MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware"],
    )
    browser.post("put?name=a&value=1")
    tap.refuse()
    answer = browser.get("me")
    assert answer.status_code == 200
    assert str(answer.cookies[COOKIE]["max-age"]) == "0"


def test_a_visitor_without_a_session_reads_an_empty_one_and_loses_nothing(visitor, tap):
    tap.refuse()
    visitor.get("me")
    stranger = visitor.another()
    stranger.client.cookies.clear()
    assert stranger.get("me").json() == {"user": None, "fields": []}
    check_problem(stranger.post("put?name=a&value=1"))
    check_problem(stranger.post("log_in?user=ada"))


def test_a_save_that_finds_no_redis_leaves_the_answer_and_a_login_does_not(visitor, tap, monkeypatch):
    from tests.integrations.django.project import views

    monkeypatch.setattr(views, "between", [tap.refuse])
    answer = visitor.post("slow?name=b&value=1")
    assert answer.status_code == 200
    assert COOKIE not in answer.cookies
    tap.heal()
    assert "b" not in eventually(visitor, "me").json()["fields"]


def test_a_login_that_cannot_be_kept_is_503(configured, visitor, tap, monkeypatch):
    from django.contrib.auth import user_logged_in

    visitor.client.cookies.clear()
    visitor.post("put?name=a&value=1")
    before = visitor.cookies

    def go_away(**_):
        tap.refuse()

    user_logged_in.connect(go_away)
    try:
        check_problem(visitor.post("log_in?user=ada"))
    finally:
        user_logged_in.disconnect(go_away)
    assert visitor.cookies == before
    tap.heal()
    assert eventually(visitor, "me").json() == {"user": None, "fields": ["a"]}


def test_anonymous(configured, visitor, tap):
    configured(tap.url, store=FAST, sessions={"on_unavailable": "anonymous"})
    before = visitor.cookies
    tap.refuse()
    assert visitor.get("me").json() == {"user": None, "fields": []}
    assert visitor.get("whoami").json() == {"user": ""}
    assert visitor.post("put?name=b&value=1").status_code == 200
    check_problem(visitor.post("log_in?user=ada"))
    check_problem(visitor.post("log_out"))
    assert visitor.cookies == before
    tap.heal()
    assert eventually(visitor, "me").json()["fields"].count("b") == 0
    deadline = time.monotonic() + 10
    while visitor.get("whoami").json() != {"user": "ada"}:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_stale(configured, visitor, tap):
    configured(tap.url, store=FAST, sessions={"on_unavailable": "stale"})
    assert visitor.get("whoami").json() == {"user": "ada"}
    tap.refuse()
    assert visitor.get("whoami").json() == {"user": "ada"}
    refused = visitor.post("put?name=b&value=1")
    assert refused.status_code == 409
    assert COOKIE not in refused.cookies
