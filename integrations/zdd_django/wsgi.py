"""zdd around a whole WSGI application: for streams of events, and servers without an adapter of ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zdd_django.service import get_zdd
from zdd_sdk.lifecycle.wsgi import OuterHalf
from zdd_sdk.web import WsgiServiceHalf

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

__all__ = ["protect"]


def protect(application: WSGIApplication) -> WSGIApplication:
    """Wrap the application that ``wsgi.py`` serves; the middleware stays where it is.

    What `ZddMiddleware` cannot see from within Django is done here: streams of events ended between two events.

    Args:
        application: Django's.
    """
    zdd = get_zdd()
    half = WsgiServiceHalf(application, zdd)
    return half if zdd.stock else OuterHalf(half, zdd.lifecycle)
