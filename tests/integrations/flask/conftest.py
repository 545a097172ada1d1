"""Fixtures of the Flask tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.integrations.flask.harness import browser, shop, zdd_of
from zdd_sdk.store.engine import Engine
from zdd_sdk.testing.tap import RespTap


@pytest.fixture
def tap(real_engine: Engine, open_tap: Callable[[str], RespTap]) -> RespTap:
    return open_tap(real_engine.url)


@pytest.fixture
def make(tap: RespTap) -> Iterator[Callable[..., Flask]]:
    """Build shops with options; stopped after the test."""
    built: list[Flask] = []

    def build(**options: Any) -> Flask:
        built.append(shop(tap.url, **options))
        return built[-1]

    yield build
    for app in built:
        zdd_of(app).lifecycle.stop(1.0)


@pytest.fixture
def app(make: Callable[..., Flask]) -> Flask:
    return make()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return browser(app)
