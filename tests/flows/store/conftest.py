"""Calls and stores for the tests of the store itself: default time limits, nothing roomy."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from zdd_sdk.settings import StoreSettings
from zdd_sdk.store import Call, Keys, Script
from zdd_sdk.store.connect import Stores
from zdd_sdk.testing.flow import AsyncioFlow, BlockingFlow, Flow


def make_script(source: str, name: str = "test") -> Script:
    """A script as `load_script` would read it."""
    return Script(name, source, hashlib.sha1(source.encode()).hexdigest())


COUNT = make_script("#!lua\nreturn redis.call('INCR', KEYS[1])", "count")


def command(*words: Any, again: bool = False, **more: Any) -> Call[Any]:
    """A plain command that returns its reply as it is."""
    return Call(lambda reply: reply, words, keys=tuple(words[1:2]), again=again, **more)


def count(key: str = "{n}", *, again: bool = False) -> Call[Any]:
    """A write that shows how often it ran."""
    return Call(lambda reply: reply, script=COUNT, keys=(key,), again=again)


@pytest.fixture
def open_stores() -> Iterator[Callable[..., Stores]]:
    """Open stores on a URL, with the default limits unless told; closed after the test."""
    opened: list[Stores] = []

    def open_one(url: str, **options: Any) -> Stores:
        woken = options.pop("on_breaker_open", None)
        settings = StoreSettings(redis_url=url, **options)
        opened.append(Stores(settings, Keys("test", "test"), on_breaker_open=woken))
        return opened[-1]

    yield open_one
    for stores in opened:
        stores.close()


@pytest.fixture(params=["blocking", "asyncio"])
def colour(request: pytest.FixtureRequest) -> str:
    """Which store a test is about."""
    return str(request.param)


@pytest.fixture
def open_flow(colour: str, open_stores: Callable[..., Stores]) -> Iterator[Callable[..., Flow]]:
    """Open a flow of the test's colour on a URL, with the default limits unless told."""
    opened: list[Flow] = []

    def open_one(url: str, **options: Any) -> Flow:
        stores = open_stores(url, **options)
        opened.append(BlockingFlow(stores) if colour == "blocking" else AsyncioFlow(stores))
        return opened[-1]

    yield open_one
    for flow in opened:
        flow.close()
