"""The measurement of CPU per ask runs; its figures are read by people, not gated."""

from __future__ import annotations

from tests.bench.store_cpu import measure


def test_the_table_has_a_figure_for_each_store_and_peer() -> None:
    results = measure(asks=50, rounds=1)
    assert set(results) == {"blocking", "asyncio"}
    assert all(figure > 0 for pair in results.values() for figure in pair)
