"""Wherever the middleware lies, and whatever it lies around or within, both halves are where they belong."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.responses import JSONResponse
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.routing import Mount
from starlette.testclient import TestClient

from zdd_fastapi import LazySession, UserSession, ZddMiddleware
from zdd_sdk import ZddError, ZeroDowntime
from zdd_sdk.errors import SessionUnavailable
from zdd_sdk.http import current_exchange
from zdd_sdk.lifecycle import State
from zdd_sdk.sessions.ids import mint_id, random_tag

NOWHERE = "redis://127.0.0.1:1/0"
A_COOKIE = {"cookie": f"zdd_session={mint_id(random_tag()).text}"}
ORIGIN = {"origin": "https://a.example"}


def service(url: str, name: str = "shop", **options: Any) -> ZeroDowntime:
    options = {"fleet": {"enabled": False}, **options}
    return ZeroDowntime(name, environment="test", redis_url=url, secret=("s" * 40,), **options)


def endpoints(app: FastAPI) -> FastAPI:
    @app.get("/me")
    async def me(session: UserSession) -> dict[str, Any]:
        return dict(session)

    @app.post("/put")
    async def put(session: UserSession, value: int) -> None:
        session["value"] = value

    @app.post("/too-much")
    async def too_much(session: UserSession) -> None:
        session.update({f"big{index}": "x" * 60_000 for index in range(8)})

    @app.get("/held")
    async def held(session: UserSession) -> dict[str, str]:
        exchange = current_exchange()
        assert exchange is not None
        hold = exchange.hold()
        exchange.on_final_bytes(lambda status, headers, body: seen.append(body))
        exchange.on_final_bytes(lambda status, headers, body: hold.release())
        session["held"] = True
        return {"hello": "world" * 20}

    seen: list[bytes] = []
    app.state.seen = seen
    return app


def ask(app: Any, method: str, path: str, **options: Any) -> Any:
    with TestClient(app, raise_server_exceptions=False) as client:
        return client.request(method, path, **options)


class Decorating(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: Any) -> Any:
        response = await call_next(request)
        response.headers["x-seen"] = "1"
        return response


MIDDLEWARE: dict[str, Callable[[ZeroDowntime], Middleware]] = {
    "zdd": lambda zdd: Middleware(ZddMiddleware, zdd=zdd),
    "gzip": lambda _: Middleware(GZipMiddleware, minimum_size=10),
    "cors": lambda _: Middleware(CORSMiddleware, allow_origins=[ORIGIN["origin"]]),
    "hosts": lambda _: Middleware(TrustedHostMiddleware, allowed_hosts=["testserver"]),
    "base": lambda _: Middleware(Decorating),
}


@pytest.mark.parametrize("order", list(itertools.permutations(MIDDLEWARE)), ids="-".join)
def test_the_order_of_middleware_does_not_matter(order: tuple[str, ...], real_engine: Any) -> None:
    zdd = service(real_engine.url)
    app = endpoints(FastAPI(middleware=[MIDDLEWARE[name](zdd) for name in order]))

    with TestClient(app, raise_server_exceptions=False) as client:
        client.post("/put?value=1")
        assert {"value": 1} == client.get("/me").json()

        held = client.get("/held")
        assert ("gzip", "1", "world" * 20) == (
            held.headers["content-encoding"],
            held.headers["x-seen"],
            held.json()["hello"],
        )
        assert [held.content] == app.state.seen, "captured as the route made it, before compression"
        assert 200 == client.get("/readyz", headers={"host": "10.0.0.1"}).status_code, "a probe knows no host name"

        refused = client.post("/too-much", headers=ORIGIN)
        assert (413, "https://a.example") == (refused.status_code, refused.headers["access-control-allow-origin"])


def mounted(kind: str, inside: FastAPI) -> tuple[FastAPI, str]:
    app = FastAPI()
    if kind == "mounted":
        app.mount("/sub", inside)
    elif kind == "in a mount of routes":
        app.router.routes.append(Mount("/a", routes=[Mount("/sub", app=inside)]))
    elif kind == "behind a mount's own middleware":
        app.router.routes.append(Mount("/sub", app=inside, middleware=[Middleware(GZipMiddleware)]))
    elif kind == "in an included router":
        router = APIRouter()
        router.mount("/sub", inside)
        app.include_router(router)
    elif kind == "two deep":
        middle = Starlette(routes=[Mount("/sub", app=inside)])
        app.mount("/a", middle)
    return app, "/a/sub/me" if kind in {"in a mount of routes", "two deep"} else "/sub/me"


@pytest.mark.parametrize(
    "kind",
    ["mounted", "in a mount of routes", "behind a mount's own middleware", "in an included router", "two deep"],
)
def test_our_errors_in_a_mounted_application_are_problems(kind: str) -> None:
    app, path = mounted(kind, endpoints(FastAPI()))
    app.add_middleware(ZddMiddleware, zdd=service(NOWHERE))

    answer = ask(app, "GET", path, headers=A_COOKIE)

    assert (503, "1") == (answer.status_code, answer.headers["retry-after"])


def test_around_an_application_it_does_the_same(real_engine: Any) -> None:
    app = endpoints(FastAPI())
    wrapped = ZddMiddleware(app, zdd=service(NOWHERE))

    assert 503 == ask(wrapped, "GET", "/me", headers=A_COOKIE).status_code
    assert 200 == ask(wrapped, "GET", "/livez").status_code

    app = endpoints(FastAPI())
    app.add_middleware(GZipMiddleware, minimum_size=10)
    held = ask(ZddMiddleware(app, zdd=service(real_engine.url)), "GET", "/held")
    assert [held.content] == app.state.seen


def test_a_mounted_wrapper_stays_where_it_is(real_engine: Any) -> None:
    zdd = service(real_engine.url)
    app = endpoints(FastAPI())
    app.mount("/sub", ZddMiddleware(endpoints(FastAPI()), zdd=zdd))

    with TestClient(app, raise_server_exceptions=False) as client:
        assert 200 == client.post("/sub/put?value=3").status_code
        assert {"value": 3} == client.get("/sub/me").json()
        assert (200, 404) == (client.get("/sub/readyz").status_code, client.get("/readyz").status_code)
        assert 500 == client.get("/me").status_code, "the application around it was not asked to take part"
    asyncio.run(zdd.shutdown())  # what is mounted hears of no lifespan


def test_one_service_on_an_application_and_on_what_it_mounts_acts_once(real_engine: Any) -> None:
    zdd = service(real_engine.url)
    app, sub = endpoints(FastAPI()), endpoints(FastAPI())
    for each in (app, sub):
        each.add_middleware(ZddMiddleware, zdd=zdd)
    app.mount("/sub", sub)

    with TestClient(app) as client:
        answer = client.post("/sub/put?value=3")
        assert 1 == len(answer.headers.get_list("set-cookie"))
        assert {"value": 3} == client.get("/me").json() == client.get("/sub/me").json()


def test_two_services_in_one_process_keep_to_themselves(real_engine: Any) -> None:
    outer = service(real_engine.url, "outer", sessions={"cookie_name": "outer"})
    inner = service(real_engine.url, "inner", sessions={"cookie_name": "inner"})
    app, sub = endpoints(FastAPI()), endpoints(FastAPI())
    app.add_middleware(ZddMiddleware, zdd=outer)
    sub.add_middleware(ZddMiddleware, zdd=inner)
    app.mount("/sub", sub)

    with TestClient(app) as client:
        client.post("/put?value=1")
        client.post("/sub/put?value=2")
        assert ({"value": 1}, {"value": 2}) == (client.get("/me").json(), client.get("/sub/me").json())
        assert {"outer", "inner"} == set(client.cookies)
        outer.lifecycle.begin_drain("test")
        assert inner.lifecycle.draining, "a server drives one lifecycle: the outer one"
        assert ["close"] == client.get("/sub/me").headers.get_list("connection")
    assert (State.STOPPING, State.STOPPING) == (outer.lifecycle.state, inner.lifecycle.state)
    assert not inner.started


def test_user_middleware_may_raise_our_errors() -> None:
    class Failing(BaseHTTPMiddleware):
        async def dispatch(self, request: Request, call_next: Any) -> Any:
            raise SessionUnavailable("away", retry_after=2)

    app = FastAPI()
    app.add_middleware(Failing)
    app.add_middleware(ZddMiddleware, zdd=service(NOWHERE))

    answer = ask(app, "GET", "/")
    assert (503, "2") == (answer.status_code, answer.headers["retry-after"])


def test_a_handler_of_the_users_own_for_our_errors_wins() -> None:
    app = endpoints(FastAPI())
    app.add_middleware(ZddMiddleware, zdd=service(NOWHERE))

    @app.exception_handler(ZddError)
    async def mine(request: Request, error: ZddError) -> JSONResponse:
        return JSONResponse({"mine": error.code}, status_code=error.status)

    assert {"mine": "session-unavailable"} == ask(app, "GET", "/me", headers=A_COOKIE).json()


def test_a_session_where_there_is_no_store_says_so(caplog: pytest.LogCaptureFixture) -> None:
    app = endpoints(FastAPI())
    app.add_middleware(ZddMiddleware, zdd=ZeroDowntime("shop", environment="production", redis_url="off"))

    answer = ask(app, "POST", "/put?value=1")

    assert (500, "urn:zdd:store-not-configured") == (answer.status_code, answer.json()["type"])
    assert "redis_url" not in answer.json()["detail"], "the option is the operator's"
    assert "redis_url=off" in caplog.text


def test_an_application_can_be_started_again(real_engine: Any) -> None:
    zdd = service(real_engine.url, fleet={"enabled": True})
    app = endpoints(FastAPI())
    app.add_middleware(ZddMiddleware, zdd=zdd)
    cookies: Any = None

    for turn in range(3):
        with TestClient(app, cookies=cookies) as client:
            assert ({} if cookies is None else {"value": turn - 1}) == client.get("/me").json()
            client.post(f"/put?value={turn}")
            assert (200, None) == (client.get("/readyz").status_code, client.get("/me").headers.get("connection"))
            cookies = client.cookies
        assert State.STOPPING is zdd.lifecycle.state
        assert 1 == zdd.lifecycle._hooks.on_stop.count(zdd.fleet.stop), "told once, however often it starts"


def test_loads_at_the_same_time_lose_no_change(real_engine: Any) -> None:
    app = endpoints(FastAPI())
    app.add_middleware(ZddMiddleware, zdd=service(real_engine.url))

    @app.post("/gather")
    async def gather(session: LazySession) -> dict[str, Any]:
        async def one(name: str) -> None:
            await session.load()
            session[name] = 1

        await asyncio.gather(*(one(f"k{index}") for index in range(5)))
        return dict(session)

    with TestClient(app) as client:
        client.post("/put?value=1")
        wanted = {"value": 1, **{f"k{index}": 1 for index in range(5)}}
        assert wanted == client.post("/gather").json() == client.get("/me").json()
