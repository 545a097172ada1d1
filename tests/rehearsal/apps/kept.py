"""The same service with zdd-sdk: logins in the session, which outlives the process."""

import asyncio
import os
from collections.abc import AsyncIterator

from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from zdd_fastapi import UserSession, ZddMiddleware
from zdd_sdk import ZeroDowntime

zdd = ZeroDowntime()
app = FastAPI()
app.add_middleware(ZddMiddleware, zdd=zdd)


@app.get("/")
async def home() -> dict[str, str]:
    return {"release": os.environ["ZDD_RELEASE_VERSION"]}


@app.post("/login")
async def login(form: dict[str, str], session: UserSession) -> dict[str, str]:
    session.login(form["user"])
    return form


@app.get("/me")
async def me(session: UserSession) -> dict[str, str | None]:
    return {"user": session.user}


async def tick() -> AsyncIterator[str]:
    while True:
        yield "data: tick\n\n"
        await asyncio.sleep(0.1)


@app.get("/events")
async def events() -> StreamingResponse:
    return StreamingResponse(tick(), media_type="text/event-stream")
