"""One raw HTTP/1.1 connection: nothing is reconnected, retried or smoothed over behind the caller's back.

HTTP libraries look whether a pooled connection was closed, open another and send again. That is kind
to their users and hides exactly what a rehearsal is for, so here every reset reaches the caller.
"""

from __future__ import annotations

import asyncio
import socket
import time
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
    """One answer.

    Attributes:
        status: of the answer.
        headers: as sent, names in lower case.
        body: all of it, or what had come when our patience ended.
        first: seconds until it began.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    first: float = 0.0

    def values(self, name: str) -> list[str]:
        """Every value of one header."""
        return [value for key, value in self.headers if key == name]


class _Answer:
    """An answer as it comes in; the status is 0 until it has begun."""

    def __init__(self) -> None:
        self._asked = time.monotonic()
        self._first = 0.0
        self._headers: tuple[tuple[str, str], ...] = ()
        self.status = 0
        self.chunks: list[bytes] = []

    def begin(self, head: h11.Response) -> None:
        self._first = time.monotonic() - self._asked
        self.status = head.status_code
        self._headers = tuple((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in head.headers)

    def raw(self) -> RawResponse:
        return RawResponse(self.status, self._headers, b"".join(self.chunks), self._first)


class Line:
    """A keep-alive connection to ``host:port``.

    Attributes:
        open: whether another request may be sent on it; ``False`` once the server said close.
    """

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._socket: socket.socket | None = None
        self._state: h11.Connection | None = None
        self._answer = _Answer()
        self._patience = asyncio.timeout(None)
        self._leaving = False
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

    async def exchange(
        self, method: str, path: str, headers: list[tuple[str, str]], body: bytes, *, patience: float | None = None
    ) -> RawResponse:
        """Send one request and read its whole answer.

        Args:
            method: of the request.
            path: of the request, with its query.
            headers: of the request.
            body: of the request.
            patience: seconds after which we hang up and are content with what has come, for an answer without an end.

        Raises:
            Broken: ``reset`` if the connection ended first, ``protocol`` if the answer is not HTTP, ``timeout`` if
                none had begun when our patience ended.
        """
        h11 = _h11()
        answer = self._answer = _Answer()
        self._patience = asyncio.timeout(patience)
        try:
            async with self._patience:
                await self._send(method, path, headers, body)
                await self._read(answer)
        except TimeoutError:
            self.close()
            if not answer.status:
                raise Broken(TIMEOUT) from None
            return answer.raw()
        except h11.RemoteProtocolError as error:
            raise Broken(RESET if self._ended() else PROTOCOL) from error
        except OSError:
            raise Broken(RESET) from None
        finally:
            self._patience = asyncio.timeout(None)
        self._next()
        return answer.raw()

    def hang_up(self) -> None:
        """Have no more patience with the answer that is coming in, as soon as it has begun."""
        self._leaving = True
        if self._patience.when() is not None and self._answer.status and not self._patience.expired():
            self._patience.reschedule(asyncio.get_running_loop().time())

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

    async def _read(self, answer: _Answer) -> None:
        h11 = _h11()
        state, wire = self._both()
        while True:
            event: Any = state.next_event()
            if event is h11.NEED_DATA:
                state.receive_data(await asyncio.get_running_loop().sock_recv(wire, _READ))
            elif isinstance(event, h11.Response):
                answer.begin(event)
                if self._leaving:
                    self.hang_up()
            elif isinstance(event, h11.Data):
                answer.chunks.append(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                return
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
