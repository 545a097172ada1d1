"""The bare application inside the outer half, as a framework's middleware puts it."""

from __future__ import annotations

from tests.servers.uvicorn.application import app as answer
from zdd_sdk.lifecycle import Lifecycle, activate
from zdd_sdk.lifecycle.asgi import OuterHalf
from zdd_sdk.settings import load_settings

__all__ = ["app"]

_lifecycle = Lifecycle(load_settings().values.lifecycle, service="wrapped", environment="test")
app = OuterHalf(answer, activate(_lifecycle))
