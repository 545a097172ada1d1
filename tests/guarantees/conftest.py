"""`play`: one framework's whole stack on a real engine behind a tap; each test runs on every framework."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import django
import pytest
from django.conf import settings

from tests.guarantees.careless import send_carelessly
from tests.guarantees.play import Play
from tests.guarantees.stacks import SERVERS, Stack
from zdd_sdk.store.engine import Engine
from zdd_sdk.testing.tap import RespTap

if not settings.configured:
    # The project of tests/integrations/django, as in its conftest: a process has one, whichever test comes first.
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.integrations.django.project.settings"
    django.setup()
    del os.environ["DJANGO_SETTINGS_MODULE"]


@pytest.fixture
def tap(real_engine: Engine, open_tap: Callable[[str], RespTap]) -> RespTap:
    return open_tap(real_engine.url)


@pytest.fixture(params=SERVERS)
def play(request: pytest.FixtureRequest, real_engine: Engine, tap: RespTap) -> Iterator[Play]:
    """The application on one framework."""
    with Play(SERVERS[request.param], real_engine, tap) as opened:
        yield opened


@pytest.fixture
def careless(real_engine: Engine, tap: RespTap) -> Iterator[Play]:
    """The same without any of the guarantees."""

    class Serve:
        def __init__(self, _: Any) -> None: ...

        def __enter__(self) -> Stack:
            return Stack("careless", send_carelessly(tap.port), None)

        def __exit__(self, *_: object) -> None: ...

    with Play(Serve, real_engine, tap) as opened:
        yield opened
