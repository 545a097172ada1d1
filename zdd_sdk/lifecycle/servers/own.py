"""The lifecycle an adapter drives: the application's, else one from the settings."""

from __future__ import annotations

from zdd_sdk.lifecycle.core import Lifecycle, activate, active
from zdd_sdk.release import detect_release
from zdd_sdk.settings import load_settings

__all__ = ["adopt_lifecycle", "own_lifecycle"]


def own_lifecycle() -> Lifecycle:
    """Build a lifecycle from ``ZDD_*`` and ``zdd.toml``, for an application that has none."""
    values = load_settings().values
    release = detect_release(values.release, values.environment)
    shown = {"id": release.id, "label": release.label}
    return Lifecycle(values.lifecycle, service=values.service, environment=values.environment, release=shown)


def adopt_lifecycle(adapter: str, parent: int | None = None) -> Lifecycle:
    """Return the process's lifecycle, of which ``adapter`` carries out the drain.

    Args:
        adapter: its name.
        parent: who starts workers, where multiprocessing does not know it.
    """
    lifecycle = activate(active() or own_lifecycle())
    lifecycle.adapter = adapter
    lifecycle.parent = parent or lifecycle.parent
    return lifecycle
