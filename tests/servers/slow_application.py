"""Applications that take a while to load, and say so."""

from __future__ import annotations

import sys
import time

from tests.servers.uvicorn.application import app
from tests.servers.wsgi_application import app as wsgi_app

__all__ = ["app", "wsgi_app"]

print("loading", file=sys.stderr, flush=True)
time.sleep(3)
