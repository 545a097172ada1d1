"""The test suite's project, with the views that are killed and the middleware they need."""

from __future__ import annotations

import json

from tests.bench.kills.service import environ, options
from tests.integrations.django.project.settings import *  # noqa: F403

INSTALLED_APPS = ["zdd_django", "django.contrib.auth", "django.contrib.contenttypes"]
ROOT_URLCONF = "tests.bench.kills.django_urls"
MIDDLEWARE = ["zdd_django.middleware.ZddMiddleware", "zdd_django.middleware.CaptureMiddleware"]
DATABASES = {"default": {**json.loads(environ("DATABASE_DJANGO")), "CONN_MAX_AGE": None}}
SESSION_ENGINE = "django.contrib.sessions.backends.db"
ZDD = options()
