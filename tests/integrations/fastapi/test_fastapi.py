"""zdd in FastAPI: wiring, the session as a dependency, trips, errors, WebSockets."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI, HTTPException, WebSocket
from fastapi.middleware.cors import CORSMiddleware
from fastapi.middleware.gzip import GZipMiddleware
from starlette.testclient import TestClient

from zdd_fastapi import LazySession, UserSession, ZddMiddleware
from zdd_sdk import ZeroDowntime
from zdd_sdk.http import current_exchange
from zdd_sdk.testing.tap import RespTap

SECRET = "s" * 40


def build(url: str, **options: Any) -> tuple[FastAPI, ZeroDowntime]:
    zdd = ZeroDowntime("shop", environment="test", redis_url=url, secret=(SECRET,), **options)
    app = FastAPI()
    app.add_middleware(ZddMiddleware, zdd=zdd)
    app.add_middleware(GZipMiddleware)
    app.add_middleware(CORSMiddleware, allow_origins=["https://a.example"])

    @app.get("/plain")
    async def plain() -> dict[str, str]:
        return {"plain": "yes"}

    @app.get("/me")
    async def me(session: UserSession) -> dict[str, Any]:
        return {"user": session.user, "cart": session.get("cart", []), "available": session.available}

    @app.get("/me-in-a-thread")
    def me_in_a_thread(session: UserSession) -> dict[str, Any]:
        assert current_exchange() is not None
        return {"user": session.user}

    @app.post("/cart")
    async def cart(session: UserSession, item: str) -> dict[str, Any]:
        session.setdefault("cart", []).append(item)
        return {"cart": session["cart"]}

    @app.post("/cart-then-fail")
    async def cart_then_fail(session: UserSession) -> None:
        session["cart"] = ["never"]
        raise RuntimeError("boom")

    @app.post("/cart-then-refuse")
    async def cart_then_refuse(session: UserSession) -> None:
        session["refused"] = True
        raise HTTPException(409, "no")

    @app.post("/login")
    async def login(session: UserSession, user: str) -> dict[str, Any]:
        session.login(user)
        return {"user": session.user}

    @app.post("/logout")
    async def logout(session: LazySession) -> None:
        session.logout()

    @app.websocket("/ws")
    async def ws(socket: WebSocket, session: UserSession) -> None:
        await socket.accept()
        await socket.send_json({"user": session.user})
        async for text in socket.iter_text():
            session["last"] = text
            await session.save()
            await socket.send_text("saved")

    return app, zdd


@pytest.fixture
def tap(real_engine: Any) -> Iterator[RespTap]:
    tap = RespTap(real_engine.url)
    yield tap
    tap.close()


@pytest.fixture
def shop(tap: RespTap) -> Iterator[TestClient]:
    app, _ = build(tap.url, fleet={"enabled": False})
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def trips(tap: RespTap, action: Any) -> int:
    tap.reset()
    action()
    return tap.trips


def test_trip_budgets(shop: TestClient, tap: RespTap) -> None:
    shop.get("/me")

    assert 0 == trips(tap, lambda: shop.get("/livez"))
    assert 0 == trips(tap, lambda: shop.get("/plain"))
    assert 1 == trips(tap, lambda: shop.post("/login?user=ada")), "a visitor without a cookie needs no load"
    assert 1 == trips(tap, lambda: shop.get("/me"))
    assert 2 == trips(tap, lambda: shop.post("/cart?item=pen"))
    assert 2 == trips(tap, lambda: shop.post("/login?user=ada"))
    assert 1 == trips(tap, lambda: shop.post("/logout"))


def test_a_login_survives_and_a_logout_ends(shop: TestClient) -> None:
    assert shop.get("/me").json()["user"] is None
    shop.post("/cart?item=pen")
    shop.post("/login?user=ada")
    shop.post("/cart?item=ink")

    assert {"user": "ada", "cart": ["pen", "ink"], "available": True} == shop.get("/me").json()
    assert {"user": "ada"} == shop.get("/me-in-a-thread").json()

    shop.post("/logout")
    assert {"user": None, "cart": [], "available": True} == shop.get("/me").json()


def test_a_5xx_saves_nothing_and_a_4xx_saves(shop: TestClient) -> None:
    shop.post("/cart?item=pen")

    assert 500 == shop.post("/cart-then-fail").status_code
    assert ["pen"] == shop.get("/me").json()["cart"]
    assert 409 == shop.post("/cart-then-refuse").status_code


def test_only_what_read_the_session_varies_by_cookie(shop: TestClient) -> None:
    assert "cookie" not in shop.get("/plain").headers.get("vary", "").lower()
    assert "cookie" in shop.get("/me").headers["vary"].lower()
    assert "no-store" == shop.post("/cart?item=pen").headers["cache-control"]


def test_redis_away_is_a_clear_503_only_where_the_session_is_needed(shop: TestClient, tap: RespTap) -> None:
    shop.post("/login?user=ada")
    before = dict(shop.cookies)
    tap.refuse()

    answer = shop.get("/me", headers={"origin": "https://a.example"})

    assert 503 == answer.status_code
    assert "application/problem+json" == answer.headers["content-type"]
    assert int(answer.headers["retry-after"]) >= 1
    assert "https://a.example" == answer.headers["access-control-allow-origin"]
    assert 200 == shop.get("/plain").status_code
    assert 200 == shop.get("/readyz").status_code
    assert before == dict(shop.cookies), "no cookie is deleted"
    tap.heal()
    assert "ada" == eventually(lambda: shop.get("/me"))["user"]


def eventually(ask: Any) -> dict[str, Any]:
    import time

    deadline = time.monotonic() + 5
    while (answer := ask()).status_code != 200 and time.monotonic() < deadline:
        time.sleep(0.1)
    return dict(answer.json())


def test_a_session_without_the_middleware_says_so() -> None:
    app = FastAPI()

    @app.get("/me")
    async def me(session: UserSession) -> None: ...

    with pytest.raises(Exception, match="add_middleware"):
        TestClient(app).get("/me")


def test_websockets_read_the_session_and_save_when_told(shop: TestClient) -> None:
    shop.post("/login?user=ada")

    with shop.websocket_connect("/ws") as socket:
        assert {"user": "ada"} == socket.receive_json()
        socket.send_text("hello")
        assert "saved" == socket.receive_text()


def test_a_draining_instance_closes_websockets_with_1012(tap: RespTap) -> None:
    app, zdd = build(tap.url, fleet={"enabled": False}, lifecycle={"drain_lag": 0.2, "linger": 0.1, "drain_timeout": 1})

    with TestClient(app) as client, client.websocket_connect("/ws") as socket:
        socket.receive_json()
        zdd.lifecycle.begin_drain("test")
        assert {"type": "websocket.close", "code": 1012, "reason": "service restart"} == socket.receive()


def test_while_draining_every_answer_says_close_once(tap: RespTap) -> None:
    app, zdd = build(tap.url, fleet={"enabled": False})

    with TestClient(app, raise_server_exceptions=False) as client:
        assert "connection" not in client.get("/plain").headers
        zdd.lifecycle.begin_drain("test")
        preflight = {"origin": "https://a.example", "access-control-request-method": "GET"}
        for answer in (
            client.get("/plain"),
            client.get("/nowhere"),
            client.post("/cart-then-fail"),
            client.options("/plain", headers=preflight),
            client.get("/livez"),
        ):
            assert ["close"] == answer.headers.get_list("connection")


def test_the_middleware_works_without_a_lifespan(real_engine: Any) -> None:
    app, zdd = build(real_engine.url, fleet={"enabled": False})

    assert 200 == TestClient(app).get("/me").status_code
    assert zdd.started
    asyncio.run(zdd.shutdown())


def test_misconfiguration_refuses_to_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ZDD_REDIS_URL", raising=False)
    zdd = ZeroDowntime("shop", environment="production", secret=(SECRET,))
    app = FastAPI()
    app.add_middleware(ZddMiddleware, zdd=zdd)

    with pytest.raises(Exception, match="store-not-configured|ZDD_REDIS_URL"), TestClient(app):
        pass
