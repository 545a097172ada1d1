"""The bare WSGI application inside the outer half, as an integration puts it."""

from __future__ import annotations

import sys

from tests.servers.wsgi_application import app as answer
from zdd_sdk.lifecycle import Lifecycle, activate
from zdd_sdk.lifecycle.wsgi import OuterHalf
from zdd_sdk.settings import load_settings

__all__ = ["app"]

_lifecycle = Lifecycle(load_settings().values.lifecycle, service="wrapped", environment="test")
app = OuterHalf(answer, activate(_lifecycle), close_header="uwsgi" in sys.modules)
