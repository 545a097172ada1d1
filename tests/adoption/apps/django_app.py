"""Django: sources ``db``, ``cache`` (django-redis), ``cached_db`` and ``signed_cookies``. One release per process."""

from __future__ import annotations

import os
from typing import Any

import django
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.core.management import call_command
from django.http import HttpRequest, JsonResponse
from django.urls import path

STEP = os.environ.get("ADOPT_STEP", "none")
STOCK = ["django.contrib.sessions.middleware.SessionMiddleware"]
SDK = ["zdd_django.middleware.ZddMiddleware", "zdd_django.middleware.SessionMiddleware"]

settings.configure(
    SECRET_KEY="0123456789" * 5,
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    USE_TZ=True,
    SESSION_ENGINE=f"django.contrib.sessions.backends.{os.environ.get('ADOPT_SOURCE', 'db')}",
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.sessions"] + ["zdd_django"] * (STEP != "none"),
    MIDDLEWARE=SDK if STEP != "none" else STOCK,
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": f"{os.environ.get('ADOPT_DIRECTORY', '.')}/sessions.sqlite3",
            "CONN_MAX_AGE": None,
            "OPTIONS": {"timeout": 60, "transaction_mode": "IMMEDIATE",
                        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;"},
        }
    },
    CACHES={
        "default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": os.environ.get("ADOPT_LEGACY_URL", "")}
    },
    ZDD={"service": "adoption", "secret": ("k" * 40,), "sessions": {"adopt": STEP if STEP != "none" else "off"}},
)  # fmt: skip
django.setup()


def shown(items: Any) -> JsonResponse:
    named = {"user" if name == "_auth_user_id" else name: value for name, value in items}
    return JsonResponse({name: value for name, value in named.items() if not name.startswith("_")})


def login(request: HttpRequest, user: str) -> JsonResponse:
    """Do with the session what `django.contrib.auth.login` does."""
    if request.session.get("_auth_user_id") not in {None, user}:
        request.session.flush()
    else:
        request.session.cycle_key()
    request.session["_auth_user_id"] = user
    return shown(request.session.items())


def logout(request: HttpRequest) -> JsonResponse:
    request.session.flush()
    return shown(request.session.items())


def put(request: HttpRequest, name: str, value: str) -> JsonResponse:
    request.session[name] = value
    return shown(request.session.items())


async def aput(request: HttpRequest, name: str, value: str) -> JsonResponse:
    await request.session.aset(name, value)
    return shown(await request.session.aitems())


def me(request: HttpRequest) -> JsonResponse:
    return shown(request.session.items())


async def ame(request: HttpRequest) -> JsonResponse:
    return shown(await request.session.aitems())


ASYNC = os.environ.get("ADOPT_ASYNC") == "1"
urlpatterns = [
    path("login/<str:user>", login),
    path("logout", logout),
    path("put/<str:name>/<str:value>", aput if ASYNC else put),
    path("me", ame if ASYNC else me),
]
wsgi = WSGIHandler()
app = ASGIHandler()

if __name__ == "__main__":
    call_command("migrate", verbosity=0)
