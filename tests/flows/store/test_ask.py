"""One trip, many answers: on both stores, on fakeredis and on a real engine."""

from __future__ import annotations

from typing import Any

import pytest

from zdd_sdk.errors import RecordUndecodable, StoreReplyError
from zdd_sdk.store import Call
from zdd_sdk.testing.flow import Flow
from zdd_sdk.testing.tap import RespTap

from .conftest import command, count, make_script


def test_answers_come_in_the_order_of_the_calls(flow: Flow) -> None:
    answers = flow(
        flow.store.ask(
            command("SET", "{k}", b"\x00\xff"),
            command("GET", "{k}"),
            command("GET", "{nothing}"),
            count("{c}"),
            command("RPUSH", "{l}", "a", 1, 2.5),
            command("LRANGE", "{l}", 0, -1),
        )
    )
    assert answers == (b"OK", b"\x00\xff", None, 1, 3, [b"a", b"1", b"2.5"])


def test_a_large_value_comes_back_whole(flow: Flow) -> None:
    value = bytes(range(256)) * 1024  # 256 KiB, the largest session
    assert flow(flow.store.ask(command("SET", "{big}", value), command("GET", "{big}")))[1] == value


def test_nothing_asked_is_no_trip(flow: Flow, tap: RespTap) -> None:
    assert flow(flow.store.ask()) == ()
    assert (tap.trips, tap.connections) == (0, 0)


def test_everything_asked_together_is_one_trip_from_the_first_time_on(flow: Flow, tap: RespTap) -> None:
    for _ in range(3):
        flow(flow.store.ask(command("GET", "{a}"), count(), command("GET", "{b}"), count("{m}")))
    assert tap.trips == 3
    assert tap.connections == 1


def test_a_script_is_sent_once_and_then_named(flow: Flow, tap: RespTap, engine: Any) -> None:
    for _ in range(3):
        flow(flow.store.ask(count()))
    expected = ["EVAL"] * 3 if engine.kind == "fakeredis" else ["EVAL", "EVALSHA", "EVALSHA"]
    assert tap.commands == expected


def test_a_script_the_engine_forgot_is_healed_and_runs_once(flow: Flow, tap: RespTap, engine: Any) -> None:
    if engine.kind == "fakeredis":
        return  # scripts never go by hash there
    flow(flow.store.ask(count()))
    engine.ask("SCRIPT", "FLUSH")
    tap.reset()
    assert flow(flow.store.ask(command("SET", "{x}", "1"), count(), command("GET", "{x}"))) == (b"OK", 2, b"1")
    assert tap.commands == ["SET", "EVALSHA", "GET", "EVAL"]
    assert flow(flow.store.ask(count())) == (3,)
    assert tap.commands[4:] == ["EVALSHA"]


def test_a_flush_of_everything_loses_the_values_and_nothing_else(flow: Flow, engine: Any) -> None:
    flow(flow.store.ask(count()))
    engine.flush()
    if engine.kind != "fakeredis":
        engine.ask("SCRIPT", "FLUSH")
    assert flow(flow.store.ask(count())) == (1,)


def test_every_reply_is_read_before_the_first_error_is_raised(flow: Flow, engine: Any) -> None:
    if engine.kind == "fakeredis":
        return  # its error replies cost the connection (traps.md); scripts never raise for that reason
    seen: list[Any] = []
    claim: Call[Any] = Call(seen.append, ("SET", "{k}", "claimed"))
    with pytest.raises(StoreReplyError) as caught:
        flow(flow.store.ask(command("LPUSH", "{k2}", "x"), command("GET", "{k2}"), command("NONSENSE"), claim))
    assert caught.value.prefix == "WRONGTYPE"
    assert seen == [b"OK"]
    assert flow(flow.store.ask(command("GET", "{k}"))) == (b"claimed",)


def test_a_call_maps_its_own_error(flow: Flow, engine: Any) -> None:
    if engine.kind == "fakeredis":
        return
    mapped: Call[Any] = Call(bool, ("NONSENSE",), on_error=lambda error: error.prefix)
    assert flow(flow.store.ask(mapped, command("SET", "{k}", "1"))) == ("ERR", b"OK")


def test_a_scripts_own_error_keeps_its_first_word(flow: Flow, engine: Any) -> None:
    if engine.kind == "fakeredis":
        return
    script = make_script("return redis.error_reply('BUSYGROUP no')")
    with pytest.raises(StoreReplyError) as caught:
        flow(flow.store.ask(Call(bool, script=script, keys=("{k}",))))
    assert (caught.value.prefix, str(caught.value)) == ("BUSYGROUP", "BUSYGROUP no")


def test_a_reader_that_raises_leaves_the_connection_in_step(flow: Flow, tap: RespTap) -> None:
    def undecodable(_: Any) -> Any:
        message = "no record"
        raise RecordUndecodable(message)

    for number in range(3):
        with pytest.raises(RecordUndecodable):
            flow(flow.store.ask(Call(undecodable, ("GET", "{k}")), command("SET", "{n}", number)))
        assert flow(flow.store.ask(command("GET", "{n}"))) == (str(number).encode(),)
    assert tap.connections == 1


def test_an_argument_that_cannot_be_sent_is_a_type_error_and_costs_nothing(flow: Flow) -> None:
    with pytest.raises(TypeError, match="cannot be sent"):
        flow(flow.store.ask(command("SET", "{k}", None)))
    assert flow(flow.store.ask(command("GET", "{k}"))) == (None,)


def test_many_at_once_get_their_own_answers(flow: Flow) -> None:
    async def one(number: int) -> None:
        for turn in range(10):
            value = f"{number}:{turn}".encode()
            _, got, _ = await flow.store.ask(
                command("SET", f"{{k{number}}}", value), command("GET", f"{{k{number}}}"), count("{all}")
            )
            assert got == value

    flow.gather(*(one(number) for number in range(20)))
    assert flow(flow.store.ask(command("GET", "{all}"))) == (b"200",)


def test_a_store_says_what_it_is(flow: Flow) -> None:
    assert flow.store.cluster is False
    assert flow.store.available is True
    assert flow.store.clock() <= flow.store.clock()


def test_closed_it_opens_again_when_asked(flow: Flow, tap: RespTap) -> None:
    flow(flow.store.ask(command("SET", "{k}", "1")))
    flow(flow.store.close())
    assert flow(flow.store.ask(command("GET", "{k}"))) == (b"1",)
    assert tap.connections == 2
