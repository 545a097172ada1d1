"""Fixtures of the idempotency flows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from zdd_sdk.idempotency.calls import IdempotencyCalls
from zdd_sdk.idempotency.model import Stored, read_record
from zdd_sdk.settings.model import IdempotencySettings
from zdd_sdk.store import Call, Keys, finish
from zdd_sdk.store.wire import Wire

NAME = "n" * 43
SAME, OTHER = ("j1.kid1.same", "r1.kid1.raw"), ("j1.kid1.other",)
DAY = 86_400.0


def make_calls(instance: str = "web-1", release: str = "1.0", **options: Any) -> IdempotencyCalls:
    """The calls of one process of a service called ``test``."""
    return IdempotencyCalls(Keys("test", "test"), IdempotencySettings(**options), instance, release)


def token(number: int) -> bytes:
    """The token of one run."""
    return b"%016d" % number


@dataclass
class Place:
    """One key in Redis, looked at past every store."""

    wire: Wire
    record: str
    body: str

    def fields(self) -> dict[bytes, bytes]:
        """The raw hash."""
        flat = self.wire.ask("HGETALL", self.record)
        return dict(zip(flat[::2], flat[1::2], strict=True))

    def read(self) -> Stored:
        """The record."""
        return read_record(self.fields())

    def set(self, **fields: Any) -> None:
        """Change fields of the hash."""
        for field, value in fields.items():
            self.wire.ask("HSET", self.record, field, value)

    def lapse(self) -> int:
        """Let the lease run out: time is what Redis says, so the past is written instead; returns it."""
        seconds, microseconds = map(int, self.wire.ask("TIME"))
        until = seconds * 1000 + microseconds // 1000 - 1
        self.set(lu=until)
        return until

    def dump(self) -> tuple[Any, Any]:
        """All there is, for comparison."""
        return self.wire.ask("DUMP", self.record), self.wire.ask("DUMP", self.body)


@pytest.fixture
def wire(engine):
    """A connection of the test's own, past every store."""
    with Wire(engine.port) as opened:
        yield opened


@pytest.fixture
def place(wire):
    return Place(wire, *make_calls()._names(NAME))


@pytest.fixture
def ask(stores) -> Callable[[Call[Any]], Any]:
    """Ask one call over the blocking store; returns its result."""

    def run(call: Call[Any]) -> Any:
        return finish(stores.blocking.ask(call))[0]

    return run


@pytest.fixture
def ask_with_time(ask) -> Callable[[Call[Any]], tuple[int, Any]]:
    """Ask one call; returns the server's time at which its script ran, and its result."""

    def run(call: Call[Any]) -> tuple[int, Any]:
        read = call.read
        timed: tuple[int, Any] = ask(msgspec.structs.replace(call, read=lambda raw: (int(raw[1]), read(raw))))
        return timed

    return run
