"""Django's `SessionTestsMixin` and `SessionMiddlewareTests`, every test, over our engine and our middleware."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest
from asgiref.sync import async_to_sync
from django.conf import settings
from django.test import SimpleTestCase

from tests.integrations.django import distribution
from zdd_django.middleware import SessionMiddleware
from zdd_django.sessions import SessionStore

tests = distribution.load(distribution.fetch(Path(__file__).parents[3] / ".pytest_cache" / "django"))


@pytest.fixture(autouse=True)
def _service(configured):
    configured()


class TestSessions(tests.SessionTestsMixin, SimpleTestCase):
    backend = SessionStore


class Kept:
    """Stands for Django's model of a session: what Redis has under a key."""

    objects = SimpleNamespace(
        get=lambda session_key: SimpleNamespace(get_decoded=lambda: dict(SessionStore(session_key).load()))
    )


class TestMiddleware(tests.SessionMiddlewareTests):
    middleware = SessionMiddleware

    def setUp(self):
        ours = {"SessionMiddleware": self.middleware, "DatabaseSession": SessionStore, "Session": Kept}
        patch = mock.patch.multiple(tests, **ours)
        patch.start()
        self.addCleanup(patch.stop)


class Async:
    """Our middleware in Django's asynchronous mode, called as the tests call it."""

    def __init__(self, get_response):
        async def below(request):
            return get_response(request)

        self._middleware = SessionMiddleware(below)
        self.process_response = self._middleware.process_response

    def __call__(self, request):
        return async_to_sync(self._middleware)(request)


class TestAsyncMiddleware(TestMiddleware):
    middleware = Async


def test_they_are_those_of_the_version_installed():
    sessions = {name for name in dir(tests.SessionTestsMixin) if name.startswith("test_")}
    assert len(sessions) >= 65
    assert sessions <= set(dir(TestSessions))
    assert settings.SESSION_ENGINE == "zdd_django.sessions"
