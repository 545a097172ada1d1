"""SIGKILL of a real server at every crash point, in every way to commit, on every database: one effect per key.

A sample: of the five points each cell gets two, so that all of them are met on each database and with each style.
``ZDD_TEST_ALL_KILLS=1`` takes all.
"""

import os

import pytest

from tests.integrations.sqlalchemy.applications import FASTAPI, FLASK, POINTS
from tests.integrations.sqlalchemy.conftest import KINDS, new_key

pytestmark = [pytest.mark.xdist_group("databases"), pytest.mark.timeout(600)]

STYLES = {"fastapi": FASTAPI, "flask": FLASK}
LATE = ("sync-request", "async-request", "teardown")
"""Here the answer is made before the commit, so that its bytes go along with it."""


def cells(framework: str, kind: str) -> list[tuple[str, str]]:
    if os.environ.get("ZDD_TEST_ALL_KILLS"):
        return [(style, point) for style in STYLES[framework] for point in POINTS]
    first = KINDS.index(kind)
    return [
        (style, POINTS[(first + turn + step) % len(POINTS)])
        for turn, style in enumerate(STYLES[framework])
        for step in (0, 2)
    ]


def kill_and_retry(shop, cells):
    """Kill the server once per cell, then order again until there is an answer; by cell: key and answer."""
    keys = {cell: new_key() for cell in cells}
    for (style, point), key in keys.items():
        assert shop.order(style, key, crash=point) is None, f"{style} survived {point}"
    return {cell: (key, shop.order_until_done(cell[0], key)) for cell, key in keys.items()}


@pytest.mark.parametrize("framework", STYLES)
def test_one_effect_per_key_and_control_two_without_guard_rows(framework, database, redis, serve):
    guarded, control = cells(framework, database.kind), [("repeating", "committing"), ("repeating", "committed")]
    with serve(framework, database, redis, SHOP_ARMED="1") as shop:
        found = kill_and_retry(shop, guarded + control)
        again = {cell: shop.order(cell[0], key).content for cell, (key, _) in found.items()}
    effects = {cell: database.orders(key) for cell, (key, _) in found.items()}
    assert {cell: effects[cell] for cell in guarded} == dict.fromkeys(guarded, 1)
    assert [effects[cell] for cell in control] == [1, 2]
    for style, point in guarded:
        key, answer = found[style, point]
        if point == "committed" and style not in LATE:
            assert answer.status_code == 409, (style, point)
            assert "idempotency-outcome-committed" in answer.json()["type"]
        else:
            assert (answer.status_code, answer.json()) == (200, {"key": key}), (style, point)
            assert ("idempotent-replayed" in answer.headers) == (point in ("committed", "kept")), (style, point)
        assert again[style, point] == answer.content
