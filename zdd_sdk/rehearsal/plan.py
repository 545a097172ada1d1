"""What is going to be rehearsed. Pure records; durations in seconds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec

from zdd_sdk.errors import RehearsalError

__all__ = [
    "PHASES",
    "FaultKind",
    "FaultPlan",
    "NginxPlan",
    "PhaseName",
    "Plan",
    "ReleasePlan",
    "RouterName",
    "Side",
    "Strategy",
    "check_plan",
]

Strategy = Literal["in-place", "recreate", "rolling", "blue-green", "canary"]
RouterName = Literal["kube", "nginx", "nginx-static"]
Side = Literal["old", "new"]
PhaseName = Literal["warm-up", "deploy", "settled", "rollback", "cool-down"]
FaultKind = Literal["redis-pause", "fleet-flush", "kill"]

PHASES: tuple[PhaseName, ...] = ("warm-up", "deploy", "settled", "rollback", "cool-down")
"""In the order they happen; ``rollback`` and ``cool-down`` are missing with ``--no-rollback``."""


class ReleasePlan(msgspec.Struct, frozen=True, kw_only=True):
    """One of the two releases: how its server is started.

    Attributes:
        side: ``old`` is what runs first and what a rollback returns to.
        label: what tables and plots call it; also its ``ZDD_RELEASE_VERSION``.
        command: shell-like words; ``{port}``, ``{host}``, ``{instance}``, ``{dir}`` and ``{redis}`` are
            filled in.
        env: additions to the environment; ``{dir}`` and the others are filled in too.
        cwd: where the command runs (the worktree of a git ref, or the caller's directory).
        ref: the git ref it was checked out from, or empty.
        before: command that runs once, to its end, before the first instance of this release starts, such as a
            migration; empty: none.
    """

    side: Side
    label: str
    command: str
    env: Mapping[str, str] = {}
    cwd: str = "."
    ref: str = ""
    before: str = ""


class FaultPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Something that breaks on purpose.

    Attributes:
        kind: ``redis-pause`` (SIGSTOP), ``fleet-flush`` (the registry's keys are deleted) or ``kill`` (SIGKILL).
        seconds: how long the pause lasts; 0 for the others.
        count: how many instances are killed; 0 for the others.
        phase: the phase at whose beginning it happens.
    """

    kind: FaultKind
    seconds: float = 0.0
    count: int = 0
    phase: PhaseName = "settled"


class NginxPlan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How nginx treats the instances.

    Attributes:
        keepalive: connections it keeps to them, 0 for one connection per request.
        max_fails: after so many failures within ten seconds a server gets nothing for ten seconds; 0: never.
    """

    keepalive: Annotated[int, msgspec.Meta(ge=0)] = 64
    max_fails: Annotated[int, msgspec.Meta(ge=0)] = 1


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a rehearsal needs to know.

    Attributes:
        strategy: how instances are replaced.
        router: what stands between users and instances; ``nginx-static`` is never told of a change, so instances
            must be replaced ``in-place``.
        nginx: how either nginx is configured.
        instances: how many serve each release.
        users: virtual users, each with one connection.
        sdk: ``False`` sets ``ZDD_MODE=stock``: the negative control.
        old, new: the two releases.
        scenario: path of the Python file with the virtual users.
        rollback: whether the new release is replaced by the old one again.
        rounds: how often deployment and rollback follow one another.
        warm_up, settled, cool_down: length of the phases before, between and after the deployments.
        think: mean pause before each request of a user; keeps the machine from being saturated. 0: the next request
            follows the answer at once, and a failed one after 0.1 s.
        idle: a user closes a connection on which it has sent nothing for so long; 0: never, so that one that the server
            has closed meanwhile is found out by the next request, which fails.
        step: how long a canary holds each weight.
        min_ready: ``in-place`` and ``rolling`` let a new instance serve for so long before they touch the next, as
            ``minReadySeconds`` of a Kubernetes Deployment does.
        router_lag: endpoint updates reach a node after 0 to this many seconds.
        nodes: endpoint lists the users are spread over (``kube``).
        ready_path: answers 200 when an instance may take traffic; on 404 any answer counts.
        ready_timeout: seconds an instance may take to become ready.
        grace: seconds between SIGTERM and SIGKILL.
        request_timeout: seconds until an unanswered request counts as a ``timeout``.
        faults: what breaks on purpose.
        redis_url: the store of all instances; ``None``: an engine of the rehearsal's own.
        service, environment: name the keys in Redis (``ZDD_SERVICE``, ``ZDD_ENVIRONMENT``).
        seed: of everything random: users, choice of backends, lateness of the router.
    """

    strategy: Strategy
    old: ReleasePlan
    new: ReleasePlan
    scenario: str
    router: RouterName = "kube"
    nginx: NginxPlan = NginxPlan()
    instances: int = 3
    users: int = 40
    sdk: bool = True
    rollback: bool = True
    rounds: int = 1
    warm_up: float = 4.0
    settled: float = 4.0
    cool_down: float = 3.0
    think: float = 0.3
    idle: float = 0.0
    step: float = 4.0
    min_ready: float = 0.0
    router_lag: float = 1.0
    nodes: int = 4
    ready_path: str = "/readyz"
    ready_timeout: float = 30.0
    grace: float = 15.0
    request_timeout: float = 10.0
    faults: tuple[FaultPlan, ...] = ()
    redis_url: str | None = None
    service: str = "rehearsal"
    environment: str = "rehearsal"
    seed: int = 1


def check_plan(plan: Plan) -> None:
    """Refuse a plan that cannot be carried out.

    Raises:
        RehearsalError: which options contradict one another.
    """
    if plan.router == "nginx-static" and plan.strategy != "in-place":
        message = f"nginx-static never hears of another port, which {plan.strategy} needs: use --strategy in-place"
        raise RehearsalError(message)
    if plan.rounds > 1 and not plan.rollback:
        message = f"{plan.rounds} rounds need the rollback: after one deployment the old release is gone"
        raise RehearsalError(message)
