"""Counting is pure: from samples to figures."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from zdd_sdk.rehearsal.model import InstanceRecord, Phase, Plan, ReleasePlan, Result, Sample, Summary, Violation
from zdd_sdk.rehearsal.summary import latency, longest_gap, mixed_window, peak_instances, summarise

PLAN = Plan(
    strategy="rolling",
    scenario="s.py",
    old=ReleasePlan(side="old", label="1", command="x {port}"),
    new=ReleasePlan(side="new", label="2", command="x {port}"),
)


def sample(at: float, ms: float = 100.0, failure: str = "", release: str = "old", phase: str = "deploy") -> Sample:
    status = 0 if failure in ("reset", "refused") else 503 if failure else 200
    return Sample(at, ms, "GET", "/", status, failure, release, "old-1", 0, phase)


SAMPLES = st.lists(
    st.builds(
        sample,
        at=st.floats(0, 100),
        ms=st.floats(0.1, 5000),
        failure=st.sampled_from(["", "", "reset", "refused", "status-5xx", "announced"]),
        release=st.sampled_from(["old", "new"]),
    ),
    max_size=60,
)


def result(*samples: Sample, violations: tuple[Violation, ...] = (), **more: object) -> Result:
    phases = (Phase("warm-up", 0.0, 1.0), Phase("deploy", 1.0, 10.0))
    given_ = {"plan": PLAN, "began": "2026-01-01T00:00:00.000+00:00", "phases": phases, "instances": ()}
    return Result(**{**given_, "samples": samples, "violations": violations, **more})


def test_a_gap_lasts_from_the_first_question_after_the_last_good_answer_to_the_next_one() -> None:
    found = [sample(0), sample(1, 500, "reset"), sample(5, failure="refused"), sample(6)]
    assert round(longest_gap(found), 6) == 5.1


def test_time_in_which_nobody_asks_is_no_gap() -> None:
    assert round(longest_gap([sample(0), sample(50)]), 6) == 0.1


def test_a_request_under_way_at_the_last_good_answer_begins_the_gap_there() -> None:
    assert round(longest_gap([sample(0.0), sample(0.05, 3000)]), 6) == round(3.05 - 0.1, 6)


def test_an_outage_at_the_end_counts() -> None:
    assert round(longest_gap([sample(0), sample(1, failure="refused"), sample(4, failure="refused")]), 6) == 3.1


@given(SAMPLES)
def test_a_gap_is_never_longer_than_the_traffic_and_never_shorter_than_the_slowest_failure(samples) -> None:
    gap = longest_gap(samples)
    ends = [s.at + s.ms / 1000 for s in samples]
    assert 0 <= gap <= max(ends, default=0) - min((s.at for s in samples), default=0) + 1e-9
    if not any(not s.failed for s in samples):
        assert gap >= max((s.ms / 1000 for s in samples), default=0) - 1e-9


@given(SAMPLES)
def test_a_good_answer_more_never_makes_the_outage_longer(samples) -> None:
    instant = sample(50.0, 0.0)
    assert longest_gap([*samples, instant]) <= longest_gap(samples) + 1e-9 or not any(
        s.at <= 50 <= s.at + s.ms / 1000 for s in samples
    )


@given(SAMPLES)
def test_requests_are_counted_once_everywhere(samples) -> None:
    summary = summarise(result(*samples))
    assert summary.requests == len(samples)
    assert summary.failed == sum(summary.failures.values()) == sum(one.failed for one in summary.releases.values())
    assert sum(one.requests for one in summary.routes) == len(samples)
    assert summary.ok is (summary.failed == 0)
    assert msgspec.json.decode(msgspec.json.encode(summary), type=Summary) == summary


def test_what_is_announced_during_a_fault_is_not_failed_and_not_an_answer() -> None:
    summary = summarise(result(sample(1, failure="announced"), sample(2)))
    assert (summary.failed, summary.announced, summary.ok) == (0, 1, True)
    assert summary.releases["old"].latency_ms.max == 100.0


def test_broken_invariants_are_counted_by_kind_and_break_the_rehearsal() -> None:
    kinds = ("login", "login", "field", "effect", "assert")
    broken = tuple(Violation(kind, 2.0, 0, "text", "deploy") for kind in kinds)
    summary = summarise(result(sample(1), violations=broken, audit={"duplicates": 3, "orders": 9}))
    assert (summary.lost_logins, summary.lost_fields, summary.asserts) == (2, 1, 1)
    assert summary.duplicates == 3
    assert not summary.ok
    assert summary.phases[1].violations == 5


def test_duplicates_of_the_audit_alone_break_it() -> None:
    assert not summarise(result(sample(1), audit={"duplicates": 1})).ok
    assert summarise(result(sample(1), audit={"duplicates": 0})).ok


def stopped(**more: object) -> InstanceRecord:
    return InstanceRecord(id="old-1", release="old", port=1, drain=3.0, exited=9.0, **more)


def test_an_instance_that_outlives_its_grace_is_a_loss() -> None:
    found = summarise(result(sample(0), instances=(stopped(killed=True),)))
    assert (found.killed, found.failed, found.ok) == (1, 0, False)
    assert summarise(result(sample(0), instances=(stopped(),))).ok, "the control: it left by itself"


def test_an_instance_that_a_fault_has_killed_is_no_loss_by_itself() -> None:
    victim = msgspec.structs.replace(stopped(killed=True), drain=None)
    found = summarise(result(sample(0), instances=(victim,)))
    assert (found.killed, found.ok) == (0, True)


def test_rounds_of_a_phase_are_taken_together_and_the_longest_deployment_counts() -> None:
    phases = (Phase("warm-up", 0, 1), Phase("deploy", 1, 3), Phase("rollback", 3, 4), Phase("deploy", 4, 9))
    samples = [sample(1.5, release="new"), sample(2, 900), sample(5, release="new"), sample(7, 900)]
    found = summarise(result(*samples, phases=phases))
    assert [(one.name, one.seconds, one.requests) for one in found.phases] == [
        *(("warm-up", 1, 0), ("deploy", 7, 4), ("rollback", 1, 0)),
    ]
    assert (found.deploy_s, found.rollback_s, found.mixed_version_window_s) == (5, 1, 2.8)


def test_the_mixed_window_lasts_from_the_first_new_to_the_last_old_answer() -> None:
    mixed = [sample(1), sample(2, release="new"), sample(3), sample(4, release="new")]
    assert mixed_window(mixed, "old", "new") == 3.1 - 2.1
    assert mixed_window(mixed[:2], "old", "new") == 0.0
    assert mixed_window([sample(1)], "old", "new") == 0.0


def test_percentiles_are_nearest_rank() -> None:
    found = latency([sample(0, ms) for ms in range(1, 101)])
    assert (found.p50, found.p95, found.p99, found.max) == (50, 95, 99, 100)
    assert latency([]).max == 0.0


def test_peak_counts_only_what_lives_at_once() -> None:
    def life(start: float, end: float | None) -> InstanceRecord:
        return InstanceRecord(id="x", release="old", port=1, started=start, exited=end)

    assert peak_instances([life(0, 5), life(5, 9), life(4, 6)]) == 2
    assert peak_instances([life(0, None), life(1, None)]) == 2
    assert peak_instances([]) == 0


def test_a_request_is_counted_in_the_phase_it_was_sent_in() -> None:
    summary = summarise(result(sample(0.5, phase="warm-up"), sample(2, failure="reset")))
    assert [(one.requests, one.failed) for one in summary.phases] == [(1, 0), (1, 1)]
    assert summary.deploy_s == 9.0
