"""An application whose service refuses to serve, as one without a secret in production does."""

from __future__ import annotations

from tests.servers.wsgi_application import app
from zdd_sdk.errors import SecretNotConfigured
from zdd_sdk.lifecycle import on_serve

__all__ = ["app"]


@on_serve
def refuse() -> None:
    """Refuse."""
    message = "this service refuses to serve"
    raise SecretNotConfigured(message)
