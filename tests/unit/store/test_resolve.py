"""Names to addresses, however slow or broken the resolver."""

from __future__ import annotations

import socket
import threading
import time
from typing import Any

import pytest

from zdd_sdk.store.resolve import FRESH, Endpoint, Resolver
from zdd_sdk.store.url import Address

NAME = Address("redis.test", 6379)
ROW = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.1.2.3", 6379))


class _Names:
    """A resolver the test controls."""

    def __init__(self) -> None:
        self.calls = 0
        self.gate = threading.Event()
        self.gate.set()
        self.fails = False

    def __call__(self, *_: Any, **__: Any) -> list[Any]:
        self.calls += 1
        self.gate.wait(10)
        if self.fails:
            raise socket.gaierror(-2, "Name or service not known")
        return [ROW, ROW]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> _Names:
    fake = _Names()
    monkeypatch.setattr(socket, "getaddrinfo", fake)
    return fake


@pytest.mark.parametrize(
    ("address", "family", "where"),
    [
        (Address("127.0.0.1", 1), socket.AF_INET, ("127.0.0.1", 1)),
        (Address("::1", 1), socket.AF_INET6, ("::1", 1)),
        (Address("", 0, "/r.sock"), socket.AF_UNIX, "/r.sock"),
    ],
)
def test_a_number_or_a_path_needs_nobody(names: _Names, address: Address, family: int, where: Any) -> None:
    assert Resolver().known(address) == (Endpoint(family, where),)
    assert names.calls == 0


def test_a_lookup_is_remembered_and_its_addresses_are_each_there_once(names: _Names) -> None:
    resolver = Resolver()
    assert resolver.known(NAME) == ()
    found = resolver.look_up(NAME).result(5)
    assert found == (Endpoint(socket.AF_INET, ("10.1.2.3", 6379)),)
    assert resolver.known(NAME) == found
    assert names.calls == 1


def test_all_who_wait_share_one_lookup(names: _Names) -> None:
    names.gate.clear()
    resolver = Resolver()
    futures = {id(resolver.look_up(NAME)) for _ in range(20)}
    names.gate.set()
    assert len(futures) == 1
    resolver.look_up(NAME).result(5)
    assert names.calls <= 2


def test_starting_a_lookup_waits_for_nothing(names: _Names) -> None:
    names.gate.clear()
    began = time.perf_counter()
    future = Resolver().look_up(NAME)
    assert time.perf_counter() - began < 1.0
    assert not future.done()
    names.gate.set()


def test_addresses_survive_a_resolver_that_fails_later(names: _Names) -> None:
    now = [0.0]
    resolver = Resolver(lambda: now[0])
    found = resolver.look_up(NAME).result(5)
    now[0] = FRESH + 1
    names.fails = True
    assert resolver.known(NAME) == ()
    with pytest.raises(OSError, match="not known"):
        resolver.look_up(NAME).result(5)
    assert resolver.remembered(NAME) == found


def test_a_failed_connection_ends_the_memory_early(names: _Names) -> None:
    resolver = Resolver()
    resolver.look_up(NAME).result(5)
    resolver.doubt(NAME)
    assert resolver.known(NAME) == ()
    assert resolver.remembered(NAME)
