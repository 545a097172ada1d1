"""Real rehearsals of small services: what must survive does, and what must be lost is seen to be lost."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import pytest

from tests.rehearsal.harness import APPS, KEPT, STUBBORN, UVICORN, Silent, plan, rehearsed
from zdd_sdk.errors import RehearsalError
from zdd_sdk.rehearsal.core import rehearse
from zdd_sdk.rehearsal.model import PHASES, FaultPlan, ReleasePlan
from zdd_sdk.rehearsal.routers.nginx import find_nginx

pytestmark = pytest.mark.timeout(120)
SHORT_DRAIN = {"ZDD_LIFECYCLE_DRAIN_LAG": "1500ms", "ZDD_LIFECYCLE_LINGER": "500ms"}


@pytest.mark.parametrize("strategy", ["in-place", "rolling", "blue-green", "canary"])
def test_with_the_sdk_nothing_is_lost(tmp_path: Path, strategy: str) -> None:
    made = plan(KEPT, strategy=strategy, env=SHORT_DRAIN, rollback=strategy == "rolling")
    result, summary = rehearsed(tmp_path, made)
    assert (summary.failures, result.violations, summary.killed, summary.ok) == ({}, (), 0, True)
    assert tuple(phase.name for phase in result.phases) == PHASES[: 5 if made.rollback else 3]
    assert all(one.requests > 20 for one in summary.releases.values())
    assert {record.code for record in result.instances if record.drain is not None} == {0}
    assert summary.peak_instances >= (2 if strategy == "in-place" else 3)


@pytest.mark.parametrize("command", [KEPT, UVICORN], ids=["stock-mode", "never-had-it"])
def test_negative_control_without_the_sdk_requests_and_logins_are_lost(tmp_path: Path, command: str) -> None:
    _, summary = rehearsed(tmp_path, plan(command, sdk=False))
    assert summary.failed > 0
    assert set(summary.failures) <= {"reset", "refused"}
    assert summary.lost_logins > 0
    assert (summary.ok, summary.sdk) == (False, False)


def test_streams_are_ended_by_the_drain_and_begun_elsewhere(tmp_path: Path) -> None:
    made = plan(KEPT, scenario="listening.py", strategy="blue-green", rollback=False, env=SHORT_DRAIN, router_lag=0.05)
    result, summary = rehearsed(tmp_path, msgspec.structs.replace(made, request_timeout=30.0, warm_up=1.0))
    assert (summary.failures, summary.asserts, summary.killed) == ({}, 0, 0)
    assert {sample.release for sample in result.samples} == {"old", "new"}
    assert summary.releases["old"].latency_ms.max < 5000, "of a stream, the time until it begins"


def test_control_without_the_sdk_an_endless_stream_keeps_an_instance_until_it_is_killed(tmp_path: Path) -> None:
    made = plan(KEPT, scenario="listening.py", strategy="blue-green", rollback=False, sdk=False, grace=2.0)
    _, summary = rehearsed(tmp_path, made)
    assert (summary.killed, summary.ok) == (2, False)
    assert summary.failures["reset"] > 0


def test_recreate_shows_its_downtime(tmp_path: Path) -> None:
    _, summary = rehearsed(tmp_path, plan(UVICORN, strategy="recreate", rollback=False, router_lag=0.05))
    assert summary.failures["no-endpoint"] > 0
    assert summary.longest_gap_ms > 150, "a Python server does not start faster"
    assert summary.mixed_version_window_s == 0.0
    assert (summary.rollback_s, [one.name for one in summary.phases]) == (0.0, ["warm-up", "deploy", "settled"])


def test_a_canary_shifts_traffic_step_by_step(tmp_path: Path) -> None:
    made = plan(UVICORN, strategy="canary", scenario="glance.py", users=16, rollback=False, router_lag=0.05)
    result, summary = rehearsed(tmp_path, made)
    deploy = next(phase for phase in result.phases if phase.name == "deploy")
    during = [sample for sample in result.samples if sample.phase == "deploy" and sample.release]
    middle = (deploy.start + deploy.end) / 2
    early = [sample.release == "new" for sample in during if sample.at < middle]
    late = [sample.release == "new" for sample in during if sample.at >= middle]
    assert sum(early) / len(early) < 0.25 < sum(late) / len(late)
    assert summary.mixed_version_window_s > 1.0
    assert [(one.method, one.route) for one in summary.routes] == [("GET", "front page")]


def test_a_paused_redis_and_a_flushed_registry_lose_nothing(tmp_path: Path) -> None:
    faults = (FaultPlan(kind="redis-pause", seconds=2.0), FaultPlan(kind="fleet-flush"))
    result, summary = rehearsed(tmp_path, plan(KEPT, faults=faults, env=SHORT_DRAIN, rollback=False))
    assert (summary.failures, result.violations) == ({}, ())
    refused = {one.route: one.announced for one in summary.routes}
    assert refused["/"] == 0, "a route without a session does not notice"
    assert refused["/me"] > 0, "the pause was real"
    assert [one.kind for one in summary.faults] == ["redis-pause", "fleet-flush"]
    assert 1.9 < summary.faults[0].end - summary.faults[0].start < 4
    assert summary.faults[1].text[0] != "0", "there was a registry to flush"


def test_a_killed_instance_is_seen_and_replaced(tmp_path: Path) -> None:
    made = plan(UVICORN, scenario="glance.py", faults=(FaultPlan(kind="kill", count=1),), rollback=False, settled=1.5)
    result, summary = rehearsed(tmp_path, made)
    assert (summary.killed, sum(record.killed for record in result.instances)) == (0, 1)
    assert summary.failed > 0
    assert sum(record.release == "new" for record in result.instances) == 3
    assert sum(record.exited is None for record in result.instances) == 2


def test_an_instance_that_does_not_stop_is_killed_after_its_grace(tmp_path: Path) -> None:
    made = plan(STUBBORN, scenario="glance.py", instances=1, rollback=False, grace=0.5, users=2)
    result, summary = rehearsed(tmp_path, made)
    assert summary.killed == 1
    assert "killed after 0.5 s of grace" in " ".join(summary.notes)
    assert not summary.ok
    assert {record.code for record in result.instances if record.killed} == {-9}


def test_every_finding_of_a_scenario_is_classified(tmp_path: Path) -> None:
    made = plan(UVICORN, scenario="everything.py", instances=1, rollback=False)
    result, summary = rehearsed(tmp_path, made)
    texts = {violation.text for violation in result.violations}
    assert {"ids are not negative", "KeyError: 'missing'"} <= texts
    assert {violation.kind for violation in result.violations} == {"assert", "effect"}
    missed = [sample for sample in result.samples if sample.status == 404]
    assert {(sample.route, sample.failure) for sample in missed} == {
        ("/nothing-here", ""),
        ("/nothing-there", "status-4xx"),
    }
    assert summary.duplicates >= 2
    assert (summary.audit, summary.ok) == ({"duplicates": 2}, False)


def test_behind_nginx_nothing_is_lost_and_the_release_is_known(tmp_path: Path) -> None:
    made = plan(KEPT, router="nginx", env=SHORT_DRAIN, rollback=False)
    if find_nginx() is None:
        with pytest.raises(RehearsalError, match="nginx on PATH"):
            rehearse(made, tmp_path, Silent())
        return
    result, summary = rehearsed(tmp_path, made)
    assert (summary.failures, result.violations) == ({}, ())
    assert all(one.requests > 20 for one in summary.releases.values())


def test_a_server_that_never_is_ready_ends_it_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(RehearsalError, match=r"(?s)old-\d exited with .*Could not import module"):
        rehearsed(tmp_path, plan(UVICORN.replace("plain:app", "missing:app")))
    with pytest.raises(RehearsalError, match=r"(?s)was not ready after 3 s.*stubborn server starts"):
        rehearsed(tmp_path, plan(STUBBORN, scenario="glance.py", env={"NEVER_READY": "1"}, ready_timeout=3.0))
    broken = ReleasePlan(side="new", label="2", command=STUBBORN.replace("stubborn.py", "missing.py"))
    with pytest.raises(RehearsalError, match="new-1 exited with 2"):
        rehearsed(tmp_path, plan(UVICORN, new=broken))
    with pytest.raises(RehearsalError, match="cannot be started"):
        rehearsed(tmp_path, plan("no-such-program {port}"))


def test_a_scenario_that_fails_around_the_traffic_is_said(tmp_path: Path) -> None:
    for hook in ("def prepare(directory): 1 / 0", "async def setup(target): await target.get('/x')"):
        path = tmp_path / "wrong.py"
        path.write_text(f"{hook}\nasync def someone(user): await user.get('/')\n", "utf-8")
        name = "prepare" if "prepare" in hook else "setup"
        with pytest.raises(RehearsalError, match=rf"{name}\(\) of the scenario failed"):
            rehearsed(tmp_path, plan(UVICORN, scenario=str(path), instances=1))


def test_progress_hears_everything_in_order(tmp_path: Path) -> None:
    progress = Silent()
    rehearse(plan(UVICORN, scenario=str(APPS / "glance.py"), instances=1, rollback=False), tmp_path, progress)
    heard = [word for word in progress.heard if word in (*PHASES, "old-1", "new-1", "finished")]
    assert heard[0] == "old-1"
    assert heard.index("warm-up") < heard.index("deploy") < heard.index("new-1") < heard.index("settled")
    assert heard[-1] == "finished"
    assert "old-1 makes room for new-1" in progress.heard


def test_what_a_release_runs_before_its_first_instance(tmp_path: Path) -> None:
    told = tmp_path / "told"
    say = f"{sys.executable} -c \"import os; open('{told}', 'a').write(os.environ['ZDD_RELEASE_VERSION'])\""
    made = plan(UVICORN, scenario="glance.py", instances=1, rollback=False)
    old, new = (msgspec.structs.replace(release, before=say) for release in (made.old, made.new))
    result, _ = rehearsed(tmp_path, msgspec.structs.replace(made, old=old, new=new))
    assert told.read_text() == "12"
    first = {side: min(one.started for one in result.instances if one.release == side) for side in ("old", "new")}
    assert first["old"] < first["new"]


def test_a_preparation_that_fails_ends_it_with_its_last_words(tmp_path: Path) -> None:
    fails = f"{sys.executable} -c \"import sys; print('no such table'); sys.exit(3)\""
    made = plan(UVICORN, scenario="glance.py", instances=1)
    with pytest.raises(RehearsalError, match=r"(?s)exited with 3.*no such table"):
        rehearsed(tmp_path, msgspec.structs.replace(made, old=msgspec.structs.replace(made.old, before=fails)))
