"""What health says: a small JSON object, never cached by anybody."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from zdd_sdk.http import Answer
from zdd_sdk.lifecycle.model import CheckState, State

__all__ = ["PROBES", "health_answer"]

PROBES = ("livez", "readyz", "startupz")
"""Kubernetes' own names for its API server's probes."""

_VERDICTS: Mapping[bool | None, str] = {None: "unknown", True: "ok", False: "failing"}


def health_answer(
    good: bool, state: State, instance: str, release: Mapping[str, str | None], checks: Mapping[str, CheckState]
) -> Answer:
    """Build a probe's answer: 200 or 503, with state, instance, release and the verdict on each check."""
    shown = {
        "status": "pass" if good else "fail",
        "state": state.value,
        "instance": instance,
        "release": release,
        "checks": {name: _VERDICTS[check.ok] for name, check in checks.items()},
    }
    body = msgspec.json.encode(shown)
    headers = [("content-type", "application/json"), ("cache-control", "no-store"), ("content-length", str(len(body)))]
    return Answer(200 if good else 503, headers, body)
