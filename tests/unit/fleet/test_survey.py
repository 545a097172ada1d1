"""What a deploy script may conclude from one look."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zdd_sdk.fleet import ReleaseRow, WorkerRow
from zdd_sdk.fleet.calls import RegistryReply
from zdd_sdk.fleet.model import read_row
from zdd_sdk.fleet.survey import Wanted, matches, survey
from zdd_sdk.fleet.watch import Timing

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OLD = ReleaseRow("aaaaaaaaaaaa", "1.0+fffffff", "1.0", "f" * 40)
NEW = ReleaseRow("bbbbbbbbbbbb", "2.0+0123456", "2.0", COMMIT)
NOW = 1_000_000_000
TIMING = Timing(pulse=2.0, ttl=10.0)


def worker(name, release=NEW, **fields):
    return WorkerRow(name, instance=f"i-{name}", release=release, **{"state": "ready", **fields})


def registry(*workers, age=3600, silent=1, hold=0, epoch="e", lives=5):
    rows = tuple((row, NOW + lives * 1000) for row in workers)
    return RegistryReply(NOW, epoch, NOW - age * 1000, NOW - silent * 1000, hold, rows)


def looked(*workers, **options):
    return survey(registry(*workers, **options), TIMING)


@pytest.mark.parametrize("text", ["2.0", "2.0+0123456", "bbbbbbbbbbbb", COMMIT, COMMIT[:7], COMMIT[:12].upper()])
def test_a_release_answers_to_its_names(text):
    assert matches(NEW, text)
    assert not matches(OLD, text)


@pytest.mark.parametrize("text", ["2", "", "0", COMMIT[:6], "unknown", "0123457"])
def test_and_to_nothing_else(text):
    assert not matches(NEW, text)


def test_a_living_registry_of_some_age_is_known():
    seen = looked(worker("a"))
    assert (seen.view.known, seen.fresh) == (True, True)


@pytest.mark.parametrize(
    ("options", "why", "fresh"),
    [
        ({"epoch": ""}, "empty", False),
        ({"silent": 5}, "nobody has pulsed for 5 s", False),
        ({"age": 29}, "known in 1 s", True),
    ],
)
def test_an_empty_a_silent_and_a_young_registry_are_unknown(options, why, fresh):
    seen = looked(worker("a"), **options)
    assert not seen.view.known
    assert why in seen.view.why
    assert seen.fresh is fresh


def test_the_expired_are_not_shown_unless_nobody_could_pulse():
    assert looked(worker("a"), lives=-1).view.workers == ()
    assert len(looked(worker("a"), lives=-1, hold=NOW + 1).view.workers) == 1


def test_a_worker_with_a_longer_ttl_makes_everybody_wait_longer():
    assert not looked(worker("a", ttl=60.0), age=100).view.known


def test_ready_needs_evidence_only():
    wanted = Wanted("2.0", 2)
    assert wanted.missing(looked(worker("a"))) == ("1 of 2 instances of 2.0 are ready",)
    assert wanted.missing(looked(worker("a"), worker("b"))) == ()
    assert wanted.missing(looked(worker("a"), worker("b"), age=1)) == ()
    assert wanted.missing(looked(worker("a"), worker("b", state="joining")))
    assert wanted.missing(looked(worker("a"), worker("b", OLD)))


def test_ready_is_not_believed_of_a_silent_registry_even_if_unknown_is_allowed():
    assert Wanted("2.0", 1, allow_unknown=True).missing(looked(worker("a"), silent=6))


def test_ready_counts_instances_of_the_role():
    seen = looked(worker("a"), worker("b", role="worker"))
    assert Wanted("2.0", 2).missing(seen) == ()
    assert Wanted("2.0", 2, role="web").missing(seen)


def test_gone_needs_knowledge():
    assert Wanted(gone="1.0").missing(looked(worker("a"))) == ()
    assert Wanted(gone="1.0").missing(looked(worker("a"), worker("b", OLD))) == ("1 worker of 1.0 left",)
    for options in ({"age": 1}, {"silent": 6}, {"epoch": ""}):
        assert "unknown whether 1.0 is gone" in Wanted(gone="1.0").missing(looked(worker("a"), **options))[0]
        assert Wanted(gone="1.0", allow_unknown=True).missing(looked(worker("a"), **options)) == ()


def test_a_row_nobody_can_read_may_be_the_one_that_must_be_gone():
    seen = looked(worker("a"), read_row("x", b"garbage"))
    assert Wanted(gone="1.0").missing(seen) == ("it is unknown whether 1.0 is gone: 1 row cannot be read",)


def test_a_worker_that_is_seen_is_left_whatever_is_allowed():
    assert Wanted(gone="1.0", allow_unknown=True).missing(looked(worker("b", OLD), age=1))


@given(
    st.booleans(),
    st.integers(0, 100),
    st.integers(0, 100),
    st.lists(st.sampled_from([OLD, NEW]), max_size=4),
)
def test_an_absence_never_counts_unless_known(flushed, age, silent, releases):
    rows = [worker(str(number), release) for number, release in enumerate(releases)]
    seen = looked(*rows, age=age, silent=silent, epoch="" if flushed else "e")
    if not Wanted(gone="1.0").missing(seen):
        assert seen.view.known
        assert OLD not in releases
        assert not flushed
        assert age >= 30
