"""Idempotent views, in every shape Django and REST framework have; the effect of each is a group that `act` adds."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any, ClassVar

from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group
from django.core.exceptions import PermissionDenied
from django.db import connections, transaction
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.template import engines
from django.template.response import SimpleTemplateResponse
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from rest_framework.authentication import SessionAuthentication
from rest_framework.decorators import action, api_view
from rest_framework.exceptions import NotFound
from rest_framework.permissions import IsAuthenticated
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework.viewsets import ViewSet

from zdd_django import zdd

hooks: list[Callable[[Any], Any]] = []
"""What a view does after its effect; its result, if any, is the answer."""


def effects(using: str = "default") -> int:
    return Group.objects.using(using).count()


def act(request: Any, using: str = "default") -> Any:
    """Have an effect, and answer as ``?then=`` says."""
    key = getattr(request, "headers", {}).get("Idempotency-Key", "")
    group = Group.objects.using(using).create(name=f"{key}.{uuid.uuid4().hex}")
    for hook in hooks:
        if (answer := hook(request)) is not None:
            return answer
    then = request.GET.get("then", "")
    if then in RAISED:
        raise RAISED[then]
    if then == "rollback":
        transaction.set_rollback(True, using)
    if then == "stream":
        return StreamingHttpResponse(iter([b"a", b"b"]))
    if then == "template":
        return SimpleTemplateResponse(engines["django"].from_string(group.name), status=201)
    answer = JsonResponse({"id": group.name}, status=int(then) if then.isdecimal() else 201)
    answer.headers["Location"] = f"/payments/{group.name}"
    answer.headers["X-Request-Id"] = group.name
    answer.set_cookie("paid", group.name)
    return answer


RAISED: dict[str, Exception] = {
    "boom": RuntimeError("boom"),
    "absent": Http404("no such thing"),
    "forbidden": PermissionDenied("not you"),
}


@csrf_exempt
@zdd.idempotent(operation="repeating", effects="pure", principal="anonymous")
def repeating(request: HttpRequest) -> HttpResponse:
    """As the peers have it: when the lease has lapsed the next one runs again, and no guard row says otherwise."""
    with transaction.atomic():
        return act(request)


def said(request: Any) -> str:
    """Who pays, without a session."""
    return str(request.headers.get("X-User", "nobody"))


@csrf_exempt
@zdd.idempotent(operation="function", effects="db", principal="request.user.pk")
def function(request: HttpRequest) -> HttpResponse:
    return act(request)


@csrf_exempt
@zdd.idempotent(operation="stateless", effects="db", principal=lambda bound: said(bound["request"]))
def stateless(request: HttpRequest) -> HttpResponse:
    return act(request)


@csrf_exempt
@never_cache
@zdd.idempotent(operation="decorated", effects="db", principal="anonymous")
def decorated(request: HttpRequest) -> HttpResponse:
    return act(request)


@csrf_exempt
@zdd.idempotent(operation="durable", effects="db", principal="anonymous", guard="orders")
def elsewhere(request: HttpRequest) -> HttpResponse:
    return act(request, "orders")


@csrf_exempt
@zdd.idempotent(operation="wrong", effects="db", principal="anonymous", guard="no such alias")
def wrong(request: HttpRequest) -> HttpResponse:
    return act(request)


@csrf_exempt
@zdd.idempotent(operation="unguarded", effects="external", principal="anonymous")
def unguarded(request: HttpRequest) -> HttpResponse:
    return act(request)


@csrf_exempt
@zdd.idempotent(operation="unsafe", effects="unsafe", principal="anonymous")
def unsafe(request: HttpRequest) -> HttpResponse:
    return act(request)


@csrf_exempt
@zdd.idempotent(operation="session", effects="external", principal="anonymous")
def session(request: HttpRequest) -> HttpResponse:
    request.session["paid"] = request.session.get("paid", 0) + 1
    return act(request)


@csrf_exempt
@zdd.idempotent(operation="coroutine", effects="external", principal="anonymous")
async def coroutine(request: HttpRequest) -> HttpResponse:
    return await sync_to_async(act)(request)


@method_decorator(csrf_exempt, name="dispatch")
class Generic(View):
    @zdd.idempotent(operation="generic", effects="db", principal="request.user.pk", fingerprint=("name",))
    def post(self, request: HttpRequest, name: str = "") -> HttpResponse:
        return act(request)


@method_decorator(csrf_exempt, name="dispatch")
class GenericCoroutine(View):
    @zdd.idempotent(operation="generic-coroutine", effects="external", principal="anonymous")
    async def post(self, request: HttpRequest) -> HttpResponse:
        return await sync_to_async(act)(request)


def spoken(answer: HttpResponse) -> Any:
    """The same as REST framework says it."""
    if answer.streaming or not isinstance(answer, JsonResponse):
        return answer
    rest = Response({"content": answer.content.decode()}, status=answer.status_code)
    rest["Location"] = answer["Location"]
    return rest


class Rest(APIView):
    authentication_classes = (SessionAuthentication,)
    permission_classes = (IsAuthenticated,)

    @zdd.idempotent(operation="rest", effects="db", principal="request.user.pk")
    def post(self, request: Any) -> Any:
        if request.GET.get("then") == "missing":
            Group.objects.create(name=uuid.uuid4().hex)
            raise NotFound
        return spoken(act(request))


class Rests(ViewSet):
    authentication_classes = (SessionAuthentication,)
    permission_classes = (IsAuthenticated,)

    @zdd.idempotent(operation="rests", effects="db", principal="request.user.pk")
    def create(self, request: Any) -> Any:
        return spoken(act(request))

    @action(detail=True, methods=["post"])
    @zdd.idempotent(operation="refund", effects="db", principal="request.user.pk")
    def refund(self, request: Any, pk: Any = None) -> Any:
        return spoken(act(request))


@api_view(["POST"])
@zdd.idempotent(operation="rest-function", effects="db", principal="anonymous")
def rest_function(request: Any) -> Any:
    return spoken(act(request))


@zdd.idempotent(operation="plain", effects="db", principal="anonymous", key="message")
def consume(message: str) -> dict[str, str]:
    return {"id": act(_Message()).headers["X-Request-Id"]}


class _Message:
    GET: ClassVar[dict[str, str]] = {}


@csrf_exempt
def paid(request: HttpRequest) -> HttpResponse:
    """Say how many effects a key has had."""
    return HttpResponse(Group.objects.filter(name__startswith=f"{request.GET['key']}.").count())


def prepare() -> None:
    """Make the other database; the default one is the test suite's."""
    if "auth_group" not in connections["orders"].introspection.table_names():
        connections["orders"].creation.create_test_db(verbosity=0)
