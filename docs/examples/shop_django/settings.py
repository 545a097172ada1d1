"""Settings of the shop. All of zdd-sdk in here is what says `zdd`."""

from __future__ import annotations

import os

SECRET_KEY = os.environ.get("DJANGO_SECRET_KEY", "development only: " + "0" * 50)
ALLOWED_HOSTS = os.environ.get("ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]").split(",")
ROOT_URLCONF = "shop_django.urls"
WSGI_APPLICATION = "shop_django.wsgi.application"
ASGI_APPLICATION = "shop_django.asgi.application"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "zdd_django",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "shop_django",
]
MIDDLEWARE = [
    "zdd_django.middleware.ZddMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "zdd_django.middleware.SessionMiddleware",
    # No CSRF tokens: it takes JSON only, which no other site's form can send, and the cookie is SameSite=Lax.
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "shop_django.refusals.RefusalMiddleware",
    "zdd_django.middleware.CaptureMiddleware",
]
SESSION_ENGINE = "zdd_django.sessions"
ZDD = {"service": "shop"}  # ZDD_REDIS_URL, or in development an embedded engine

# Transactions begin with their first statement, so that guard rows and orders never wait for one another's locks.
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("SHOP_DB", "shop.db"),
        "ATOMIC_REQUESTS": False,
        "OPTIONS": {
            "timeout": 5,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
        },
    }
}

AUTH_USER_MODEL = "shop_django.Customer"
AUTHENTICATION_BACKENDS = ["shop_django.customers.ByName"]
