"""Starlette with `SessionMiddleware`: source ``cookie``."""

from __future__ import annotations

import os
from typing import Any

from starlette.applications import Starlette
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route


def shown(session: dict[str, Any]) -> JSONResponse:
    return JSONResponse({name: value for name, value in session.items() if not name.startswith("_")})


async def me(request: Request) -> JSONResponse:
    return shown(request.session)


async def login(request: Request) -> JSONResponse:
    request.session["user"] = request.path_params["user"]
    return shown(request.session)


async def logout(request: Request) -> JSONResponse:
    request.session.clear()
    return shown(request.session)


async def put(request: Request) -> JSONResponse:
    request.session[request.path_params["name"]] = request.path_params["value"]
    return shown(request.session)


def make(step: str, **options: Any) -> Starlette:
    """Build the application of one release; ``options`` go to `ZeroDowntime`."""
    paths = {"/me": me, "/login/{user}": login, "/logout": logout, "/put/{name}/{value}": put}
    app = Starlette(routes=[Route(path, route, methods=["GET", "POST"]) for path, route in paths.items()])
    app.add_middleware(SessionMiddleware, secret_key="0123456789" * 4)
    if step != "none":
        from zdd_fastapi import ZddMiddleware
        from zdd_sdk import ZeroDowntime

        sessions = {"adopt": step, **options.pop("sessions", {})}
        app.add_middleware(ZddMiddleware, zdd=ZeroDowntime("adoption", secret="k" * 40, sessions=sessions, **options))
    return app


if "ADOPT_STEP" in os.environ:
    app = make(os.environ["ADOPT_STEP"])
