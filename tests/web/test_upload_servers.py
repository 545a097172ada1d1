"""Bodies as real servers give them: with a length, chunked, one after the other on a connection, and cut off."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.servers.start import ZDD, free_port, starting, together

pytestmark = [pytest.mark.xdist_group("upload servers"), pytest.mark.timeout(240)]

MODULE = "tests.web.upload_application"
SERVERS = {
    "gunicorn": (
        *ZDD,
        "serve",
        "gunicorn",
        "--bind",
        "127.0.0.1:{port}",
        "--worker-class",
        "gthread",
        f"{MODULE}:wsgi",
    ),
    "waitress": (*ZDD, "serve", "waitress", "--listen", "127.0.0.1:{port}", f"{MODULE}:wsgi"),
    "uvicorn": (*ZDD, "serve", "uvicorn", "--port", "{port}", f"{MODULE}:api"),
}
PATHS = [("gunicorn", "/"), ("waitress", "/"), ("uvicorn", "/"), ("uvicorn", "/thread")]
SMALL, LARGE = b"0123456789", os.urandom(3_000_000)


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, int]]:
    """Every server, and where it listens."""
    found = {name: free_port() for name in SERVERS}
    environ = {
        "PYTHONPATH": os.pathsep.join((".", "integrations", *filter(None, [os.environ.get("PYTHONPATH")]))),
        "ZDD_ENVIRONMENT": "test",
        "ZDD_SECRET": "s" * 40,
    }

    def start(name: str, directory: Path) -> object:
        words = [word.replace("{port}", str(found[name])) for word in SERVERS[name]]
        return starting(words, directory, port=found[name], environ=environ, seconds=120)

    with ExitStack() as stack:
        stack.enter_context(together(start(name, tmp_path_factory.mktemp(name)) for name in SERVERS))  # type: ignore[misc]
        yield found


def post(connection: HTTPConnection, path: str, data: bytes, *, chunked: bool, key: str = "k") -> list[str]:
    """Send a body whole or in chunks; returns what it is, as was said and as was read."""
    chunks = iter([data[at : at + 40_000] for at in range(0, len(data), 40_000)]) if chunked else data
    headers = {"Idempotency-Key": key, "Content-Type": "application/octet-stream"}
    connection.request("POST", path, chunks, headers, encode_chunked=chunked)  # type: ignore[arg-type]
    answer = connection.getresponse()
    body = answer.read().decode()
    assert answer.status == 200, body
    return body.strip('"').split()


@pytest.mark.parametrize(("server", "path"), PATHS)
def test_bodies_one_after_the_other_on_a_connection(ports: dict[str, int], server: str, path: str):
    connection = HTTPConnection("127.0.0.1", ports[server], timeout=60)
    for data in (SMALL, LARGE, b"", SMALL):
        for chunked in (False, True):
            assert post(connection, path, data, chunked=chunked) == [hashlib.sha256(data).hexdigest()] * 2
    connection.close()


@pytest.mark.parametrize(("server", "path"), PATHS)
def test_a_client_that_goes_within_the_body_leaves_the_server_well(ports: dict[str, int], server: str, path: str):
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nIdempotency-Key: k\r\nContent-Length: 1000\r\n\r\n"
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", ports[server]), timeout=60) as gone:
            gone.sendall(head.encode() + SMALL)
    connection = HTTPConnection("127.0.0.1", ports[server], timeout=60)
    assert post(connection, path, SMALL, chunked=False) == [hashlib.sha256(SMALL).hexdigest()] * 2
    connection.close()
