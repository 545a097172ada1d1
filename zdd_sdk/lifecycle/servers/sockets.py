"""Listening sockets at the end of their life: no new handshakes, and the file of a UNIX socket.

Nothing here imports asyncio: a parent whose workers are patched by gevent must not have.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import struct
import sys
from pathlib import Path

__all__ = ["SETTLE", "SocketFile", "refuse_handshakes"]

SETTLE = 0.005
"""Seconds for handshakes under way to complete once no new one can begin: inside a data centre they take < 2 ms.

Not longer, as whoever connects in this time is told so, by a refusal, only when the kernel tries again after 1 s.
"""

_SO_ATTACH_FILTER = 26
# Classic BPF over the TCP header: load byte 13 (flags); SYN set: keep 0 bytes, i.e. drop; else keep all.
_NO_SYN = b"".join(
    struct.pack("HBBI", *instruction)
    for instruction in ((0x30, 0, 0, 13), (0x45, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF))
)


def refuse_handshakes(listener: socket.socket) -> bool:
    """Make the kernel drop new connection attempts at this socket (they are sent again after 1 s, and refused then).

    Linux, TCP. It lasts as long as the socket, in every process that shares it: for sockets that end with this drain.

    Returns:
        whether the kernel does it.
    """
    if not sys.platform.startswith("linux") or listener.family not in (socket.AF_INET, socket.AF_INET6):
        return False
    code = ctypes.create_string_buffer(_NO_SYN, len(_NO_SYN))
    program = struct.pack("HP", len(_NO_SYN) // 8, ctypes.addressof(code))
    with contextlib.suppress(OSError):
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
        return True
    return False


class SocketFile:
    """A UNIX socket's file, so long as it is the one we bound: a successor may have put its own in its place.

    Args:
        path: where it was bound; ``None`` if there is none.
    """

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._identity = self._look()

    def remove(self) -> None:
        """Remove it; those who come later find nothing to connect to, instead of a queue nobody reads."""
        if self._path is not None and self._identity is not None and self._look() == self._identity:
            with contextlib.suppress(OSError):
                Path(self._path).unlink()

    def _look(self) -> tuple[int, int] | None:
        with contextlib.suppress(OSError, TypeError):
            found = os.lstat(self._path or "")
            return found.st_dev, found.st_ino
        return None
