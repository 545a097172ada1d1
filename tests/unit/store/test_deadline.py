"""Sockets on which nothing waits beyond a deadline: large and small, full and empty, moved and infinite."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from math import inf

import pytest

from zdd_sdk.store.deadline import BoundedSocket, bind_deadline

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def _fill(ours: socket.socket) -> int:
    """Write until the other side would have to read; return how much went."""
    ours.setblocking(False)
    sent = 0
    for size in (65536, 1):
        try:
            while True:
                sent += ours.send(b"x" * size)
        except BlockingIOError:
            continue
    return sent


def _read(theirs: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += theirs.recv(size - len(data))
    return data


@pytest.mark.parametrize("size", [1, 4096, 4097, 5_000_000])
def test_everything_arrives_once_and_in_order(pair: Pair, size: int) -> None:
    ours, theirs = pair
    data = (bytes(range(256)) * (size // 256 + 1))[:size]
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(_read(theirs, 2 * size)))
    reader.start()
    bound = bind_deadline(ours, time.monotonic() + 30)
    bound.sendall(data)
    bound.sendall(data)
    reader.join()
    assert got == [data * 2]


@pytest.mark.parametrize("size", [10, 4096, 100_000])
def test_writing_to_who_does_not_read_ends_at_the_deadline(pair: Pair, size: int) -> None:
    ours, theirs = pair
    filled = _fill(ours)
    bound = bind_deadline(ours, time.monotonic() + 0.05)
    with pytest.raises(TimeoutError):
        bound.sendall(b"y" * size)
    assert _read(theirs, filled) == b"x" * filled


def test_a_small_write_of_which_a_part_fits_arrives_whole(pair: Pair) -> None:
    ours, theirs = pair
    filled = _fill(ours)
    bound = bind_deadline(ours, time.monotonic() + 30)
    late = threading.Timer(0.05, lambda: got.append(_read(theirs, filled + 4000)))
    got: list[bytes] = []
    late.start()
    bound.sendall(b"y" * 4000)
    late.join()
    assert got == [b"x" * filled + b"y" * 4000]


@pytest.mark.parametrize("kind", ["recv", "recv_into"])
def test_reading_ends_at_the_deadline(pair: Pair, kind: str) -> None:
    bound = bind_deadline(pair[0], time.monotonic() + 0.05)
    with pytest.raises(TimeoutError):
        _receive(bound, kind)


@pytest.mark.parametrize("kind", ["recv", "recv_into"])
@pytest.mark.parametrize("deadline", [0.0, inf])
def test_what_has_come_is_read_after_the_deadline_and_without_one(pair: Pair, kind: str, deadline: float) -> None:
    pair[1].sendall(b"come")
    assert _receive(bind_deadline(pair[0], deadline), kind) == b"come"


def _receive(bound: BoundedSocket, kind: str) -> bytes:
    if kind == "recv":
        return bound.recv(100)
    buffer = bytearray(100)
    return bytes(buffer[: bound.recv_into(buffer)])
