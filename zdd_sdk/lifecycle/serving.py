"""Where there is no lifespan: who wants to start when a server adapter begins to serve.

Applications are imported by image builds, type checkers and migrations, too, so building one starts nothing.
An ASGI server says when it serves (the lifespan); for WSGI and Django the adapter's worker says it here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zdd_sdk.lifecycle.core import Lifecycle, active

__all__ = ["begin_serving", "on_serve"]

_starters: list[Callable[[], Any]] = []


def on_serve(callback: Callable[[], Any]) -> None:
    """Call ``callback()`` when this process begins to serve; for integrations, when an application is built."""
    if callback not in _starters:
        _starters.append(callback)


def begin_serving() -> Lifecycle | None:
    """Run what `on_serve` has collected; for adapters, in each worker, once the application is loaded.

    Returns:
        the lifecycle that is active then, or ``None`` if the application has none of its own.

    Raises:
        ZddError: the service refuses to serve; the worker must not accept connections.
    """
    for callback in _starters:
        callback()
    return active()
