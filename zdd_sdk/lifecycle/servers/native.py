"""Sockets that native code holds: found by their descriptors, and closed under it without losing a connection."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from zdd_sdk.lifecycle.servers.listener import SETTLE, refuse_handshakes

__all__ = ["NativeSockets"]

_DESCRIPTORS = Path("/dev/fd")


class NativeSockets:
    """The sockets of this process that are bound to an address.

    Args:
        address: a port, or a UNIX socket's path.
    """

    def __init__(self, address: int | str) -> None:
        self._address = address

    def listening(self) -> bool:
        """Whether one of them accepts connections."""
        return any(_listens(found) for _, found in self._bound())

    def connections(self) -> int:
        """How many connections are open."""
        return sum(not _listens(found) for _, found in self._bound())

    def close_listeners(self, seconds: float) -> None:
        """Let no new handshake begin, let the server accept what is queued, and close.

        The server polls the listeners in native threads, and would take a closed one for an error, over and
        over. So each descriptor is made to stand for a socket nobody connects to: to the kernel the listener
        is closed, to the server it is quiet.

        Args:
            seconds: to wait at most for the server to accept.
        """
        found = [(number, listener) for number, listener in self._bound() if _listens(listener)]
        refused = [refuse_handshakes(listener) for _, listener in found]
        if any(refused):
            time.sleep(SETTLE)
        _wait_until_empty([listener for _, listener in found], seconds)
        with _quiet() as quiet:
            for number, listener in found:
                os.dup2(quiet, number, inheritable=False)
                listener.close()

    def _bound(self) -> Iterator[tuple[int, socket.socket]]:
        """Yield descriptors with sockets of our own on the same."""
        for number in [int(path.name) for path in _DESCRIPTORS.iterdir()]:
            with contextlib.suppress(OSError):
                found = socket.socket(fileno=os.dup(number))
                if found.type == socket.SOCK_STREAM and _address(found) == self._address:
                    yield number, found


def _address(found: socket.socket) -> int | str | None:
    if found.family == socket.AF_UNIX:
        return str(found.getsockname())
    return int(found.getsockname()[1]) if found.family in (socket.AF_INET, socket.AF_INET6) else None


def _listens(found: socket.socket) -> bool:
    with contextlib.suppress(OSError):
        return bool(found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    return False


def _wait_until_empty(listeners: list[socket.socket], seconds: float) -> None:
    """Wait until nothing is queued: a listener is readable while something is."""
    end = time.monotonic() + seconds
    while select.select(listeners, [], [], 0)[0] and time.monotonic() < end:
        time.sleep(SETTLE / 5)


@contextlib.contextmanager
def _quiet() -> Iterator[int]:
    """Give a listening socket that nobody knows: to accept from it is to wait for ever."""
    with socket.socket(socket.AF_UNIX) as quiet:
        quiet.setblocking(False)
        quiet.bind("")  # Linux: an abstract name of the kernel's choice
        quiet.listen()
        yield quiet.fileno()
