"""An application that uses its session in every way, and a few of its own mistakes as controls."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

from zdd_fastapi import LazySession, UserSession, ZddMiddleware
from zdd_sdk import ZeroDowntime

logging.basicConfig(level=logging.DEBUG)
logging.getLogger("site").debug("this log is at debug level")
zdd = ZeroDowntime(service="hostile")
app = FastAPI()
app.add_middleware(ZddMiddleware, zdd=zdd)
leaked: dict[str, str | None] = {"user": None}


@app.get("/free")
async def free() -> str:
    return "ok"


@app.get("/fleet")
async def fleet() -> dict[str, Any]:
    view = zdd.fleet.view
    return {"known": view.known, "workers": len(view.workers), "epoch": view.epoch}


@app.get("/counters")
async def counters() -> dict[str, Any]:
    return zdd.sessions.counters


@app.get("/me")
async def me(session: UserSession) -> dict[str, Any]:
    return {"user": session.user, "fields": dict(session), "available": session.available}


@app.post("/write")
async def write(session: UserSession, name: str, value: str) -> dict[str, Any]:
    session[name] = value
    return {"user": session.user, "fields": dict(session)}


@app.post("/login")
async def login(session: UserSession, user: str) -> dict[str, Any]:
    session.login(user)
    return {"user": session.user, "fields": dict(session)}


@app.post("/logout")
async def logout(session: LazySession) -> str:
    session.logout()
    return "logged out"


@app.post("/slow")
async def slow(session: UserSession, value: str) -> str:
    session["slow"] = value
    await asyncio.sleep(0.3)
    return "written"


@app.post("/upload")
async def upload(request: Request, session: UserSession) -> int:
    session["upload"] = "begun"
    size = len(await request.body())
    session["upload"] = size
    return size


@app.post("/stream")
async def stream(session: UserSession, value: str) -> StreamingResponse:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(50):
            yield b"x" * 1000
            await asyncio.sleep(0.02)

    session["stream"] = value
    return StreamingResponse(chunks())


@app.post("/unstorable")
async def unstorable(session: UserSession) -> str:
    session["basket"] = [1]
    session["basket"].append(object())
    return "kept"


@app.post("/too-large")
async def too_large(session: UserSession) -> str:
    session["basket"] = [1]
    session["basket"].append("x" * 100_000)
    return "kept"


@app.get("/leaky")
async def leaky(session: UserSession) -> dict[str, Any]:
    """The mistake that the crowd must catch: a global over an await."""
    leaked["user"] = session.user
    await asyncio.sleep(0.01)
    return {"user": leaked["user"], "fields": dict(session)}
