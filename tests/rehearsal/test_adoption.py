"""The first release with the SDK: the old one knows neither us nor ``/readyz``, and its users bring its own cookie."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.rehearsal.harness import APPS, HERE, KEPT, plan, rehearsed
from zdd_sdk.rehearsal.model import ReleasePlan, Result, Summary

pytestmark = pytest.mark.timeout(120)
LEGACY = f"{sys.executable} -m uvicorn --log-level warning --app-dir {APPS} legacy:app --port {{port}}"
ENV = {"LEGACY_SECRET": "kept-by-both-releases", "ZDD_LIFECYCLE_DRAIN_LAG": "1s", "LEGACY_REDIS": "{redis}"}
USERS = 8


def adopted(directory: Path, command: str) -> tuple[Result, Summary]:
    """Replace the legacy release by what a command serves, all at once."""
    old, new = (
        ReleasePlan(side=side, label=label, command=words, env=ENV, cwd=str(HERE))
        for side, label, words in (("old", "1", LEGACY), ("new", "2", command))
    )
    made = plan("", old=old, new=new, strategy="blue-green", rollback=False, users=USERS, router_lag=0.05, settled=1.0)
    return rehearsed(directory, made)


def test_users_keep_their_logins_while_the_new_release_reads_the_old_cookie(tmp_path: Path) -> None:
    result, summary = adopted(tmp_path, LEGACY)
    assert (summary.lost_logins, summary.lost_fields) == (0, 0)
    asked = {sample.user for sample in result.samples if sample.release == "new" and sample.route == "/me"}
    assert asked == {*range(USERS)}


def test_control_a_new_release_that_does_not_know_the_cookie_logs_every_user_out_once(tmp_path: Path) -> None:
    result, summary = adopted(tmp_path, KEPT)
    lost = [violation for violation in result.violations if violation.kind == "login"]
    assert {violation.user for violation in lost} == {*range(USERS)}
    # Who is thrown out logs in again, with the new release or, while the router is late, once more with the old one.
    assert USERS <= summary.lost_logins == len(lost) <= 2 * USERS
    assert {violation.release for violation in lost} <= {"old", "new"}
