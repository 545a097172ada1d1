"""An application with a lifecycle of its own, started by the adapter; it says what it sees."""

from __future__ import annotations

import os
import sys
import time

from tests.servers.wsgi_application import app
from zdd_sdk.lifecycle import Lifecycle, activate, on_serve
from zdd_sdk.settings import load_settings

__all__ = ["app"]

lifecycle = Lifecycle(load_settings().values.lifecycle, service="hooked", environment="test")


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def start() -> None:
    """Start, as `ZeroDowntime.start` does."""
    activate(lifecycle)
    assert lifecycle.adapter == "gunicorn"
    _say("started by on_serve")


def stop() -> None:
    """Take as long as the test says, and say that it is done."""
    time.sleep(float(os.environ.get("HOOK_SECONDS", "0")))
    _say("stop hook ran")


lifecycle.on_stop(stop)
on_serve(start)
