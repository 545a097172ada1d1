"""`RespTap`: a proxy in front of an engine that counts round trips and injects faults.

Trips are counted from the bytes, not from timing: a trip begins when a command arrives on a connection
whose earlier replies have all been delivered. A pipelined batch is therefore one trip; two commands, the
second sent after the first one's reply, are two.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from collections import deque
from typing import Self
from urllib.parse import urlsplit, urlunsplit

from zdd_sdk.testing.resp import CommandCutter, ReplyCutter

__all__ = ["SETUP", "RespTap"]

SETUP = frozenset({"AUTH", "CLIENT", "HELLO", "READONLY", "SELECT"})
"""Commands that prepare a connection; they belong to no request and are neither listed nor counted."""

_CHUNK = 1 << 20


class RespTap:
    """A TCP proxy on 127.0.0.1 in front of one engine; a context manager.

    On a Cluster put one tap before each node.

    Args:
        upstream_url: ``redis://`` URL of the engine; credentials, path and query are kept in `url`.

    Attributes:
        url: what to give to a client instead of ``upstream_url``.
        port: where the tap listens; stays the same over every fault.
    """

    def __init__(self, upstream_url: str) -> None:
        parts = urlsplit(upstream_url)
        self._upstream = (parts.hostname or "127.0.0.1", parts.port or 6379)
        self._state = threading.Condition()
        self._links: set[_Link] = set()
        self._paused = False
        self._delay = 0.0
        self._drops = 0
        self.reset()
        self._listener = _bind(0)
        self.port: int = self._listener.getsockname()[1]
        user, at, _ = parts.netloc.rpartition("@")
        self.url: str = urlunsplit(parts._replace(netloc=f"{user}{at}127.0.0.1:{self.port}"))
        self._start_accepting()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def trips(self) -> int:
        """Round trips since the last `reset`, over all connections."""
        with self._state:
            return self._trips

    @property
    def commands(self) -> list[str]:
        """Names of the commands since the last `reset`, upper case, in order of arrival."""
        with self._state:
            return list(self._commands)

    @property
    def connections(self) -> int:
        """Connections accepted since the last `reset`."""
        with self._state:
            return self._connections

    def reset(self) -> None:
        """Forget what was counted; faults stay."""
        with self._state:
            self._trips = self._connections = 0
            self._commands: list[str] = []

    def refuse(self) -> None:
        """Close every connection and refuse new ones, as where no engine runs, until `heal`."""
        self._stop_accepting()
        self._cut_all()

    def pause(self) -> None:
        """Accept connections and bytes but forward nothing, as a frozen engine does, until `heal`."""
        with self._state:
            self._paused = True

    def drop_replies(self, count: int = 1) -> None:
        """Let the engine run the next ``count`` trips, swallow their replies and close their connections."""
        with self._state:
            self._drops = count

    def delay(self, seconds: float) -> None:
        """Deliver every reply ``seconds`` late, until `heal`."""
        with self._state:
            self._delay = seconds

    def heal(self) -> None:
        """End every fault; what a pause held back is forwarded now."""
        with self._state:
            self._paused, self._delay, self._drops = False, 0.0, 0
            self._state.notify_all()
        if not self._acceptor.is_alive():
            self._listener.close()
            self._listener = _bind(self.port)
            self._start_accepting()

    def close(self) -> None:
        """Close listener and connections and wait for every thread; safe to call twice."""
        self._stop_accepting()
        self._cut_all()
        self._listener.close()

    def _start_accepting(self) -> None:
        self._listener.listen(128)
        self._waker, woken = socket.socketpair()
        target, name = self._accept, f"tap-{self.port}"
        self._acceptor = threading.Thread(target=target, args=(self._listener, woken), name=name, daemon=True)
        self._acceptor.start()

    def _accept(self, listener: socket.socket, woken: socket.socket) -> None:
        with woken, selectors.DefaultSelector() as ready:
            ready.register(listener, selectors.EVENT_READ)
            ready.register(woken, selectors.EVENT_READ)
            while woken not in {key.fileobj for key, _ in ready.select()}:
                self._link(listener.accept()[0])

    def _stop_accepting(self) -> None:
        if not self._acceptor.is_alive():
            return
        self._waker.close()
        self._acceptor.join()
        self._listener.close()
        # Bound and not listening: connecting is refused, and nobody else is given the port meanwhile.
        self._listener = _bind(self.port)

    def _link(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(self._upstream, timeout=5)
        except OSError:
            client.close()
            return
        link = _Link(self, client, server)
        with self._state:
            self._connections += 1
            self._links.add(link)
        link.thread.start()

    def _cut_all(self) -> None:
        with self._state:
            links = list(self._links)
        for link in links:
            link.cut()
        for link in links:
            link.thread.join()

    def _note(self, names: list[str], trips: int) -> None:
        with self._state:
            self._commands += names
            self._trips += trips

    def _take_drop(self) -> bool:
        with self._state:
            taken = self._drops > 0
            self._drops -= taken
        return taken

    def _hold_while_paused(self, link: _Link) -> None:
        with self._state:
            self._state.wait_for(lambda: link.is_cut or not self._paused)

    def _hold_for_delay(self, link: _Link) -> None:
        with self._state:
            self._state.wait_for(lambda: link.is_cut or not self._delay, timeout=self._delay)

    def _wake_links(self) -> None:
        with self._state:
            self._state.notify_all()

    def _forget(self, link: _Link) -> None:
        with self._state:
            self._links.discard(link)


class _Link:
    """A client's connection and its counterpart to the engine, served by one thread."""

    def __init__(self, tap: RespTap, client: socket.socket, server: socket.socket) -> None:
        self.is_cut = False
        self._tap, self._client, self._server = tap, client, server
        self._commands, self._replies = CommandCutter(), ReplyCutter()
        self._expected: deque[bool] = deque()  # per command without a delivered reply: does it count?
        self._held: list[bytes] = []
        self._dropping = False
        for side in (client, server):
            side.settimeout(None)
            side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.thread = threading.Thread(target=self._serve, name=f"tap-{tap.port}-link", daemon=True)

    def cut(self) -> None:
        """Close both sides; the thread then ends, whatever it was waiting for."""
        self.is_cut = True
        for side in (self._client, self._server):
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)
        self._tap._wake_links()

    def _serve(self) -> None:
        with self._client, self._server, selectors.DefaultSelector() as ready:
            ready.register(self._client, selectors.EVENT_READ)
            ready.register(self._server, selectors.EVENT_READ)
            with contextlib.suppress(OSError, ValueError):  # ValueError: bytes that are not RESP
                while self._turn({key.fileobj for key, _ in ready.select()}):
                    pass
        self._tap._forget(self)

    def _turn(self, ready: set[object]) -> bool:
        self._tap._hold_while_paused(self)
        if self._client in ready and not self._forward_commands():
            return False
        return self._server not in ready or self._forward_replies()

    def _forward_commands(self) -> bool:
        if self.is_cut or not (data := self._client.recv(_CHUNK)):
            return False
        names = self._commands.feed(data)
        self._tap._note([name for name in names if name not in SETUP], sum(map(self._expect, names)))
        self._server.sendall(data)
        return True

    def _expect(self, name: str) -> bool:
        counts = name not in SETUP
        begins = counts and True not in self._expected
        if begins:
            self._dropping = self._tap._take_drop()
        self._expected.append(counts)
        return begins

    def _forward_replies(self) -> bool:
        if not (data := self._server.recv(_CHUNK)):
            return False
        self._held += self._replies.feed(data)
        self._tap._hold_for_delay(self)
        # A batch larger than one send arrives in pieces: none of its replies may leave before its last command
        # has been seen, or the rest would look like a new trip.
        while self._has_input():
            if not self._forward_commands():
                return False
        return self._commands.inside or self._deliver()

    def _has_input(self) -> bool:
        with selectors.DefaultSelector() as ready:
            ready.register(self._client, selectors.EVENT_READ)
            return bool(ready.select(0))

    def _deliver(self) -> bool:
        while self._held:
            reply = self._held.pop(0)
            counts = reply[:1] != b">" and bool(self._expected) and self._expected.popleft()
            if not (counts and self._dropping):
                self._client.sendall(reply)
        return not self._dropping or True in self._expected


def _bind(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    return listener
