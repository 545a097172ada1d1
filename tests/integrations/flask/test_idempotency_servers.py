"""Idempotent endpoints under real servers: many at once, clients that go, leases while it runs, and the drain."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.servers.start import ZDD, each_of, free_port, starting
from tests.servers.uvicorn.harness import Server
from zdd_sdk import ZeroDowntime
from zdd_sdk.idempotency.scope import Scope
from zdd_sdk.store import finish
from zdd_sdk.store.engine import start_engine

pytestmark = [pytest.mark.xdist_group("flask servers"), pytest.mark.timeout(240)]

MODULE = "tests.integrations.flask.idempotent_application"
GUNICORN = (*ZDD, "serve", "gunicorn", "--bind", "127.0.0.1:{port}", "--workers", "{workers}", "--worker-class")
SERVERS = {
    "sync": (*GUNICORN, "sync", f"{MODULE}:app"),
    "gthread": (*GUNICORN, "gthread", "--threads", "8", f"{MODULE}:app"),
    "gevent": (*GUNICORN, "gevent", f"{MODULE}:app"),
    "uvicorn": (
        *ZDD, "serve", "uvicorn", "--host", "127.0.0.1", "--port", "{port}", "--workers", "{workers}", f"{MODULE}:asgi"
    ),
}  # fmt: skip
KEYS, REQUESTS = 50, 1000
SECRET = "s" * 40
LONG = "10m"


class Orders:
    """Servers of one service, and what they have done.

    Attributes:
        effects: the file with a line for each.
    """

    def __init__(self, url: str, directory: Path) -> None:
        self.effects = directory / "effects"
        self.effects.touch()
        self._directory = directory
        self._environ = {
            "PYTHONPATH": os.pathsep.join((".", "integrations", *filter(None, [os.environ.get("PYTHONPATH")]))),
            "EFFECTS": str(self.effects),
            "ZDD_REDIS_URL": url,
            "ZDD_ENVIRONMENT": "test",
            "ZDD_SECRET": SECRET,
            "ZDD_STORE_OPERATION_TIMEOUT": "10s",
            "ZDD_STORE_CONNECT_TIMEOUT": "10s",
            "ZDD_STORE_TOTAL_TIMEOUT": "20s",
            "ZDD_LIFECYCLE_LINGER": "100ms",
            "ZDD_LIFECYCLE_DRAIN_TIMEOUT": "1s",
            "ZDD_LIFECYCLE_HOOKS_TIMEOUT": "2s",
        }

    @contextlib.contextmanager
    def serve(self, name: str, workers: int = 1, **environ: str) -> Iterator[tuple[Server, httpx.Client]]:
        """Serve it, and talk to it."""
        port = free_port()
        words = [word.format(port=port, workers=workers) for word in SERVERS[name]]
        directory = self._directory / f"{name}-{port}"
        directory.mkdir()
        environ = {**self._environ, **environ}
        limits = httpx.Limits(max_keepalive_connections=0)
        with (
            starting(words, directory, port=port, environ=environ, workers=workers, lag="0s", seconds=120) as server,
            httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120, limits=limits) as client,
        ):
            yield server, client

    def done(self) -> Counter[str]:
        """Return how often each order was carried out."""
        return Counter(line.split()[0] for line in self.effects.read_text().splitlines())

    def child_keys(self, name: str) -> set[str]:
        """Return the keys with which others were called for an order."""
        lines = [line.split() for line in self.effects.read_text().splitlines()]
        return {child for order, child, _ in lines if order == name}

    def why(self, name: str) -> str:
        """Return why the outcome of an ``unsafe`` order is unknown."""
        zdd = ZeroDowntime("orders", environment="test", redis_url=self._environ["ZDD_REDIS_URL"], secret=(SECRET,))
        (record,) = Scope(zdd.secrets, "orders.unsafe").names("anonymous", f"k-{name}")
        (shown,) = finish(zdd.stores.blocking.ask(zdd.idempotency.calls.show(record)))
        zdd.stores.close()
        return str(shown.record.why)

    def wait_for(self, name: str) -> None:
        """Wait until an order is being carried out."""
        eventually(lambda: self.done()[name])


@pytest.fixture(scope="module")
def orders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orders]:
    with start_engine("real") as engine:
        yield Orders(engine.url, tmp_path_factory.mktemp("orders"))


@pytest.fixture(scope="module")
def after(orders: Orders) -> Iterator[httpx.Client]:
    """The next release: another process, and another framework."""
    with orders.serve("uvicorn", ZDD_IDEMPOTENCY_LEASE=LONG) as (_, client):
        yield client


def eventually(ask: Any, seconds: float = 60.0) -> Any:
    end = time.monotonic() + seconds
    while not (found := ask()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return found


def post(client: httpx.Client, effects: str, name: str, seconds: float = 0.0) -> httpx.Response:
    """Order something under a key of its name."""
    return client.post(f"/{effects}/{name}", params={"seconds": seconds}, headers={"Idempotency-Key": f"k-{name}"})


def code(answer: httpx.Response) -> str:
    """The kind of a refusal; empty for an answer."""
    return str(answer.json().get("type", "")).removeprefix("urn:zdd:idempotency-")


@each_of("name", "gthread", "gevent", "uvicorn", among=SERVERS)
def test_a_thousand_requests_with_fifty_keys_are_fifty_effects(orders: Orders, name: object) -> None:
    def order(client: httpx.Client, number: int) -> str:
        while (answer := post(client, "external", f"{name}-{number % KEYS}")).status_code == 409:
            assert code(answer) == "in-progress"
            time.sleep(0.01)
        return str(answer.json()["name"])

    with orders.serve(str(name), workers=2) as (_, client), ThreadPoolExecutor(24) as pool:
        found = Counter(pool.map(lambda number: order(client, number), range(REQUESTS)))
    assert set(found.values()) == {REQUESTS // KEYS}
    assert [1] * KEYS == [orders.done()[f"{name}-{number}"] for number in range(KEYS)]


@each_of("name", "sync", among=SERVERS)
def test_a_client_that_goes_finds_the_answer_when_it_comes_again(orders: Orders, name: object) -> None:
    with orders.serve(str(name)) as (server, client):
        for effects in ("external", "unsafe"):
            order = f"left-{name}-{effects}"
            leave_at_once(server.port, f"/{effects}/{order}?seconds=1", f"k-{order}")
            orders.wait_for(order)
            answer = eventually(lambda: (found := post(client, effects, order)).status_code != 409 and found)  # noqa: B023
            assert (answer.status_code, answer.headers.get("idempotent-replayed")) == (200, "true")
            assert orders.done()[order] == 1


def test_a_client_that_leaves_an_event_loop_too(orders: Orders, after: httpx.Client) -> None:
    leave_at_once(after.base_url.port or 0, "/unsafe/left?seconds=1", "k-left")
    orders.wait_for("left")
    answer = eventually(lambda: (found := post(after, "unsafe", "left")).status_code != 409 and found)
    assert (answer.headers.get("idempotent-replayed"), orders.done()["left"]) == ("true", 1)


def leave_at_once(port: int, target: str, key: str) -> None:
    """Send a request, and go before its answer has been made."""
    with socket.create_connection(("127.0.0.1", port)) as impatient:
        lines = [f"POST {target} HTTP/1.1", "host: test", "content-length: 0", f"idempotency-key: {key}"]
        impatient.sendall("\r\n".join([*lines, "", ""]).encode())
        time.sleep(0.3)


@pytest.mark.parametrize(("pulses", "expected"), [("true", "in-progress"), ("false", "outcome-unknown")])
def test_leases_are_renewed_while_a_sync_worker_is_in_its_handler(
    orders: Orders, after: httpx.Client, pulses: str, expected: str
) -> None:
    """By the thread that pulses. The control: without it the lease runs out, and nobody knows."""
    order = f"slow-{pulses}"
    quick = {"ZDD_IDEMPOTENCY_LEASE": "1500ms", "ZDD_FLEET_PULSE": "100ms", "ZDD_FLEET_ENABLED": pulses}
    with orders.serve("sync", **quick) as (_, busy), ThreadPoolExecutor(1) as pool:
        first = pool.submit(post, busy, "unsafe", order, 5.0)
        orders.wait_for(order)
        time.sleep(3.5)  # more than two leases
        assert not first.done()
        assert code(post(after, "unsafe", order)) == expected
        assert first.result().status_code == 200
        assert post(after, "unsafe", order).json() == {"name": order}, (
            "who was late, and not overtaken, may still say so"
        )
    assert orders.done()[order] == 1


@each_of("name", "sync", "gthread", "uvicorn", among=SERVERS)
def test_the_next_release_need_not_wait_for_the_lease_of_the_one_before(
    orders: Orders, after: httpx.Client, name: object
) -> None:
    """A drain that cannot wait for a handler hands its key over; a lease of ten minutes would outlive the test."""
    cut = (f"cut-{name}-external", f"cut-{name}-unsafe")
    with cut_off(orders, str(name), after, cut) as server:
        server.signal(signal.SIGTERM)
        server.wait(60)
    begun = time.monotonic()
    again, unknown = post(after, "external", cut[0]), post(after, "unsafe", cut[1])
    print(f"handover from {name}: two requests in {(time.monotonic() - begun) * 1000:.0f} ms")
    assert (again.json(), orders.done()[cut[0]]) == ({"name": cut[0]}, 2)
    assert len(orders.child_keys(cut[0])) == 1, "whoever is called downstream knows that it is the same"
    assert (code(unknown), orders.done()[cut[1]]) == ("outcome-unknown", 1)
    assert orders.why(cut[1]) == "drain"


def test_control_a_killed_process_hands_over_nothing(orders: Orders, after: httpx.Client) -> None:
    cut = ("killed-external", "killed-unsafe")
    with cut_off(orders, "gthread", after, cut) as server:
        os.killpg(server.process.pid, signal.SIGKILL)
    for effects, order in zip(("external", "unsafe"), cut, strict=True):
        assert (code(post(after, effects, order)), orders.done()[order]) == ("in-progress", 1)


@contextlib.contextmanager
def cut_off(orders: Orders, name: str, after: httpx.Client, cut: tuple[str, str]) -> Iterator[Server]:
    """Serve an ``external`` and an ``unsafe`` order that will not end in time, each in a worker of its own."""
    with ThreadPoolExecutor(2) as pool, orders.serve(name, 2, ZDD_IDEMPOTENCY_LEASE=LONG) as (server, before):
        for effects, order in zip(("external", "unsafe"), cut, strict=True):
            pool.submit(_ignoring, before, effects, order)
            orders.wait_for(order)
            assert code(post(after, effects, order)) == "in-progress"
        yield server


def _ignoring(client: httpx.Client, effects: str, order: str) -> None:
    with contextlib.suppress(httpx.HTTPError):
        post(client, effects, order, 60.0)
