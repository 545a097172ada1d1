"""Patience on a loop whose time the test tells: stalls are not charged, silence is."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from functools import partial
from typing import Any

from zdd_sdk.store.patience import Patience, Ticker


class _Handle:
    def __init__(self, when: float, call: Callable[[], object]) -> None:
        self.when, self.call, self.cancelled = when, call, False

    def __lt__(self, other: _Handle) -> bool:
        return self.when < other.when

    def cancel(self) -> None:
        self.cancelled = True


class _Loop:
    """Runs timers in order; ``stall`` lets time pass without running any."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[_Handle] = []
        self.soon: list[_Handle] = []
        self.turns = 0

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, call: Callable[[], object]) -> _Handle:
        heapq.heappush(self.timers, handle := _Handle(self.now + delay, call))
        return handle

    def call_soon(self, call: Callable[..., object], *arguments: object) -> _Handle:
        self.soon.append(handle := _Handle(self.now, lambda: call(*arguments)))
        return handle

    def run_until(self, when: float) -> None:
        while self.soon or (self.timers and self.timers[0].when <= when):
            self.turns += 1
            if self.soon:
                ready, self.soon = self.soon, []
            else:
                ready = [heapq.heappop(self.timers)]
                self.now = max(self.now, ready[0].when)
            for handle in ready:
                if not handle.cancelled:
                    handle.call()
        self.now = max(self.now, when)

    def run_until_timer(self) -> None:
        handle = heapq.heappop(self.timers)
        self.now = max(self.now, handle.when)
        if not handle.cancelled:
            handle.call()

    def stall(self, seconds: float) -> None:
        self.now += seconds


def _armed(seconds: float, total: float = 0.5) -> tuple[_Loop, Patience, list[float]]:
    loop: Any = _Loop()
    patience, fired = Patience(Ticker(loop), total), list[float]()
    patience.arm(seconds, lambda: fired.append(loop.now))
    return loop, patience, fired


def test_silence_runs_out_on_time() -> None:
    loop, patience, fired = _armed(0.2)
    loop.run_until(0.199)
    assert not fired
    loop.run_until(0.3)
    assert len(fired) == 1
    assert 0.1999 < fired[0] < 0.202
    assert patience.expired
    assert 0.299 < patience.left() <= 0.3001


def test_a_stall_is_charged_one_slice() -> None:
    loop, patience, fired = _armed(0.2)
    loop.run_until(0.03)
    loop.stall(5.0)
    loop.run_until(loop.now)
    assert not fired
    assert patience.left() > 0.44
    loop.run_until(loop.now + 0.2)
    assert fired


def test_between_time_up_and_giving_up_the_loop_turns_three_times() -> None:
    loop, _, fired = _armed(0.0)
    loop.run_until(0.01)
    assert fired
    assert loop.turns == 1 + 3


def test_disarmed_it_does_nothing_and_charges_what_was_waited() -> None:
    loop, patience, fired = _armed(0.2)
    loop.run_until(0.06)
    patience.disarm()
    patience.disarm()
    loop.run_until(5.0)
    assert not fired
    assert 0.43 < patience.left() < 0.45


def test_the_whole_budget_bounds_every_limit() -> None:
    loop, patience, fired = _armed(9.0, total=0.1)
    loop.run_until(0.11)
    assert fired
    assert patience.left() < 0.001


def test_a_part_is_spent_of_the_whole() -> None:
    loop: Any = _Loop()
    whole = Patience(Ticker(loop), 0.5)
    part = whole.part(0.1)
    part.arm(9.0, lambda: None)
    loop.run_until(0.2)
    assert part.expired
    assert part.left() < 0.001
    assert 0.399 < whole.left() < 0.401
    whole.charge(0.1)
    assert whole.part(9.0).left() < 0.301


def test_one_timer_counts_every_limit() -> None:
    loop: Any = _Loop()
    ticker, fired = Ticker(loop), list[str]()
    for number in range(100):
        Patience(ticker, 0.5).arm(0.2, partial(fired.append, str(number)))
    loop.run_until(0.19)
    assert len(loop.timers) == 1
    assert not fired
    loop.run_until(0.21)
    assert len(fired) == 100


def test_a_shorter_limit_does_not_wait_for_a_longer_one() -> None:
    loop: Any = _Loop()
    ticker, fired = Ticker(loop), list[float]()
    Patience(ticker, 9.0).arm(8.0, lambda: None)
    loop.run_until(0.01)
    Patience(ticker, 0.5).arm(0.008, lambda: fired.append(loop.now))
    loop.run_until(0.03)
    assert fired
    assert 0.0179 < fired[0] < 0.02


def test_the_timer_stops_when_nothing_is_limited_and_starts_again() -> None:
    loop: Any = _Loop()
    ticker = Ticker(loop)
    for _ in range(3):
        patience = Patience(ticker, 0.5)
        patience.arm(0.2, lambda: None)
        patience.disarm()
    assert len(loop.timers) == 1, "three limits in a row cost one timer"
    loop.run_until(1.0)
    assert not loop.timers
    late, fired = Patience(ticker, 0.5), list[float]()
    late.arm(0.2, lambda: fired.append(loop.now))
    loop.run_until(1.3)
    assert fired


def test_disarmed_between_time_up_and_giving_up_it_does_nothing() -> None:
    loop, patience, fired = _armed(0.2)
    while not loop.soon:
        loop.run_until_timer()
    patience.disarm()
    loop.run_until(1.0)
    assert not fired
