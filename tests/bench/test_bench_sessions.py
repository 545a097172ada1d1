"""CPU and trips per request of sessions, beside one blob per session written with redis-py.

The peer does what Flask-Session 0.8 and starsessions 2.2 do: GET and SET on every request with a cookie. Run
it with ``make bench ARGS=-k\\ sessions``; it prints a table. Only trips are asserted: time is not ours to promise.
"""

from __future__ import annotations

import gc
import statistics
import time

import msgspec
import pytest
import redis

from tests.flows.sessions.visitor import Visitor, login, logout, make_sessions
from zdd_sdk.settings import StoreSettings
from zdd_sdk.store import finish
from zdd_sdk.store.connect import Stores

ROUNDS, REQUESTS = 7, 40
FIELDS = {f"field{number}": {"name": f"item {number}", "prices": [1, 2, 3]} for number in range(10)}
TRIPS = {"untouched": 0, "read": 1, "read + write": 2, "login": 2, "logout": 1}


class Blob:
    """One string per session."""

    def __init__(self, url):
        self.client = redis.Redis.from_url(url)

    def prepare(self, count):
        self.client.set("blob", msgspec.msgpack.encode(FIELDS))

    def request(self, kind):
        data = self.client.get("blob")
        values = msgspec.msgpack.decode(data) if data else dict(FIELDS)
        if kind == "read":
            _ = values["field1"]
        elif kind == "read + write":
            values["field1"] = time.perf_counter_ns()
        elif kind in {"login", "logout"}:
            self.client.delete("blob")
        if kind != "logout":
            self.client.set("blob", msgspec.msgpack.encode(values), ex=86400)


class Ours:
    """Sessions over the blocking store."""

    def __init__(self, stores):
        self.visitor = Visitor(make_sessions(), stores.blocking)

    def prepare(self, count):
        """Begin as many sessions as there will be logouts."""
        self.cookies = [self.begun() for _ in range(count)]

    def begun(self):
        self.visitor.cookie = None
        finish(self.visitor.visit(self.begin))
        return self.visitor.cookie

    async def begin(self, session):
        session.update(FIELDS)

    async def read(self, session):
        return session["field1"]

    async def write(self, session):
        session["field1"] = time.perf_counter_ns()

    def request(self, kind):
        visitor = self.visitor
        visitor.history.clear()
        if kind == "untouched":
            finish(visitor.visit(None))
        elif kind == "logout":
            visitor.cookie = self.cookies.pop()
            finish(visitor.answer(visitor.exchange(), logout, load=False))
        else:
            finish(visitor.visit({"read": self.read, "read + write": self.write, "login": login("ada")}[kind]))


def measure(one: Ours | Blob, kind: str) -> float:
    gc.collect()
    times = []
    for _ in range(ROUNDS):
        one.prepare(REQUESTS)
        began = time.process_time()
        for _ in range(REQUESTS):
            one.request(kind)
        times.append((time.process_time() - began) / REQUESTS * 1e6)
    return statistics.median(times)


def trips(tap, one: Ours | Blob, kind: str) -> int:
    one.prepare(2)
    if kind != "logout":
        one.request(kind)  # loads its scripts
    tap.reset()
    one.request(kind)
    return tap.trips


@pytest.mark.parametrize("engine", ["real"], indirect=True)
def test_cpu_and_trips(engine, keys, open_tap, capsys):
    tap = open_tap(engine.url)
    direct, tapped = (Stores(StoreSettings(redis_url=url, total_timeout=5.0), keys) for url in (engine.url, tap.url))
    ours, ours_tapped = Ours(direct), Ours(tapped)
    blob, blob_tapped = Blob(engine.url), Blob(tap.url)
    rows = []
    for kind, budget in TRIPS.items():
        counted = [trips(tap, one, kind) for one in (ours_tapped, blob_tapped)]
        assert counted[0] == budget
        rows.append((kind, *counted, measure(ours, kind), measure(blob, kind)))
    for closing in (blob.client, blob_tapped.client, direct, tapped):
        closing.close()
    with capsys.disabled():
        print(f"\n{'sessions':<16}{'trips':>8}{'blob':>8}{'CPU µs':>10}{'blob':>8}")
        for row in rows:
            print("{:<16}{:>8}{:>8}{:>10.0f}{:>8.0f}".format(*row))
