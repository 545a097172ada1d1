"""Sockets that native code holds: found by their descriptors, and closed under it without losing a connection."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import stat
import time
from collections.abc import Iterable, Iterator
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
        with self._bound() as found:
            return any(map(_listens, found.values()))

    def connections(self) -> int:
        """How many connections are open."""
        with self._bound() as found:
            return sum(not _listens(bound) for bound in found.values())

    def close_listeners(self, seconds: float) -> None:
        """Let no new handshake begin, let the server accept what is queued, and close.

        The server polls the listeners in native threads, and would take a closed one for an error, over and
        over. So each descriptor is made to stand for a socket nobody connects to: to the kernel the listener
        is closed, to the server it is quiet.

        Args:
            seconds: to wait at most for the server to accept.
        """
        with self._bound() as found, _quiet() as quiet:
            listeners = {number: bound for number, bound in found.items() if _listens(bound)}
            refused = [refuse_handshakes(listener) for listener in listeners.values()]
            if any(refused):
                time.sleep(SETTLE)
            _wait_until_empty(listeners.values(), seconds)
            for number in listeners:
                os.dup2(quiet, number, inheritable=False)

    @contextlib.contextmanager
    def _bound(self) -> Iterator[dict[int, socket.socket]]:
        """Give sockets of our own on the same, by the descriptors they were found by."""
        found: dict[int, socket.socket] = {}
        try:
            for number in [int(path.name) for path in _DESCRIPTORS.iterdir()]:
                with contextlib.suppress(OSError):
                    if (own := self._own(number)) is not None:
                        found[number] = own
            yield found
        finally:
            for own in found.values():
                own.close()

    def _own(self, number: int) -> socket.socket | None:
        """Return a socket of our own on a descriptor, if it stands for one that is bound to the address.

        Nothing is opened for what is no socket: closing a second descriptor of a file would take back the whole
        process's locks on it (POSIX; SQLite has such).
        """
        if not stat.S_ISSOCK(os.fstat(number).st_mode):
            return None
        own = socket.socket(fileno=os.dup(number))
        if own.type == socket.SOCK_STREAM and _address(own) == self._address:
            return own
        own.close()
        return None


def _address(found: socket.socket) -> int | str | None:
    if found.family == socket.AF_UNIX:
        return str(found.getsockname())
    return int(found.getsockname()[1]) if found.family in (socket.AF_INET, socket.AF_INET6) else None


def _listens(found: socket.socket) -> bool:
    with contextlib.suppress(OSError):
        return bool(found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    return False


def _wait_until_empty(listeners: Iterable[socket.socket], seconds: float) -> None:
    """Wait until nothing is queued: a listener is readable while something is."""
    end = time.monotonic() + seconds
    readable = select.poll()  # select() knows no descriptor above 1023, and a busy server has thousands
    for listener in listeners:
        readable.register(listener, select.POLLIN)
    while readable.poll(0) and time.monotonic() < end:
        time.sleep(SETTLE / 5)


@contextlib.contextmanager
def _quiet() -> Iterator[int]:
    """Give a listening socket that nobody knows: to accept from it is to wait for ever."""
    with socket.socket(socket.AF_UNIX) as quiet:
        quiet.setblocking(False)
        quiet.bind("")  # Linux: an abstract name of the kernel's choice
        quiet.listen()
        yield quiet.fileno()
