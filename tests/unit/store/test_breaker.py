"""The breaker's decisions, and the one thing that is not pure about it: whom it wakes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zdd_sdk.errors import StoreUnavailable
from zdd_sdk.store.breaker import CLOSED, Breaker, BreakerState, admit, note_failure, note_success

AT_ONCE = ["refused", "unresolved", "rejected", "loading"]


@pytest.mark.parametrize("reason", AT_ONCE)
def test_nobody_there_opens_it_at_once(reason: str) -> None:
    assert note_failure(CLOSED, reason, 5.0).opened


@pytest.mark.parametrize("reason", ["timeout", "lost"])
def test_silence_opens_it_at_the_third_time_in_a_row(reason: str) -> None:
    state = note_failure(note_failure(CLOSED, reason, 1.0), reason, 2.0)
    assert not state.opened
    assert note_failure(state, reason, 3.0).opened
    assert not note_failure(note_success(state), reason, 3.0).opened


@pytest.mark.parametrize("reason", ["busy", "open"])
def test_our_own_shortage_says_nothing_about_redis(reason: str) -> None:
    assert note_failure(CLOSED, reason, 1.0) is CLOSED


def test_one_refusing_node_is_not_an_absent_cluster() -> None:
    assert not note_failure(CLOSED, "refused", 1.0, lenient=True).opened


def test_open_it_lets_probes_through_and_else_one_ask_per_second() -> None:
    state = note_failure(CLOSED, "refused", 10.0)
    assert admit(state, 10.9, probe=False) == (state, False)
    state, admitted = admit(state, 10.9, probe=True)
    assert admitted
    assert admit(state, 11.8, probe=False)[1] is False
    state, admitted = admit(state, 11.9, probe=False)
    assert admitted
    assert admit(state, 12.8, probe=False)[1] is False


@given(st.lists(st.sampled_from([*AT_ONCE, "timeout", "lost", "busy", "ok"]), max_size=30))
def test_a_success_always_closes_it_and_only_failures_open_it(events: list[str]) -> None:
    state, row = CLOSED, 0
    for now, event in enumerate(events):
        state = note_success(state) if event == "ok" else note_failure(state, event, float(now))
        row = 0 if event == "ok" else row + (event != "busy")
        assert state.failures == row
        assert state.opened <= (row > 0)
        assert state.opened or row < 3


class _Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_it_says_once_that_it_opened_and_refuses_until_a_success() -> None:
    woken: list[int] = []
    clock = _Clock()
    breaker = Breaker(lambda: woken.append(1), clock=clock)
    breaker.failed("refused")
    breaker.failed("refused")
    assert woken == [1]
    with pytest.raises(StoreUnavailable, match="breaker is open") as caught:
        breaker.admit()
    assert (caught.value.reason, caught.value.sent, caught.value.retry_after) == ("open", False, 1.0)
    breaker.admit(probe=True)
    breaker.succeeded()
    breaker.admit()
    assert breaker.state == BreakerState()
    breaker.failed("refused")
    assert woken == [1, 1]
