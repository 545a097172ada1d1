"""The example shop, served for real by uvicorn and by gunicorn: two releases, one Redis, one database, one cookie."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from shop import scenario
from tests.servers.start import ZDD, free_port, starting
from zdd_sdk.rehearsal import Target
from zdd_sdk.rehearsal.routers.base import Backend
from zdd_sdk.rehearsal.user import InvariantBroken
from zdd_sdk.store.engine import start_engine

pytestmark = [pytest.mark.xdist_group("shop_django"), pytest.mark.timeout(240)]

UVICORN = ("serve", "uvicorn", "shop_django.asgi:application", "--app-dir", "docs/examples", "--port", "{port}")
GUNICORN = (
    "serve", "gunicorn", "--chdir", "docs/examples", "--worker-class", "gthread", "--threads", "8",
    "--bind", "127.0.0.1:{port}", "shop_django.wsgi:application",
)  # fmt: skip


@contextlib.contextmanager
def served(
    server: tuple[str, ...], version: str, directory: Path, workers: int = 1, **environ: str
) -> Iterator[Backend]:
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
    with starting(words, directory / version, port=port, environ=everything, workers=workers):
        yield Backend(release=version, port=port)


def migrate(directory: Path) -> None:
    """Make the tables, as a deployment does before its first instance."""
    environ = {"SHOP_DB": str(directory / "shop.db"), "PYTHONPATH": os.pathsep.join((".", "integrations"))}
    words = [sys.executable, "docs/examples/shop_django/manage.py", "migrate", "--verbosity", "0"]
    subprocess.run(words, env={**os.environ, **environ}, check=True, timeout=60)


@pytest.fixture(scope="module")
def releases(tmp_path_factory) -> Iterator[tuple[Backend, Backend]]:
    """Release 1 under uvicorn and release 2 under gunicorn, as in the middle of a deployment."""
    directory = tmp_path_factory.mktemp("shop")
    migrate(directory)
    with (
        start_engine() as engine,
        served(UVICORN, "1", directory, ZDD_REDIS_URL=engine.url) as old,
        served(GUNICORN, "2", directory, ZDD_REDIS_URL=engine.url) as new,
    ):
        yield old, new


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


def test_it_answers_as_the_shop_does(browser):
    client, old, new = browser
    assert client.get(f"{old}/").json() == {"shop": "open", "release": "1"}
    assert client.get(f"{new}/products").json()["tea"] == 450
    assert not client.cookies
    assert client.post(f"{old}/cart/items", json={"sku": "mug", "quantity": 2}).json() == {"mug": 2}
    known = client.post(f"{new}/login", json={"user": "lee", "currency": "KRW"}).json()
    assert known == {"user": "lee", "release": "2", "visits": 0, "currency": "KRW"}
    assert client.get(f"{old}/cart").json() == {"mug": 2}
    assert [client.get(f"{url}/me").json()["visits"] for url in (old, new, old, new)] == [1, 2, 3, 4]
    answer = client.post(
        f"{old}/orders", json={"reference": "lee-1", "items": {"tea": 2}}, headers={"Idempotency-Key": "one"}
    )
    assert (answer.status_code, answer.json()["total"]) == (201, 900)
    assert client.get(f"{new}/cart").json() == {}
    assert [order["reference"] for order in client.get(f"{new}/orders").json()] == ["lee-1"]
    assert client.post(f"{new}/logout").json() == {"logged_out": True}
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
    client, *urls = browser
    for url in urls:
        answer = client.post(f"{url}{path}", json=body)
        assert answer.status_code == status
        assert answer.json()["detail"]


def test_shopper_loses_nothing_between_two_releases(releases):
    async def visit() -> None:
        user = Wanderer(releases)
        for _ in range(12):
            await scenario.shopper(user)

    asyncio.run(visit())


def test_shopper_notices_what_is_lost_without_the_sdk(tmp_path):
    """The negative control: sessions in each process, so that every other request knows nobody."""
    migrate(tmp_path)

    async def visit(both: tuple[Backend, Backend]) -> set[str]:
        user, broken = Wanderer(both), set()
        for _ in range(12):
            try:
                await scenario.shopper(user)
            except InvariantBroken as found:
                broken.add(found.kind)
        return broken

    with (
        served(UVICORN, "1", tmp_path, workers=0, ZDD_MODE="stock") as old,
        served(UVICORN, "2", tmp_path, workers=0, ZDD_MODE="stock") as new,
    ):
        assert {"field", "login"} <= asyncio.run(visit((old, new)))


def test_a_misconfigured_service_refuses_to_serve(tmp_path):
    environ = {"ZDD_ENVIRONMENT": "production", "ZDD_REDIS_URL": "", "ZDD_SECRET": "s" * 32}
    for server in (UVICORN, GUNICORN):
        with pytest.raises(AssertionError, match="redis_url"), served(server, "1", tmp_path, **environ):
            pass
