"""The routes of the contenders on Django."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import re_path

from tests.bench.peers.contenders import act


def none(_request: HttpRequest) -> HttpResponse:
    return HttpResponse("ok")


def route(request: HttpRequest) -> HttpResponse:
    def login() -> None:
        # What django.contrib.auth.login() does to the session.
        request.session.cycle_key()
        request.session["_auth_user_id"] = "7"
        request.session["_auth_user_backend"] = "django.contrib.auth.backends.ModelBackend"

    return HttpResponse(act(request.path, request.GET.dict(), request.session, login))


urlpatterns = [re_path("^none$", none), re_path("^", route)]
assert settings.configured
