"""One raw HTTP/1.1 connection: nothing is reconnected, retried or smoothed over behind the caller's back.

HTTP libraries look whether a pooled connection was closed, open another and send again. That is kind
to their users and hides exactly what a rehearsal is for, so here every reset reaches the caller.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from zdd_sdk.errors import MissingExtra

if TYPE_CHECKING:
    import h11

__all__ = ["NO_ENDPOINT", "PROTOCOL", "REFUSED", "RESET", "TIMEOUT", "Broken", "Line", "RawResponse", "fetch"]

REFUSED, RESET, TIMEOUT, PROTOCOL, NO_ENDPOINT = "refused", "reset", "timeout", "protocol", "no-endpoint"
"""Why a request got no answer: the failures of `zdd_sdk.rehearsal.model.Sample` that have no status."""

_FEATURE = "zdd rehearse"
_READ = 64 * 1024


class Broken(Exception):
    """A request got no whole answer. No error of the rehearsal: it becomes a sample.

    Attributes:
        kind: one of the failures of `zdd_sdk.rehearsal.model.Sample`.
    """

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class RawResponse:
    """One answer: status, headers as sent (names in lower case) and the whole body."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def values(self, name: str) -> list[str]:
        """Every value of one header."""
        return [value for key, value in self.headers if key == name]


class Line:
    """A keep-alive connection to ``host:port``.

    Attributes:
        open: whether another request may be sent on it; ``False`` once the server said close.
    """

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._socket: socket.socket | None = None
        self._state: h11.Connection | None = None
        self.open = False

    async def connect(self) -> None:
        """Open the connection.

        Raises:
            Broken: ``refused``, or ``reset`` for anything else.
        """
        h11 = _h11()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            await asyncio.get_running_loop().sock_connect(self._socket, self._address)
        except ConnectionRefusedError:
            raise Broken(REFUSED) from None
        except OSError:
            raise Broken(RESET) from None
        self._state = h11.Connection(h11.CLIENT)
        self.open = True

    async def exchange(self, method: str, path: str, headers: list[tuple[str, str]], body: bytes) -> RawResponse:
        """Send one request and read its whole answer.

        Raises:
            Broken: ``reset`` if the connection ended first, ``protocol`` if the answer is not HTTP.
        """
        h11 = _h11()
        try:
            await self._send(method, path, headers, body)
            response = await self._read()
        except h11.RemoteProtocolError as error:
            raise Broken(RESET if self._ended() else PROTOCOL) from error
        except OSError:
            raise Broken(RESET) from None
        self._next()
        return response

    def close(self) -> None:
        """Close it; harmless if it never was open."""
        self.open = False
        if self._socket is not None:
            self._socket.close()

    async def _send(self, method: str, path: str, headers: list[tuple[str, str]], body: bytes) -> None:
        h11 = _h11()
        state, wire = self._both()
        data = state.send(h11.Request(method=method, target=path, headers=headers)) or b""
        data += state.send(h11.Data(data=body)) or b"" if body else b""
        data += state.send(h11.EndOfMessage()) or b""
        await asyncio.get_running_loop().sock_sendall(wire, data)

    async def _read(self) -> RawResponse:
        h11 = _h11()
        state, wire = self._both()
        status, headers, chunks = 0, [], []
        while True:
            event: Any = state.next_event()
            if event is h11.NEED_DATA:
                state.receive_data(await asyncio.get_running_loop().sock_recv(wire, _READ))
            elif isinstance(event, h11.Response):
                status = event.status_code
                headers = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in event.headers]
            elif isinstance(event, h11.Data):
                chunks.append(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                return RawResponse(status, tuple(headers), b"".join(chunks))
            elif not isinstance(event, h11.InformationalResponse):
                raise Broken(RESET)

    def _next(self) -> None:
        h11 = _h11()
        state, _ = self._both()
        if state.our_state is h11.DONE and state.their_state is h11.DONE:
            state.start_next_cycle()
        else:
            self.close()

    def _ended(self) -> bool:
        state, _ = self._both()
        return state.trailing_data[1]

    def _both(self) -> tuple[h11.Connection, socket.socket]:
        if self._state is None or self._socket is None:
            raise Broken(RESET)
        return self._state, self._socket


async def fetch(host: str, port: int, path: str, *, timeout: float = 2.0) -> RawResponse:
    """GET on a connection of its own.

    Raises:
        Broken: no answer; ``timeout`` after ``timeout`` seconds.
    """
    line = Line(host, port)
    try:
        async with asyncio.timeout(timeout):
            await line.connect()
            return await line.exchange("GET", path, [("Host", f"{host}:{port}"), ("Connection", "close")], b"")
    except TimeoutError:
        raise Broken(TIMEOUT) from None
    finally:
        line.close()


def _h11() -> Any:
    try:
        import h11
    except ImportError:
        raise MissingExtra(_FEATURE, "rehearsal") from None
    return h11
