"""Credentials of managed services: asked for at each new connection, never kept."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from zdd_sdk.errors import StoreRefused
from zdd_sdk.settings import StoreSettings
from zdd_sdk.store import Call, Keys, finish
from zdd_sdk.store.connect import Stores
from zdd_sdk.store.engine import Engine, start_engine

PING: Call[bytes] = Call(bytes, ("PING",), again=True)


@pytest.fixture
def guarded() -> Iterator[Engine]:
    with start_engine("real") as engine:
        engine.ask("ACL", "SETUSER", "app", "on", ">first", "~*", "+@all")
        engine.ask("ACL", "SETUSER", "default", "on", "resetpass", ">other")
        yield engine


def stores(engine: Engine, credentials: Any) -> Stores:
    return Stores(StoreSettings(redis_url=engine.url), Keys("test", "test"), credentials=credentials)


def ask(stores: Stores, kind: str) -> bytes:
    if kind == "blocking":
        return finish(stores.blocking.ask(PING, probe=True))[0]

    async def once() -> bytes:
        try:
            return (await stores.aio.ask(PING, probe=True))[0]
        finally:
            await stores.aio.close()

    return asyncio.run(once())


@pytest.mark.parametrize("kind", ["blocking", "asyncio"])
@pytest.mark.parametrize("login", [("app", "first"), (None, "other")])
def test_the_callable_logs_in(guarded: Engine, kind: str, login: tuple[str | None, str]) -> None:
    used = stores(guarded, lambda: login)

    assert ask(used, kind) == b"PONG"
    used.close()


@pytest.mark.parametrize("kind", ["blocking", "asyncio"])
def test_a_token_that_changed_is_asked_for_again(guarded: Engine, kind: str) -> None:
    tokens = iter(["first", "other"])
    used = stores(guarded, lambda: ("app", next(tokens)))

    assert ask(used, kind) == b"PONG"
    used.close()
    with pytest.raises(StoreRefused):
        ask(used, kind)
    used.close()


@pytest.mark.parametrize("kind", ["blocking", "asyncio"])
def test_a_callable_that_fails_is_a_refused_login_without_its_secrets(guarded: Engine, kind: str) -> None:
    def fail() -> tuple[str | None, str]:
        raise RuntimeError("the token is hunter2")

    used = stores(guarded, fail)

    with pytest.raises(StoreRefused) as caught:
        ask(used, kind)
    assert "hunter2" not in str(caught.value)
    used.close()


@pytest.mark.parametrize("kind", ["blocking", "asyncio"])
def test_the_control_without_it_is_refused(guarded: Engine, kind: str) -> None:
    used = stores(guarded, None)

    with pytest.raises(StoreRefused):
        ask(used, kind)
    used.close()
