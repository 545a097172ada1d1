"""Every guarantee of a session, played through Django's stack as an attack or a race."""

from __future__ import annotations

import json
import secrets
from http.cookies import SimpleCookie

import pytest
from django.test import override_settings

from tests.integrations.django.browser import AWAY, Browser
from tests.integrations.django.project import views
from zdd_django import get_zdd
from zdd_django.sessions import SessionStore
from zdd_sdk.sessions.ids import parse_id
from zdd_sdk.store.wire import Wire

COOKIE = "sessionid"
UNKNOWN = f"{'A' * 16}.{'B' * 43}"


@pytest.fixture
def elsewhere(browser, runner):
    """Another request of the same browser, during the next slow one: ``elsewhere("post", "put?…")``."""
    twins = []

    def arrange(*asks):
        twin = Browser("wsgi", "/", runner)
        twin.client.cookies = SimpleCookie(browser.cookies)
        twins.append(twin)
        views.between[:] = [lambda: [getattr(twin, method)(path) for method, path in asks]]
        return twin

    yield arrange
    views.between.clear()


@pytest.fixture
def wire(real_engine):
    with Wire(real_engine.port) as opened:
        yield opened


def key_of(browser):
    return get_zdd().sessions.keeper.key(parse_id(browser.cookies[COOKIE]))


def fields(browser):
    return browser.get("me").json()["fields"]


def user(browser):
    return browser.get("whoami").json()["user"]


def with_cookie(browser, *values):
    """The browser as if it had these cookies of our name."""
    browser.client.cookies.clear()
    header = "; ".join(f"{COOKIE}={value}" for value in values)
    return {"headers": {"cookie": header}}


# 1. No lost update


@pytest.mark.parametrize("name", ["put?name=theirs&value=1", "put_inside?value=1"])
def test_two_requests_that_change_different_fields_both_count(browser, elsewhere, name):
    browser.post("put?name=a&value=1")
    elsewhere(("post", name))
    browser.post("slow?name=ours&value=1")
    assert fields(browser) == ["a", *(["cart", "ours"] if "inside" in name else ["ours", "theirs"])]


def test_a_slow_request_that_only_reads_overwrites_nothing(browser, elsewhere):
    browser.post("put?name=a&value=1")
    elsewhere(("post", "put?name=a&value=2"))
    browser.post("slow")
    assert browser.get("field?name=a").json() == {"value": "2"}


def test_control_djangos_own_cache_sessions_lose_one(configured, browser, elsewhere):
    caches = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    with override_settings(SESSION_ENGINE="django.contrib.sessions.backends.cache", CACHES=caches):
        browser.post("put?name=a&value=1")
        elsewhere(("post", "put?name=theirs&value=1"))
        browser.post("slow?name=ours&value=1")
        assert fields(browser) == ["a", "ours"]


def test_a_change_inside_a_value_is_noticed(browser):
    browser.post("put_inside?value=1")
    browser.post("put_quietly?value=2")
    assert browser.get("field?name=cart").json() == {"value": ["1", "2"]}


# 2. What has ended stays ended


@pytest.mark.parametrize("out", ["log_out", "flush"])
def test_a_slow_request_does_not_undo_a_logout(browser, elsewhere, ada, out):
    browser.post("log_in?user=ada")
    before = browser.cookies[COOKIE]
    elsewhere(("post", out))
    answer = browser.post("slow?name=a&value=1")
    assert answer.status_code == 400
    assert COOKIE not in answer.cookies
    browser.client.cookies[COOKIE] = before
    assert (user(browser), fields(browser)) == ("", [])


def test_an_ended_session_is_not_made_again_by_reading_it(browser, elsewhere, wire):
    browser.post("put?name=a&value=1")
    key = key_of(browser)
    elsewhere(("post", "flush"))
    assert browser.post("slow").status_code == 200
    assert wire.ask("EXISTS", key) == 0


# 3. Ids: rotation, fixation, adoption


def test_an_unknown_id_is_never_adopted(browser, wire):
    for value in (UNKNOWN, "attackerchosen", "../../etc", "x" * 5000):
        answer = browser.post("put?name=a&value=1", **with_cookie(browser, value))
        assert answer.cookies[COOKIE].value != value
        assert parse_id(answer.cookies[COOKIE].value)
    assert wire.ask("EXISTS", get_zdd().sessions.keeper.key(parse_id(UNKNOWN))) == 0


def test_an_unknown_id_that_only_reads_keeps_its_cookie(browser):
    """A wrong Redis for a minute must not log everybody out for good."""
    answer = browser.get("me", **with_cookie(browser, UNKNOWN))
    assert answer.status_code == 200
    assert COOKIE not in answer.cookies


def test_a_fixed_id_sees_nothing_of_the_login(browser, ada):
    browser.post("put?name=a&value=1")
    planted = browser.cookies[COOKIE]
    browser.post("log_in?user=ada")
    browser.post("put?name=secret&value=1")
    assert user(browser) == "ada"

    attacker = browser.another()
    seen = attacker.get("me", **with_cookie(attacker, planted)).json()
    assert seen == {"user": None, "fields": ["a"]}, "the snapshot of before, for thirty seconds"
    attempt = attacker.post("put?name=a&value=2", **with_cookie(attacker, planted))
    assert attempt.status_code == 409
    assert COOKIE not in attempt.cookies
    assert browser.get("field?name=a").json() == {"value": "1"}


def test_a_request_under_way_at_the_login_keeps_its_hands_off_the_new_cookie(browser, ada):
    browser.post("put?name=a&value=1")
    late = browser.another()
    browser.post("log_in?user=ada")
    for path in ("me", "whoami", "log_out"):
        answer = late.ask("get" if path in ("me", "whoami") else "post", path)
        assert COOKIE not in answer.cookies, path
    assert user(browser) == "ada"


def test_the_second_of_two_logins_sent_at_once_works(browser, ada):
    browser.post("put?name=a&value=1")
    late = browser.another()
    browser.post("log_in?user=ada")
    late.post("log_in?user=ada")
    assert [user(browser), user(late)] == ["ada", "ada"]
    assert "a" in fields(late)


@pytest.fixture
def changed_password(browser, ada):
    """A request under way with the key of before a change of the password, which was made in the browser."""
    browser.post("log_in?user=ada")
    late = browser.another()
    ada.set_password("another")
    ada.save()
    store = SessionStore(browser.cookies[COOKIE])
    store.cycle_key()
    store["_auth_user_hash"] = ada.get_session_auth_hash()
    store.save()
    browser.client.cookies[COOKIE] = store.session_key
    return late


def test_a_password_change_under_way_does_not_take_the_new_cookie(browser, changed_password):
    """get_user() flushes the session of before, whose hash is another; the cookie is that of the session after."""
    answer = changed_password.get("whoami")
    assert answer.json() == {"user": ""}
    assert COOKIE not in answer.cookies
    assert user(browser) == "ada"


def test_what_it_then_writes_begins_no_session_and_sets_no_cookie(browser, changed_password, wire):
    before = wire.ask("DBSIZE")
    answer = changed_password.get("visit")
    assert answer.json() == {"user": ""}
    assert COOKIE not in answer.cookies
    assert wire.ask("DBSIZE") == before
    assert user(browser) == "ada"


def test_a_key_of_before_is_not_renewed_where_the_secret_key_rotates(browser, changed_password, wire):
    """get_user() would give the session another key; what an old key leads to must stay what it was."""
    fallback = {"SECRET_KEY": "another" * 8, "SECRET_KEY_FALLBACKS": ["tests-only-" + "k" * 50]}
    late = browser.another()
    browser.post("put?name=a&value=1")
    SessionStore(browser.cookies[COOKIE]).cycle_key()
    before = wire.ask("DBSIZE")
    with override_settings(**fallback):
        answer = late.get("whoami")
    assert answer.json() == {"user": "ada"}
    assert COOKIE not in answer.cookies
    assert wire.ask("DBSIZE") == before


def test_who_logs_in_is_in_the_hash_and_in_the_tag(browser, ada, wire):
    browser.post("log_in?user=ada")
    assert wire.ask("HGET", key_of(browser), "_u") == str(ada.pk).encode()
    tag = browser.cookies[COOKIE].partition(".")[0]
    browser.post("flush")
    browser.post("log_in?user=ada")
    assert browser.cookies[COOKIE].partition(".")[0] == tag


def test_a_key_shown_at_the_login_is_the_one_that_is_saved(browser, ada):
    browser.post("put?name=a&value=1")
    shown = browser.post("log_in?user=ada").json()["key"]
    assert browser.cookies[COOKIE] == shown


def test_a_user_put_there_by_hand_gets_a_new_key_all_the_same(configured):
    configured()
    store = SessionStore()
    store["cart"] = [1]
    store.save()
    before = store.session_key
    store["_auth_user_id"] = "7"
    store.save()
    assert store.session_key != before
    assert dict(SessionStore(store.session_key).load()) == {"cart": [1], "_auth_user_id": "7"}
    assert "_auth_user_id" not in SessionStore(before)


def test_several_cookies_of_one_name_are_tried(browser):
    browser.post("put?name=a&value=1")
    real = browser.cookies[COOKIE]
    for order in ((UNKNOWN, real), (real, UNKNOWN), ("garbage", UNKNOWN, real)):
        answer = browser.get("me", **with_cookie(browser, *order))
        assert answer.json()["fields"] == ["a"]


def test_a_cookie_inside_another_cookies_value_is_none(browser):
    browser.post("put?name=a&value=1")
    real = browser.cookies[COOKIE]
    browser.client.cookies.clear()
    answer = browser.get("me", headers={"cookie": f"theme=dark,{COOKIE}={real}"})
    assert answer.json()["fields"] == []


# 4. Two releases


def test_a_field_of_a_newer_release_is_kept_and_raises_only_where_it_is_read(browser, wire, ada):
    browser.post("log_in?user=ada")
    wire.ask("HSET", key_of(browser), "a:future", b"\x63\x63newer")
    assert "future" in fields(browser)
    assert browser.post("put?name=a&value=1").status_code == 500, "this view shows all of it"
    assert browser.get("field?name=future").status_code == 500
    assert browser.get("field?name=a").status_code == 200
    assert user(browser) == "ada"
    assert wire.ask("HGET", key_of(browser), "a:future") == b"\x63\x63newer"
    assert COOKIE in browser.cookies


def test_releases_share_a_session(configured, browser, tap):
    browser.post("put?name=old&value=1")
    configured(tap.url, release={"version": "2"})
    assert fields(browser) == ["old"]
    browser.post("put?name=new&value=2")
    configured(tap.url, release={"version": "1"})
    assert fields(browser) == ["new", "old"]


# 6. Other sites


@pytest.mark.parametrize(
    "headers", [{"sec-fetch-site": "cross-site"}, {"origin": "https://pay.example"}], ids=["fetch metadata", "origin"]
)
def test_a_cross_site_post_without_our_cookie_sets_none(browser, ada, headers):
    returned = browser.post("put?name=paid&value=1", secure=True, headers={"host": AWAY, **headers})
    assert returned.status_code == 200
    assert not returned.cookies
    refused = browser.post("log_in?user=ada", secure=True, headers={"host": AWAY, **headers})
    assert refused.status_code == 403
    assert not [name for name in refused.cookies if "session" in name]
    own = browser.post("put?name=paid&value=1", secure=True, headers={"host": AWAY, "sec-fetch-site": "same-origin"})
    assert own.cookies


# A claim


def claiming(browser, happening):
    views.between[:] = [happening]
    try:
        return browser.post("claim")
    finally:
        views.between.clear()


@pytest.fixture
def commits(monkeypatch):
    """The parts of an exchange with a claim: it is released when the leave has begun."""

    class Claim:
        name = "claim"

        def leaving(self, exchange):
            exchange.committed()
            return ()

        def left(self, exchange, results): ...

        def unavailable(self, exchange, error):
            return None

    service = get_zdd()
    monkeypatch.setitem(service.__dict__, "participants", (*service.participants, Claim()))


def test_a_save_within_a_claim_is_one_trip_at_the_leave(browser, commits, tap):
    def happen(request):
        request.session["paid"] = secrets.token_hex(4)
        request.session.save()
        return request.session.session_key

    claiming(browser, happen)
    tap.reset()
    answer = claiming(browser, happen)
    assert answer.status_code == 200
    assert tap.trips == 2
    assert fields(browser) == ["paid"]
    assert COOKIE in browser.cookies


def test_within_a_claim_a_login_and_a_logout_take_effect_at_the_leave(browser, commits, ada):
    from django.contrib.auth import login, logout

    claiming(browser, lambda request: login(request, ada, "django.contrib.auth.backends.ModelBackend"))
    assert user(browser) == "ada"
    answer = claiming(browser, logout)
    assert str(answer.cookies[COOKIE]["max-age"]) == "0"
    assert user(browser) == ""


def test_a_session_gone_within_a_claim_changes_no_answer(browser, commits, elsewhere):
    browser.post("put?name=a&value=1")
    key = browser.cookies[COOKIE]

    def happen(request):
        request.session["late"] = 1
        SessionStore(key).delete()

    answer = claiming(browser, happen)
    assert answer.status_code == 200
    assert COOKIE not in answer.cookies
    assert get_zdd().sessions.counters["gone"] == 1
    assert json.loads(browser.get("me").content)["fields"] == []
