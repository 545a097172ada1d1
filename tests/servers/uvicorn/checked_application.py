"""A bare application with a lifecycle of its own: a check steered by a file, one that hangs, a stop hook."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from tests.servers.uvicorn.application import app as answer
from zdd_sdk.lifecycle import Lifecycle, activate
from zdd_sdk.settings import load_settings

__all__ = ["app"]

_values = load_settings().values
lifecycle = activate(Lifecycle(_values.lifecycle, service="checked", environment="test", release={"id": "r1"}))
app = answer


def _broken() -> bool:
    return Path(os.environ["APP_BROKEN_FILE"]).exists()


@lifecycle.check(critical=True)
async def database() -> bool:
    return not _broken()


@lifecycle.check
def hanging() -> None:
    time.sleep(120)


def goodbye() -> None:
    print("stop hook ran", file=sys.stderr, flush=True)


lifecycle.on_stop(goodbye)
