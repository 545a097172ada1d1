"""Streams of events and WebSockets on real servers: ended spread over the drain, cleanly, and clients come back."""

from __future__ import annotations

import re
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.servers.start import ZDD, each_of, free_port, starting
from tests.servers.uvicorn.harness import Client, Server

STREAMS = "tests.servers.stream_application:app"
WSGI_STREAMS = "tests.servers.wsgi_stream_application:app"
ASGI_SERVERS = {
    "uvicorn": f"uvicorn {STREAMS} --port PORT",
    "uvicorn h11": f"uvicorn {STREAMS} --port PORT --http h11",
    "hypercorn": f"hypercorn {STREAMS} --bind 127.0.0.1:PORT --workers 0",
    "granian": f"granian {STREAMS} --interface asgi --port PORT",
}
WSGI_SERVERS = {
    "granian wsgi": f"granian {WSGI_STREAMS} --interface wsgi --port PORT",
    "hypercorn wsgi": f"hypercorn {WSGI_STREAMS} --bind 127.0.0.1:PORT --workers 0",
}
pytestmark = pytest.mark.timeout(120)


@contextmanager
def serving(words: str, directory: Path, *, stock: bool = False) -> Iterator[Server]:
    port = free_port()
    head = [sys.executable, "-m"] if stock else [*ZDD, "serve"]
    environ = {"ZDD_LIFECYCLE_DRAIN_TIMEOUT": "2s"}
    words = words.replace("PORT", str(port))
    with starting([*head, *words.split()], directory, port=port, lag="700ms", environ=environ) as server:
        yield server


class _Reader:
    """Reads one stream to its end."""

    def __init__(self, port: int, path: str) -> None:
        self._client = Client(port)
        self._client.send(path, "GET")
        self._file = self._client.socket.makefile("rb")
        while self._file.readline().strip():
            pass
        self.first = self._chunk()

    def _chunk(self) -> bytes:
        size = int(self._file.readline(), 16)
        data = self._file.read(size)
        self._file.readline()
        return data

    def rest(self) -> bytes:
        """What comes until the clean end of the body; raises if there is none."""
        received = self.first
        while chunk := self._chunk():
            received += chunk
        return received

    def close(self) -> None:
        self._file.close()
        self._client.close()


@each_of("name", "uvicorn", "granian wsgi", among=[*ASGI_SERVERS, *WSGI_SERVERS])
def test_streams_of_events_end_cleanly_spread_and_with_a_retry_each(tmp_path: Path, name: str) -> None:
    words = {**ASGI_SERVERS, **WSGI_SERVERS}[name]
    with serving(words, tmp_path) as server:
        readers = [_Reader(server.port, path) for path in ["/events"] * 4 + ["/silent"] * (2 * (name in ASGI_SERVERS))]
        server.signal()
        ends = []
        for reader in readers:
            ends.append(re.search(rb"\n\nretry: (\d+)\n\n\Z", reader.rest()))
            reader.close()
        assert server.wait() == 0
    assert all(ends)
    assert len({end[1] for end in ends if end}) > 1


def test_a_plain_server_cuts_them(tmp_path: Path) -> None:
    with serving(ASGI_SERVERS["hypercorn"], tmp_path, stock=True) as server:
        reader = _Reader(server.port, "/events")
        server.signal()
        with pytest.raises((ValueError, OSError)):
            reader.rest()
        reader.close()


def _talk_on(websocket: ClientConnection) -> None:
    while True:
        websocket.send("still there?")
        assert websocket.recv(5) == "still there?"
        time.sleep(0.02)


@each_of("name", "hypercorn", among=["hypercorn", "granian"])
def test_websockets_live_through_the_drain_and_get_1012(tmp_path: Path, name: str) -> None:
    with serving(ASGI_SERVERS[name], tmp_path) as server, connect(f"ws://127.0.0.1:{server.port}/echo") as websocket:
        websocket.send("there?")
        assert websocket.recv(5) == "there?"
        server.signal()
        with pytest.raises(ConnectionClosed, match="1012"):
            _talk_on(websocket)
        assert server.wait() == 0


def test_a_client_that_hangs_up_ends_the_stream(tmp_path: Path) -> None:
    with serving(ASGI_SERVERS["uvicorn"], tmp_path) as server:
        reader = _Reader(server.port, "/events")
        reader.close()
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(b"GET /events HTTP/1.1\r\nhost: test\r\n\r\n")
        time.sleep(0.3)
        server.signal()
        assert server.wait() == 0
        assert "Traceback" not in server.text()
