"""SIGKILL at every crash point of an idempotent view, and a client that sends it again: one effect, and its answer."""

from __future__ import annotations

import json
import os
import random
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integrations.django.databases import described
from tests.integrations.django.killing import POINTS, Killing, start

pytestmark = pytest.mark.timeout(600)

STYLES = {
    "own": ("/pay/stateless", {}),
    "own, ASGI": ("/pay/stateless", {"handler": "asgi"}),
    "own, REST": ("/pay/rest-function", {}),
    "ATOMIC_REQUESTS": ("/pay/stateless", {"atomic": True}),
    "ATOMIC_REQUESTS, ASGI": ("/pay/decorated", {"atomic": True, "handler": "asgi"}),
    "ATOMIC_REQUESTS, template": ("/pay/stateless?then=template", {"atomic": True}),
    "ATOMIC_REQUESTS, REST": ("/pay/rest-function", {"atomic": True}),
}
"""Who commits: the bracket's own transaction, or Django's around the view; and what kind of answer."""

LATE = {"own, REST", "ATOMIC_REQUESTS, REST", "ATOMIC_REQUESTS, template"}
"""Their bytes do not exist before the commit."""

SEVERAL = 12
"""Random kills for each style; every point has been met long before by the tests above them."""


@pytest.fixture(
    scope="module",
    params=[
        "sqlite",
        pytest.param("postgresql", marks=pytest.mark.xdist_group("databases")),
        pytest.param("mariadb", marks=pytest.mark.xdist_group("databases")),
    ],
)
def killing(request: pytest.FixtureRequest, tmp_path_factory: Any, redis: str) -> Iterator[Killing]:
    if request.param == "sqlite":
        folder: Path = tmp_path_factory.mktemp("killed")
        entry: dict[str, Any] = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(folder / "db")}
    else:
        entry = described(request.getfixturevalue(f"{request.param}_server"))
    with start(request.param, entry, redis) as started:
        yield started


@pytest.fixture(scope="module")
def redis() -> Iterator[str]:
    from zdd_sdk.store.engine import start_engine

    with start_engine() as engine:
        yield engine.url


def effects(killing: Killing, key: str) -> int:
    answer = killing.ask(f"/paid?key={key}", key)
    assert answer is not None
    return int(answer["body"])


def cells(killing: Killing) -> list[tuple[str, str]]:
    """Every style with every point; on the servers a sample that has each of them, unless all are wanted."""
    if killing.kind == "sqlite" or os.environ.get("ZDD_TEST_ALL_KILLS"):
        return [(style, point) for style in STYLES for point in POINTS]
    first = len(killing.kind)
    return [
        (style, POINTS[(first + turn + step) % len(POINTS)]) for turn, style in enumerate(STYLES) for step in (0, 3)
    ]


def test_one_effect(killing: Killing):
    keys = {cell: str(uuid.uuid4()) for cell in cells(killing)}
    for (style, point), key in keys.items():
        path, more = STYLES[style]
        assert killing.ask(path, key, point, **more) is None, (style, point)
    killed = {cell: effects(killing, key) for cell, key in keys.items()}
    assert killed == {cell: cell[1] in ("committed", "kept", "settled") for cell in keys}
    for (style, point), key in keys.items():
        path, more = STYLES[style]
        check(style, point, [killing.ask_until_done(path, key, **more) for _ in range(2)])
    assert {cell: effects(killing, key) for cell, key in keys.items()} == dict.fromkeys(keys, 1)


def check(style: str, point: str, answers: list[dict[str, Any]]) -> None:
    done, again = answers
    if point == "committed" and style in LATE:
        assert "idempotency-outcome-committed" in done["body"], (style, point, done)
    else:
        known = point in ("committed", "kept", "settled")
        assert done["status"] == 201, (style, point, done)
        assert (done["headers"].get("Idempotent-Replayed") == "true") is known, (style, point)
    assert again["body"] == done["body"], (style, point)


def test_the_policy_of_the_peers_pays_twice(killing: Killing):
    """The same view without guard row, run again when the lease has lapsed."""
    found = {}
    for point in ("effect", "committed", "settled"):
        key = str(uuid.uuid4())
        assert killing.ask("/pay/repeating", key, point) is None
        assert killing.ask_until_done("/pay/repeating", key)["status"] == 201
        found[point] = effects(killing, key)
    assert found == {"effect": 1, "committed": 2, "settled": 1}


@pytest.mark.parametrize("style", ["own", "ATOMIC_REQUESTS, REST"])
def test_killed_at_any_moment(killing: Killing, style: str):
    path, more = STYLES[style]
    chance = random.Random(style)
    for _ in range(SEVERAL):
        key = str(uuid.uuid4())
        for _ in range(2):
            killing.ask(path, key, after=chance.uniform(0.0, 0.15), **more)
        done = killing.ask_until_done(path, key, **more)
        assert done["status"] == 201 or "idempotency-outcome-committed" in done["body"]
        assert effects(killing, key) == 1


def test_redis_away(killing: Killing):
    """Killed with Redis there, sent again when it is gone: the guard row alone answers."""
    path, key = "/pay/stateless", str(uuid.uuid4())
    assert killing.ask(path, key, "kept") is None
    for _ in range(2):
        answer = killing.ask(path, key, redis="redis://127.0.0.1:1")
        assert answer is not None
        assert (answer["status"], answer["headers"]["Idempotent-Replayed"]) == (201, "true")
    key = str(uuid.uuid4())
    first = killing.ask(path, key, redis="redis://127.0.0.1:1")
    again = killing.ask(path, key, redis="redis://127.0.0.1:1")
    assert first is not None
    assert again is not None
    assert (first["status"], again["body"]) == (201, first["body"])
    assert effects(killing, key) == 1
    unguarded = killing.ask("/pay/unguarded", str(uuid.uuid4()), redis="redis://127.0.0.1:1")
    assert unguarded is not None
    assert (unguarded["status"], json.loads(unguarded["body"])["type"]) == (503, "urn:zdd:idempotency-unavailable")
