"""A service from before the SDK: logins in a signed cookie, no health endpoints."""

import os

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

RELEASE = os.environ["ZDD_RELEASE_VERSION"]
assert os.environ["LEGACY_REDIS"].startswith("redis://"), "where a service of before keeps its cache"


async def home(request: Request) -> JSONResponse:
    return JSONResponse({"release": RELEASE})


async def login(request: Request) -> JSONResponse:
    request.session["user"] = (await request.json())["user"]
    return JSONResponse({"user": request.session["user"]})


async def me(request: Request) -> JSONResponse:
    return JSONResponse({"user": request.session.get("user")})


app = Starlette(
    routes=[Route("/", home), Route("/login", login, methods=["POST"]), Route("/me", me)],
    middleware=[Middleware(SessionMiddleware, secret_key=os.environ["LEGACY_SECRET"], session_cookie="legacy")],
)
