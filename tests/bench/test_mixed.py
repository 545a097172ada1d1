"""A sample of the mixed soak: few users, a short pause; `make mixed` runs all of it."""

from __future__ import annotations

import pytest

from tests.bench.mixed import Plan, show, soak

pytestmark = [pytest.mark.xdist_group("mixed"), pytest.mark.timeout(300)]


def test_releases_mixed_on_three_frameworks_lose_nothing_and_the_control_does() -> None:
    found, control = soak(Plan(users=24, seconds=6, pause=3, ttl=2, patience=1), Plan(users=24, seconds=2))
    assert found.faults == 0, show(found)
    assert found.tally.counts["checked"] > 50
    assert found.tally.counts["announced 503"] + found.counters["unavailable"] > 0, "the pause was seen"
    for phase in ("0, 1 and 2", "0 again"):
        assert found.rotations.get(phase, 0) == 0, "release 0 could not follow"
    assert found.rotations["1 and 2"] > 0
    for kind in ("lost", "resurrected"):
        assert control.tally.counts[kind] > 0, show(control)
