"""The lifecycle of an application that has none of its own: what an adapter drives then."""

from __future__ import annotations

from zdd_sdk.lifecycle.core import Lifecycle
from zdd_sdk.release import detect_release
from zdd_sdk.settings import load_settings

__all__ = ["own_lifecycle"]


def own_lifecycle() -> Lifecycle:
    """Build a lifecycle from ``ZDD_*`` and ``zdd.toml``."""
    values = load_settings().values
    release = detect_release(values.release, values.environment)
    shown = {"id": release.id, "label": release.label}
    return Lifecycle(values.lifecycle, service=values.service, environment=values.environment, release=shown)
