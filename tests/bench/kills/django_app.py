"""The project's WSGI application."""

from __future__ import annotations

import os

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.bench.kills.django_settings"

from django.core.wsgi import get_wsgi_application

from zdd_django.wsgi import protect

__all__ = ["app"]

app = protect(get_wsgi_application())
