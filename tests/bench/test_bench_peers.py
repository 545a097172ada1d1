"""Beside what people use today: no more trips and commands, fewer calls of functions to read, and no update lost.

What a machine or its load could change is not asserted; ``make bench-peers`` prints that.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.bench.bench_peers import PATHS, contender, count
from zdd_sdk.store.engine import Engine, start_engine
from zdd_sdk.testing.tap import RespTap

PEERS = {
    "Django, cache sessions": "Django, zdd",
    "Flask, Flask-Session": "Flask, zdd",
    "Starlette, starsessions": "Starlette, zdd",
}
RACES = 20


@pytest.fixture(scope="module")
def redis() -> Iterator[Engine]:
    with start_engine("auto") as engine:
        if engine.kind == "fakeredis":
            pytest.skip("the peers ask for what only a real engine does")
        yield engine


@pytest.mark.parametrize("peer", PEERS)
def test_we_ask_no_more_than_they_do(redis: Engine, peer: str) -> None:
    with RespTap(redis.url) as tap:
        ours, theirs = count(PEERS[peer], tap), count(peer, tap)
    for kind in PATHS:
        assert all(our <= their for our, their in zip(ours[kind], theirs[kind], strict=True)), kind


@pytest.mark.parametrize("peer", PEERS)
def test_reading_takes_fewer_calls_and_no_update_is_lost(redis: Engine, peer: str) -> None:
    with contender(PEERS[peer], redis.url) as ours, contender(peer, redis.url) as theirs:
        assert ours.do("calls", path="/read") < theirs.do("calls", path="/read")
        assert ours.do("race", rounds=RACES) == 0
        assert theirs.do("race", rounds=RACES) > 0
