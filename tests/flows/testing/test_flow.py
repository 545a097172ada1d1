"""The shared fixtures do what every other flow test relies on."""

from __future__ import annotations

from typing import Any

import pytest

from zdd_sdk.errors import StoreUnavailable
from zdd_sdk.store import Call
from zdd_sdk.store.engine import Engine
from zdd_sdk.testing.flow import Flow
from zdd_sdk.testing.tap import RespTap


def command(*words: str | int) -> Call[Any]:
    return Call(lambda reply: reply, words)


def test_one_ask_is_one_trip_however_many_calls(flow: Flow, tap: RespTap) -> None:
    assert flow(flow.store.ask(command("INCR", "a"), command("INCR", "a"), command("GET", "a"))) == (1, 2, b"2")

    assert (tap.trips, tap.commands) == (1, ["INCR", "INCR", "GET"])


def test_control_two_asks_are_two_trips(flow: Flow, tap: RespTap) -> None:
    async def twice() -> None:
        await flow.store.ask(command("INCR", "a"))
        await flow.store.ask(command("INCR", "a"))

    flow(twice())

    assert tap.trips == 2


def test_gathered_flows_run_at_the_same_time(flow: Flow) -> None:
    async def give() -> Any:
        await flow.store.sleep(0.1)
        return (await flow.store.ask(command("RPUSH", "list", "1")))[0]

    async def take() -> Any:
        return await flow.store.wait(command("BLPOP", "list", 5), 5.0)

    assert flow.gather(take(), give()) == [[b"list", b"1"], 1]


def test_an_error_of_a_gathered_flow_is_raised(flow: Flow, engine: Engine) -> None:
    async def fail() -> None:
        message = "as if"
        raise StoreUnavailable(message)

    with pytest.raises(StoreUnavailable, match="as if"):
        flow.gather(flow.store.ask(command("PING")), fail())


def test_a_broken_engine_is_mended_for_the_next_test(engine: Engine) -> None:
    engine.ask("SET", "left", "behind")
    engine.pause()


def test_a_killed_engine_is_mended_too(engine: Engine) -> None:
    assert engine.ask("EXISTS", "left") == 0
    engine.kill()


def test_the_engine_is_there_and_empty(engine: Engine) -> None:
    assert engine.ask("DBSIZE") == 0
