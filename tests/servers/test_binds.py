"""Each adapter where servers listen in other ways than at a port of 127.0.0.1: TLS of its own, IPv6, two addresses, a
UNIX socket, no keep-alive. Ten clients move from one instance to the next at SIGTERM, and nobody notices."""

from __future__ import annotations

import contextlib
import socket
import ssl
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from gunicorn.config import KNOWN_SETTINGS

from tests.servers.gunicorn.harness import ASGI_WORKERS, UVICORN
from tests.servers.start import ALL, ASGI, WSGI, ZDD, free_port, starting, together
from tests.servers.uvicorn.harness import Server, Traffic

pytestmark = pytest.mark.timeout(180)

CERTIFICATES = Path("tests/flows/store/tls").resolve()
CLIENTS = 10
WORKERS = ("sync", "gthread", "gevent", *ASGI_WORKERS)
ADAPTERS = (
    "uvicorn",
    "uvicorn --workers",
    *(f"gunicorn {worker}" for worker in WORKERS),
    "hypercorn",
    "hypercorn -w 2",
    "granian asgi",
    "granian wsgi",
)
MODES = ("tls", "ipv6", "two", "unix", "no keep-alive")
ONE_ADDRESS = ("uvicorn", "granian")
"""Their commands take one address."""
SAMPLE = [
    ("tls", "gunicorn gthread"),
    ("ipv6", "granian wsgi"),
    ("two", "hypercorn -w 2"),
    ("unix", "uvicorn --workers"),
    ("no keep-alive", "hypercorn"),
]


@dataclass(frozen=True)
class Address:
    """Where one instance listens."""

    host: str = "127.0.0.1"
    port: int = 0
    path: str = ""
    tls: bool = False

    def connect(self, timeout: float) -> socket.socket:
        if self.path:
            return self._connect_unix(timeout)
        opened = socket.create_connection((self.host, self.port), timeout)
        if not self.tls:
            return opened
        context = ssl.create_default_context(cafile=str(CERTIFICATES / "ca.pem"))
        try:
            return context.wrap_socket(opened, server_hostname=self.host)
        except OSError:
            opened.close()
            raise

    def _connect_unix(self, timeout: float) -> socket.socket:
        opened = socket.socket(socket.AF_UNIX)
        opened.settimeout(timeout)
        try:
            opened.connect(self.path)
        except OSError:
            opened.close()
            raise
        return opened


class Alternating:
    """Two addresses of one instance, taken in turn."""

    def __init__(self, *addresses: Address) -> None:
        self._addresses = addresses
        self._turn = 0

    def connect(self, timeout: float) -> socket.socket:
        self._turn += 1
        return self._addresses[self._turn % len(self._addresses)].connect(timeout)


def places(mode: str, directory: Path, name: str) -> list[Address]:
    """Addresses of one instance."""
    if mode == "unix":
        return [Address(path=str(directory / f"{name}.sock"))]
    if mode == "ipv6":
        return [Address("::1", free_port())]
    if mode == "two":
        return [Address(port=free_port()), Address(port=free_port())]
    return [Address(port=free_port(), tls=mode == "tls")]


def command(adapter: str, mode: str, found: Sequence[Address], directory: Path) -> list[str]:
    """The command line that serves there."""
    server, _, kind = adapter.partition(" ")
    certificate = str(CERTIFICATES / "localhost.pem")
    words = {"uvicorn": _uvicorn, "gunicorn": _gunicorn, "hypercorn": _hypercorn, "granian": _granian}[server]
    return [*ZDD, "serve", server, *words(kind, mode, found, certificate, directory)]


def _bound(address: Address) -> str:
    return (
        f"unix:{address.path}"
        if address.path
        else f"[{address.host}]:{address.port}".replace("[127.0.0.1]", "127.0.0.1")
    )


def _uvicorn(kind: str, mode: str, found: Sequence[Address], certificate: str, _: Path) -> list[str]:
    (at,) = found
    words = [ASGI, "--no-access-log", *(["--workers", "2"] if kind else [])]
    words += ["--uds", at.path] if at.path else ["--host", at.host, "--port", str(at.port)]
    words += ["--ssl-certfile", certificate] if mode == "tls" else []
    return words + (["--timeout-keep-alive", "0"] if mode == "no keep-alive" else [])


def _gunicorn(kind: str, mode: str, found: Sequence[Address], certificate: str, directory: Path) -> list[str]:
    app = ASGI if kind in ("asgi", UVICORN) else WSGI
    words = [app, "-k", kind, "-w", "2", *(part for at in found for part in ("-b", _bound(at)))]
    if "control_socket" in {setting.name for setting in KNOWN_SETTINGS}:
        words += ["--control-socket", f"{directory}/control-{found[0].port or Path(found[0].path).name}"]
    words += ["--threads", "4"] if kind == "gthread" else []
    words += ["--certfile", certificate, "--keyfile", certificate] if mode == "tls" else []
    return words + (["--keep-alive", "0"] if mode == "no keep-alive" else [])


def _hypercorn(kind: str, mode: str, found: Sequence[Address], certificate: str, _: Path) -> list[str]:
    words = [ASGI, *kind.split(), *(part for at in found for part in ("--bind", _bound(at)))]
    words += ["--certfile", certificate, "--keyfile", certificate] if mode == "tls" else []
    return words + (["--keep-alive", "0"] if mode == "no keep-alive" else [])


def _granian(kind: str, mode: str, found: Sequence[Address], certificate: str, _: Path) -> list[str]:
    (at,) = found
    words = [ASGI if kind == "asgi" else WSGI, "--interface", kind]
    words += ["--uds", at.path] if at.path else ["--host", at.host, "--port", str(at.port)]
    words += ["--ssl-certificate", certificate, "--ssl-keyfile", certificate] if mode == "tls" else []
    return words + (["--no-http1-keep-alive"] if mode == "no keep-alive" else [])


@contextlib.contextmanager
def instance(adapter: str, mode: str, directory: Path, name: str) -> Iterator[tuple[Server, Alternating]]:
    found = places(mode, directory, name)
    everywhere = Alternating(*found)
    workers = 2 if adapter.startswith("gunicorn") or "workers" in adapter or "-w 2" in adapter else 1
    words = command(adapter, mode, found, directory)
    place = found[0]
    with starting(words, directory / name, port=0, place=place, workers=workers) as server:
        time.sleep(0.15)
        yield server, everywhere


def rolled(mode: str, adapter: str, directory: Path) -> tuple[int, list[str], int, str]:
    """Replace one instance by the next under ten clients."""
    directory /= str(ADAPTERS.index(adapter))
    directory.mkdir()
    with together([instance(adapter, mode, directory, name) for name in ("old", "new")]) as started:
        (old, before), (_, after) = started
        with Traffic(before, after, CLIENTS) as traffic:
            time.sleep(0.5)
            served = traffic.requests
            old.signal()
            time.sleep(0.3)
            traffic.move()
            status = old.wait()
            time.sleep(0.3)
        return status, traffic.failures, min(served, traffic.requests - served), old.text()


EACH = [
    [(mode, adapter)] for mode in MODES for adapter in ADAPTERS if mode != "two" or not adapter.startswith(ONE_ADDRESS)
]


@pytest.mark.parametrize("cases", EACH if ALL else [SAMPLE], ids=str)
def test_nobody_notices_a_replacement(cases: list[tuple[str, str]], tmp_path: Path) -> None:
    """The sample all at once; in `make servers` each alone."""
    with ThreadPoolExecutor() as pool:
        for status, failures, requests, text in pool.map(lambda case: rolled(*case, tmp_path), cases):
            assert (status, failures[:5]) == (0, []), text
            assert requests > CLIENTS, text
            assert "Listener closed" in text


@pytest.mark.parametrize(
    ("server", "words"), [("uvicorn", ["--timeout-keep-alive", "0"]), ("hypercorn", ["--keep-alive", "0"])]
)
def test_control_without_keep_alive_the_stock_servers_cut_clients_that_were_not_told(
    server: str, words: list[str], tmp_path: Path
) -> None:
    address = Address(port=free_port())
    where = ["--port", str(address.port)] if server == "uvicorn" else ["--bind", f"127.0.0.1:{address.port}"]
    command = [sys.executable, "-m", server, ASGI, *where, *words]
    with starting(command, tmp_path, port=0, place=address, workers=0):
        with Traffic(address, address, CLIENTS) as traffic:
            time.sleep(0.5)
        assert traffic.failures
