"""Whether it is known who is alive: a decision, and what must never be claimed."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zdd_sdk.fleet import FleetView
from zdd_sdk.fleet.watch import UNKNOWN_TTLS, Watch

TTL = 10.0
WAIT = UNKNOWN_TTLS * TTL
OLD = 0


def hear(watch, clock, *, epoch="a", born=OLD, server=None, complete=True, rolled_back=False):
    server = round((clock + 1000) * 1000) if server is None else server
    return watch.answered(clock, server, epoch, born, complete=complete, rolled_back=rolled_back)


def test_before_the_first_answer_nothing_is_known():
    assert Watch(TTL).verdict(0.0) == "no pulse was answered yet"
    assert Watch(TTL).missed().verdict(0.0) == "the store is away"


def test_an_old_registry_is_known_with_the_first_complete_answer():
    watch = hear(Watch(TTL), 5.0, complete=False)
    assert watch.verdict(5.0) == "the registry is still being read"
    assert hear(watch, 7.0).verdict(7.0) == ""


def test_a_young_registry_is_known_three_ttls_after_it_began():
    watch = hear(Watch(TTL), 0.0, born=990_000, server=1_000_000)
    clock = 0.0
    while watch.verdict(clock):
        assert watch.verdict(clock) == "the registry is new"
        clock += 2.0
        watch = hear(watch, clock, server=1_000_000 + round(clock * 1000))
    assert clock == WAIT - 10


def test_a_new_epoch_a_rollback_and_a_gap_each_blind_for_three_ttls():
    for change in ({"epoch": "b"}, {"rolled_back": True}, {"server": 2_000_000}, {"server": 0}):
        watch = hear(hear(Watch(TTL), 0.0), 2.0, **change)
        assert watch.verdict(2.0)
        assert watch.blind_until == 2.0 + WAIT
    assert hear(hear(Watch(TTL), 0.0), 10.1).verdict(10.1) == "our own pulses had a gap"


def test_a_short_absence_ends_with_the_next_answer():
    watch = hear(Watch(TTL), 0.0).missed()
    assert watch.verdict(1.0) == "the store is away"
    assert hear(watch, 3.0).verdict(3.0) == ""


def test_an_answer_grows_old():
    assert hear(Watch(TTL), 0.0).verdict(TTL) == ""
    assert hear(Watch(TTL), 0.0).verdict(TTL + 0.1) == "the last answered pulse is older than the TTL"


def test_a_view_grows_old_too():
    view = FleetView(known=True, why="", until=10.0)
    assert view.at(10.0) is view
    assert not view.at(10.1).known


@st.composite
def histories(draw):
    """Pulses with their outcome: seconds since the one before, answered or not, what the registry did meanwhile."""
    step = st.tuples(
        st.floats(0.1, 40.0),
        st.sampled_from(["answered", "answered", "answered", "missed"]),
        st.sampled_from(["same", "same", "same", "same", "flush", "rollback"]),
    )
    return draw(st.lists(step, max_size=40)), draw(st.integers(0, 100_000))


def replay(steps, age, watch):
    """Run a history and check after each pulse that nothing is claimed too early."""
    clock, server, epoch = 100.0, 1_000_000_000, 0
    born = server - age
    last_answer, doubt = None, None
    for pause, outcome, event in steps:
        clock, server = clock + pause, server + round(pause * 1000)
        if event == "flush":
            epoch, born, doubt = epoch + 1, server, clock
        if outcome == "missed":
            watch = watch.missed()
            assert watch.verdict(clock), "claimed to know without an answer"
            continue
        if last_answer is not None and (clock - last_answer > TTL or event == "rollback"):
            doubt = clock
        watch = watch.answered(clock, server, str(epoch), born, complete=True, rolled_back=event == "rollback")
        last_answer = clock
        if doubt is not None and clock - doubt < WAIT - 0.01:
            assert watch.verdict(clock), "claimed to know too early"
        if server - born < WAIT * 1000 - 1:
            assert watch.verdict(clock), "claimed to know a young registry"
        assert watch.verdict(clock + TTL + 0.1), "claimed to know without a pulse for a TTL"


@settings(max_examples=400)
@given(histories())
def test_known_is_never_claimed_within_three_ttls_of_an_epoch_change_or_a_gap(history):
    replay(*history, Watch(TTL))


@given(st.floats(0, 1000))
def test_without_an_event_it_becomes_known_and_stays_so(start):
    """The property above must not hold because nothing is ever known."""
    watch = hear(Watch(TTL), start, born=0, server=1_000_000)
    for pulse in range(1, 30):
        clock = start + 2.0 * pulse
        watch = hear(watch, clock, server=1_000_000 + 2000 * pulse)
        assert watch.verdict(clock) == ""


class NaiveWatch(Watch):
    """The negative control: a registry without epochs, where who is answered knows."""

    def _blind(self, clock, server, epoch, born, *, rolled_back):
        return 0.0, ""


@pytest.mark.parametrize(
    "history",
    [
        ([(2.0, "answered", "same"), (2.0, "answered", "flush")], 100_000),
        ([(2.0, "answered", "same"), (11.0, "answered", "same")], 100_000),
        ([(2.0, "answered", "same"), (2.0, "answered", "rollback")], 100_000),
        ([(2.0, "answered", "same")], 1_000),
    ],
)
def test_negative_control_a_watch_without_epochs_claims_too_early(history):
    replay(*history, Watch(TTL))
    with pytest.raises(AssertionError, match="claimed to know"):
        replay(*history, NaiveWatch(TTL))
