"""The traffic over time: every request in one bucket, and never too many buckets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from zdd_sdk.rehearsal.model import Sample, Violation
from zdd_sdk.rehearsal.report.series import MOST_BUCKETS, bucket_width, build_timeline, percentile

FAILURES = ("", "", "", "reset", "status-5xx", "announced")


def sample(at: float, ms: float = 5.0, failure: str = "", release: str = "old") -> Sample:
    return Sample(at, ms, "GET", "/", 0 if failure else 200, failure, release, "old-1", 0, "deploy")


samples = st.lists(
    st.builds(
        sample,
        st.floats(-5, 200),
        st.floats(0, 60_000),
        st.sampled_from(FAILURES),
        st.sampled_from(("old", "new")),
    ),
    max_size=60,
)


@given(samples, st.floats(0, 150))
def test_every_request_is_in_one_bucket(found, seconds):
    line = build_timeline(found, [], seconds)
    answered = sum(sum(series.requests) for series in line.sides.values())
    assert answered + sum(line.failed) + sum(line.announced) == len(found)
    assert sum(line.failed) == sum(each.failed for each in found)


@given(samples, st.floats(0, 150))
def test_all_series_are_as_long_as_the_axis(found, seconds):
    line = build_timeline(found, [], seconds)
    columns = [line.failed, line.announced, line.broken]
    for series in line.sides.values():
        columns += [series.requests, series.p50, series.p95, series.p99]
    assert {len(column) for column in columns} == {len(line.at)}


@given(st.floats(0.01, 10_000_000))
def test_buckets_are_bounded(seconds):
    assert seconds / bucket_width(seconds) <= MOST_BUCKETS


@given(samples)
def test_percentiles_are_ordered(found):
    for series in build_timeline(found, [], 100).sides.values():
        for p50, p95, p99 in zip(series.p50, series.p95, series.p99, strict=True):
            assert (p50 is None) == (p99 is None)
            assert p50 is None or p50 <= p95 <= p99


@given(st.lists(st.floats(0, 1000), min_size=1).map(sorted), st.sampled_from((0.5, 0.95, 0.99, 1.0)))
def test_percentile_is_a_value_that_so_many_do_not_exceed(ordered, share):
    found = percentile(ordered, share)
    assert found in ordered
    assert sum(value <= found for value in ordered) >= share * len(ordered) - 1e-9


def test_failures_and_violations_are_where_they_were_noticed():
    line = build_timeline(
        [sample(1.0, 1500, "timeout"), sample(1.0)], [Violation("field", 3.2, 0, "lost", "deploy")], 10
    )
    assert (line.width, line.failed[25], line.broken[32]) == (0.1, 1, 1)
    assert line.sides["old"].requests[10] == 1


def test_a_release_that_answered_nothing_has_no_series():
    assert build_timeline([sample(0, failure="refused", release="new")], [], 1).sides == {}


def test_no_traffic_at_all_has_one_empty_bucket():
    assert build_timeline([], [], 0).failed == [0]
