"""Applications whose service refuses to serve: production, and no store is configured."""

from __future__ import annotations

from tests.servers.uvicorn.application import app
from tests.servers.wsgi_application import app as wsgi_app
from zdd_sdk import ZeroDowntime
from zdd_sdk.lifecycle import on_serve

__all__ = ["app", "wsgi_app"]

zdd = ZeroDowntime("refusing", environment="production", secret="s" * 32)
on_serve(zdd.start)
