"""A Secure cookie over plain http is lost in the browser without a word: the log has one, once."""

from __future__ import annotations

import pytest

from tests.flows.sessions.visitor import Visitor, make_sessions, reading, writing
from zdd_sdk.sessions import cookies
from zdd_sdk.store import finish

LOST = "browsers refuse it"


@pytest.fixture(autouse=True)
def _first_time():
    cookies._say_refused.cache_clear()
    yield
    cookies._say_refused.cache_clear()


def visit(handler, options=None, **headers):
    visitor = Visitor(make_sessions(stock=True, **(options or {})), None)
    return finish(visitor.visit(handler, headers={"scheme": "http", **headers}))


def test_it_is_said_once_with_what_to_do(caplog):
    for host in ("shop.test", "10.0.0.7:8000"):
        assert "Secure" in visit(writing(a=1), host=host).cookie
    (record,) = [record for record in caplog.records if LOST in record.message]
    assert record.levelname == "WARNING"
    assert all(word in record.message for word in ("sessions.insecure", "X-Forwarded-Proto", "SESSION_COOKIE_SECURE"))


@pytest.mark.parametrize(
    ("headers", "options"),
    [
        ({"host": "shop.test", "scheme": "https"}, {}),
        ({"host": "shop.test", "x-forwarded-proto": "https"}, {}),
        ({"host": "localhost:8000"}, {}),
        ({"host": "localhost:8000"}, {"insecure": False}),
        ({"host": "shop.test"}, {"insecure": True}),
    ],
)
def test_it_is_not_said_where_the_cookie_is_kept(caplog, headers, options):
    assert visit(writing(a=1), options, **headers).cookie
    assert LOST not in caplog.text


def test_it_is_not_said_where_no_cookie_is_set(caplog):
    assert visit(reading(), host="shop.test").cookie is None
    assert LOST not in caplog.text
