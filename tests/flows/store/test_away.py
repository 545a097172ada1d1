"""Redis refused, frozen, slow, restarting or losing replies: how long, how often, and what is raised."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest

from zdd_sdk.errors import StoreUnavailable
from zdd_sdk.store import trip
from zdd_sdk.store.engine import Engine, start_engine
from zdd_sdk.testing.flow import Flow
from zdd_sdk.testing.tap import RespTap

from .conftest import command, count

OpenFlow = Callable[..., Flow]
SLACK = 0.4
"""Seconds a busy test machine may add to a limit."""


def _fails(flow: Flow, *calls: Any, **options: Any) -> tuple[StoreUnavailable, float]:
    began = time.perf_counter()
    with pytest.raises(StoreUnavailable) as caught:
        flow(flow.store.ask(*calls, **options))
    return caught.value, time.perf_counter() - began


@pytest.fixture
def tap_to(real_engine: Engine, open_tap: Callable[[str], RespTap]) -> RespTap:
    """A tap in front of a real engine."""
    return open_tap(real_engine.url)


def test_refused_it_fails_within_half_a_second_and_then_at_once(open_flow: OpenFlow, tap_to: RespTap) -> None:
    woken: list[bool] = []
    tap_to.refuse()
    flow = open_flow(tap_to.url, on_breaker_open=lambda: woken.append(True))
    error, took = _fails(flow, command("GET", "{k}"))
    assert (error.reason, error.sent) == ("refused", False)
    assert took < 0.5 + SLACK
    assert woken == [True]
    assert flow.store.available is False
    # 200 asks behind an open breaker: far less than 1 ms of CPU each, and none touches the network.
    began = time.thread_time()
    for _ in range(200):
        assert _fails(flow, command("GET", "{k}"))[0].reason == "open"
    assert time.thread_time() - began < 0.2


def test_a_probe_goes_through_and_its_success_closes_the_breaker(open_flow: OpenFlow, tap_to: RespTap) -> None:
    tap_to.refuse()
    flow = open_flow(tap_to.url)
    _fails(flow, command("GET", "{k}"))
    assert _fails(flow, command("GET", "{k}"), probe=True)[0].reason == "refused"
    tap_to.heal()
    assert _fails(flow, command("GET", "{k}"))[0].reason == "open"
    assert flow(flow.store.ask(command("GET", "{k}"), probe=True)) == (None,)
    assert flow.store.available is True
    assert flow(flow.store.ask(command("GET", "{k}"))) == (None,)


def test_without_a_pulse_one_ask_per_second_is_the_probe(open_flow: OpenFlow, tap_to: RespTap) -> None:
    tap_to.refuse()
    flow = open_flow(tap_to.url)
    _fails(flow, command("GET", "{k}"))
    tap_to.heal()
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            flow(flow.store.ask(command("GET", "{k}")))
            break
        except StoreUnavailable:
            time.sleep(0.05)
    assert flow.store.available is True


def test_a_frozen_engine_costs_one_operation_if_the_call_must_not_run_twice(
    open_flow: OpenFlow, real_engine: Engine
) -> None:
    flow = open_flow(real_engine.url)
    flow(flow.store.ask(count()))
    real_engine.pause()
    try:
        error, took = _fails(flow, count())
    finally:
        real_engine.resume()
    assert (error.reason, error.sent) == ("timeout", True)
    assert 0.19 < took < 0.2 + SLACK
    assert flow.store.available is True
    flow(flow.store.ask(command("GET", "{n}")))
    assert int(real_engine.ask("GET", "{n}")) == 2


def test_a_frozen_engine_is_asked_twice_within_half_a_second_if_the_call_may_run_twice(
    open_flow: OpenFlow, real_engine: Engine
) -> None:
    flow = open_flow(real_engine.url)
    flow(flow.store.ask(command("GET", "{k}")))
    real_engine.pause()
    try:
        error, took = _fails(flow, command("GET", "{k}", again=True))
    finally:
        real_engine.resume()
    assert error.reason == "timeout"
    assert 0.4 < took < 0.5 + SLACK


def test_the_third_silence_in_a_row_opens_the_breaker(open_flow: OpenFlow, real_engine: Engine) -> None:
    flow = open_flow(real_engine.url)
    flow(flow.store.ask(command("GET", "{k}")))
    real_engine.pause()
    try:
        for _ in range(3):
            assert flow.store.available is True
            assert _fails(flow, command("GET", "{k}"))[0].reason == "timeout"
        assert flow.store.available is False
        assert _fails(flow, command("GET", "{k}"))[0].reason == "open"
    finally:
        real_engine.resume()
    assert flow(flow.store.ask(command("GET", "{k}"), probe=True)) == (None,)


def test_a_frozen_engine_that_wants_a_login_is_not_sent_anything(open_flow: OpenFlow) -> None:
    with start_engine("auto", args=["--requirepass", "s3cret"]) as engine:
        engine.pause()
        flow = open_flow(f"redis://:s3cret@127.0.0.1:{engine.port}")
        error, took = _fails(flow, count())
        assert (error.reason, error.sent) == ("timeout", False)
        assert took < 0.5 + SLACK


def test_a_slow_server_that_trickles_bytes_is_not_waited_for_beyond_the_limit(open_flow: OpenFlow) -> None:
    import threading

    listener = socket.create_server(("127.0.0.1", 0))

    def trickle() -> None:
        peer, _ = listener.accept()
        with peer:
            for byte in b"$1000\r\n" + b"x" * 60:
                time.sleep(0.05)
                try:
                    peer.sendall(bytes([byte]))
                except OSError:
                    return

    thread = threading.Thread(target=trickle)
    thread.start()
    flow = open_flow(f"redis://127.0.0.1:{listener.getsockname()[1]}")
    error, took = _fails(flow, command("GET", "{k}"))
    listener.close()
    thread.join(10)
    assert error.reason == "timeout"
    assert took < 0.2 + SLACK


@pytest.mark.parametrize("again", [False, True])
def test_a_lost_reply_is_asked_for_again_only_if_the_call_says_so(
    open_flow: OpenFlow, tap_to: RespTap, real_engine: Engine, again: bool
) -> None:
    flow = open_flow(tap_to.url)
    flow(flow.store.ask(count()))
    tap_to.drop_replies(1)
    if again:
        assert flow(flow.store.ask(count(again=True))) == (3,)
    else:
        error, _ = _fails(flow, count())
        assert (error.reason, error.sent) == ("lost", True)
        assert int(real_engine.ask("GET", "{n}")) == 2
    assert flow(flow.store.ask(command("GET", "{n}"))) == (b"3" if again else b"2",)


def test_negative_control_re_sending_everything_runs_a_write_twice(
    open_flow: OpenFlow, tap_to: RespTap, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = open_flow(tap_to.url)
    flow(flow.store.ask(count()))
    tap_to.drop_replies(1)
    monkeypatch.setattr(trip, "may_repeat", lambda _: True)
    assert flow(flow.store.ask(count())) == (3,)


def test_one_call_that_must_not_run_twice_keeps_all_from_being_re_sent(
    open_flow: OpenFlow, tap_to: RespTap, real_engine: Engine
) -> None:
    flow = open_flow(tap_to.url)
    flow(flow.store.ask(count()))
    tap_to.drop_replies(1)
    _fails(flow, count(again=True), count("{m}"))
    assert (int(real_engine.ask("GET", "{n}")), int(real_engine.ask("GET", "{m}"))) == (2, 1)


def test_a_restarted_engine_is_noticed_before_anything_is_sent(open_flow: OpenFlow) -> None:
    with start_engine("auto") as engine:
        flow = open_flow(engine.url)
        flow.gather(*(flow.store.ask(count()) for _ in range(8)))
        engine.restart()
        # Every pooled connection is dead; a call that must not run twice still succeeds.
        for expected in range(1, 20):
            assert flow(flow.store.ask(count())) == (expected,)


class _Resolver:
    """Replaces getaddrinfo: as slow as told, then what localhost is."""

    def __init__(self, port: int) -> None:
        self.port, self.seconds, self.fails = port, 0.0, False

    def __call__(self, *_: Any, **__: Any) -> list[Any]:
        time.sleep(self.seconds)
        if self.fails:
            raise socket.gaierror(-3, "Temporary failure in name resolution")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", self.port))]


@pytest.fixture
def names(real_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> _Resolver:
    resolver = _Resolver(real_engine.port)
    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    return resolver


def test_slow_name_resolution_is_inside_the_limit(open_flow: OpenFlow, names: _Resolver) -> None:
    names.seconds = 6.0
    flow = open_flow(f"redis://redis.test:{names.port}")
    error, took = _fails(flow, command("GET", "{k}"))
    assert error.reason in {"unresolved", "timeout"}
    assert error.sent is False
    assert took < 0.5 + SLACK


def test_negative_control_redis_pys_connect_timeout_does_not_cover_name_resolution(names: _Resolver) -> None:
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    names.seconds = 1.0
    client = redis.Redis("redis.test", names.port, socket_connect_timeout=0.2, retry=Retry(NoBackoff(), 0))
    began = time.perf_counter()
    client.ping()
    client.close()
    assert time.perf_counter() - began > 0.9


def test_a_name_that_does_not_exist_says_so(open_flow: OpenFlow, names: _Resolver) -> None:
    names.fails = True
    error, _ = _fails(open_flow(f"redis://redis.test:{names.port}"), command("GET", "{k}"))
    assert error.reason == "unresolved"
    assert "redis.test" in str(error)


@pytest.mark.parametrize("how", ["fails", "slow"])
def test_addresses_survive_a_resolver_that_breaks_later(
    open_flow: OpenFlow, names: _Resolver, real_engine: Engine, how: str
) -> None:
    flow = open_flow(f"redis://redis.test:{names.port}")
    flow(flow.store.ask(count()))
    real_engine.restart()
    names.fails, names.seconds = how == "fails", 6.0 if how == "slow" else 0.0
    flow(flow.store.close())
    answers: list[Any] = []
    deadline = time.monotonic() + 5
    while not answers and time.monotonic() < deadline:
        with contextlib.suppress(StoreUnavailable):
            answers += flow(flow.store.ask(command("PING")))
        time.sleep(0.05)
    assert answers == [b"PONG"]


def test_the_pool_is_bounded_and_waiting_for_it_counts(open_flow: OpenFlow, tap_to: RespTap) -> None:
    flow = open_flow(tap_to.url, pool_size=2)
    flow(flow.store.ask(command("GET", "{k}")))
    tap_to.delay(0.1)

    async def one() -> str:
        try:
            await flow.store.ask(command("GET", "{k}"))
        except StoreUnavailable as error:
            return error.reason
        return "ok"

    outcomes = flow.gather(*(one() for _ in range(16)))
    # A connection whose reply came too late is never reused, so each timeout may cost a new one.
    assert tap_to.connections <= 2 + outcomes.count("timeout")
    assert outcomes.count("ok") >= 2
    assert "busy" in outcomes
    assert set(outcomes) <= {"ok", "busy", "timeout"}
    tap_to.heal()
    assert flow(flow.store.ask(command("PING"))) == (b"PONG",)
    assert flow.store.available is True
