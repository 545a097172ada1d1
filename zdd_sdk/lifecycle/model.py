"""States of an instance and the pure decisions of health and drain: no I/O, no clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from zdd_sdk.settings import LifecycleSettings
from zdd_sdk.settings.units import format_duration

__all__ = [
    "CheckState",
    "Phase",
    "State",
    "after_result",
    "drain_phase",
    "grace_finding",
    "keep_alive_finding",
    "next_state",
    "readiness",
    "serves_while_terminating",
]

MARGIN = 2.0
"""Seconds kept free before SIGKILL: Python's own exit, and Kubernetes' clock that starts before our signal."""

FALL = 3
RISE = 2
"""Failures in a row that turn a check bad, successes in a row that turn it good again (HAProxy's defaults)."""


class State(StrEnum):
    """Where an instance is in its life."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    STOPPING = "stopping"


_NEXT: Mapping[State, frozenset[State]] = {
    State.STARTING: frozenset({State.READY, State.DRAINING, State.STOPPING}),
    State.READY: frozenset({State.DRAINING, State.STOPPING}),
    State.DRAINING: frozenset({State.STOPPING}),
    State.STOPPING: frozenset({State.STARTING}),
}
"""Forwards only; a stopped one may start again (test clients run one application's lifespan many times)."""


def next_state(now: State, wanted: State) -> State:
    """Return ``wanted`` if it may follow ``now``, else ``now``: late or repeated wishes change nothing."""
    return wanted if wanted in _NEXT[now] else now


@dataclass(frozen=True, slots=True)
class CheckState:
    """What is known of one dependency check.

    Attributes:
        critical: readiness depends on it.
        ok: the verdict after hysteresis; ``None`` before the first result.
        streak: results in a row that contradict the verdict.
        detail: why the last run failed; empty if it did not.
    """

    critical: bool = False
    ok: bool | None = None
    streak: int = 0
    detail: str = ""


def after_result(state: CheckState, ok: bool, detail: str = "") -> CheckState:
    """Take one result: the first decides at once, later ones only 3 failures or 2 successes in a row."""
    if state.ok is None or ok == state.ok:
        return CheckState(state.critical, ok, 0, detail)
    streak = state.streak + 1
    if streak >= (RISE if ok else FALL):
        return CheckState(state.critical, ok, 0, detail)
    return CheckState(state.critical, state.ok, streak, detail)


def serves_while_terminating(mode: Literal["fail", "serve", "auto"], environ: Mapping[str, str]) -> bool:
    """Say whether readiness stays good while draining.

    On Kubernetes an endpoint leaves rotation because its pod is being deleted, whatever the probe says;
    a failing probe would only forbid the fallback to serving, terminating endpoints (KEP-1669).
    Load balancers that only probe (ALB, HAProxy) must see a failure.
    """
    return mode == "serve" or (mode == "auto" and "KUBERNETES_SERVICE_HOST" in environ)


def readiness(state: State, checks: Mapping[str, CheckState], *, serve: bool) -> bool:
    """Say whether ``/readyz`` is good: a serving state, and every critical check known to be good."""
    if state is State.DRAINING:
        return serve
    return state is State.READY and all(check.ok is True for check in checks.values() if check.critical)


class Phase(StrEnum):
    """Steps of the drain after SIGTERM: serve on, answer what is still connected, leave."""

    LAG = "lag"
    LINGER = "linger"
    DONE = "done"


def drain_phase(
    settings: LifecycleSettings, *, drained_for: float, closed_for: float | None, connections: int
) -> Phase:
    """Decide the step.

    Args:
        settings: lag and linger.
        drained_for: seconds since the drain began, by whatever trigger.
        closed_for: seconds since the listener was closed; ``None`` while it is open.
        connections: open connections, kept-alive ones included; without any there is nobody to linger for.
    """
    if closed_for is None:
        return Phase.LAG if drained_for < settings.drain_lag else Phase.LINGER
    return Phase.LINGER if connections and closed_for < settings.linger else Phase.DONE


def grace_finding(settings: LifecycleSettings) -> str | None:
    """Return what is wrong with the drain's sum, naming the numbers; ``None`` if it fits the grace period."""
    parts = {
        "drain_lag": settings.drain_lag,
        "linger": settings.linger,
        "drain_timeout": settings.drain_timeout,
        "hooks_timeout": settings.hooks_timeout,
        "margin": MARGIN,
    }
    total = sum(parts.values())
    if total <= settings.grace_period:
        return None
    spelled = " + ".join(f"{name} {format_duration(value)}" for name, value in parts.items())
    return (
        f"the drain does not fit: {spelled} = {format_duration(total)} is more than grace_period "
        f"{format_duration(settings.grace_period)}, so the platform kills this process with requests in flight; "
        f"lower lifecycle.drain_lag or lifecycle.drain_timeout, or raise the platform's grace period "
        f"and lifecycle.grace_period with it"
    )


def keep_alive_finding(keep_alive: float, proxy_idle: float | None) -> str | None:
    """Return a warning if the server closes idle connections before the proxy does; ``None`` if all is well.

    A proxy that reuses a connection in the moment the server closes it answers 502, deployment or not. Where none is
    kept (0), each answer says so.
    """
    if proxy_idle is None or keep_alive == 0 or keep_alive > proxy_idle:
        return None
    return (
        f"the server closes idle connections after {format_duration(keep_alive)}, the proxy after "
        f"{format_duration(proxy_idle)} (lifecycle.proxy_idle_timeout): the proxy will reuse connections that are "
        f"just being closed and answer 502; set the server's keep-alive above it (uvicorn --timeout-keep-alive, "
        f"hypercorn and gunicorn --keep-alive, granian --http1-header-read-timeout)"
    )
