"""The board of dependency checks, ticked by hand."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

import pytest

from zdd_sdk.lifecycle.checks import CheckBoard
from zdd_sdk.lifecycle.loops import loop_runner


def _tick_until(board: CheckBoard, condition: Callable[[], bool], seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, board.states
        board.tick(time.monotonic())
        time.sleep(0.005)


def _board() -> CheckBoard:
    return CheckBoard(interval=0.02, timeout=0.1)


def test_good_bad_and_false_results() -> None:
    board = _board()
    board.add("good", lambda: None, critical=False)
    board.add("false", lambda: False, critical=True)
    board.add("raises", lambda: 1 // 0, critical=False)
    _tick_until(board, lambda: all(state.ok is not None for state in board.states.values()))
    assert {name: state.ok for name, state in board.states.items()} == {"good": True, "false": False, "raises": False}
    assert board.states["raises"].detail == "ZeroDivisionError"
    assert board.states["false"].critical


def test_a_message_with_a_password_is_not_kept(caplog: pytest.LogCaptureFixture) -> None:
    def check() -> None:
        message = "cannot reach redis://:hunter2@db"
        raise ConnectionError(message)

    board = _board()
    board.add("db", check, critical=False)
    _tick_until(board, lambda: board.states["db"].ok is False)
    assert "hunter2" not in str(board.states) + caplog.text


def test_a_hanging_check_fails_once_per_interval_and_runs_only_once() -> None:
    release, runs = threading.Event(), []

    def hang() -> None:
        runs.append(1)
        release.wait(10)

    board = _board()
    board.add("hangs", hang, critical=True)
    _tick_until(board, lambda: board.states["hangs"].ok is False)
    assert "no answer in 0.1 s" in board.states["hangs"].detail
    began = time.monotonic()
    while time.monotonic() - began < 0.2:
        board.tick(time.monotonic())
        time.sleep(0.005)
    assert runs == [1]
    release.set()
    _tick_until(board, lambda: board.states["hangs"].ok is True)


def test_ticks_never_wait() -> None:
    board = _board()
    release = threading.Event()
    for number in range(20):
        board.add(f"slow-{number}", lambda: release.wait(10), critical=False)
    began = time.monotonic()
    board.tick(began)
    assert time.monotonic() - began < 5  # one that waited for its checks would need 10 s
    release.set()


def test_async_checks_run_on_the_applications_loop() -> None:
    threads: list[threading.Thread] = []

    async def check() -> bool:
        threads.append(threading.current_thread())
        await asyncio.sleep(0)
        return True

    async def main() -> None:
        board = _board()
        board.run_on_loop = loop_runner()
        board.add("async", check, critical=False)
        while board.states["async"].ok is None:
            board.tick(time.monotonic())
            await asyncio.sleep(0.01)
        assert board.states["async"].ok is True

    asyncio.run(main())
    assert threads[0] is threading.current_thread()


def test_async_checks_have_a_loop_of_their_own_without_one() -> None:
    async def check() -> None:
        await asyncio.sleep(0)

    board = _board()
    board.add("async", check, critical=False)
    _tick_until(board, lambda: board.states["async"].ok is True)


def test_an_async_check_that_hangs_is_cancelled() -> None:
    cancelled = threading.Event()

    async def check() -> None:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async def main() -> None:
        board = _board()
        board.run_on_loop = loop_runner()
        board.add("async", check, critical=False)
        while not cancelled.is_set() or board.states["async"].ok is None:
            board.tick(time.monotonic())
            await asyncio.sleep(0.01)
        assert board.states["async"].ok is False

    asyncio.run(asyncio.wait_for(main(), 5))


def test_registering_a_name_again_replaces_it() -> None:
    board = _board()
    board.add("db", lambda: False, critical=True)
    board.add("db", lambda: True, critical=False)
    _tick_until(board, lambda: board.states["db"].ok is True)
