"""`Lifecycle` without any server."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from zdd_sdk.lifecycle import Lifecycle, State
from zdd_sdk.lifecycle.core import WEDGED_AFTER
from zdd_sdk.settings import LifecycleSettings


def _make(directory: Path, **options: object) -> Lifecycle:
    settings = LifecycleSettings(run_dir=str(directory / "run"), **options)  # type: ignore[arg-type]
    return Lifecycle(settings, service="shop", environment="test", release={"id": "abc"})


@contextlib.contextmanager
def _started(directory: Path, **options: object) -> Iterator[Lifecycle]:
    lifecycle = _make(directory, **options)
    lifecycle.start()
    try:
        yield lifecycle
    finally:
        lifecycle.stop()


def _until(condition: object, seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.01)


def _status(lifecycle: Lifecycle, probe: str) -> int:
    answer = lifecycle.health(f"/{probe}")
    assert answer is not None
    return answer.status


def test_construction_starts_nothing(tmp_path: Path) -> None:
    before = threading.active_count()
    lifecycle = _make(tmp_path)
    assert threading.active_count() == before
    assert not (tmp_path / "run").exists()
    assert (lifecycle.state, lifecycle.draining, lifecycle.started) == (State.STARTING, False, False)


def test_probes_by_state(tmp_path: Path) -> None:
    lifecycle = _make(tmp_path)
    seen = []
    for step in (lambda: None, lifecycle.mark_ready, lambda: lifecycle.begin_drain("x"), lifecycle.mark_stopping):
        step()
        seen.append(tuple(_status(lifecycle, probe) for probe in ("livez", "startupz", "readyz")))
    assert seen == [(200, 503, 503), (200, 200, 200), (200, 200, 503), (200, 200, 503)]


def test_health_says_state_release_and_checks(tmp_path: Path) -> None:
    lifecycle = _make(tmp_path, instance="web-1")
    lifecycle.check(lambda: None, name="db")
    answer = lifecycle.health("/readyz")
    assert answer is not None
    assert json.loads(answer.body) == {
        "status": "fail",
        "state": "starting",
        "instance": "web-1",
        "adapter": None,
        "release": {"id": "abc"},
        "checks": {"db": "unknown"},
    }
    assert dict(answer.headers)["cache-control"] == "no-store"
    assert dict(answer.headers)["content-length"] == str(len(answer.body))
    assert lifecycle.health("/other") is None
    assert lifecycle.health("/livez/") is None


def test_begin_drain_once_whoever_asks(tmp_path: Path) -> None:
    lifecycle = _make(tmp_path)
    calls: list[str] = []
    lifecycle.on_drain(lambda: calls.append("hook"))

    def begin() -> None:
        if lifecycle.begin_drain("test"):
            calls.append("began")

    with contextlib.ExitStack() as stack:
        for thread in [threading.Thread(target=begin) for _ in range(8)]:
            thread.start()
            stack.callback(thread.join)
    assert sorted(calls) == ["began", "hook"]
    at = lifecycle.drained_at
    lifecycle.mark_ready()
    lifecycle.begin_drain("again")
    assert (lifecycle.state, lifecycle.draining, lifecycle.drained_at) == (State.DRAINING, True, at)


def test_a_drain_hook_that_fails_stops_neither_the_drain_nor_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lifecycle = _make(tmp_path)
    calls: list[int] = []
    lifecycle.on_drain(lambda: 1 // 0)
    lifecycle.on_drain(lambda: calls.append(1))
    lifecycle.begin_drain("x")
    assert calls == [1]
    assert "ZeroDivisionError" in caplog.text


def test_stop_hooks_run_last_added_first_and_one_that_hangs_is_left(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lifecycle = _make(tmp_path, hooks_timeout=0.2)
    calls: list[int] = []
    release = threading.Event()
    lifecycle.on_stop(lambda: calls.append(1))
    lifecycle.on_stop(lambda: release.wait(5))
    lifecycle.on_stop(lambda: 1 // 0)
    lifecycle.on_stop(lambda: calls.append(2))
    began = time.monotonic()
    lifecycle.stop()
    lifecycle.stop()
    assert time.monotonic() - began < 1
    assert calls == [2]
    assert "stop hooks not ended in 0.2 s" in caplog.text
    release.set()
    _until(lambda: calls == [2, 1])


def test_it_can_start_again_after_a_stop(tmp_path: Path) -> None:
    lifecycle = _make(tmp_path)
    for _ in range(2):
        lifecycle.start()
        lifecycle.mark_ready()
        assert (lifecycle.state, lifecycle.draining) == (State.READY, False)
        lifecycle.stop()
        assert (lifecycle.state, lifecycle.draining) == (State.STOPPING, True)
        assert not lifecycle.directory.path.exists()


def test_start_twice_is_one_thread(tmp_path: Path) -> None:
    with _started(tmp_path) as lifecycle:
        lifecycle.start()
        assert sum(thread.name == "zdd-lifecycle" for thread in threading.enumerate()) == 1


def test_the_flag_begins_the_drain_within_300_ms(tmp_path: Path) -> None:
    with _started(tmp_path) as lifecycle:
        lifecycle.directory.ask_to_drain("test")
        time.sleep(0.3)
        assert lifecycle.draining


def test_the_lag_counts_from_the_flag(tmp_path: Path) -> None:
    lifecycle = _make(tmp_path, drain_lag=10)
    assert lifecycle.lag_left() == 10
    lifecycle.begin_drain("flag")
    lifecycle.drained_at = time.monotonic() - 7
    lifecycle.begin_drain("SIGTERM")
    assert 2.5 < lifecycle.lag_left() <= 3


def test_websocket_delays_fill_what_is_left_of_the_window(tmp_path: Path) -> None:
    lifecycle = _make(tmp_path, drain_lag=10, linger=2)
    lifecycle.adapter = "uvicorn"
    delays = sorted(lifecycle.websocket_delay(random.Random(number).random) for number in range(1000))
    assert 0 <= delays[0] < 0.5
    assert 11.5 < delays[-1] <= 12
    assert 5.5 < sum(delays) / 1000 < 6.5
    lifecycle.begin_drain("x")
    lifecycle.drained_at = time.monotonic() - 60
    assert lifecycle.websocket_delay() == 0


def test_without_an_adapter_nobody_lingers_and_the_server_closes_what_is_left_at_once(tmp_path: Path) -> None:
    lifecycle = _make(tmp_path, drain_lag=10, linger=2)
    assert 9 < lifecycle.websocket_delay(lambda: 0.99) <= 10


def test_in_flight_is_exact_across_threads(tmp_path: Path) -> None:
    lifecycle = _make(tmp_path)

    def work() -> None:
        for _ in range(2000):
            lifecycle.enter()
            lifecycle.leave()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lifecycle.in_flight == 0


def test_liveness_fails_only_when_a_heartbeat_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lifecycle = _make(tmp_path)
    assert not lifecycle.wedged()
    lifecycle.beat("loop")
    assert _status(lifecycle, "livez") == 200
    later = time.monotonic() + WEDGED_AFTER + 1
    monkeypatch.setattr("zdd_sdk.lifecycle.core.time.monotonic", lambda: later)
    assert _status(lifecycle, "livez") == 503
    lifecycle.beat("loop")
    assert _status(lifecycle, "livez") == 200


def test_a_drain_that_does_not_fit_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with _started(tmp_path, grace_period=10.0) as lifecycle:
        lifecycle.start()
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 1
    assert "= 29s is more than grace_period 10s" in errors[0].getMessage()


def test_a_forked_child_starts_afresh(tmp_path: Path) -> None:
    with _started(tmp_path) as lifecycle:
        lifecycle.enter()
        child = os.fork()
        if child == 0:
            fresh = not lifecycle.started and lifecycle.in_flight == 0
            lifecycle.start()
            both = len(lifecycle.directory.workers()) == 2
            os._exit(0 if fresh and both and lifecycle.started else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert lifecycle.started
        assert lifecycle.in_flight == 1


def test_instance_names_the_master(tmp_path: Path) -> None:
    assert _make(tmp_path).instance.endswith(f"-{os.getpid()}")
    assert _make(tmp_path, instance="web/1").directory.path.name == "web_1"
