"""Each view twice: as a function and as a coroutine."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.auth import aauthenticate, alogin, alogout, authenticate, get_user_model, login, logout
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.views.decorators.csrf import csrf_exempt

from zdd_sdk.http import current_exchange


def plain(request: HttpRequest) -> JsonResponse:
    assert current_exchange() is not None
    return JsonResponse({"plain": "yes"})


def me(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"user": request.session.get("_auth_user_id"), "fields": sorted(request.session.keys())})


def field(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"value": request.session.get(request.GET["name"])})


@csrf_exempt
def put(request: HttpRequest) -> JsonResponse:
    request.session[request.GET["name"]] = request.GET["value"]
    return JsonResponse(dict(request.session))


@csrf_exempt
def put_inside(request: HttpRequest) -> JsonResponse:
    request.session.setdefault("cart", []).append(request.GET["value"])
    request.session.modified = True
    return JsonResponse(dict(request.session))


@csrf_exempt
def put_then_fail(request: HttpRequest) -> HttpResponse:
    request.session["never"] = True
    raise RuntimeError("boom")


@csrf_exempt
def put_then_answer(request: HttpRequest) -> HttpResponse:
    request.session["answer"] = request.GET["status"]
    return HttpResponse(status=int(request.GET["status"]))


@csrf_exempt
def log_in(request: HttpRequest) -> JsonResponse:
    user = authenticate(request, username=request.GET["user"], password="secret")
    login(request, user)
    return JsonResponse({"key": request.session.session_key})


@csrf_exempt
def log_out(request: HttpRequest) -> HttpResponse:
    logout(request)
    return HttpResponse("out")


@csrf_exempt
def flush(request: HttpRequest) -> HttpResponse:
    request.session.flush()
    return HttpResponse("flushed")


def _expiry(request: HttpRequest) -> int | dt.datetime:
    """So many seconds, or the moment in so many."""
    seconds = int(request.GET["seconds"])
    return dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds) if "moment" in request.GET else seconds


@csrf_exempt
def expire(request: HttpRequest) -> HttpResponse:
    request.session["kept"] = 1
    request.session.set_expiry(_expiry(request))
    return HttpResponse("expires")


@csrf_exempt
def stream(request: HttpRequest) -> StreamingHttpResponse:
    def chunks() -> Iterator[bytes]:
        yield b"a"
        yield b"b"

    request.session["streamed"] = True
    return StreamingHttpResponse(chunks())


def whoami(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"user": request.user.get_username()})


between: list[Any] = []
"""What happens elsewhere while a slow view runs: called in a thread of its own."""


def _elsewhere() -> None:
    for happening in between:
        thread = threading.Thread(target=happening)
        thread.start()
        thread.join()


@csrf_exempt
def slow(request: HttpRequest) -> JsonResponse:
    """Read, wait, and write if told what."""
    seen = sorted(request.session.keys())
    _elsewhere()
    if "name" in request.GET:
        request.session[request.GET["name"]] = request.GET["value"]
    return JsonResponse({"seen": seen})


@csrf_exempt
def put_quietly(request: HttpRequest) -> JsonResponse:
    """Change something inside a value, and say nothing."""
    request.session["cart"].append(request.GET["value"])
    return JsonResponse({})


@csrf_exempt
def claim(request: HttpRequest) -> JsonResponse:
    """Do something with the session while an exchange holds its answer for a claim."""
    exchange = current_exchange()
    assert exchange is not None
    hold = exchange.hold()
    exchange.after_commit(hold.release)
    happening = between[0]
    return JsonResponse({"result": happening(request)})


def visit(request: HttpRequest) -> JsonResponse:
    """See who comes, and note it."""
    user = request.user.get_username()
    request.session["visited"] = True
    return JsonResponse({"user": user})


async def avisit(request: HttpRequest) -> JsonResponse:
    user = (await request.auser()).get_username()
    await request.session.aset("visited", True)
    return JsonResponse({"user": user})


async def aplain(request: HttpRequest) -> JsonResponse:
    assert current_exchange() is not None
    return JsonResponse({"plain": "yes"})


async def ame(request: HttpRequest) -> JsonResponse:
    user = await request.session.aget("_auth_user_id")
    return JsonResponse({"user": user, "fields": sorted(await request.session.akeys())})


async def afield(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"value": await request.session.aget(request.GET["name"])})


@csrf_exempt
async def aput(request: HttpRequest) -> JsonResponse:
    await request.session.aset(request.GET["name"], request.GET["value"])
    return JsonResponse(dict(await request.session.aitems()))


@csrf_exempt
async def aput_inside(request: HttpRequest) -> JsonResponse:
    (await request.session.asetdefault("cart", [])).append(request.GET["value"])
    request.session.modified = True
    return JsonResponse(dict(await request.session.aitems()))


@csrf_exempt
async def aput_then_fail(request: HttpRequest) -> HttpResponse:
    await request.session.aset("never", True)
    raise RuntimeError("boom")


@csrf_exempt
async def aput_then_answer(request: HttpRequest) -> HttpResponse:
    await request.session.aset("answer", request.GET["status"])
    return HttpResponse(status=int(request.GET["status"]))


@csrf_exempt
async def alog_in(request: HttpRequest) -> JsonResponse:
    user = await aauthenticate(request, username=request.GET["user"], password="secret")
    await alogin(request, user)
    return JsonResponse({"key": request.session.session_key})


@csrf_exempt
async def alog_out(request: HttpRequest) -> HttpResponse:
    await alogout(request)
    return HttpResponse("out")


@csrf_exempt
async def aflush(request: HttpRequest) -> HttpResponse:
    await request.session.aflush()
    return HttpResponse("flushed")


@csrf_exempt
async def aexpire(request: HttpRequest) -> HttpResponse:
    await request.session.aset("kept", 1)
    await request.session.aset_expiry(_expiry(request))
    return HttpResponse("expires")


@csrf_exempt
async def astream(request: HttpRequest) -> StreamingHttpResponse:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"a"
        yield b"b"

    await request.session.aset("streamed", True)
    return StreamingHttpResponse(chunks())


async def awhoami(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"user": (await request.auser()).get_username()})


@csrf_exempt
async def aslow(request: HttpRequest) -> JsonResponse:
    seen = sorted(await request.session.akeys())
    _elsewhere()
    if "name" in request.GET:
        await request.session.aset(request.GET["name"], request.GET["value"])
    return JsonResponse({"seen": seen})


@csrf_exempt
async def aput_quietly(request: HttpRequest) -> JsonResponse:
    (await request.session.aget("cart")).append(request.GET["value"])
    return JsonResponse({})


@csrf_exempt
async def aclaim(request: HttpRequest) -> JsonResponse:
    return await sync_to_async(claim)(request)


NAMES = (
    "plain", "me", "field", "put", "put_inside", "put_then_fail", "put_then_answer", "log_in", "log_out", "flush",
    "expire", "stream", "whoami", "slow", "put_quietly", "claim", "visit",
)  # fmt: skip


def make_user(name: str) -> Any:
    model = get_user_model()
    found = model.objects.filter(username=name).first()
    return found or model.objects.create_superuser(name, password="secret")
