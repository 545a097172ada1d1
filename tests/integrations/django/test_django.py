"""zdd in Django: health, errors, the drain, cookies in Django's words, admin, Django REST framework."""

from __future__ import annotations

import json
import re

import pytest
from django.core.handlers.asgi import ASGIRequest
from django.core.management import call_command
from django.http import HttpResponse
from django.test import RequestFactory, override_settings

from tests.integrations.django.browser import AWAY
from zdd_django import get_zdd, zdd
from zdd_django.middleware import SessionMiddleware, ZddMiddleware
from zdd_django.sessions import SessionStore
from zdd_sdk import ZeroDowntime
from zdd_sdk.http import current_exchange
from zdd_sdk.sessions.ids import parse_id
from zdd_sdk.store.wire import Wire


def cookie_line(answer, name="sessionid"):
    return answer.cookies[name].OutputString()


# Health, counting, drain


def test_health_is_answered_before_hosts_and_redirects(configured, browser):
    configured(_SECURE_SSL_REDIRECT=True)

    answer = browser.get("/readyz", exact=True, headers={"host": "10.1.2.3:8000"})
    assert answer.status_code == 200
    assert json.loads(answer.content)["status"] == "pass"
    assert answer.headers["Cache-Control"] == "no-store"
    assert browser.get("plain", headers={"host": "10.1.2.3:8000"}).status_code == 400, "the control: any other path"
    assert browser.get("plain").status_code == 301


def test_health_under_a_path_of_ones_own(browser):
    assert browser.get("/health/livez", exact=True).status_code == 200


@pytest.mark.parametrize(("method", "path"), [("post", "/livez"), ("get", "/elsewherez"), ("get", "/a/livez")])
def test_nothing_else_is_health(browser, method, path):
    assert browser.ask(method, path, exact=True).status_code == 404


def test_while_draining_answers_say_close_where_the_protocol_allows_it(browser):
    browser.get("plain")
    assert not browser.get("plain").has_header("Connection")
    get_zdd().lifecycle.begin_drain("test")

    for path, status in (("plain", 200), ("nowhere", 404), ("put_then_fail", 500), ("/livez", 200)):
        answer = browser.get(path, exact=path == "/livez")
        assert answer.status_code == status
        assert answer.headers.get("Connection") == ("close" if browser.kind == "asgi" else None)
    assert browser.get("/readyz", exact=True).status_code == 503


@pytest.mark.parametrize("path", ["plain", "put_then_fail", "nowhere", "stream", "/readyz"])
def test_requests_in_flight_are_counted_in_and_out(browser, path):
    answer = browser.get(path, exact=path == "/readyz")
    answer.close()
    assert get_zdd().lifecycle.in_flight == 0


def test_a_request_is_in_flight_until_its_answer_is_closed(configured):
    lifecycle = configured().lifecycle
    answer = ZddMiddleware(lambda request: render(request, seen=lifecycle.in_flight))(RequestFactory().get("/"))
    assert answer.content == b"1"
    assert lifecycle.in_flight == 1
    answer.close()
    assert lifecycle.in_flight == 0


def render(_request, seen):
    from django.http import HttpResponse

    return HttpResponse(str(seen))


def test_an_outer_half_counts_and_answers_health_instead(configured):
    lifecycle = configured().lifecycle
    request = RequestFactory().get("/livez", **{"zdd.outer": True})
    answer = ZddMiddleware(lambda request: render(request, seen=lifecycle.in_flight))(request)
    assert answer.content == b"0"


def test_an_exchange_that_was_opened_around_django_is_left_there(configured):
    service = configured()
    request = RequestFactory().get("/", zdd=service)
    assert ZddMiddleware(lambda request: render(request, seen=current_exchange()))(request).content == b"None"


# Start


def test_nothing_starts_before_a_request(configured):
    service = configured()
    call_command("check")
    call_command("migrate", verbosity=0)
    assert not service.started


def test_a_server_adapter_starts_it(configured):
    from zdd_sdk.lifecycle import begin_serving

    service = configured()
    assert begin_serving() is service.lifecycle
    assert service.started


def test_there_is_one_service_and_settings_renew_it(configured):
    service = configured()
    assert get_zdd() is service
    assert isinstance(zdd, ZeroDowntime)
    assert zdd.settings is service.settings
    assert configured(sessions={"login_grace": "5s"}) is not service
    assert zdd.settings.sessions.login_grace == 5


# Errors


def test_a_5xx_saves_nothing_and_a_4xx_saves(browser):
    browser.post("put?name=a&value=1")
    assert browser.post("put_then_fail").status_code == 500
    assert browser.post("put_then_answer?status=503").status_code == 503
    assert json.loads(browser.get("me").content)["fields"] == ["a"]
    assert browser.post("put_then_answer?status=409").status_code == 409
    assert json.loads(browser.get("me").content)["fields"] == ["a", "answer"]


def test_a_5xx_saves_if_told_so(configured, browser, tap):
    configured(tap.url, sessions={"save_on_error": True})
    browser.post("put_then_answer?status=503")
    assert json.loads(browser.get("me").content)["fields"] == ["answer"]


def test_a_value_that_cannot_be_stored_is_a_problem(configured, browser, tap):
    configured(tap.url, sessions={"max_field": 100, "max_session": 1000})
    answer = browser.post(f"put?name=a&value={'x' * 200}")
    assert answer.status_code == 413
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert json.loads(answer.content)["type"] == "urn:zdd:session-too-large"
    assert not browser.cookies


# Cookies, in Django's words


def away(browser, path, **request):
    return browser.post(path, secure=True, headers={"host": AWAY, "referer": f"https://{AWAY}/"}, **request)


def test_the_cookie_is_safe_unless_said_otherwise(browser):
    line = cookie_line(away(browser, "put?name=a&value=1"), "__Host-sessionid")
    assert {"Secure", "HttpOnly", "Path=/", "SameSite=Lax", "Max-Age=1209600"} <= set(line.split("; "))
    assert "Domain" not in line
    assert json.loads(browser.get("me", secure=True, headers={"host": AWAY}).content)["fields"] == ["a"]


def test_plain_http_gets_no_plain_cookie_away_from_home(browser):
    answer = browser.post("put?name=a&value=1", headers={"host": AWAY})
    assert "Secure" in cookie_line(answer, "__Host-sessionid")


def test_on_loopback_and_in_tests_it_has_its_plain_name(browser):
    for host in ("localhost:8000", "127.0.0.1"):
        browser.client.cookies.clear()
        line = cookie_line(browser.post("put?name=a&value=1", headers={"host": host}))
        assert "Secure" not in line
    browser.client.cookies.clear()
    assert "Secure" not in cookie_line(browser.post("put?name=b&value=1", secure=True)), "Django's own test client"


@pytest.mark.parametrize(
    ("own", "name", "words"),
    [
        ({"_SESSION_COOKIE_NAME": "shop"}, "shop", ({"Secure"}, set())),
        ({"_SESSION_COOKIE_SECURE": False}, "sessionid", (set(), {"Secure"})),
        ({"_SESSION_COOKIE_DOMAIN": "shop.example"}, "__Secure-sessionid", ({"Domain=shop.example", "Secure"}, set())),
        ({"_SESSION_COOKIE_PATH": "/a"}, "__Secure-sessionid", ({"Path=/a"}, {"Path=/"})),
        ({"_SESSION_COOKIE_AGE": 900}, "__Host-sessionid", ({"Max-Age=900"}, set())),
        ({"_SESSION_COOKIE_HTTPONLY": False}, "__Host-sessionid", (set(), {"HttpOnly"})),
        ({"_SESSION_COOKIE_SAMESITE": "Strict"}, "__Host-sessionid", ({"SameSite=Strict"}, set())),
        ({"_SESSION_EXPIRE_AT_BROWSER_CLOSE": True}, "__Host-sessionid", (set(), {"Max-Age=1209600"})),
    ],
)
def test_djangos_own_settings_keep_their_meaning(configured, browser, own, name, words):
    configured(**own)
    said, unsaid = words
    found = set(cookie_line(away(browser, "put?name=a&value=1"), name).split("; "))
    assert said <= found
    assert not unsaid & found


def test_every_request_renews_the_cookie_if_told_so(configured, browser, tap):
    configured(tap.url, _SESSION_SAVE_EVERY_REQUEST=True)
    assert "sessionid" not in browser.get("plain").cookies, "there is nothing to renew yet"
    browser.post("put?name=a&value=1")
    assert "sessionid" in browser.get("plain").cookies


@pytest.fixture
def later(browser, real_engine):
    """Make the session, and what it knows of its cookie, so many seconds older."""

    def pass_by(seconds):
        key = get_zdd().sessions.keeper.key(parse_id(browser.cookies["sessionid"]))
        with Wire(real_engine.port) as wire:
            for name in ("_c", "_r", "_s"):
                if value := wire.ask("HGET", key, name):
                    wire.ask("HSET", key, name, int(value) - round(seconds * 1000))

    return pass_by


TENTH = 14 * 86400 / 10


def test_a_save_sets_the_cookie_anew_when_a_tenth_of_its_life_has_passed(browser, later):
    browser.post("put?name=a&value=1")
    before = browser.cookies["sessionid"]
    for value in (2, 3):
        assert "sessionid" not in browser.post(f"put?name=a&value={value}").cookies
        later(TENTH + 1)
        assert "sessionid" not in browser.get("me").cookies, "as in Django: reading does not prolong it"
        assert "Max-Age=1209600" in cookie_line(browser.post("put?name=a&value=1"))
        assert browser.cookies["sessionid"] == before


@pytest.mark.parametrize("own", [{"_SESSION_EXPIRE_AT_BROWSER_CLOSE": True}, {}])
def test_what_a_later_save_could_not_prolong_it_does_not(configured, tap, browser, later, own):
    """A cookie that ends with the browser, or at a moment of the application's choice."""
    configured(tap.url, **own)
    browser.post("put?name=a&value=1" if own else "expire?seconds=1000000&moment=1")
    later(TENTH + 1)
    assert "sessionid" not in browser.post("put?name=a&value=2").cookies


def test_a_session_of_the_applications_choice_is_told_the_browser(configured):
    configured()
    chosen = SessionStore()
    chosen["a"] = 1
    chosen.save()

    def view(request, given):
        request.session = given or request.session
        request.session["b"] = 1
        return HttpResponse()

    for given in (SessionStore(chosen.session_key), None):
        request = RequestFactory().get("/")
        if given is None:
            request.COOKIES["sessionid"] = chosen.session_key
        answer = SessionMiddleware(lambda request, given=given: view(request, given))(request)
        told = answer.cookies["sessionid"].value if "sessionid" in answer.cookies else None
        assert told == (chosen.session_key if given else None)


def test_only_what_used_the_session_varies_by_cookie_and_what_set_it_is_not_stored(browser):
    assert "Cookie" not in browser.get("plain").headers.get("Vary", "")
    assert "Cookie" in browser.get("me").headers["Vary"]
    assert not browser.get("me").has_header("Cache-Control")
    answer = browser.post("put?name=a&value=1")
    assert "no-store" in answer.headers["Cache-Control"]
    assert "Cookie" in answer.headers["Vary"]


def test_a_session_of_its_own_length(browser):
    assert "Max-Age=100" in cookie_line(browser.post("expire?seconds=100"))
    assert json.loads(browser.get("me").content)["fields"] == ["_session_expiry", "kept"]
    assert "Max-Age" not in cookie_line(browser.post("expire?seconds=0"))
    browser.post("expire?seconds=-1")
    assert json.loads(browser.get("me").content)["fields"] == []


# What people build with Django


def test_admin(browser, ada):
    page = browser.get("/admin/login/", exact=True)
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.content.decode())[1]
    form = {"username": "ada", "password": "secret", "csrfmiddlewaretoken": token, "next": "/admin/"}
    assert browser.post("/admin/login/", exact=True, data=form).status_code == 302
    index = browser.get("/admin/", exact=True)
    assert index.status_code == 200
    assert b"Site administration" in index.content
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', index.content.decode())[1]
    browser.post("/admin/logout/", exact=True, data={"csrfmiddlewaretoken": token})
    assert browser.get("/admin/", exact=True).status_code == 302


def test_rest_framework(browser, ada):
    assert browser.get("/api/orders/", exact=True).status_code == 403
    browser.post("log_in?user=ada")
    assert browser.get("/api/orders/", exact=True).json() == {"user": "ada"}
    assert browser.get("/api/orders/7/", exact=True).json() == {"user": "ada", "order": "7"}
    browser.post("log_out")
    posted = browser.post("/api/cart/", exact=True, data={"item": "tea"}, content_type="application/json")
    assert posted.status_code == 201
    assert browser.get("/api/cart/", exact=True).json() == {"cart": ["tea"]}


def test_djangos_test_client(browser, ada):
    browser.client.force_login(ada)
    assert browser.get("whoami").json() == {"user": "ada"}
    session = browser.client.session
    session["cart"] = ["tea"]
    session.save()
    assert browser.get("field?name=cart").json() == {"value": ["tea"]}
    browser.client.logout()
    assert browser.get("whoami").json() == {"user": ""}


def test_a_password_change_logs_others_out_and_leaves_who_changed_it(browser, ada):
    from django.contrib.auth import get_user_model

    browser.post("log_in?user=ada")
    user = get_user_model().objects.get(username="ada")
    user.set_password("another")
    user.save()
    assert browser.get("whoami").json() == {"user": ""}
    assert "sessionid" not in browser.cookies


def test_a_rotated_secret_key_keeps_the_login(browser, ada):
    browser.post("log_in?user=ada")
    before = browser.cookies["sessionid"]
    with override_settings(SECRET_KEY="another" * 8, SECRET_KEY_FALLBACKS=["tests-only-" + "k" * 50]):
        assert browser.get("whoami").json() == {"user": "ada"}
        assert browser.cookies["sessionid"] != before
        assert browser.get("whoami").json() == {"user": "ada"}


def test_both_middleware_are_native_in_both_modes(configured):
    """No thread of ours: in asynchronous mode Django would wrap what is not marked."""
    from asgiref.sync import iscoroutinefunction

    async def below(request: ASGIRequest):
        return None

    configured()
    for middleware in (ZddMiddleware, SessionMiddleware):
        assert middleware.sync_capable
        assert middleware.async_capable
        assert iscoroutinefunction(middleware(below))
        assert not iscoroutinefunction(middleware(lambda request: None))
