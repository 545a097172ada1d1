"""zdd-sdk in Django: two middleware, a session engine, and the settings in one dict.

INSTALLED_APPS = ["zdd_django", ...]
MIDDLEWARE = ["zdd_django.middleware.ZddMiddleware", ..., "zdd_django.middleware.SessionMiddleware", ...]
SESSION_ENGINE = "zdd_django.sessions"
ZDD = {"service": "shop"}
"""

from zdd_sdk.errors import MissingExtra

try:
    import django as _django  # noqa: F401 - only to say what is missing
except ImportError as error:
    _missing = MissingExtra("zdd_django", "django")
    raise _missing from error

from zdd_django.service import get_zdd, zdd

__all__ = ["get_zdd", "zdd"]
