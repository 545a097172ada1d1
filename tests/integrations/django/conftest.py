"""Django set up once, its database made, and a service of its own for each test."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from typing import Any

import django
import pytest
from django.db import connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.test import override_settings
from django.test.utils import setup_test_environment, teardown_test_environment

from tests.conftest import ROOMY
from tests.integrations.django.browser import Browser
from tests.integrations.django.project.views import make_user
from zdd_django import get_zdd
from zdd_sdk import ZeroDowntime
from zdd_sdk.testing.tap import RespTap

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.integrations.django.project.settings"
django.setup()
del os.environ["DJANGO_SETTINGS_MODULE"]  # servers that other tests start must not inherit it


@pytest.fixture(scope="session", autouse=True)
def database() -> Iterator[None]:
    """A database in memory that every thread sees, with the tables of the admin."""
    setup_test_environment(debug=False)
    name = connection.settings_dict["NAME"]
    # One in memory that other tests have opened would stay open, and be seen by this thread alone.
    for one in connections.all():
        BaseDatabaseWrapper.close(one)
    connection.creation.create_test_db(verbosity=0)
    yield
    connection.creation.destroy_test_db(name, verbosity=0)
    teardown_test_environment()


@pytest.fixture
def configured(real_engine: Any) -> Iterator[Callable[..., ZeroDowntime]]:
    """Set ZDD, and other settings, for this test: ``configured(sessions={…}, _SESSION_COOKIE_AGE=9)``."""
    entered: list[override_settings] = []
    built: list[ZeroDowntime] = []
    """Kept until loops are closed, and connections with them."""

    def configure(url: str = real_engine.url, **options: Any) -> ZeroDowntime:
        django_own = {name[1:]: options.pop(name) for name in list(options) if name.startswith("_")}
        base = {"service": "project", "environment": "test", "secret": ("s" * 40,), "redis_url": url}
        zdd = {**base, "store": ROOMY, "fleet": {"enabled": False}, **options}
        entered.append(override_settings(**{"ZDD": zdd, **django_own}))
        entered[-1].enable()
        built.append(get_zdd())
        return built[-1]

    yield configure
    for override in reversed(entered):
        override.disable()


@pytest.fixture
def tap(real_engine: Any, open_tap: Callable[[str], RespTap]) -> RespTap:
    """A tap in front of the engine."""
    return open_tap(real_engine.url)


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """One event loop for a test."""
    with asyncio.Runner() as opened:
        yield opened


@pytest.fixture(params=["wsgi", "wsgi-async-views", "asgi", "asgi-sync-views"])
def browser(request: pytest.FixtureRequest, configured: Any, tap: RespTap, runner: asyncio.Runner) -> Browser:
    """A browser over each handler and each kind of view, its service behind the tap."""
    configured(tap.url)
    kind, _, views = request.param.partition("-")
    functions = views == "sync-views" or (kind == "wsgi" and not views)
    return Browser(kind, "/" if functions else "/a/", runner)


@pytest.fixture
def ada(database: None) -> Iterator[Any]:
    """A user, who may use the admin."""
    user = make_user("ada")
    yield user
    user.delete()
