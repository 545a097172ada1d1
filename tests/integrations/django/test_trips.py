"""The trips of each kind of request through Django's stack, counted from the bytes (design 5)."""

from __future__ import annotations

import pytest


@pytest.fixture
def trips(browser, tap, ada):
    """Ask, and return the trips; scripts are loaded before, as they are from the second request on."""

    def count(method, path, **request):
        tap.reset()
        answer = browser.ask(method, path, **request)
        assert answer.status_code < 400, answer.content
        return tap.trips

    other = browser.another()
    other.post("put?name=a&value=1")
    other.post("put?name=a&value=2")
    other.post("log_in?user=ada")
    other.get("me")
    other.post("flush")
    return count


def test_nothing_used_costs_nothing(trips):
    assert trips("get", "plain") == 0
    trips("post", "put?name=a&value=1")
    assert trips("get", "plain") == 0


def test_health_costs_nothing(trips):
    assert [trips("get", f"/{probe}", exact=True) for probe in ("livez", "startupz", "readyz")] == [0, 0, 0]


def test_a_visitor_without_a_cookie_who_reads_costs_nothing(trips, browser):
    assert trips("get", "me") == 0
    assert not browser.cookies


def test_a_session(trips, browser):
    assert trips("post", "put?name=a&value=1") == 1
    assert trips("get", "me") == 1
    assert trips("post", "put?name=a&value=2") == 2
    assert trips("post", "put_inside?value=2") == 2
    assert trips("post", "stream") == 2
    assert browser.cookies


def test_a_login_costs_two(trips):
    trips("post", "put?name=a&value=1")
    assert trips("post", "log_in?user=ada") == 2


def test_a_logout_costs_one_and_one_more_where_django_wants_to_know_who_leaves(trips):
    trips("post", "log_in?user=ada")
    assert trips("post", "flush") == 1
    trips("post", "log_in?user=ada")
    assert trips("post", "log_out") == 2
