"""A service with endless streams and a WebSocket, for what a drain does with them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

from fastapi import FastAPI, WebSocket
from fastapi.responses import StreamingResponse

from zdd_fastapi import ZddMiddleware
from zdd_sdk import ZeroDowntime

zdd = ZeroDowntime("streams", redis_url="off", sessions={"enabled": False}, fleet={"enabled": False})
app = FastAPI()
app.add_middleware(ZddMiddleware, zdd=zdd)


async def _events(seconds: float) -> AsyncIterator[str]:
    while True:
        yield f"data: {os.getpid()}\n"
        yield "\n"
        await asyncio.sleep(seconds)


@app.get("/")
async def root() -> int:
    return os.getpid()


@app.get("/events")
async def events() -> StreamingResponse:
    return StreamingResponse(_events(0.05), media_type="text/event-stream")


@app.get("/silent")
async def silent() -> StreamingResponse:
    return StreamingResponse(_events(3600), media_type="text/event-stream")


@app.websocket("/echo")
async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    while True:
        await websocket.send_text(await websocket.receive_text())
