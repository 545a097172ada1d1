"""The tap counts what was really sent, and its faults look like the real ones."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from zdd_sdk.store.engine import Engine
from zdd_sdk.store.wire import Wire, encode_command
from zdd_sdk.testing.tap import RespTap


@pytest.fixture
def wire(tap: RespTap) -> Iterator[Wire]:
    with Wire(tap.port, timeout=15) as connection:
        yield connection


def test_two_commands_one_after_the_other_are_two_trips(tap: RespTap, wire: Wire) -> None:
    wire.ask("SET", "a", "1")
    wire.ask("GET", "a")

    assert (tap.trips, tap.commands) == (2, ["SET", "GET"])


def test_a_pipeline_is_one_trip_and_a_second_one_another(tap: RespTap, wire: Wire) -> None:
    assert wire.ask_all([("SET", "a", "1"), ("GET", "a"), ("GET", "b")]) == [b"OK", b"1", None]
    assert tap.trips == 1

    wire.ask_all([("GET", "a"), ("GET", "b")])
    assert tap.trips == 2


@pytest.mark.parametrize("size", [10, 300_000])
def test_a_batch_that_arrives_in_pieces_is_one_trip(tap: RespTap, engine: Engine, size: int) -> None:
    batch = [("SET", f"k{number}", b"\r\n" + b"x" * size) for number in range(4)]

    with Wire(tap.port, timeout=15) as connection:
        # The second command is cut in its middle, after the first one has been answered by the engine.
        pieces = [encode_command(*words) for words in batch]
        connection._socket.sendall(pieces[0] + pieces[1][:-4])
        time.sleep(0.05)
        connection._socket.sendall(pieces[1][-4:] + pieces[2] + pieces[3])
        assert [connection._read() for _ in batch] == [b"OK"] * 4

    assert (tap.trips, tap.commands) == (1, ["SET"] * 4)
    assert engine.ask("DBSIZE") == 4


def test_preparing_a_connection_is_no_trip(tap: RespTap, wire: Wire) -> None:
    wire.ask("SELECT", "0")
    wire.ask_all([("SELECT", "0"), ("GET", "a")])

    assert (tap.trips, tap.commands, tap.connections) == (1, ["GET"], 1)


def test_reset_forgets(tap: RespTap, wire: Wire) -> None:
    wire.ask("PING")
    tap.reset()

    assert (tap.trips, tap.commands, tap.connections) == (0, [], 0)


def test_refuse_closes_and_refuses_until_healed(tap: RespTap, wire: Wire) -> None:
    wire.ask("PING")
    tap.refuse()

    with pytest.raises(OSError):
        wire.ask("PING")
    with pytest.raises(ConnectionRefusedError):
        Wire(tap.port, timeout=15)
    tap.heal()
    with Wire(tap.port, timeout=15) as again:
        assert again.ask("PING") == b"PONG"


def test_pause_accepts_and_answers_nothing_until_healed(tap: RespTap, wire: Wire, engine: Engine) -> None:
    wire.ask("PING")
    tap.pause()

    with Wire(tap.port, timeout=0.1) as late, pytest.raises(TimeoutError):
        late.ask("PING")
    threading.Timer(0.1, tap.heal).start()
    assert wire.ask("SET", "a", "1") == b"OK"
    assert engine.ask("GET", "a") == b"1"


def test_a_dropped_reply_was_run_by_the_engine(tap: RespTap, wire: Wire, engine: Engine) -> None:
    wire.ask("SELECT", "0")
    tap.drop_replies(1)

    with pytest.raises(OSError):
        wire.ask_all([("INCR", "a"), ("INCR", "a")])
    assert engine.ask("GET", "a") == b"2"
    with Wire(tap.port, timeout=15) as again:
        assert again.ask("INCR", "a") == 3


def test_delay_makes_every_reply_late_until_healed(tap: RespTap, wire: Wire) -> None:
    tap.delay(0.15)
    begin = time.monotonic()
    wire.ask("PING")
    assert time.monotonic() - begin >= 0.15

    threading.Timer(0.1, tap.heal).start()
    tap.delay(30)
    assert wire.ask("PING") == b"PONG"


@pytest.mark.parametrize(
    "fault",
    [RespTap.pause, lambda tap: tap.delay(30), RespTap.refuse],
    ids=["pause", "delay", "refuse"],
)
def test_closing_during_a_fault_leaves_no_thread(
    engine: Engine, open_tap: Callable[[str], RespTap], fault: Callable[[RespTap], None]
) -> None:
    tap = open_tap(engine.url)
    before = threading.active_count()
    with Wire(tap.port, timeout=15) as connection:
        connection.ask("PING")
        fault(tap)
        with contextlib.suppress(OSError):
            connection._socket.sendall(b"PING\r\n")
        tap.close()

    assert before - 1 == threading.active_count()


def test_an_absent_engine_closes_the_connection(open_tap: Callable[[str], RespTap]) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        tap = open_tap(f"redis://user:word@127.0.0.1:{nobody.getsockname()[1]}/3?x=1")

        assert f"redis://user:word@127.0.0.1:{tap.port}/3?x=1" == tap.url
        with Wire(tap.port, timeout=15) as connection, pytest.raises(OSError):
            connection.ask("PING")
