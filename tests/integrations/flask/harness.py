"""A shop on Flask with a tap in front of its Redis, and browsers that come over https as in production."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import flask
from flask import Flask, session
from flask.testing import FlaskClient

from zdd_flask import Zdd, current_session
from zdd_sdk import ZeroDowntime
from zdd_sdk.testing.tap import RespTap

SECRET = "s" * 40
SITE = "https://shop.test"
ROOMY = {"connect_timeout": 5.0, "operation_timeout": 5.0, "total_timeout": 10.0}


def service(url: str, name: str = "shop", **options: Any) -> ZeroDowntime:
    return ZeroDowntime(name, **given(url, **options))


def given(url: str, **options: Any) -> dict[str, Any]:
    return {"environment": "test", "redis_url": url, "secret": (SECRET,), "fleet": {"enabled": False}, **options}


def shop(url: str, **options: Any) -> Flask:
    """An application with every moment of a session in it."""
    app = Flask("shop")
    Zdd(app, service="shop", **given(url, **options))
    add_views(app)
    return app


def add_views(app: Flask) -> None:
    @app.get("/plain")
    def plain() -> str:
        return "plain"

    @app.get("/me")
    def me() -> dict[str, Any]:
        return {"user": current_session().user, "all": dict(session), "available": current_session().available}

    @app.post("/put/<name>/<value>")
    def put(name: str, value: str) -> dict[str, Any]:
        session[name] = value
        return dict(session)

    @app.post("/append/<value>")
    def append(value: str) -> dict[str, Any]:
        session.setdefault("cart", []).append(value)
        return dict(session)

    @app.post("/pop/<name>")
    def pop(name: str) -> dict[str, Any]:
        session.pop(name)
        return dict(session)

    @app.post("/login/<user>")
    def login(user: str) -> dict[str, Any]:
        current_session().login(user)
        return {"user": current_session().user}

    @app.post("/rotate")
    def rotate() -> str:
        current_session().rotate()
        return ""

    @app.post("/logout")
    def logout() -> str:
        session.clear()
        return ""

    @app.post("/put-then-fail")
    def put_then_fail() -> None:
        session["never"] = "saved"
        raise RuntimeError("boom")

    @app.post("/put-then-refuse")
    def put_then_refuse() -> tuple[str, int]:
        session["refused"] = True
        return "no", 409


class Browser(FlaskClient):
    """Comes over https, as everybody's should."""

    def open(self, *args: Any, **options: Any) -> Any:
        if args and isinstance(args[0], str):
            options.setdefault("base_url", SITE)
        return super().open(*args, **options)

    def session_transaction(self, *args: Any, **options: Any) -> Any:
        return super().session_transaction(*args, **{"base_url": SITE, **options})


def browser(app: Flask) -> FlaskClient:
    """A browser of its own."""
    return Browser(app, app.response_class, use_cookies=True)


def cookie(client: FlaskClient, name: str = "__Host-zdd_session", domain: str = "shop.test") -> str | None:
    found = client.get_cookie(name, domain=domain)
    return found.value if found is not None else None


def carry(client: FlaskClient, value: str | None, name: str = "__Host-zdd_session") -> None:
    """Give a browser this cookie, or take it away."""
    if value is None:
        client.delete_cookie(name, domain="shop.test")
    else:
        client.set_cookie(name, value, domain="shop.test", secure=True)


def trips(tap: RespTap, action: Callable[[], Any]) -> int:
    tap.reset()
    action()
    return tap.trips


def eventually(ask: Callable[[], Any]) -> Any:
    """Ask until Redis is there again: the breaker takes its time to close."""
    deadline = time.monotonic() + 20
    while not _healthy(answer := ask()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return answer


def _healthy(answer: Any) -> bool:
    return answer.status_code == 200 and (answer.json or {}).get("available", True)


def zdd_of(app: flask.Flask) -> ZeroDowntime:
    found: ZeroDowntime = app.extensions["zdd"]
    return found
