"""Start real servers in processes of their own, and talk to them over raw sockets without any hidden reconnect."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, Self

ZDD = (sys.executable, "-c", "import sys; from zdd_sdk.cli import main; sys.exit(main())", "serve", "uvicorn")
PLAIN = (sys.executable, "-m", "uvicorn")
APPLICATION = "tests.servers.uvicorn.application:app"
ROOT = Path(__file__).parents[3]


@dataclass
class Server:
    """A server process and what it wrote."""

    process: subprocess.Popen[str]
    run_dir: Path
    port: int = 0
    output: list[str] = field(default_factory=list)
    up: threading.Event = field(default_factory=threading.Event)

    def text(self) -> str:
        """Everything it wrote so far."""
        return "".join(self.output)

    def signal(self, number: int = signal.SIGTERM) -> float:
        """Send a signal to the process; return the time."""
        os.kill(self.process.pid, number)
        return time.monotonic()

    def wait(self, seconds: float = 15.0) -> int:
        """Return the exit status."""
        return self.process.wait(seconds)

    def wait_for(self, text: str, count: int = 1, seconds: float = 15.0) -> None:
        """Wait until it has written some text so often."""
        end = time.monotonic() + seconds
        while self.text().count(text) < count:
            assert time.monotonic() < end, f"{text!r} not seen in:\n{self.text()}"
            time.sleep(0.02)

    def read(self) -> None:
        """Collect output until it ends, noting the port."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.output.append(line)
            if found := re.search(r"running on \S+?:(\d+) ", line):
                self.port = int(found[1])
            if "running on" in line:
                self.up.set()


@contextlib.contextmanager
def serving(
    command: Sequence[str],
    directory: Path,
    *arguments: str,
    app: str = APPLICATION,
    workers: int = 1,
    stdin: int = subprocess.DEVNULL,
    environ: dict[str, str] | None = None,
    lag: str = "1s",
    **options: object,
) -> Iterator[Server]:
    """Serve on a free port until the block ends; the server is killed then, with its workers, if it still runs."""
    words = [*command, app, *arguments, "--no-access-log"]
    if not {"--uds", "--fd"} & set(arguments):
        words += ["--port", "0"]
    words += ["--workers", str(workers)] if workers > 1 else []
    settings = {
        "ZDD_LIFECYCLE_DRAIN_LAG": lag,
        "ZDD_LIFECYCLE_LINGER": "500ms",
        "ZDD_LIFECYCLE_DRAIN_TIMEOUT": "5s",
        "ZDD_LIFECYCLE_RUN_DIR": str(directory / "run"),
        "PYTHONUNBUFFERED": "1",
        **(environ or {}),
    }
    process = subprocess.Popen(  # type: ignore[call-overload]
        words, cwd=ROOT, env={**os.environ, **settings}, stdin=stdin, stderr=subprocess.PIPE, text=True,
        start_new_session=True, **options,
    )  # fmt: skip
    server = Server(process, directory / "run")
    reader = threading.Thread(target=server.read, daemon=True)
    reader.start()
    try:
        assert server.up.wait(20), server.text()
        server.wait_for("Application startup complete", workers)
        # A signal between the log line and the first tick finds the server still starting, and ends it at once.
        time.sleep(0.15)
        yield server
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(5)
        reader.join(5)
        assert process.stderr is not None
        process.stderr.close()


@dataclass
class Reply:
    """One response."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def values(self, name: str) -> list[str]:
        """All values of a header."""
        return [value for key, value in self.headers if key == name]

    @property
    def closes(self) -> bool:
        """Whether it says ``Connection: close``, exactly once."""
        return self.values("connection") == ["close"]


class Place(Protocol):
    """Where a server listens, if not at a port of 127.0.0.1."""

    def connect(self, timeout: float) -> socket.socket: ...


class Client:
    """One connection."""

    def __init__(self, where: int | Place, timeout: float = 10.0) -> None:
        if isinstance(where, int):
            self.socket = socket.create_connection(("127.0.0.1", where), timeout)
        else:
            self.socket = where.connect(timeout)
        self._file = self.socket.makefile("rb")

    def send(self, path: str = "/", method: str = "POST", *headers: str) -> None:
        """Send a request."""
        lines = [f"{method} {path} HTTP/1.1", "host: test", "content-length: 0", *headers]
        self.socket.sendall("\r\n".join([*lines, "", ""]).encode())

    def reply(self, method: str = "POST") -> Reply:
        """Read a response; raises `ConnectionError` if the connection ends instead."""
        first = self._file.readline()
        if not first:
            message = "closed without an answer"
            raise ConnectionResetError(message)
        headers = []
        while (line := self._file.readline()) not in (b"\r\n", b""):
            name, _, value = line.decode().partition(":")
            headers.append((name.lower(), value.strip()))
        reply = Reply(int(first.split()[1]), headers, b"")
        if method != "HEAD":
            reply.body = self._body(reply)
        return reply

    def _body(self, reply: Reply) -> bytes:
        if length := reply.values("content-length"):
            return self._file.read(int(length[0]))
        body = b""
        while size := int(self._file.readline(), 16):
            body += self._file.read(size)
            self._file.readline()
        self._file.readline()
        return body

    def ask(self, path: str = "/", method: str = "GET", *headers: str) -> Reply:
        """Send a request and read its response."""
        self.send(path, method, *headers)
        return self.reply(method)

    def close(self) -> None:
        """Close the connection."""
        self._file.close()
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def ask(port: int | Place, path: str = "/", method: str = "GET", *headers: str) -> Reply:
    """Ask on a connection of its own."""
    with Client(port) as client:
        return client.ask(path, method, *headers)


class Traffic:
    """20 clients posting in a closed loop over kept-alive raw sockets, as a kube-proxy's clients do.

    They close a connection only when told to (``Connection: close``), and open a new one to ``old`` until
    `move`, then to ``new``. Whatever goes wrong is a failure: nothing is tried again.
    """

    def __init__(self, old: int | Place, new: int | Place, clients: int = 20) -> None:
        self._port = old
        self._new = new
        self._ending = threading.Event()
        self.requests = 0
        self.failures: list[str] = []
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(clients)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join(15)

    def move(self) -> None:
        """From now on open connections to the new server."""
        self._port = self._new

    def _run(self) -> None:
        client: Client | None = None
        while not self._ending.is_set():
            try:
                client = client or Client(self._port)
                reply = client.ask("/", "POST")
                self.requests += 1
                if reply.status != 200:
                    self.failures.append(f"status {reply.status}")
            except OSError as error:
                self.failures.append(repr(error))
                reply = None
            if reply is None or reply.closes:
                if client is not None:
                    client.close()
                client = None
            time.sleep(0.005)
        if client is not None:
            client.close()
