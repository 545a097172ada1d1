"""Fixtures every test directory shares: engines, stores, flows and the tap."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

import pytest

from zdd_sdk.lifecycle import serving
from zdd_sdk.lifecycle.core import _lifecycles
from zdd_sdk.settings import StoreSettings
from zdd_sdk.store.engine import Engine, start_engine
from zdd_sdk.store.keys import Keys
from zdd_sdk.testing.flow import AsyncioFlow, BlockingFlow, Flow
from zdd_sdk.testing.tap import RespTap

if TYPE_CHECKING:
    from zdd_sdk.store.connect import Stores

pytest_plugins = ["pytester", "tests.databases"]
if not any(point.name == "zdd" for point in entry_points(group="pytest11")):
    # This tree is on the path and not installed; where it is, pytest has loaded the plugin already.
    pytest_plugins.append("zdd_sdk.testing.plugin")


@pytest.fixture(autouse=True)
def _nothing_serves_on() -> Iterator[None]:
    """End what the test has started, so that its threads do not tick beside all later tests."""
    known, starters = set(_lifecycles), list(serving._starters)
    yield
    serving._starters[:] = starters
    for lifecycle in set(_lifecycles) - known:
        if lifecycle.started:
            lifecycle.stop(0.0)


ROOMY = {"connect_timeout": 5.0, "operation_timeout": 5.0, "total_timeout": 10.0}
"""Time limits for tests of behaviour, far above the defaults: a busy machine must not fail them."""


@pytest.fixture(scope="session")
def _real_engine() -> Iterator[Engine]:
    with start_engine("real") as engine:
        yield engine


@pytest.fixture(scope="session")
def _fake_engine() -> Iterator[Engine]:
    with start_engine("fakeredis") as engine:
        yield engine


@pytest.fixture
def real_engine(_real_engine: Engine) -> Engine:
    """A real engine, empty."""
    _real_engine.recover()
    return _real_engine


@pytest.fixture(params=["real", "fakeredis"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """An engine, empty: the test runs once on a real one and once on fakeredis."""
    name = "_real_engine" if request.param == "real" else "_fake_engine"
    found: Engine = request.getfixturevalue(name)
    found.recover()
    return found


@pytest.fixture
def keys() -> Keys:
    """Key names of a service called ``test``."""
    return Keys("test", "test")


@pytest.fixture
def open_tap() -> Iterator[Callable[[str], RespTap]]:
    """Open a tap in front of any URL; closed after the test."""
    taps: list[RespTap] = []

    def open_one(url: str) -> RespTap:
        taps.append(RespTap(url))
        return taps[-1]

    yield open_one
    for tap in taps:
        tap.close()


@pytest.fixture
def tap(engine: Engine, open_tap: Callable[[str], RespTap]) -> RespTap:
    """A tap in front of `engine`; a test that asks for it has its `flow` and `stores` go through it."""
    return open_tap(engine.url)


@pytest.fixture
def stores(request: pytest.FixtureRequest, engine: Engine, keys: Keys) -> Iterator[Stores]:
    """Stores over `engine` with roomy time limits; through `tap` if the test asks for one."""
    url = request.getfixturevalue("tap").url if "tap" in request.fixturenames else engine.url
    from zdd_sdk.store.connect import Stores

    built = Stores(StoreSettings(redis_url=url, **ROOMY), keys)
    yield built
    built.close()


@pytest.fixture(params=["blocking", "asyncio"])
def flow(request: pytest.FixtureRequest, stores: Stores) -> Iterator[Flow]:
    """Runs flows; the test runs once over the blocking and once over the asyncio store."""
    running: Flow = BlockingFlow(stores) if request.param == "blocking" else AsyncioFlow(stores)
    yield running
    running.close()
