"""Testing with zdd-sdk: an engine per run, a clock that can be turned, clients that keep our cookie.

The pytest plugin (`zdd_sdk.testing.plugin`) offers them as the fixtures ``zdd_engine``, ``zdd_clock`` and
``zdd_client``; here they are for every other test runner. `RespTap` counts round trips and injects faults.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zdd_sdk.store.engine import Engine, start_engine
    from zdd_sdk.testing.client import Browsers
    from zdd_sdk.testing.clock import Clock
    from zdd_sdk.testing.tap import RespTap

__all__ = ["Browsers", "Clock", "Engine", "RespTap", "start_engine"]

_HOMES = {
    "Browsers": "zdd_sdk.testing.client",
    "Clock": "zdd_sdk.testing.clock",
    "Engine": "zdd_sdk.store.engine",
    "RespTap": "zdd_sdk.testing.tap",
    "start_engine": "zdd_sdk.store.engine",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use: pytest loads this package in every run where zdd-sdk is installed."""
    if home := _HOMES.get(name):
        return getattr(importlib.import_module(home), name)
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
