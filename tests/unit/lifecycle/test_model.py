"""The pure decisions of health and drain."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from zdd_sdk.lifecycle.model import (
    CheckState,
    Phase,
    State,
    after_result,
    drain_phase,
    grace_finding,
    keep_alive_finding,
    next_state,
    readiness,
    serves_while_terminating,
)
from zdd_sdk.settings import LifecycleSettings

ORDER = list(State)
states = st.sampled_from(ORDER)
seconds = st.floats(0, 100)


@given(states, states)
def test_states_only_go_forwards_except_for_a_new_start(now: State, wanted: State) -> None:
    reached = next_state(now, wanted)
    assert reached in (now, wanted)
    assert ORDER.index(reached) >= ORDER.index(now) or (now, reached) == (State.STOPPING, State.STARTING)


@given(st.lists(states, max_size=10))
def test_a_drain_is_never_undone_by_late_readiness(wishes: list[State]) -> None:
    state = State.DRAINING
    for wanted in wishes:
        if wanted is not State.STARTING:
            state = next_state(state, wanted)
    assert state in (State.DRAINING, State.STOPPING)


def test_first_result_decides_at_once() -> None:
    assert after_result(CheckState(), True).ok is True
    assert after_result(CheckState(), False, "refused") == CheckState(ok=False, detail="refused")


@given(st.lists(st.booleans(), max_size=60))
def test_verdict_turns_only_after_3_failures_or_2_successes_in_a_row(results: list[bool]) -> None:
    state = CheckState(ok=True)
    for number, result in enumerate(results, start=1):
        before, state = state, after_result(state, result)
        if before.ok and not state.ok:
            assert results[number - 3 : number] == [False] * 3
        if not before.ok and state.ok:
            assert results[number - 2 : number] == [True] * 2
        assert not (state.ok and number >= 3 and results[number - 3 : number] == [False] * 3)
        assert state.ok or number < 2 or results[number - 2 : number] != [True] * 2


def test_readiness_in_each_state() -> None:
    assert {state: readiness(state, {}, serve=False) for state in State} == {
        State.STARTING: False, State.READY: True, State.DRAINING: False, State.STOPPING: False,
    }  # fmt: skip
    assert readiness(State.DRAINING, {}, serve=True)


def test_only_critical_checks_touch_readiness_and_an_unknown_one_is_not_good() -> None:
    assert readiness(State.READY, {"a": CheckState(critical=False, ok=False)}, serve=False)
    assert not readiness(State.READY, {"a": CheckState(critical=True, ok=False)}, serve=False)
    assert not readiness(State.READY, {"a": CheckState(critical=True, ok=None)}, serve=False)


def test_terminating_mode() -> None:
    kubernetes = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}
    assert serves_while_terminating("auto", kubernetes)
    assert not serves_while_terminating("auto", {})
    assert serves_while_terminating("serve", {})
    assert not serves_while_terminating("fail", kubernetes)


@given(lag=seconds, linger=seconds, drained=seconds, closed=seconds | st.none(), connections=st.integers(0, 5))
def test_phases(lag: float, linger: float, drained: float, closed: float | None, connections: int) -> None:
    settings = LifecycleSettings(drain_lag=lag, linger=linger)
    phase = drain_phase(settings, drained_for=drained, closed_for=closed, connections=connections)
    if closed is None:
        assert phase is (Phase.LAG if drained < lag else Phase.LINGER)
    else:
        assert phase is (Phase.LINGER if connections and closed < linger else Phase.DONE)


def test_the_defaults_fit_the_usual_grace_period_by_one_second() -> None:
    assert grace_finding(LifecycleSettings()) is None
    assert grace_finding(LifecycleSettings(grace_period=29)) is None
    assert grace_finding(LifecycleSettings(grace_period=28.9)) is not None


@given(st.tuples(seconds, seconds, seconds, seconds, seconds))
def test_grace_arithmetic(numbers: tuple[float, float, float, float, float]) -> None:
    lag, linger, timeout, hooks, grace = numbers
    settings = LifecycleSettings(
        drain_lag=lag, linger=linger, drain_timeout=timeout, hooks_timeout=hooks, grace_period=grace
    )
    assert (grace_finding(settings) is None) == (sum((lag, linger, timeout, hooks, 2.0)) <= grace)


def test_findings_name_the_numbers() -> None:
    finding = grace_finding(LifecycleSettings(drain_lag=20)) or ""
    assert "drain_lag 20s" in finding
    assert "= 39s is more than grace_period 30s" in finding
    assert keep_alive_finding(5, None) is None
    assert keep_alive_finding(75, 60) is None
    assert keep_alive_finding(0, 60) is None
    assert "5s, the proxy after 1m" in (keep_alive_finding(5, 60) or "")
