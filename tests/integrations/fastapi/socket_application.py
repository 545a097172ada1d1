"""WebSockets of every temper, for a real server."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated, Any

from fastapi import Depends, FastAPI, WebSocket, WebSocketDisconnect

from zdd_fastapi import LazySession, UserSession, ZddMiddleware
from zdd_sdk import ZeroDowntime

zdd = ZeroDowntime("sockets", secret=("s" * 40,), fleet={"enabled": False})
app = FastAPI()
app.add_middleware(ZddMiddleware, zdd=zdd)


def say(text: str) -> None:
    print(f"app: {text}", file=sys.stderr, flush=True)


@app.get("/me")
async def me(session: UserSession) -> dict[str, Any]:
    return dict(session)


@app.websocket("/listen")
async def listen(socket: WebSocket) -> None:
    """Only receives."""
    await socket.accept()
    try:
        while True:
            await socket.send_text(await socket.receive_text())
    except WebSocketDisconnect as error:
        say(f"listener heard {error.code}")


@app.websocket("/tick")
async def tick(socket: WebSocket) -> None:
    """Only sends: never notices a disconnect by itself."""
    await socket.accept()
    try:
        while True:
            await socket.send_text("tick")
            await asyncio.sleep(0.02)
    except WebSocketDisconnect:
        say("ticker ended")


@app.websocket("/slow-to-accept")
async def slow_to_accept(socket: WebSocket) -> None:
    await asyncio.sleep(1.2)
    await socket.accept()
    try:
        await socket.receive_text()
    except WebSocketDisconnect as error:
        say(f"late one heard {error.code}")


@app.websocket("/refuse")
async def refuse(socket: WebSocket) -> None:
    await socket.close(4003, "not you")


@app.websocket("/protocol")
async def protocol(socket: WebSocket) -> None:
    await socket.accept(subprotocol="v2", headers=[(b"x-mine", b"1")])
    await socket.close(4000, "done")


@app.websocket("/new-session")
async def new_session(socket: WebSocket, session: LazySession) -> None:
    await session.load()
    session["seen"] = 1
    await session.save()
    await socket.accept()
    session["seen"] = 2
    await session.save()
    await socket.send_text("saved")
    await socket.close()


@app.websocket("/too-late")
async def too_late(socket: WebSocket, session: UserSession) -> None:
    """Wants a cookie that can no longer be set."""
    await socket.accept()
    session["seen"] = 1
    await session.save()


async def twice(session: UserSession) -> UserSession:
    return session


@app.websocket("/me")
async def socket_me(socket: WebSocket, session: UserSession, again: Annotated[Any, Depends(twice)]) -> None:
    await socket.accept()
    assert again is session
    await socket.send_json(dict(session))
    await socket.close()
