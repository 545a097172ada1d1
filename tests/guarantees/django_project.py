"""The small application on Django: its URLs, and users whom no database knows."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from tests.guarantees.hands import AsyncDjangoHand, DjangoHand
from tests.guarantees.routes import Said, act
from zdd_sdk.store import finish


@csrf_exempt
def view(request: HttpRequest, name: str) -> Any:
    return answer(finish(act(name, request.GET.dict(), lambda: DjangoHand(request))))


@csrf_exempt
async def aview(request: HttpRequest, name: str) -> Any:
    said = await act(name, request.GET.dict(), lambda: AsyncDjangoHand(request))

    async def chunks() -> AsyncIterator[bytes]:
        yield json.dumps(said.body).encode()

    return StreamingHttpResponse(chunks()) if said.streamed else answer(said)


def answer(said: Said) -> HttpResponse | StreamingHttpResponse:
    if said.streamed:
        return StreamingHttpResponse(iter([json.dumps(said.body).encode()]))
    return JsonResponse(said.body, status=said.status)


class Guests:
    """Nobody is looked up: ``request.user`` is not what is tested."""

    def get_user(self, user_id: Any) -> None:
        return None


urlpatterns = [path("a/<name>", aview), path("<name>", view)]
SETTINGS = {
    "ROOT_URLCONF": __name__,
    "AUTHENTICATION_BACKENDS": [f"{__name__}.Guests"],
    "ALLOWED_HOSTS": ["shop.example"],
    # The last one, because a process knows all idempotent views there are, those of other tests included.
    "MIDDLEWARE": [f"zdd_django.middleware.{name}Middleware" for name in ("Zdd", "Session", "Capture")],
}
