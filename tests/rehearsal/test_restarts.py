"""A sample of ``make restarts``: every instance once behind nginx and in the kube router, and what stock loses."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tests.bench import restarts
from tests.rehearsal.harness import rehearsed
from zdd_sdk.rehearsal.model import Summary
from zdd_sdk.rehearsal.plan import Plan
from zdd_sdk.rehearsal.routers.nginx import find_nginx

pytestmark = pytest.mark.timeout(120)
NGINX = pytest.mark.skipif(find_nginx() is None, reason="no nginx on this machine")


def short(server: str, router: str, *, sdk: bool) -> Plan:
    """One restart of two instances; nginx never gives a server up, so the second may follow the first at once."""
    made = restarts.plan(restarts.SERVERS[server], router, sdk=sdk, rounds=1, users=12, seconds=0.5)
    return msgspec.structs.replace(
        made,
        instances=2,
        min_ready=0.5,
        settled=0.5,
        nginx=msgspec.structs.replace(made.nginx, max_fails=0),
    )


@pytest.mark.parametrize("router", [pytest.param("nginx keep-alive", marks=NGINX), "kube"])
def test_nothing_fails_with_the_adapter(tmp_path: Path, router: str) -> None:
    result, summary = rehearsed(tmp_path, short("uvicorn", router, sdk=True))
    assert (summary.failures, result.violations, summary.ok) == ({}, (), True)
    assert all(one.requests > 20 for one in summary.releases.values())
    assert {(one.method, one.route) for one in summary.routes} == {("POST", "/orders")}


@pytest.mark.parametrize(
    ("server", "router"), [pytest.param("gunicorn-sync", "nginx no keep-alive", marks=NGINX), ("uvicorn", "kube")]
)
def test_control_requests_fail_with_the_stock_server(tmp_path: Path, server: str, router: str) -> None:
    _, summary = rehearsed(tmp_path, short(server, router, sdk=False))
    assert summary.failed > 0
    assert set(summary.failures) <= {"reset", "refused", "status-5xx"}


def test_the_three_routers_are_what_their_names_say() -> None:
    made = {name: restarts.plan(restarts.SERVERS["uvicorn"], name, sdk=True, rounds=20) for name in restarts.ROUTERS}
    assert [(one.router, one.strategy, one.nginx.keepalive) for one in made.values()] == [
        ("nginx-static", "in-place", 64),
        ("nginx-static", "in-place", 0),
        ("kube", "rolling", 64),
    ]
    assert {(one.users, one.think, one.rounds * 2, one.nginx.max_fails) for one in made.values()} == {(40, 0.0, 20, 1)}


def test_a_server_is_as_claimed_only_if_nothing_was_lost_and_the_control_lost_something() -> None:
    clean, failing = (_summary(failed) for failed in (0, 3))
    assert restarts.judge([clean], [clean, failing])
    assert restarts.judge([clean], [])
    assert not restarts.judge([clean], [clean])
    assert not restarts.judge([clean, failing], [failing])


def _summary(failed: int) -> Summary:
    from tests.rehearsal.report.synthetic import make_result
    from zdd_sdk.rehearsal.summary import summarise

    return msgspec.structs.replace(summarise(make_result(rate=5)), failed=failed, ok=not failed)
