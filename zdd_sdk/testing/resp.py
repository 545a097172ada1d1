"""Cut a RESP byte stream into whole commands and whole replies, whatever the chunks."""

from __future__ import annotations

__all__ = ["CommandCutter", "ReplyCutter"]

_BULKS = b"$=!"
_AGGREGATES = {ord("*"): 1, ord("~"): 1, ord(">"): 1, ord("%"): 2, ord("|"): 2}


class _Incomplete(Exception):
    """The value goes on in bytes that have not arrived."""


class CommandCutter:
    """Cuts what a client sends into commands (arrays of bulk strings, or inline words)."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def inside(self) -> bool:
        """Whether part of a command has arrived and the rest has not."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> list[str]:
        """Take more bytes and return the upper-case names of the commands completed by them."""
        self._buffer += data
        names: list[str] = []
        start = 0
        while (end := _complete(self._buffer, start)) is not None:
            names.append(_name(self._buffer, start))
            start = end
        del self._buffer[:start]
        return names


class ReplyCutter:
    """Cuts what a server sends into top-level replies, kept as raw bytes."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Take more bytes and return the replies completed by them."""
        self._buffer += data
        replies: list[bytes] = []
        start = 0
        while (end := _complete(self._buffer, start)) is not None:
            replies.append(bytes(self._buffer[start:end]))
            start = end
        del self._buffer[:start]
        return replies


def _complete(data: bytearray, start: int) -> int | None:
    try:
        return _end(data, start)
    except _Incomplete:
        return None


def _end(data: bytearray, start: int) -> int:
    if start >= len(data):
        raise _Incomplete
    kind = data[start]
    after = data.find(b"\r\n", start) + 2
    if after == 1:
        raise _Incomplete
    if kind in _BULKS:
        return _end_of_bulk(data, after, int(data[start + 1 : after - 2]))
    if kind not in _AGGREGATES:
        return after
    for _ in range(_AGGREGATES[kind] * max(0, int(data[start + 1 : after - 2]))):
        after = _end(data, after)
    # An attribute is a preface to the reply it decorates, not a reply.
    return _end(data, after) if kind == ord("|") else after


def _end_of_bulk(data: bytearray, after: int, length: int) -> int:
    end = after + length + 2 if length >= 0 else after
    if end > len(data):
        raise _Incomplete
    return end


def _name(data: bytearray, start: int) -> str:
    line_end = data.find(b"\r\n", start)
    if data[start] != ord("*"):
        return bytes(data[start:line_end]).decode(errors="replace").partition(" ")[0].upper()
    header_end = data.find(b"\r\n", line_end + 2)
    length = int(data[line_end + 3 : header_end])
    return bytes(data[header_end + 2 : header_end + 2 + length]).decode(errors="replace").upper()
