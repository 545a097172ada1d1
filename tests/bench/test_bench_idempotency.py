"""A sample of the long run, each class on one framework, with its control; and what its table makes of bad figures."""

import asyncio

import pytest

from tests.bench import bench_idempotency
from tests.bench.bench_idempotency import judge
from tests.bench.kills.clients import Order
from tests.bench.kills.tally import count
from zdd_sdk.rehearsal.user import Response

pytestmark = [pytest.mark.xdist_group("kills"), pytest.mark.timeout(300)]

SAMPLE = "--parts kills --database sqlite --killed 24 --control 8 --size 8"
CELLS = [
    ("fastapi", "db", "done,claimed,told"),
    ("flask", "external", "done,doing,random"),
    ("django", "unsafe", "kept,doing,before"),
]


@pytest.mark.parametrize(("framework", "effects", "points"), CELLS)
def test_killed_requests_have_one_effect_and_the_control_has_more(framework, effects, points, capsys):
    words = [*SAMPLE.split(), "--frameworks", framework, "--classes", effects, "--points", points]
    found = bench_idempotency.main(words)
    said = capsys.readouterr().out
    assert found == 0, said
    assert "all is as we claim" in said


DONE, AGAIN = Response(200, {}, b'{"run": 1}'), Response(200, {}, b'{"run": 2}')
UNKNOWN = Response(409, {}, b'{"type": "urn:zdd:idempotency-outcome-unknown"}')
COMMITTED = Response(409, {}, b'{"type": "urn:zdd:idempotency-outcome-committed"}')


# Found: effects, and calls.
@pytest.mark.parametrize(
    ("name", "answer", "again", "found", "wrong"),
    [
        ("db", DONE, DONE, (1, 1), []),
        ("db", COMMITTED, COMMITTED, (1, 1), []),
        ("unsafe", UNKNOWN, UNKNOWN, (1, 1), []),
        ("external", DONE, DONE, (1, 2), []),
        ("external-control", DONE, DONE, (2, 2), []),
        ("db", DONE, None, (2, 2), ["1 duplicates"]),
        ("db", DONE, None, (0, 0), ["1 lost"]),
        ("db", COMMITTED, None, (0, 0), ["1 lost"]),
        ("db", DONE, AGAIN, (1, 1), ["1 changed answers"]),
        ("db", None, None, (1, 1), ["1 stuck"]),
        ("db", UNKNOWN, None, (1, 1), ["1 unknown"]),
        ("external", DONE, None, (2, 2), ["1 duplicates"]),
        ("unsafe", DONE, None, (1, 2), ["1 second runs"]),
        ("db-control", DONE, None, (1, 1), ["the control has done nothing twice"]),
    ],
)
def test_what_is_not_as_claimed_is_said(name, answer, again, found, wrong):
    async def made():
        return Order("k", killed=1, answer=answer, again=again)

    tally = count([asyncio.run(made())], {"k": found[0]}, {"k": found[1]})
    assert judge(name, tally, {"done": 1}) == wrong
    missed = [] if name.endswith("control") else ["nobody was killed at 'told'"]
    assert judge(name, tally, {"done": 1, "told": 0}) == missed + wrong
