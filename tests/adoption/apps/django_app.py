"""The stock Django application and the same one with the SDK: settings from the environment, one release per process."""

from __future__ import annotations

import os

import django
from django.conf import settings
from django.contrib.sessions.middleware import SessionMiddleware as _Stock  # noqa: F401 - what the stock release runs
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, JsonResponse
from django.urls import path

STEP = os.environ.get("ADOPT_STEP", "none")
ENGINE = os.environ.get("ADOPT_ENGINE", "django.contrib.sessions.backends.db")
SDK = ["zdd_django.middleware.ZddMiddleware", "zdd_django.middleware.SessionMiddleware"]
STOCK = ["django.contrib.sessions.middleware.SessionMiddleware"]

settings.configure(
    SECRET_KEY="0123456789" * 5,
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    USE_TZ=True,
    SESSION_ENGINE=ENGINE,
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"]
    + (["zdd_django"] if STEP != "none" else []),
    MIDDLEWARE=SDK if STEP != "none" else STOCK,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ.get("ADOPT_DB", ":memory:"),
                           "OPTIONS": {"timeout": 30}}},
    CACHES={"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": os.environ.get("ADOPT_CACHE", "")}},
    ZDD={"service": "adoption", "secret": ("k" * 40,), "fleet": {"enabled": False},
         "sessions": {"adopt": STEP if STEP != "none" else "off", "insecure": True}},
)  # fmt: skip
django.setup()


def login(request: HttpRequest, user: str) -> JsonResponse:
    """As django.contrib.auth does it."""
    if request.session.get("_auth_user_id") not in {None, user}:
        request.session.flush()
    else:
        request.session.cycle_key()
    request.session["_auth_user_id"] = user
    return JsonResponse(dict(request.session.items()))


def logout(request: HttpRequest) -> JsonResponse:
    request.session.flush()
    return JsonResponse({})


def put(request: HttpRequest, name: str, value: str) -> JsonResponse:
    request.session[name] = value
    return JsonResponse(dict(request.session.items()))


def me(request: HttpRequest) -> JsonResponse:
    return JsonResponse(dict(request.session.items()))


async def async_me(request: HttpRequest) -> JsonResponse:
    return JsonResponse(dict(await request.session.aitems()))


async def async_put(request: HttpRequest, name: str, value: str) -> JsonResponse:
    await request.session.aset(name, value)
    return JsonResponse(dict(await request.session.aitems()))


urlpatterns = [
    path("login/<str:user>", login),
    path("logout", logout),
    path("put/<str:name>/<str:value>", put),
    path("me", me),
    path("ame", async_me),
    path("aput/<str:name>/<str:value>", async_put),
]
wsgi = WSGIHandler()
asgi = ASGIHandler()
