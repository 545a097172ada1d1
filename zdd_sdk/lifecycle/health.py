"""What health says: a small JSON object, never cached by anybody."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from zdd_sdk.http import Answer
from zdd_sdk.lifecycle.model import CheckState

__all__ = ["PROBES", "health_answer"]

PROBES = ("livez", "readyz", "startupz")
"""Kubernetes' own names for its API server's probes."""

_VERDICTS: Mapping[bool | None, str] = {None: "unknown", True: "ok", False: "failing"}


def health_answer(good: bool, known: Mapping[str, object], checks: Mapping[str, CheckState]) -> Answer:
    """Build a probe's answer: 200 or 503, with what is known of this process and the verdict on each check."""
    shown = {
        "status": "pass" if good else "fail",
        **known,
        "checks": {name: _VERDICTS[check.ok] for name, check in checks.items()},
    }
    body = msgspec.json.encode(shown)
    headers = [("content-type", "application/json"), ("cache-control", "no-store"), ("content-length", str(len(body)))]
    return Answer(200 if good else 503, headers, body)
