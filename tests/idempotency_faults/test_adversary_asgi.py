"""Attacks on one worker: answered by others, called from elsewhere, replies in ruins; nothing is held for ever."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.testclient import TestClient

from tests.idempotency_faults.conftest import PATIENCE, ROOMY, SECRET, eventually
from zdd_fastapi import ZddMiddleware
from zdd_sdk import ZeroDowntime
from zdd_sdk.errors import IdempotencyError, RecordUndecodable
from zdd_sdk.http.asgi import AsgiApp, Receive, Scope, Send
from zdd_sdk.idempotency import calls
from zdd_sdk.store.engine import Engine

KEY = {"Idempotency-Key": "k"}
Endpoint = Callable[..., Coroutine[Any, Any, Any]]


class Site:
    """An application with one idempotent endpoint, ``/do``."""

    def __init__(self, url: str, service: str = "shop") -> None:
        self.zdd = ZeroDowntime(service, environment="test", redis_url=url, secret=(SECRET,), store=ROOMY)
        self.app = FastAPI()
        self.app.add_middleware(ZddMiddleware, zdd=self.zdd)
        self.runs = 0

    def serve(self, endpoint: Endpoint, effects: Any = "external") -> Endpoint:
        decorated = self.zdd.idempotent(operation="do", effects=effects, principal="anonymous")(endpoint)
        self.app.post("/do")(decorated)
        return decorated

    def client(self) -> TestClient:
        return TestClient(self.app, raise_server_exceptions=False)

    @property
    def held(self) -> int:
        return len(self.zdd.idempotency.live)


@pytest.fixture
def site(real_engine: Engine) -> Site:
    return Site(real_engine.url)


class Impatient:
    """Answers 504 in the place of a route that is slow, and cancels it or lets it go on."""

    def __init__(self, app: AsgiApp, *, cancels: bool) -> None:
        self.app = app
        self.cancels = cancels
        self.left: list[asyncio.Future[None]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (b"x-patience", b"little") not in scope.get("headers", ()):
            await self.app(scope, receive, send)
            return
        route = asyncio.ensure_future(self.app(scope, receive, send))
        self.left.append(route)
        await asyncio.wait({route}, timeout=0.1)
        if self.cancels:
            route.cancel()
        await JSONResponse({}, 504)(scope, receive, send)


@pytest.mark.parametrize("cancels", [True, False])
@pytest.mark.parametrize("effects", ["external", "unsafe"])
def test_what_others_answer_in_its_place_is_not_the_outcome(site: Site, effects: str, *, cancels: bool) -> None:
    """Else a slow function is taken for failed, and a retry runs beside it."""
    gate = asyncio.Event()

    async def slow() -> dict[str, int]:
        site.runs += 1
        await gate.wait()
        return {"run": site.runs}

    async def open_gate() -> None:
        gate.set()

    site.serve(slow, effects)
    site.app.add_middleware(Impatient, cancels=cancels)
    with site.client() as client:
        assert client.post("/do", headers={**KEY, "X-Patience": "little"}).status_code == 504
        assert client.post("/do", headers=KEY).json()["type"] == "urn:zdd:idempotency-in-progress"
        assert client.portal is not None
        client.portal.call(open_gate)
        eventually(lambda: site.held == 0, "the function ends, and its outcome is kept")
        again = client.post("/do", headers=KEY)
    assert (again.json(), again.headers["idempotent-replayed"], site.runs) == ({"run": 1}, "true", 1)


@pytest.mark.parametrize("cancels", [True, False])
def test_nor_if_it_fails_afterwards(site: Site, *, cancels: bool) -> None:
    gate = asyncio.Event()

    async def slow() -> dict[str, int]:
        site.runs += 1
        await gate.wait()
        raise RuntimeError

    async def open_gate() -> None:
        gate.set()

    site.serve(slow, "unsafe")
    site.app.add_middleware(Impatient, cancels=cancels)
    with site.client() as client:
        client.post("/do", headers={**KEY, "X-Patience": "little"})
        assert client.portal is not None
        client.portal.call(open_gate)
        eventually(lambda: site.held == 0, "the function fails, and that is kept")
        again = client.post("/do", headers=KEY)
    assert (again.json()["type"], site.runs) == ("urn:zdd:idempotency-outcome-unknown", 1)


class Swallowing:
    """Makes a success of every failure."""

    def __init__(self, app: AsgiApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self.app(scope, receive, send)
        except LookupError:
            await JSONResponse({}, 200)(scope, receive, send)


def test_an_error_that_middleware_makes_a_success_of_was_not_carried_out(site: Site) -> None:
    async def fails() -> None:
        site.runs += 1
        raise LookupError

    site.serve(fails, "unsafe")
    site.app.add_middleware(Swallowing)
    with site.client() as client:
        assert client.post("/do", headers=KEY).status_code == 200
        assert client.post("/do", headers=KEY).json()["type"] == "urn:zdd:idempotency-outcome-unknown"
    assert site.runs == 1


def test_an_operation_of_another_service_is_refused(site: Site, real_engine: Engine) -> None:
    """Whose leave would settle it: in another service's Redis keys, while its own lease is renewed for ever."""
    other = Site(real_engine.url, "other")

    async def do() -> dict[str, str]:
        other.runs += 1
        return {}

    site.app.post("/do")(other.serve(do))
    with site.client() as client:
        assert client.post("/do", headers=KEY).status_code == 500
    assert (other.runs, other.held) == (0, 0)
    with other.client() as client:
        assert client.post("/do", headers=KEY).status_code == 200, "control"


def test_an_endpoint_called_after_its_request_is_refused(site: Site) -> None:
    async def do() -> dict[str, str]:
        site.runs += 1
        return {}

    ended, outcome, tasks = asyncio.Event(), list[Any](), list[asyncio.Task[None]]()
    decorated = site.serve(do)

    async def later() -> None:
        await ended.wait()
        try:
            outcome.append(await decorated())
        except IdempotencyError as error:
            outcome.append(error)

    @site.app.post("/later")
    async def begin() -> None:
        tasks.append(asyncio.create_task(later()))

    async def end() -> None:
        ended.set()

    with site.client() as client:
        assert client.post("/later", headers=KEY).status_code == 200
        assert client.portal is not None
        client.portal.call(end)
        eventually(lambda: outcome, "it is called")
    assert isinstance(outcome[0], IdempotencyError)
    assert (site.runs, site.held) == (0, 0)


def test_a_reply_in_ruins_holds_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    async def do() -> dict[str, str]:
        return {}

    def ruined(_: Any) -> bool:
        message = "these are no words of ours"
        raise RecordUndecodable(message)

    site.serve(do, "unsafe")
    monkeypatch.setattr(calls, "_is_ours", ruined)
    monkeypatch.setattr("zdd_sdk.web.inner._HOLD_AFTER_RETURN", 2 * PATIENCE)
    began = time.monotonic()
    with site.client() as client:
        assert client.post("/do", headers=KEY).status_code == 500
        assert time.monotonic() - began < PATIENCE, "not until a forgotten hold is let go"
        assert site.zdd.idempotency.live.owed
        monkeypatch.undo()
        assert client.post("/do", headers=KEY).headers["idempotent-replayed"] == "true", "Redis had heard it"


def test_another_method_is_another_request(site: Site) -> None:
    """One function may serve several, as most of Django's do: a DELETE must not be answered as the POST was."""

    async def do(request: Request) -> dict[str, str]:
        return {"did": request.method}

    decorated = site.zdd.idempotent(operation="do", effects="unsafe", principal="anonymous")(do)
    site.app.api_route("/do", methods=["GET", "HEAD", "POST", "DELETE"])(decorated)
    with site.client() as client:
        answers = [client.request(method, "/do", headers=KEY) for method in ("POST", "DELETE", "POST")]
        assert [answer.status_code for answer in answers] == [200, 422, 200]
        assert answers[2].json() == {"did": "POST"}
        other = {"Idempotency-Key": "other"}
        answers = [client.request(method, "/do", headers=other) for method in ("GET", "HEAD")]
        assert [answer.status_code for answer in answers] == [200, 200]


@pytest.mark.parametrize("boundary", ["boundary*=idna''a..b", "boundary*=utf\x00-8''a"])
def test_a_boundary_that_cannot_be_decoded(site: Site, boundary: str) -> None:
    async def do(request: Request) -> dict[str, int]:
        return {"length": len(await request.body())}

    site.serve(do)
    with site.client() as client:
        headers = {**KEY, "Content-Type": f"multipart/form-data; {boundary}"}
        assert client.post("/do", content=b"abc", headers=headers).json() == {"length": 3}
