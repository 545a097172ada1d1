"""Idempotent views: one key, one effect, one answer, in every shape and both of Django's modes."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import unittest
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import Group
from django.core.checks import run_checks
from django.core.handlers.asgi import ASGIHandler
from django.db import connections, transaction
from django.http import HttpResponse, StreamingHttpResponse
from django.test import TestCase
from django.urls import path
from django.utils.decorators import method_decorator

from tests.integrations.django.browser import Browser
from tests.integrations.django.project import payments
from zdd_django import get_zdd
from zdd_django.asgi import protect
from zdd_django.models import Guard
from zdd_sdk.errors import SettingsError

SHAPES = ("function", "generic/a", "rest", "rest-function", "/api/rests/", "/api/rests/7/refund/")
OTHERS = ("unguarded", "session", "coroutine", "generic-coroutine", "decorated", "stateless")


@pytest.fixture(autouse=True)
def clean(database: None) -> Iterator[None]:
    yield
    payments.hooks.clear()
    Group.objects.all().delete()
    Guard.objects.all().delete()


@pytest.fixture
def atomic_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)


@pytest.fixture(params=["wsgi", "asgi"])
def buyer(request: pytest.FixtureRequest, configured: Any, tap: Any, runner: asyncio.Runner, ada: Any) -> Browser:
    """Ada's browser, over each handler."""
    configured(tap.url)
    browser = Browser(request.param, "/pay/", runner)
    browser.run(browser.client.aforce_login(ada)) if request.param == "asgi" else browser.client.force_login(ada)
    return browser


def new_key() -> str:
    return str(uuid.uuid4())


def pay(browser: Browser, shape: str, key: str | None, query: str = "", **request: Any) -> Any:
    headers = {**({} if key is None else {"idempotency-key": key}), **request.pop("headers", {})}
    request = {"data": {"amount": 5}, "content_type": "application/json", **request}
    return browser.post(shape + query, exact=shape.startswith("/"), headers=headers, **request)


def problem(answer: Any) -> str:
    return str(json.loads(answer.content)["type"])


# One effect, one answer


@pytest.mark.parametrize("shape", [*SHAPES, *OTHERS])
def test_the_first_answer_is_given_again(buyer: Browser, shape: str):
    key = new_key()
    first, again = pay(buyer, shape, key), pay(buyer, shape, key)
    assert first.status_code == 201, first.content
    assert (again.status_code, again.content) == (201, first.content)
    assert payments.effects() == 1
    assert "Idempotent-Replayed" not in first
    assert again["Idempotent-Replayed"] == "true"
    assert again["Content-Type"] == first["Content-Type"]
    assert again["Location"] == first["Location"]
    assert "X-Request-Id" not in again
    assert "paid" not in again.cookies
    assert Guard.objects.count() == (shape in {*SHAPES, "decorated", "stateless"})


@pytest.mark.parametrize("shape", ["function", "generic/a", "rest", "decorated"])
def test_within_atomic_requests(buyer: Browser, shape: str, atomic_requests: None):
    key = new_key()
    first, again = pay(buyer, shape, key), pay(buyer, shape, key)
    assert (first.status_code, again.content) == (201, first.content)
    assert (payments.effects(), Guard.objects.count()) == (1, 1)


@pytest.mark.parametrize("shape", ["function", "unguarded"])
def test_without_the_decorator_there_would_be_two(buyer: Browser, shape: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("zdd_sdk.idempotency.bracket.Bracket._open", lambda *_, **__: None)
    key = new_key()
    assert pay(buyer, shape, key).content != pay(buyer, shape, key).content
    assert payments.effects() == 2


def test_a_key_is_another_one_for_another_user_operation_or_method(buyer: Browser):
    key = new_key()
    for shape in SHAPES:
        assert pay(buyer, shape, key).status_code == 201
    for user in ("ada", "bob"):
        assert pay(buyer, "stateless", key, headers={"X-User": user}).status_code == 201
    assert payments.effects() == len(SHAPES) + 2


def test_another_request_with_the_same_key_is_refused(buyer: Browser):
    key = new_key()
    pay(buyer, "function", key)
    for change in ({"data": {"amount": 6}}, {"query": "?then=202"}):
        refused = pay(buyer, "function", key, **change)
        assert (refused.status_code, problem(refused)) == (422, "urn:zdd:idempotency-key-reused")
    pay(buyer, "generic/a", key)
    assert pay(buyer, "generic/b", key).status_code == 422
    assert payments.effects() == 2


def test_only_the_fields_that_count_are_compared(buyer: Browser):
    """``fingerprint=("name",)`` of a method: a path parameter, found beside ``self``."""
    key = new_key()
    first = pay(buyer, "generic/a", key)
    assert pay(buyer, "generic/a", key, data={"amount": 6}).content == first.content


def test_a_request_without_a_key_is_refused(buyer: Browser):
    assert problem(pay(buyer, "rest", None)) == "urn:zdd:idempotency-key-missing"
    assert payments.effects() == 0


def test_who_may_not_pay_leaves_nothing(buyer: Browser, ada: Any):
    key, nobody = new_key(), buyer.another()
    nobody.client.cookies.clear()
    assert pay(nobody, "rest", key).status_code == 403
    assert pay(buyer, "rest", key).status_code == 201
    assert "Idempotent-Replayed" not in pay(buyer, "rest", new_key())


# What the first run answered, whatever it was


@pytest.mark.parametrize("atomic", [False, True])
@pytest.mark.parametrize(
    ("shape", "then", "status", "stored", "had_effect"),
    [
        ("function", "absent", 404, True, False),
        ("rest", "missing", 404, True, False),
        ("function", "409", 409, True, True),
        ("function", "204", 204, True, True),
        ("function", "template", 201, True, True),
        ("function", "boom", 500, False, False),
        ("function", "forbidden", 403, False, False),
        ("unguarded", "absent", 404, True, True),
        ("unguarded", "boom", 500, False, True),
    ],
)
def test_an_error_is_an_answer_if_it_was_made_by_the_view(
    buyer: Browser,
    monkeypatch: Any,
    shape: str,
    then: str,
    status: int,
    *,
    stored: bool,
    had_effect: bool,
    atomic: bool,
):
    if shape == "unguarded" and atomic:
        pytest.skip("what is rolled back there is the application's own business")
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", atomic)
    key = new_key()
    first = pay(buyer, shape, key, f"?then={then}")
    assert first.status_code == status
    assert (payments.effects() == 1) is had_effect
    assert first.get("Idempotency-Stored") == (None if stored else "false")
    again = pay(buyer, shape, key, f"?then={then}")
    assert (again.status_code, again.get("Idempotent-Replayed")) == (status, "true" if stored else None)
    assert not stored or again.content == first.content
    assert payments.effects() == (1 if stored else 2) * had_effect


def test_an_answer_without_a_type_gets_none(buyer: Browser):
    def bare(_: Any) -> HttpResponse:
        answer = HttpResponse(status=204)
        del answer.headers["Content-Type"]
        return answer

    payments.hooks.append(bare)
    key = new_key()
    for _ in range(2):
        answer = pay(buyer, "function", key)
        assert (answer.status_code, "Content-Type" in answer) == (204, False)


def test_a_stream_passes_live_and_is_not_kept(buyer: Browser):
    key = new_key()
    first = pay(buyer, "function", key, "?then=stream")
    assert (first.status_code, first["Idempotency-Stored"]) == (200, "false")
    assert problem(pay(buyer, "function", key, "?then=stream")) == "urn:zdd:idempotency-outcome-committed"
    assert payments.effects() == 1


def test_an_effect_that_was_rolled_back_behind_our_back_is_no_success(buyer: Browser):
    key = new_key()
    refused = pay(buyer, "function", key, "?then=rollback")
    assert (refused.status_code, problem(refused)) == (500, "urn:zdd:idempotency-not-guarded")
    assert (payments.effects(), Guard.objects.count()) == (0, 0)


def test_an_answer_of_a_decorator_around_the_view_counts(buyer: Browser):
    """What is written before the commit lacks its header; the second write has it."""
    key = new_key()
    first, again = pay(buyer, "decorated", key), pay(buyer, "decorated", key)
    assert "no-store" in first["Cache-Control"]
    assert again["Cache-Control"] == first["Cache-Control"]
    assert b"no-store" in bytes(Guard.objects.get().answer)


# Trips


@pytest.fixture
def trips(tap: Any) -> Callable[..., int]:
    def count(*request: Any) -> int:
        tap.reset()
        assert pay(*request).status_code == 201
        return int(tap.trips)

    return count


@pytest.mark.parametrize(("shape", "first", "again"), [
    ("decorated", 2, 1), ("unguarded", 2, 1), ("coroutine", 2, 1), ("stateless", 2, 1),
    ("function", 3, 2), ("rest", 3, 2), ("session", 3, 1),
])  # fmt: skip
def test_trips(buyer: Browser, trips: Callable[..., int], shape: str, first: int, again: int):
    """Two, and one to read the session; saving it shares the second. A replay: one, and the session's."""
    pay(buyer, shape, new_key())
    pay(buyer, "session", new_key())
    key = new_key()
    assert (trips(buyer, shape, key), trips(buyer, shape, key)) == (first, again)


def test_the_session_is_saved_with_the_first_run_and_only_then(buyer: Browser):
    key = new_key()
    pay(buyer, "session", key)
    pay(buyer, "session", key)
    assert json.loads(pay(buyer, "session", new_key()).content)
    seen: list[int] = []
    payments.hooks.append(lambda request: seen.append(request.session["paid"]))
    pay(buyer, "session", new_key())
    assert seen == [3]


# At the same time


def test_a_duplicate_under_way_is_told_to_come_again(buyer: Browser):
    key, met = new_key(), list[Any]()

    def meanwhile(_: Any) -> None:
        payments.hooks.clear()
        with asyncio.Runner() as runner:
            twin = Browser("wsgi", "/pay/", runner)
            twin.client.cookies = buyer.client.cookies
            thread = threading.Thread(target=lambda: met.append(pay(twin, "stateless", key)))
            thread.start()
            thread.join()

    payments.hooks.append(meanwhile)
    assert pay(buyer, "stateless", key).status_code == 201
    assert (met[0].status_code, met[0]["Retry-After"], met[0]["X-Should-Retry"]) == (409, "1", "true")
    assert payments.effects() == 1


def test_a_client_that_hangs_up_stops_nothing(configured: Any, runner: asyncio.Runner):
    zdd = configured()
    for application in (ASGIHandler(), protect(ASGIHandler())):
        for shape in ("unguarded", "coroutine", "decorated"):
            key, entered, go = new_key(), threading.Event(), threading.Event()
            payments.hooks[:] = [lambda _, entered=entered, go=go: entered.set() or (go.wait(30) and None)]
            runner.run(hang_up(application, f"/pay/{shape}", key, entered, go))
            payments.hooks.clear()
            assert len(zdd.idempotency.live) == 0
            again = pay(Browser("asgi", "/pay/", runner), shape, key, data={})
            assert (again.status_code, again.get("Idempotent-Replayed")) == (201, "true"), (shape, again.content)
    assert payments.effects() == 6


def test_a_stream_that_nobody_waits_for_was_an_answer(configured: Any, runner: asyncio.Runner):
    """Its effect is known to be there: not unknown, as where a view has failed."""
    configured()
    key, entered, go = new_key(), threading.Event(), threading.Event()
    payments.hooks.append(lambda _: entered.set() or (go.wait(30) and StreamingHttpResponse(iter([b"a"]))))
    runner.run(hang_up(protect(ASGIHandler()), "/pay/unsafe", key, entered, go))
    payments.hooks.clear()
    again = pay(Browser("asgi", "/pay/", runner), "unsafe", key, data={})
    assert problem(again) == "urn:zdd:idempotency-outcome-committed"
    assert payments.effects() == 1


async def hang_up(application: Any, path: str, key: str, entered: threading.Event, go: threading.Event) -> None:
    """Send a request, and be gone while its view runs."""
    request = [{"type": "http.request", "body": b"{}"}]

    async def receive() -> Any:
        if request:
            return request.pop()
        await asyncio.to_thread(entered.wait, 30)
        asyncio.get_running_loop().call_later(0.05, go.set)
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        raise AssertionError(message)

    headers = [(b"host", b"testserver"), (b"idempotency-key", key.encode()), (b"content-type", b"application/json")]
    scope = {"type": "http", "http_version": "1.1", "method": "POST", "path": path, "scheme": "http"}
    await application({**scope, "headers": headers, "query_string": b""}, receive, send)


def test_a_worker_told_to_exit_settles_what_it_held(configured: Any, runner: asyncio.Runner):
    zdd, browser = configured(), Browser("wsgi", "/pay/", runner)
    payments.hooks.append(lambda _: sys.exit(1))
    with pytest.raises(SystemExit):
        pay(browser, "decorated", key := new_key())
    assert (len(zdd.idempotency.live), payments.effects()) == (0, 0)
    payments.hooks.clear()
    assert pay(browser, "decorated", key).status_code == 201


# Plain functions


def test_a_message_is_handled_once_in_a_transaction_of_its_own(configured: Any):
    configured()
    first = payments.consume("message-1")
    assert payments.consume("message-1") == first
    assert payments.consume(message="message-2") != first
    assert (payments.effects(), Guard.objects.count()) == (2, 2)


# In the application's own tests


class Tested(TestCase):
    databases = frozenset({"default"})

    def runTest(self) -> None:  # noqa: N802 - unittest's name
        """A `TestCase` never commits; what would have been is taken for committed."""
        with asyncio.Runner() as runner:
            browser, key = Browser("wsgi", "/pay/", runner), new_key()
            first, again = pay(browser, "decorated", key), pay(browser, "decorated", key)
            assert (first.status_code, again.content) == (201, first.content)
            assert pay(browser, "decorated", new_key(), "?then=rollback").status_code == 500
            assert payments.effects() == 1


@pytest.mark.parametrize("atomic", [False, True])
def test_test_cases(configured: Any, monkeypatch: pytest.MonkeyPatch, *, atomic: bool):
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", atomic)
    configured()
    result = unittest.TestSuite([Tested()]).run(unittest.TestResult())
    assert result.wasSuccessful(), result.errors + result.failures
    assert payments.effects() == 0


# Around the view


def test_a_transaction_around_everything_counts_when_it_commits(configured: Any, runner: asyncio.Runner):
    order = list(settings.MIDDLEWARE)
    configured(_MIDDLEWARE=[*order[:1], "tests.integrations.django.test_idempotent.transact", *order[1:]])
    browser, key = Browser("wsgi", "/pay/", runner), new_key()
    first, again = pay(browser, "decorated", key), pay(browser, "decorated", key)
    assert (first.status_code, again.content) == (201, first.content)
    refused = pay(browser, "decorated", new_key(), headers={"X-Undo": "yes"})
    assert problem(refused) == "urn:zdd:idempotency-not-guarded"
    assert payments.effects() == 1


def transact(get_response: Any) -> Any:
    """A middleware with a transaction of its own, which Django's own durable blocks would not accept."""

    def respond(request: Any) -> Any:
        with transaction.atomic():
            response = get_response(request)
            if "X-Undo" in request.headers:
                transaction.set_rollback(True)
            return response

    return respond


def test_another_database(configured: Any, runner: asyncio.Runner):
    payments.prepare()
    configured()
    browser, key = Browser("wsgi", "/pay/", runner), new_key()
    first, again = pay(browser, "elsewhere", key), pay(browser, "elsewhere", key)
    assert (first.status_code, again.content) == (201, first.content)
    assert (payments.effects("orders"), Guard.objects.using("orders").count()) == (1, 1)
    assert (payments.effects(), Guard.objects.count()) == (0, 0)
    assert problem(pay(browser, "wrong", new_key())) == "urn:zdd:idempotency-not-guarded"


# What cannot work is said at the start


def found() -> set[str]:
    return {message.id for message in run_checks() if message.id}


@pytest.fixture
def refused(configured: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """Configure, expect a check, and return what serving is refused with."""
    kept = list(get_zdd().brackets)

    def refuse(check: str, *routes: Any, **options: Any) -> str:
        if routes:
            monkeypatch.setattr("tests.integrations.django.test_idempotent.urlpatterns", list(routes), raising=False)
            options["_ROOT_URLCONF"] = __name__
        zdd = configured(**options)
        assert check in found()
        with pytest.raises(SettingsError) as error:
            zdd.start()
        return str(error.value)

    yield refuse
    get_zdd().brackets[:] = kept


urlpatterns: list[Any] = []
CAPTURE = "zdd_django.middleware.CaptureMiddleware"


def test_the_middleware_must_be_the_last(refused: Any):
    order = list(settings.MIDDLEWARE)
    assert "is missing" in refused("zdd.E010", _MIDDLEWARE=order[:-1])
    assert "is not the last" in refused("zdd.E010", _MIDDLEWARE=[*order[:-2], CAPTURE, order[-2]])


def test_a_view_must_be_routed_as_decorated(refused: Any):
    def bare(request: Any) -> Any: ...

    get_zdd().idempotent(operation="bare", effects="pure", principal="anonymous")(bare)
    assert refused("zdd.E011", path("bare", bare)).startswith("bare: bare routes the function without its bracket")


def test_a_method_must_be_routed_as_decorated(refused: Any):
    class Lost(payments.Generic):
        post = payments.Generic.post.__wrapped__  # type: ignore[attr-defined]

    assert refused("zdd.E011", path("lost", Lost.as_view())).startswith("generic: lost")


def test_decorators_of_classes_would_decorate_each_call(refused: Any):
    decorate = get_zdd().idempotent(operation="each", effects="pure", principal="anonymous")
    method_decorator(decorate, name="post")(type("Each", (payments.Generic,), {}))
    assert "method_decorator" in refused("zdd.E012")


def test_a_view_of_rest_framework_must_have_authenticated_first(refused: Any):
    get_zdd().idempotent(operation="early", effects="pure", principal="anonymous")(payments.Rest.as_view())
    assert "authenticated" in refused("zdd.E012")


def test_a_coroutine_has_no_transaction(refused: Any, configured: Any):
    async def late(request: Any) -> Any: ...

    get_zdd().idempotent(operation="late", effects="db", principal="anonymous")(late)
    assert "no transactions" in refused("zdd.E013")


def test_everything_in_its_place(configured: Any):
    zdd = configured()
    assert not found()
    zdd.start()


def test_without_the_middleware_a_view_does_not_run(configured: Any, runner: asyncio.Runner, monkeypatch: Any):
    configured(_MIDDLEWARE=list(settings.MIDDLEWARE)[:-1])
    monkeypatch.setattr("zdd_django.brackets.find", lambda _: ())
    answer = pay(Browser("wsgi", "/pay/", runner), "decorated", new_key())
    assert (answer.status_code, payments.effects()) == (500, 0)
