"""A service without zdd-sdk: logins in the memory of the process, so that a restart loses them."""

import os
import uuid

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

RELEASE = os.environ.get("ZDD_RELEASE_VERSION", "?")
LOGINS: dict[str, str] = {}


async def home(request: Request) -> JSONResponse:
    return JSONResponse({"release": RELEASE})


async def login(request: Request) -> JSONResponse:
    name, key = (await request.json())["user"], uuid.uuid4().hex
    LOGINS[key] = name
    response = JSONResponse({"user": name})
    response.set_cookie("sid", key, httponly=True)
    return response


async def me(request: Request) -> JSONResponse:
    return JSONResponse({"user": LOGINS.get(request.cookies.get("sid", ""))})


app = Starlette(
    routes=[
        Route("/", home),
        Route("/login", login, methods=["POST"]),
        Route("/me", me),
    ]
)
