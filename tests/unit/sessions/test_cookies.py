"""The cookie's name and attributes, and who may set it."""

from __future__ import annotations

import pytest

from zdd_sdk.errors import SettingsError
from zdd_sdk.http import Exchange
from zdd_sdk.sessions.cookies import CookieJar, is_cross_site, is_local
from zdd_sdk.settings import SessionSettings


def exchange(method="GET", scheme="https", **headers):
    plain = {name.replace("_", "-"): value for name, value in headers.items()}
    return Exchange(method, "/", scheme, lambda name: [plain[name]] if name in plain else [], None)


def written(request, **options):
    CookieJar(SessionSettings(**options)).write(request, "value", 60)
    return dict(request.response_headers)["set-cookie"]


def test_the_default_is_as_strict_as_browsers_know():
    line = written(exchange(host="shop.example"))
    assert line == "__Host-zdd_session=value; Path=/; Max-Age=60; HttpOnly; SameSite=Lax; Secure"


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"cookie_domain": "shop.example"}, "__Secure-zdd_session=value; Path=/; Domain=shop.example"),
        ({"cookie_path": "/app"}, "__Secure-zdd_session=value; Path=/app"),
        ({"cookie_name": "sid"}, "__Host-sid=value"),
        ({"same_site": "None"}, "SameSite=None; Secure"),
    ],
)
def test_options_show(options, part):
    assert part in written(exchange(host="shop.example"), **options)


def test_an_answer_with_the_cookie_is_not_stored_by_caches():
    request = exchange()
    CookieJar(SessionSettings()).write(request, "value", 60)
    assert ("cache-control", "no-store") in request.response_headers


def test_removal_has_the_attributes_of_the_cookie():
    request = exchange()
    CookieJar(SessionSettings(cookie_domain="shop.example", cookie_path="/app")).remove(request)
    line = dict(request.response_headers)["set-cookie"]
    assert line.startswith("__Secure-zdd_session=; Path=/app; Domain=shop.example; Max-Age=0;")
    assert "Secure" in line.split("; ")


@pytest.mark.parametrize(
    ("scheme", "headers", "local"),
    [
        ("http", {"host": "localhost"}, True),
        ("http", {"host": "localhost:8000"}, True),
        ("http", {"host": "testserver"}, True),
        ("http", {"host": "127.0.0.1:8000"}, True),
        ("http", {"host": "127.8.9.1"}, True),
        ("http", {"host": "[::1]:8000"}, True),
        ("ws", {"host": "localhost"}, True),
        ("https", {"host": "localhost"}, False),
        ("wss", {"host": "localhost"}, False),
        ("http", {"host": "shop.example"}, False),
        ("http", {"host": "localhost.evil.example"}, False),
        ("http", {"host": "192.168.0.1"}, False),
        ("http", {"host": "[::1"}, False),
        ("http", {"host": ""}, False),
        ("http", {}, False),
        ("http", {"host": "127.0.0.1:8000", "x_forwarded_proto": "https"}, False),
        ("http", {"host": "127.0.0.1:8000", "forwarded": "for=1.2.3.4;proto=HTTPS"}, False),
        ("http", {"host": "127.0.0.1:8000", "x_forwarded_proto": "http"}, True),
    ],
)
def test_local_hosts(scheme, headers, local):
    assert is_local(exchange(scheme=scheme, **headers)) is local


def test_the_plain_name_is_for_local_http_only_and_said_once(caplog):
    jar = CookieJar(SessionSettings())
    for _ in range(2):
        request = exchange(scheme="http", host="localhost")
        jar.write(request, "value", 60)
        assert dict(request.response_headers)["set-cookie"].startswith("zdd_session=value; ")
        assert "Secure" not in dict(request.response_headers)["set-cookie"]
    assert len(caplog.records) == 1


def test_insecure_can_be_forced_and_forbidden():
    assert written(exchange(scheme="http", host="shop.example"), insecure=True).startswith("zdd_session=")
    assert written(exchange(scheme="http", host="localhost"), insecure=False).startswith("__Host-")


def test_the_plain_name_is_not_read_where_the_prefix_is_due():
    request = exchange(host="shop.example", cookie="zdd_session=tossed")
    assert CookieJar(SessionSettings()).values(request) == ()


@pytest.mark.parametrize(
    ("method", "headers", "cross"),
    [
        ("POST", {"sec_fetch_site": "cross-site"}, True),
        ("POST", {"sec_fetch_site": "same-site"}, False),
        ("POST", {"sec_fetch_site": "same-origin", "origin": "https://evil.example", "host": "shop.example"}, False),
        ("POST", {"sec_fetch_site": "none"}, False),
        ("GET", {"sec_fetch_site": "cross-site"}, False),
        ("WEBSOCKET", {"sec_fetch_site": "cross-site"}, False),
        ("DELETE", {"origin": "https://evil.example", "host": "shop.example"}, True),
        ("POST", {"origin": "null", "host": "shop.example"}, True),
        ("POST", {"origin": "https://shop.example:8443", "host": "SHOP.example:8443"}, False),
        ("POST", {"origin": "https://[", "host": "shop.example"}, True),
        ("POST", {"host": "shop.example"}, False),
    ],
)
def test_cross_site(method, headers, cross):
    assert is_cross_site(exchange(method, **headers)) is cross


@pytest.mark.parametrize(
    "options",
    [
        {"cookie_name": ""},
        {"cookie_name": "a b"},
        {"cookie_name": "a;b"},
        {"cookie_name": "__Host-a"},
        {"cookie_name": "x" * 65},
        {"cookie_path": "app"},
        {"cookie_path": "/a; Domain=evil"},
        {"cookie_domain": "a b"},
        {"cookie_domain": "a\r\nX: y"},
        {"same_site": "None", "insecure": True},
    ],
)
def test_what_cannot_be_a_cookie_is_refused_at_the_start(options):
    with pytest.raises(SettingsError, match="sessions"):
        CookieJar(SessionSettings(**options))
