"""rediss://: certificate and host name checked, limits kept, stale connections noticed, on both stores."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from zdd_sdk.errors import SettingsError, StoreUnavailable
from zdd_sdk.store.engine import Engine
from zdd_sdk.testing.flow import Flow

from .conftest import command, count

OpenFlow = Callable[..., Flow]
PLACE = Path(__file__).with_name("tls")
CA = str(PLACE / "ca.pem")


class TlsFront:
    """Terminates TLS in front of an engine: not every engine on a test machine was built with it."""

    def __init__(self, port: int, certificate: str, address: str = "127.0.0.1") -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(PLACE / certificate)
        self.upstream = port
        self.listener = socket.create_server((address, 0))
        self.port = int(self.listener.getsockname()[1])
        self.open: list[socket.socket] = []
        self.held: list[socket.socket] = []
        self.accepted = 0
        self.silent = False
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                raw, _ = self.listener.accept()
                self.accepted += 1
                self.open.append(raw)
                if self.silent:
                    self.held.append(raw)
                else:
                    threading.Thread(target=self._serve, args=(raw,), daemon=True).start()

    def _serve(self, raw: socket.socket) -> None:
        with contextlib.suppress(OSError), self.context.wrap_socket(raw, server_side=True) as client:
            self.open.append(client)
            with socket.create_connection(("127.0.0.1", self.upstream)) as server:
                self.open.append(server)
                threading.Thread(target=_copy, args=(server, client), daemon=True).start()
                _copy(client, server)

    def cut(self) -> None:
        """End every connection."""
        while self.open:
            with contextlib.suppress(OSError):
                self.open.pop().shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.listener.close()
        self.cut()
        for raw in self.held:
            raw.close()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def open_front(real_engine: Engine) -> Iterator[Callable[[str], TlsFront]]:
    fronts: list[TlsFront] = []

    def open_one(certificate: str) -> TlsFront:
        fronts.append(TlsFront(real_engine.port, certificate))
        return fronts[-1]

    yield open_one
    for front in fronts:
        front.close()


ROOMY = {"connect_timeout": 3.0, "operation_timeout": 3.0, "total_timeout": 6.0}


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_trusted_certificate_for_this_host_is_accepted(
    open_flow: OpenFlow, open_front: Callable[[str], TlsFront], host: str
) -> None:
    front = open_front("localhost.pem")
    flow = open_flow(f"rediss://{host}:{front.port}", ca_file=CA, **ROOMY)
    value = bytes(range(256)) * 1024
    for number in range(1, 4):
        assert flow(flow.store.ask(command("SET", "{k}", value), command("GET", "{k}"), count())) == (
            b"OK",
            value,
            number,
        )
    # TLS 1.3 sends tickets after the handshake; they must not make a pooled connection look used.
    assert front.accepted == 1


@pytest.mark.parametrize(
    ("certificate", "ca_file"), [("elsewhere.pem", CA), ("localhost.pem", None)], ids=["host", "authority"]
)
def test_a_certificate_for_another_host_or_from_nobody_is_not(
    open_flow: OpenFlow, open_front: Callable[[str], TlsFront], certificate: str, ca_file: str | None
) -> None:
    flow = open_flow(f"rediss://127.0.0.1:{open_front(certificate).port}", ca_file=ca_file, **ROOMY)
    with pytest.raises(StoreUnavailable, match="certificate verify failed") as caught:
        flow(flow.store.ask(command("PING")))
    assert (caught.value.reason, caught.value.sent) == ("refused", False)


def test_an_authority_that_cannot_be_read_is_named(open_flow: OpenFlow) -> None:
    flow = open_flow("rediss://127.0.0.1:1", ca_file=str(PLACE / "nothing.pem"))
    with pytest.raises(SettingsError, match=r"store\.ca_file"):
        flow(flow.store.ask(command("PING")))


def test_a_handshake_that_nobody_answers_is_inside_the_limit(
    open_flow: OpenFlow, open_front: Callable[[str], TlsFront]
) -> None:
    front = open_front("localhost.pem")
    front.silent = True
    flow = open_flow(f"rediss://127.0.0.1:{front.port}", ca_file=CA)
    began = time.perf_counter()
    with pytest.raises(StoreUnavailable) as caught:
        flow(flow.store.ask(count()))
    assert time.perf_counter() - began < 0.9
    assert (caught.value.reason, caught.value.sent) == ("timeout", False)


def test_a_connection_the_server_ended_is_noticed_before_sending(
    open_flow: OpenFlow, open_front: Callable[[str], TlsFront]
) -> None:
    front = open_front("localhost.pem")
    flow = open_flow(f"rediss://127.0.0.1:{front.port}", ca_file=CA, **ROOMY)
    for expected in range(1, 5):
        assert flow(flow.store.ask(count())) == (expected,)
        front.cut()
        time.sleep(0.05)
