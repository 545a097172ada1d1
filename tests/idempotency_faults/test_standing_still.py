"""A worker that stands still for longer than its lease, and comes back."""

from __future__ import annotations

import asyncio
import json
import secrets
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from tests.idempotency_faults.conftest import BODY, SECRET, Order, Service, World
from tests.servers.uvicorn.harness import ZDD, Reply, Server, ask, serving
from zdd_fastapi import ZddMiddleware
from zdd_sdk import ZeroDowntime
from zdd_sdk.store.engine import Engine

_threads = ThreadPoolExecutor(4)


@dataclass
class Pair:
    """Workers a and b, and one key. What a runs stays at the gate until it is opened.

    Attributes:
        a: its server.
        b: its server.
        folder: where they count.
        key: of this test.
    """

    a: Server
    b: Server
    folder: Path
    key: str = ""

    @property
    def effects(self) -> list[tuple[str, str]]:
        """Worker and child key of each effect."""
        file = self.folder / self.key
        lines = file.read_text().splitlines() if file.exists() else []
        return [(line.split()[0], line.split()[1]) for line in lines]

    def ask(self, server: Server, path: str) -> Reply:
        """Send the request."""
        return ask(server.port, path, "POST", f"idempotency-key: {self.key}")

    def freeze_in_the_middle(self, path: str) -> Future[Reply]:
        """Have a begin a run, and stop it once its effect is there."""
        answer = _threads.submit(self.ask, self.a, path)
        end = time.monotonic() + 30
        while not self.effects:
            assert time.monotonic() < end, self.a.text()
            time.sleep(0.01)
        self.a.signal(signal.SIGSTOP)
        return answer

    def thaw(self, answer: Future[Reply]) -> Reply:
        """Let it go on, and end."""
        self.a.signal(signal.SIGCONT)
        (self.folder / f"{self.key}.open").touch()
        return answer.result(30)

    def settled(self, server: Server, path: str) -> Reply:
        """Ask until the answer no longer says that it may change."""
        end = time.monotonic() + 30
        while True:
            answer = self.ask(server, path)
            if answer.values("x-should-retry") != ["true"]:
                return answer
            assert time.monotonic() < end
            time.sleep(0.05)


@pytest.fixture(scope="module")
def workers(_real_engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("workers")
    environ = {
        "ZDD_REDIS_URL": _real_engine.url,
        "ZDD_SECRET": SECRET,
        "ZDD_TEST_FOLDER": str(folder),
        "ZDD_IDEMPOTENCY_LEASE": "1s",
        "ZDD_FLEET_PULSE": "200ms",
        "ZDD_FLEET_ROLE": "web",
        "ZDD_STORE_OPERATION_TIMEOUT": "2s",
        "ZDD_STORE_TOTAL_TIMEOUT": "5s",
    }
    app = "tests.idempotency_faults.worker_application:app"
    with (
        serving(ZDD, folder / "a", app=app, environ={**environ, "ZDD_TEST_WORKER": "a"}) as a,
        serving(ZDD, folder / "b", app=app, environ={**environ, "ZDD_TEST_WORKER": "b"}) as b,
    ):
        yield Pair(a, b, folder)


@pytest.fixture
def pair(workers: Pair) -> Iterator[Pair]:
    yield replace(workers, key=secrets.token_hex(8))
    workers.a.signal(signal.SIGCONT)


@pytest.mark.parametrize("path", ["/external", "/pure"])
def test_another_worker_takes_over_and_the_late_one_changes_nothing(pair: Pair, path: str) -> None:
    running = pair.freeze_in_the_middle(path)
    taken = pair.settled(pair.b, path)
    assert (taken.status, json.loads(taken.body)["by"]) == (200, "b")
    late = pair.thaw(running)
    assert late.status == 200
    assert [worker for worker, _ in pair.effects] == ["a", "b"]
    assert len({child for _, child in pair.effects}) == 1, "both runs show one child key"
    for server in (pair.a, pair.b):
        again = pair.settled(server, path)
        assert (again.body, again.values("idempotent-replayed")) == (taken.body, ["true"])


def test_an_unsafe_run_is_unknown_until_the_late_worker_completes_it(pair: Pair) -> None:
    running = pair.freeze_in_the_middle("/unsafe")
    unknown = pair.settled(pair.b, "/unsafe")
    assert (unknown.status, json.loads(unknown.body)["type"]) == (409, "urn:zdd:idempotency-outcome-unknown")
    late = pair.thaw(running)
    assert (late.status, json.loads(late.body)["by"]) == (200, "a")
    again = pair.settled(pair.b, "/unsafe")
    assert (again.body, again.values("idempotent-replayed")) == (late.body, ["true"])
    assert [worker for worker, _ in pair.effects] == ["a"]


def test_control_where_a_lapsed_lease_means_that_nothing_happened(pair: Pair) -> None:
    """The peers' policy: two effects, with nothing downstream to tell them apart."""
    running = pair.freeze_in_the_middle("/careless")
    assert pair.settled(pair.b, "/careless").status == 200
    pair.thaw(running)
    assert [worker for worker, _ in pair.effects] == ["a", "b"]


# An event loop that stands still, in a process that does not


class Stalled:
    """A service whose endpoint blocks the event loop until it is told to end."""

    def __init__(self, url: str, *, pulses: bool) -> None:
        self.entered, self.gate = threading.Event(), threading.Event()
        self.runs = 0
        zdd = ZeroDowntime(
            "shop", environment="test", redis_url=url, secret=(SECRET,), idempotency={"lease": "600ms"},
            fleet={"role": "web" if pulses else "test", "pulse": "100ms"},
            store={"operation_timeout": "5s", "total_timeout": "10s"},
        )  # fmt: skip
        self.app = FastAPI()
        self.app.add_middleware(ZddMiddleware, zdd=zdd)

        @self.app.post("/external")
        @zdd.idempotent(operation="external", effects="external", principal="anonymous")
        async def endpoint(order: Order) -> dict[str, str]:
            self.runs += 1
            self.entered.set()
            self.gate.wait(30)
            await asyncio.sleep(0)
            return {"by": "stalled"}


def _stall(world: World, url: str, *, pulses: bool) -> tuple[Stalled, list[str]]:
    """Stall a loop for three leases; returns what duplicates heard meanwhile."""
    stalled = Stalled(url, pulses=pulses)
    other: Service = world.service("other", url, fleet={"role": "test"})
    heard = []
    with TestClient(stalled.app) as client:
        answer = _threads.submit(lambda: client.post("/external", json=BODY, headers={"Idempotency-Key": "k"}))
        assert stalled.entered.wait(30)
        end = time.monotonic() + 1.8
        while time.monotonic() < end:
            heard.append(other.post("/external").json().get("type", "ran"))
            time.sleep(0.05)
        stalled.gate.set()
        assert answer.result(30).status_code == 200
    return stalled, heard


def test_a_stalled_event_loop_keeps_its_keys(world: World, real_engine: Engine) -> None:
    stalled, heard = _stall(world, real_engine.url, pulses=True)
    assert (set(heard), stalled.runs) == ({"urn:zdd:idempotency-in-progress"}, 1)


def test_control_without_a_thread_that_pulses_it_loses_them(world: World, real_engine: Engine) -> None:
    _, heard = _stall(world, real_engine.url, pulses=False)
    assert set(heard) != {"urn:zdd:idempotency-in-progress"}
