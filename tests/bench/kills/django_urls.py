"""Each effects class, and its control, as a Django view; those with an effect in the database are the test suite's."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from tests.bench.kills.points import reach
from tests.bench.kills.service import CALLING, call, said
from tests.integrations.django.project import payments
from zdd_django import zdd
from zdd_sdk.store import finish

payments.hooks.append(lambda _: finish(reach("doing")))


def add(name: str) -> Any:
    """Make a view that calls downstream."""

    @csrf_exempt
    @zdd.idempotent(**said(name))
    def view(request: HttpRequest) -> JsonResponse:
        return JsonResponse(
            finish(call(name, request.headers["Idempotency-Key"], float(request.headers.get("X-Seconds", 0))))
        )

    return path(name, view)


urlpatterns = [
    path("db", payments.stateless),
    path("db-control", payments.repeating),
    *map(add, CALLING),
]
