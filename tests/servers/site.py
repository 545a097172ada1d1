"""A site under attack: a real server, a real engine, a tap between them, and what a browser keeps."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tests.servers.uvicorn.harness import ZDD, Client, Reply, Server, serving
from zdd_sdk.store.engine import Engine
from zdd_sdk.testing.tap import RespTap

COOKIE = "__Host-zdd_session"
SECRET = "a secret that must never be seen anywhere"
PASSWORD = "open-sesame-and-never-print-me"
SESSIONS = "zdd:hostile:development:session:*"


issued: set[str] = set()
"""Every session id that any site has given out."""


@dataclass
class Site:
    """The server and what lies behind it."""

    server: Server
    engine: Engine
    tap: RespTap

    @property
    def port(self) -> int:
        return self.server.port

    def keys(self) -> set[bytes]:
        """Names of all sessions in Redis."""
        return set(self.engine.ask("KEYS", SESSIONS))

    def raw(self, data: bytes, *, end: bool = False) -> bytes:
        """Send bytes and return what comes back until the server closes, or falls silent."""
        with socket.create_connection(("127.0.0.1", self.port), 5) as connection:
            connection.sendall(data)
            if end:
                connection.shutdown(socket.SHUT_WR)
            connection.settimeout(0.5)
            received = b""
            with contextlib.suppress(TimeoutError, ConnectionResetError):
                while chunk := connection.recv(65536):
                    received += chunk
            return received

    def ask(self, path: str, method: str = "GET", cookies: str = "", **query: str) -> Reply:
        """Ask on a connection of its own, with a whole ``Cookie`` header."""
        with Client(self.port) as client:
            return ask(client, path, method, cookies, **query)


@dataclass
class Browser:
    """Keeps one connection and our cookie; opens another connection only when told to close this one."""

    port: int
    cookie: str = ""
    client: Client | None = None
    set_cookies: list[str] = field(default_factory=list)

    def ask(self, path: str, method: str = "GET", **query: str) -> Reply:
        """Ask, and do with the answer's cookie what a browser does."""
        self.client = self.client or Client(self.port)
        reply = ask(self.client, path, method, f"{COOKIE}={self.cookie}" if self.cookie else "", **query)
        if reply.closes:
            self.close()
        for line in reply.values("set-cookie"):
            self.set_cookies.append(line)
            self.cookie = "" if "Max-Age=0" in line else line.partition("=")[2].partition(";")[0]
        return reply

    def close(self) -> None:
        """Close the connection."""
        if self.client is not None:
            self.client.close()
            self.client = None


def ask(client: Client, path: str, method: str = "GET", cookies: str = "", **query: str) -> Reply:
    """Ask on an open connection."""
    words = f"{path}?{urlencode(query)}" if query else path
    reply = client.ask(words, method, *([f"cookie: {cookies}"] if cookies else []))
    issued.update(line.partition("=")[2].partition(";")[0] for line in reply.values("set-cookie"))
    return reply


def told(reply: Reply) -> Any:
    """The JSON of an answer."""
    return json.loads(reply.body)


def detail(reply: Reply) -> str:
    """The detail of a problem+json answer; raises for any other."""
    assert reply.values("content-type") == ["application/problem+json"], reply
    found = told(reply)
    assert found["status"] == reply.status
    return str(found["detail"])


@contextlib.contextmanager
def open_site(
    engine: Engine, directory: Path, *arguments: str, refused: bool = False, **environ: str
) -> Iterator[Site]:
    """Serve the application until the block ends, with a tap between it and the engine, which may refuse at first.

    It logs at debug level; at the end no secret, password or session id may be in what it wrote.
    """
    with RespTap(engine.url) as tap:
        url = tap.url.replace("redis://", f"redis://shop:{PASSWORD}@")
        given = {"ZDD_REDIS_URL": url, "ZDD_SECRET": SECRET, "ZDD_RELEASE_VERSION": "1", **environ}
        app = "tests.servers.session_application:app"
        admit(engine)
        if refused:
            tap.refuse()
        with serving(ZDD, directory, *arguments, app=app, environ=given) as server:
            yield Site(server, engine, tap)
        said = server.text()
    assert "this log is at debug level" in said
    assert not [hidden for hidden in (SECRET, PASSWORD, *issued - {""}) if hidden in said]


def admit(engine: Engine, password: str = PASSWORD) -> None:
    """Let the application log in to the engine with a password, and end its connections."""
    engine.ask("ACL", "SETUSER", "shop", "on", "resetpass", f">{password}", "~*", "&*", "+@all")
    engine.ask("CLIENT", "KILL", "USER", "shop")
