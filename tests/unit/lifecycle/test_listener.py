"""Closing a listener without losing what is queued, and muting it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from zdd_sdk.lifecycle.servers.listener import Queue, SocketFile, refuse_handshakes


class _Echo(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)
        self.transport.close()


def _connected(address: object, count: int) -> list[socket.socket]:
    clients = [socket.create_connection(address, 5) for _ in range(count)]  # type: ignore[arg-type]
    for client in clients:
        client.sendall(b"hello")
    return clients


def _echoed(clients: list[socket.socket]) -> int:
    count = 0
    for client in clients:
        client.settimeout(5)
        with contextlib.suppress(OSError):
            count += client.recv(10) == b"hello"
        client.close()
    return count


async def _end(*, queue: bool) -> int:
    """Queue 20 connections while the loop is busy, then close the server in the same breath."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Echo, "127.0.0.1", 0)
    clients = _connected(server.sockets[0].getsockname(), 20)
    if queue:
        closing = Queue([server], lambda connection: loop.connect_accepted_socket(_Echo, connection), own=True)
        assert await closing.close() == 20
    else:
        server.close()
    return await loop.run_in_executor(None, _echoed, clients)


@pytest.mark.parametrize("loop_factory", ["asyncio", "uvloop"])
def test_queued_connections_are_served(loop_factory: str) -> None:
    uvloop = pytest.importorskip("uvloop")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop if loop_factory == "uvloop" else None) as runner:
        assert runner.run(_end(queue=True)) == 20


def test_a_plain_close_resets_them() -> None:
    assert asyncio.run(_end(queue=False)) == 0


def test_a_muted_listener_completes_no_handshake_but_keeps_what_it_has() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        before = socket.create_connection(listener.getsockname(), 1)
        assert refuse_handshakes(listener)
        with pytest.raises(TimeoutError):
            socket.create_connection(listener.getsockname(), 0.2)
        accepted, _ = listener.accept()
        before.sendall(b"x")
        assert accepted.recv(1) == b"x"
        accepted.close()
        before.close()


def test_whoever_came_to_a_muted_listener_is_refused_when_the_kernel_tries_again() -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            address = listener.getsockname()
            assert refuse_handshakes(listener)
            late = asyncio.get_running_loop().run_in_executor(None, socket.create_connection, address, 5)
            await asyncio.sleep(0.1)
        began = time.monotonic()
        with pytest.raises(ConnectionRefusedError):
            await late
        assert time.monotonic() - began < 3

    asyncio.run(main())


def test_unix_sockets_are_not_muted(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        assert not refuse_handshakes(listener)


def test_only_our_own_socket_file_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.touch()
    ours = SocketFile(str(path))
    path.rename(tmp_path / "kept")
    path.touch()
    ours.remove()
    assert path.exists()
    SocketFile(str(path)).remove()
    assert not path.exists()
    SocketFile(None).remove()
