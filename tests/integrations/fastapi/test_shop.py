"""The example shop, served for real: two releases, one Redis, one database, one cookie."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from websockets.sync.client import connect

from shop import scenario
from shop.ledger import Audit, Ledger, audit
from zdd_sdk.rehearsal import Target
from zdd_sdk.rehearsal.routers.base import Backend
from zdd_sdk.rehearsal.user import InvariantBroken
from zdd_sdk.store.engine import start_engine

pytestmark = [pytest.mark.xdist_group("shop"), pytest.mark.timeout(120)]

COMMAND = [sys.executable, "-c", "from zdd_sdk.cli import main; raise SystemExit(main())", "serve", "uvicorn"]
SHOP = ["shop_fastapi.app:app", "--app-dir", "docs/examples", "--log-level", "warning"]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextmanager
def served(version: str, **environ: str) -> Iterator[Backend]:
    """One instance of the shop, ready; stopped at once afterwards."""
    port = free_port()
    path = os.pathsep.join((".", "integrations"))
    everything = {**os.environ, "PYTHONPATH": path, "ZDD_RELEASE_VERSION": version, **environ}
    process = subprocess.Popen([*COMMAND, *SHOP, "--port", str(port)], env=everything)
    try:
        wait_until_ready(port, process)
        yield Backend(release=version, port=port)
    finally:
        process.kill()
        process.wait()


def wait_until_ready(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(300):
        assert process.poll() is None, "the shop has exited"
        try:
            if httpx.get(f"http://127.0.0.1:{port}/products").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    pytest.fail("the shop was not ready within 30 s")


@contextmanager
def both_releases(directory: Path, **environ: str) -> Iterator[tuple[Backend, Backend]]:
    environ = {"SHOP_DB": str(directory / "shop.db"), "ZDD_ENVIRONMENT": "test", "ZDD_SECRET": "s" * 32, **environ}
    with served("1", **environ) as old, served("2", **environ) as new:
        yield old, new


@pytest.fixture(scope="module")
def releases(tmp_path_factory) -> Iterator[tuple[Backend, Backend]]:
    """Release 1 and release 2 beside each other, as in the middle of a deployment."""
    with (
        start_engine() as engine,
        both_releases(tmp_path_factory.mktemp("shop"), ZDD_REDIS_URL=engine.url) as both,
    ):
        yield both


@pytest.fixture
def browser(releases) -> Iterator[tuple[httpx.Client, str, str]]:
    """A browser, and where the old and the new release are; cookies do not care about ports."""
    with httpx.Client() as client:
        yield client, *(f"http://127.0.0.1:{backend.port}" for backend in releases)


class Wanderer(Target):
    """A virtual user each of whose requests goes to either release."""

    def __init__(self, backends: tuple[Backend, Backend]) -> None:
        super().__init__(backends[0], Path())
        self._backends = backends

    async def _ask(self, user, request):
        self._backend = self.random.choice(self._backends)
        return await super()._ask(user, request)


def log_in(client, url, **more) -> dict[str, object]:
    return client.post(f"{url}/login", json={"user": "kim", "greeting": "Hi", "currency": "KRW", **more}).json()


def place(client, url, reference, *, key) -> httpx.Response:
    order = {"reference": reference, "items": {"tea": 2}}
    return client.post(f"{url}/orders", json=order, headers={"Idempotency-Key": key})


def test_catalogue_needs_no_session(browser):
    client, old, new = browser
    assert client.get(f"{old}/").json() == {"shop": "open", "release": "1"}
    assert client.get(f"{new}/products").json()["tea"] == 450
    assert not client.cookies


def test_login_holds_on_both_releases(browser):
    client, old, new = browser
    log_in(client, old)
    assert [client.get(f"{url}/me").json()["user"] for url in (old, new, old)] == ["kim", "kim", "kim"]


def test_field_that_the_new_release_drops_is_still_there_after_a_rollback(browser):
    client, old, new = browser
    log_in(client, old)
    assert "greeting" not in client.get(f"{new}/me").json()
    assert client.get(f"{old}/me").json()["greeting"] == "Hi"


def test_field_that_the_old_release_does_not_know_survives_it(browser):
    client, old, new = browser
    log_in(client, new)
    client.post(f"{old}/cart/items", json={"sku": "tea", "quantity": 1})
    assert "currency" not in client.get(f"{old}/me").json()
    assert client.get(f"{new}/me").json()["currency"] == "KRW"


def test_field_whose_type_changes_is_read_by_both(browser):
    client, old, new = browser
    log_in(client, old)
    assert [client.get(f"{url}/me").json()["visits"] for url in (old, new, old, new)] == [1, 2, 3, 4]


def test_cart_filled_as_a_stranger_stays_after_the_login(browser):
    client, old, new = browser
    client.post(f"{old}/cart/items", json={"sku": "mug", "quantity": 2})
    log_in(client, new)
    assert client.get(f"{old}/cart").json() == {"mug": 2}


def test_order_empties_the_cart_and_is_listed(browser):
    client, old, new = browser
    log_in(client, old, user="lee")
    client.post(f"{new}/cart/items", json={"sku": "tea", "quantity": 2})
    answer = place(client, old, "lee-1", key="lee-1")
    assert (answer.status_code, answer.json()["total"]) == (201, 900)
    assert client.get(f"{new}/cart").json() == {}
    assert [order["reference"] for order in client.get(f"{new}/orders").json()] == ["lee-1"]


def test_order_placed_twice_is_seen_by_the_audit(browser):
    client, old, new = browser
    log_in(client, old)
    before = client.get(f"{old}/audit").json()
    for url in (old, new):
        place(client, url, "twice", key=url)
    after = client.get(f"{new}/audit").json()
    assert after == {"orders": before["orders"] + 2, "duplicates": before["duplicates"] + 1}


def test_order_sent_twice_with_one_key_is_placed_once_by_either_release(browser):
    client, old, new = browser
    log_in(client, old)
    before = client.get(f"{old}/audit").json()
    first, again = (place(client, url, "once", key="once") for url in (old, new))
    assert (first.status_code, again.content) == (201, first.content)
    assert client.get(f"{new}/audit").json() == {**before, "orders": before["orders"] + 1}


def test_logout_holds_on_both_releases(browser):
    client, old, new = browser
    log_in(client, new)
    client.post(f"{old}/logout")
    assert [client.get(f"{url}/me").json()["user"] for url in (new, old)] == [None, None]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/orders", {"reference": "x", "items": {}}, 401),
        ("/cart/items", {"sku": "yacht", "quantity": 1}, 404),
        ("/cart/items", {"sku": "tea", "quantity": -1}, 422),
        ("/login", {"user": ""}, 422),
    ],
)
def test_bad_input_has_a_clear_answer(browser, path, body, status):
    client, old, _ = browser
    answer = client.post(f"{old}{path}", json=body)
    assert answer.status_code == status
    assert answer.json()["detail"]


def test_websocket_reads_the_session(browser):
    client, old, new = browser
    log_in(client, old)
    client.post(f"{old}/cart/items", json={"sku": "tray", "quantity": 3})
    cookies = {"Cookie": "; ".join(f"{name}={value}" for name, value in client.cookies.items())}
    with connect(f"{new.replace('http', 'ws')}/ws/updates", additional_headers=cookies) as socket_:
        socket_.send("now")
        assert json.loads(socket_.recv(10)) == {"user": "kim", "cart": {"tray": 3}, "release": "2"}


def test_shopper_loses_nothing_between_two_releases(releases):
    async def visit() -> None:
        user = Wanderer(releases)
        for _ in range(12):
            await scenario.shopper(user)

    asyncio.run(visit())


def test_shopper_notices_what_is_lost_without_the_sdk(tmp_path):
    """The negative control: sessions in each process, so that every other request knows nobody."""

    async def visit(both: tuple[Backend, Backend]) -> list[str]:
        user, broken = Wanderer(both), []
        for _ in range(12):
            try:
                await scenario.shopper(user)
            except InvariantBroken as found:
                broken.append(found.kind)
        return broken

    with both_releases(tmp_path, ZDD_MODE="stock") as both:
        assert {"field", "login"} <= set(asyncio.run(visit(both)))


def test_ledger_is_made_by_many_at_once(tmp_path):
    """Three instances start together on an empty folder."""
    path = str(tmp_path / "shop.db")
    code = (
        "import sys; from shop.ledger import Ledger, add\n"
        "with Ledger(sys.argv[1]).sessions() as session:\n"
        "    for number in range(30): add(session, f'{sys.argv[2]}-{number}', 'kim', 1)"
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join((".", "integrations", "docs/examples"))}
    writers = [subprocess.Popen([sys.executable, "-c", code, path, str(number)], env=environ) for number in range(3)]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    with Ledger(path).sessions() as session:
        assert audit(session) == Audit(orders=90, duplicates=0)
