"""Health under a path of your own: ``path("health/", include("zdd_django.urls"))``; the middleware answers anyway."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.urls import path

from zdd_django.problems import respond
from zdd_django.service import get_zdd
from zdd_sdk.lifecycle.health import PROBES

__all__ = ["health", "urlpatterns"]

app_name = "zdd"


def health(_: HttpRequest, probe: str) -> HttpResponse:
    """Answer one probe from memory."""
    lifecycle = get_zdd().lifecycle
    answer = lifecycle.health(f"{lifecycle.settings.health_prefix}/{probe}")
    if answer is None:
        raise Http404
    return respond(answer)


urlpatterns = [path(probe, health, {"probe": probe}, name=probe) for probe in PROBES]
