"""Workers whose pulses the test sends itself, and a hand into the registry."""

from __future__ import annotations

import dataclasses
import itertools
import time

import pytest

from zdd_sdk.fleet import ReleaseRow, WorkerRow
from zdd_sdk.fleet.core import Pulser
from zdd_sdk.fleet.watch import Timing

TIMING = Timing(pulse=2.0, ttl=10.0)
AGED = 60_000


class Registry:
    """Reads and bends the registry through a connection of its own."""

    def __init__(self, engine, keys):
        self._engine = engine
        self._keys = keys

    def key(self, name):
        return self._keys.name("fleet", "fleet", name)

    def field(self, name):
        value = self._engine.ask("HGET", self.key("meta"), name)
        return value.decode() if isinstance(value, bytes) else value

    def set(self, name, value):
        self._engine.ask("HSET", self.key("meta"), name, value)

    def age(self, milliseconds=AGED):
        """Pretend that the epoch began earlier."""
        self.set("born", int(self.field("born")) - milliseconds)

    def silence(self, milliseconds):
        """Pretend that the last pulse of anybody was earlier, and that everybody's time ran meanwhile."""
        self.set("last", int(self.field("last")) - milliseconds)
        for worker in self.members():
            self._engine.ask("ZINCRBY", self.key("alive"), -milliseconds, worker)

    def kill(self, worker):
        """Pretend that a worker was last heard of one TTL ago."""
        self._engine.ask("ZADD", self.key("alive"), round(time.time() * 1000) - 1, worker)

    def members(self):
        return sorted(worker.decode() for worker in self._engine.ask("ZRANGE", self.key("alive"), 0, -1))

    def drop(self, *names):
        self._engine.ask("DEL", *(self.key(name) for name in names))

    def put(self, kind, name, *words):
        self._engine.ask(kind, self.key(name), *words)


class Clocked:
    """A store whose clock the test moves; the server's clock goes on."""

    def __init__(self, store):
        self._store = store
        self.ahead = 0.0

    def __getattr__(self, name):
        return getattr(self._store, name)

    def clock(self):
        return self._store.clock() + self.ahead


@pytest.fixture
def registry(engine, keys):
    return Registry(engine, keys)


@pytest.fixture
def worker(keys):
    """Build a worker: ``worker("1.0")``."""
    numbers = itertools.count(1)

    def build(version="1.0", *, timing=TIMING, state="ready", parts=(), shown=None, fingerprint="", **fields):
        number = next(numbers)
        name = f"{number:016x}"
        row = WorkerRow(
            name,
            instance=f"i{number}",
            release=ReleaseRow(version, version, version),
            fingerprint=fingerprint or f"print-{version}",
            **fields,
        )
        return Pulser(
            keys,
            timing,
            row=row,
            shown={"release.version": version} if shown is None else shown,
            lifecycle_state=state if callable(state) else lambda: state,
            parts=parts,
        )

    return build


@pytest.fixture
def settle(flow, registry):
    """Let workers pulse until each knows all, in a registry that is old enough to be believed."""

    def run(*workers):
        for each in workers:
            flow(each.pulse(flow.store))
        registry.age()
        for each in workers:
            each._watch = dataclasses.replace(each._watch, blind_until=0.0)
        for _ in range(3):
            for each in workers:
                flow(each.pulse(flow.store))
        return workers

    return run


@pytest.fixture
def clocked():
    return Clocked
