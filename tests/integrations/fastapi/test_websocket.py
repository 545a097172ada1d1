"""WebSockets on a real uvicorn, with both protocols that use `websockets`: sessions, refusals, and the drain."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, WebSocket
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.integrations.fastapi.test_placement import A_COOKIE, NOWHERE, service
from tests.servers.uvicorn.harness import PLAIN, ZDD, Server, serving
from zdd_fastapi import LazySession, UserSession, ZddMiddleware

APP = "tests.integrations.fastapi.socket_application:app"
LAG = 1.5
SOCKETS = 40

pytestmark = pytest.mark.xdist_group("websockets")


@pytest.fixture(params=["websockets", "websockets-sansio"])
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def server(protocol: str, tmp_path: Path, real_engine: Any) -> Iterator[Server]:
    with serving(ZDD, tmp_path, "--ws", protocol, app=APP, environ={"ZDD_REDIS_URL": real_engine.url}) as server:
        yield server


async def listen(socket: ClientConnection) -> ConnectionClosed:
    """Receive until the end; returns how it ended."""
    while True:
        try:
            await socket.recv()
        except ConnectionClosed as closed:
            return closed


def code(closed: ConnectionClosed) -> int | None:
    return closed.rcvd.code if closed.rcvd else None


def test_sessions_codes_and_subprotocols(server: Server) -> None:
    url = f"ws://127.0.0.1:{server.port}"

    async def talk() -> None:
        with pytest.raises(InvalidStatus) as refused:
            await connect(url + "/refuse")
        assert 403 == refused.value.response.status_code

        async with connect(url + "/protocol", subprotocols=["v1", "v2"]) as socket:  # type: ignore[list-item]
            closed = await listen(socket)
            assert ("v2", "1", 4000) == (socket.subprotocol, socket.response.headers["x-mine"], code(closed))

        async with connect(url + "/new-session") as socket:
            assert "saved" == await socket.recv()
            cookie = socket.response.headers["set-cookie"].partition(";")[0]
        async with connect(url + "/me", additional_headers={"cookie": cookie}) as socket:
            assert '{"seen":2}' == await socket.recv()

        async with connect(url + "/too-late") as socket:
            assert 1011 == code(await listen(socket))

    asyncio.run(talk())
    assert "Traceback" not in server.text()


def closes(server: Server, *, late: bool = True) -> list[tuple[float, int | None]]:
    """Open many sockets, and one that is not accepted yet, drain; returns when each was closed, and with what."""

    async def one(path: str, opened: asyncio.Semaphore) -> tuple[float, int | None]:
        async with connect(f"ws://127.0.0.1:{server.port}{path}", open_timeout=10) as socket:
            opened.release()
            closed = await listen(socket)
            return time.monotonic(), code(closed)

    async def all_of_them() -> list[tuple[float, int | None]]:
        opened = asyncio.Semaphore(0)
        tasks = [asyncio.create_task(one(("/listen", "/tick")[n % 2], opened)) for n in range(SOCKETS)]
        for _ in tasks:
            await opened.acquire()
        tasks += [asyncio.create_task(one("/slow-to-accept", opened))] if late else []
        await asyncio.sleep(0.1)
        began = server.signal()
        return [(at - began, code) for at, code in await asyncio.wait_for(asyncio.gather(*tasks), 20)]

    return asyncio.run(all_of_them())


@pytest.mark.parametrize("command", [ZDD, PLAIN], ids=["zdd serve", "uvicorn"])
def test_a_drain_closes_every_socket_with_1012_spread_out(
    command: tuple[str, ...], protocol: str, tmp_path: Path, real_engine: Any
) -> None:
    environ = {"ZDD_REDIS_URL": real_engine.url}
    with serving(command, tmp_path, "--ws", protocol, app=APP, environ=environ, lag=f"{LAG}s") as server:
        found = closes(server)
        server.wait()

    assert {1012} == {code for _, code in found}
    early = sum(at < LAG / 2 for at, _ in found)
    assert SOCKETS / 8 < early < SOCKETS * 7 / 8, f"spread over the lag: {sorted(at for at, _ in found)}"
    text = server.text()
    assert (SOCKETS / 2, SOCKETS / 2) == (text.count("ticker ended"), text.count("listener heard 1012"))
    assert "Traceback" not in text


def test_the_control_without_zdd_closes_all_at_once(tmp_path: Path) -> None:
    with serving(PLAIN, tmp_path, app=APP, environ={"ZDD_MODE": "stock"}, lag=f"{LAG}s") as server:
        found = [at for at, code in closes(server, late=False) if code == 1012]

    assert max(found) - min(found) < LAG / 4


def test_redis_away_refuses_before_the_acceptance_and_closes_after_it() -> None:
    app = FastAPI()
    app.add_middleware(ZddMiddleware, zdd=service(NOWHERE))

    @app.websocket("/early")
    async def early(socket: WebSocket, session: UserSession) -> None:
        await socket.accept()

    @app.websocket("/late")
    async def late(socket: WebSocket, session: LazySession) -> None:
        await socket.accept()
        await session.load()

    with TestClient(app) as client:
        with pytest.raises(WebSocketDenialResponse) as denied, client.websocket_connect("/early", headers=A_COOKIE):
            pass
        assert (503, "1") == (denied.value.status_code, denied.value.headers["retry-after"])
        with client.websocket_connect("/late", headers=A_COOKIE) as socket:
            with pytest.raises(WebSocketDisconnect) as closed:
                socket.receive_text()
            assert (1013, "session-unavailable") == (closed.value.code, closed.value.reason)
