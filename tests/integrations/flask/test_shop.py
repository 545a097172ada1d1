"""The example shop, served for real by gunicorn and by granian: two releases, one Redis, one database, one cookie."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from shop import scenario
from tests.servers.start import ZDD, free_port, starting
from zdd_sdk.rehearsal import Target
from zdd_sdk.rehearsal.routers.base import Backend
from zdd_sdk.rehearsal.user import InvariantBroken
from zdd_sdk.store.engine import start_engine

pytestmark = [pytest.mark.xdist_group("shop_flask"), pytest.mark.timeout(240)]

GUNICORN = (
    "serve", "gunicorn", "--chdir", "docs/examples", "--worker-class", "gthread", "--threads", "8",
    "--bind", "127.0.0.1:{port}", "shop_flask.app:app",
)  # fmt: skip
GRANIAN = (
    "serve", "granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", "{port}", "shop_flask.app:app",
)  # fmt: skip


@contextlib.contextmanager
def served(server: tuple[str, ...], version: str, directory: Path, **environ: str) -> Iterator[Backend]:
    """One instance of the shop, ready; stopped at once afterwards."""
    port = free_port()
    everything = {
        "PYTHONPATH": os.pathsep.join((".", "integrations", "docs/examples")),
        "ZDD_RELEASE_VERSION": version,
        "ZDD_ENVIRONMENT": "test",
        "ZDD_SECRET": "s" * 32,
        "SHOP_DB": str(directory / "shop.db"),
        **environ,
    }
    words = [*ZDD, *(word.format(port=port) for word in server)]
    workers = 0 if "ZDD_MODE" in environ else 1
    with starting(words, directory / version, port=port, environ=everything, workers=workers, seconds=120):
        yield Backend(release=version, port=port)


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Backend, Backend]]:
    """Release 1 under gunicorn and release 2 under granian, as in the middle of a deployment."""
    directory = tmp_path_factory.mktemp("shop")
    with (
        start_engine() as engine,
        served(GUNICORN, "1", directory, ZDD_REDIS_URL=engine.url) as old,
        served(GRANIAN, "2", directory, ZDD_REDIS_URL=engine.url) as new,
    ):
        yield old, new


@pytest.fixture
def browser(releases: tuple[Backend, Backend]) -> Iterator[tuple[httpx.Client, str, str]]:
    """A browser, and where the old and the new release are; cookies do not care about ports."""
    with httpx.Client(timeout=60) as client:
        yield client, *(f"http://127.0.0.1:{backend.port}" for backend in releases)  # type: ignore[misc]


class Wanderer(Target):
    """A virtual user each of whose requests goes to either release."""

    def __init__(self, backends: tuple[Backend, Backend]) -> None:
        super().__init__(backends[0], Path())
        self._backends = backends

    async def _ask(self, user: Any, request: Any) -> Any:
        self._backend = self.random.choice(self._backends)
        return await super()._ask(user, request)


def test_it_answers_as_the_shop_does(browser: tuple[httpx.Client, str, str]) -> None:
    client, old, new = browser
    assert {"shop": "open", "release": "1"} == client.get(f"{old}/").json()
    assert 450 == client.get(f"{new}/products").json()["tea"]
    assert not client.cookies
    client.post(f"{old}/cart/items", json={"sku": "mug", "quantity": 2})
    known = client.post(f"{new}/login", json={"user": "kim", "greeting": "Hi", "currency": "KRW"}).json()
    assert {"user": "kim", "release": "2", "visits": 0, "currency": "KRW"} == known
    assert {"mug": 2} == client.get(f"{old}/cart").json()
    assert [1, 2, 3] == [client.get(f"{url}/me").json()["visits"] for url in (old, new, old)]
    order = client.post(
        f"{old}/orders", json={"reference": "kim-1", "items": {"tea": 2}}, headers={"Idempotency-Key": "one"}
    )
    assert (201, 900, "kim") == (order.status_code, order.json()["total"], order.json()["customer"])
    assert ({}, ["kim-1"]) == (
        client.get(f"{new}/cart").json(),
        [order["reference"] for order in client.get(f"{new}/orders").json()],
    )
    assert 0 == client.get(f"{new}/audit").json()["duplicates"]
    assert {"logged_out": True} == client.post(f"{new}/logout").json()
    assert [None, None] == [client.get(f"{url}/me").json()["user"] for url in (new, old)]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/orders", {"reference": "x", "items": {}}, 401),
        ("/cart/items", {"sku": "yacht", "quantity": 1}, 404),
        ("/cart/items", {"sku": "tea", "quantity": -1}, 422),
        ("/cart/items", {"sku": "tea", "quantity": "many"}, 422),
        ("/login", {"user": ""}, 422),
        ("/login", {"user": "x" * 65}, 422),
        ("/nowhere", {}, 404),
    ],
)
def test_bad_input_has_a_clear_answer(
    browser: tuple[httpx.Client, str, str], path: str, body: dict[str, Any], status: int
) -> None:
    client, old, _ = browser
    answer = client.post(f"{old}{path}", json=body)
    assert status == answer.status_code
    assert answer.json()["detail"]


def test_shopper_loses_nothing_between_two_releases(releases: tuple[Backend, Backend]) -> None:
    async def visit() -> None:
        user = Wanderer(releases)
        for _ in range(12):
            await scenario.shopper(user)

    asyncio.run(visit())


def test_shopper_notices_what_is_lost_without_the_sdk(tmp_path: Path) -> None:
    """The negative control: sessions in each process, so that every other request knows nobody."""

    async def visit(both: tuple[Backend, Backend]) -> list[str]:
        user, broken = Wanderer(both), []
        for _ in range(12):
            try:
                await scenario.shopper(user)
            except InvariantBroken as found:
                broken.append(found.kind)
        return broken

    with (
        served(GUNICORN, "1", tmp_path, ZDD_MODE="stock") as old,
        served(GRANIAN, "2", tmp_path, ZDD_MODE="stock") as new,
    ):
        assert {"field", "login"} <= set(asyncio.run(visit((old, new))))
