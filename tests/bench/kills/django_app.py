"""The project's WSGI application."""

from __future__ import annotations

import os

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.bench.kills.django_settings"

from zdd_django.wsgi import get_wsgi_application

__all__ = ["app"]

app = get_wsgi_application()
