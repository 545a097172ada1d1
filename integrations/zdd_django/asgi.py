"""zdd around a whole ASGI application: for Channels, streams of events, and servers without an adapter of ours."""

from __future__ import annotations

from zdd_django.service import get_zdd
from zdd_sdk.http.asgi import AsgiApp
from zdd_sdk.lifecycle.asgi import OuterHalf
from zdd_sdk.web import ServiceHalf

__all__ = ["protect"]


def protect(application: AsgiApp) -> AsgiApp:
    """Wrap the application that ``asgi.py`` serves; the middleware stays where it is.

    What `ZddMiddleware` cannot see from within Django is done here: a lifespan, WebSockets closed with 1012 while the
    instance drains, streams of events ended between two events.

    Args:
        application: Django's, or Channels' ``ProtocolTypeRouter``.
    """
    zdd = get_zdd()
    half = ServiceHalf(application, zdd)
    return half if zdd.stock else OuterHalf(half, zdd.lifecycle)
