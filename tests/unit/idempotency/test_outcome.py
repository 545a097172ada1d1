"""What becomes of a key, as a table: each row a promise of ``docs/idempotency.md``."""

from __future__ import annotations

from typing import Any

import pytest

from zdd_sdk.idempotency.outcome import Ending, judge


@pytest.mark.parametrize(
    ("effects", "ending", "verb"),
    [
        ("external", {"status": 201}, "complete"),
        ("external", {"status": 404}, "complete"),
        ("external", {"status": 429}, "release"),
        ("external", {"status": 500}, "release"),
        ("external", {"status": 200, "answered": False, "whole": False}, "release"),
        ("external", {"status": 409, "refused": True}, "release"),
        ("pure", {"status": 503}, "release"),
        ("unsafe", {"status": 201}, "complete"),
        ("unsafe", {"status": 403}, "hold"),
        ("unsafe", {"status": 429}, "hold"),
        ("unsafe", {"status": 429, "nothing_done": True}, "release"),
        ("unsafe", {"status": 408}, "hold"),
        ("unsafe", {"status": 503}, "hold"),
        ("unsafe", {"status": 500}, "hold"),
        ("unsafe", {"status": 409, "refused": True}, "hold"),
        ("unsafe", {"status": 200, "answered": False, "whole": False}, "complete"),
        ("db", {"status": 201, "committed": True}, "complete"),
        ("db", {"status": 500, "committed": True}, "complete"),
        ("db", {"status": 201, "committed": False}, "hold"),
        ("db", {"status": 201, "committed": False, "answered": False}, "hold"),
        ("db", {"status": 200, "committed": False, "answered": False, "whole": False}, "release"),
        ("db", {"status": 200, "committed": False, "nothing_done": True}, "complete"),
        ("db", {"status": 409, "committed": False}, "complete"),
        ("db", {"status": 500, "committed": False}, "release"),
    ],
)
def test_table(effects: Any, ending: dict[str, Any], verb: str) -> None:
    assert judge(effects, Ending(**ending)).verb == verb


def test_an_effect_that_is_there_is_completed_also_without_an_answer_to_keep() -> None:
    assert judge("db", Ending(500, committed=True)).answer is False
    assert judge("db", Ending(201, committed=True, answered=False)).answer is False
    assert judge("db", Ending(201, committed=True)).answer is True


def test_a_failed_unsafe_run_may_keep_its_5xx() -> None:
    assert judge("unsafe", Ending(500), on_error="store").verb == "complete"
    assert judge("unsafe", Ending(429), on_error="store").verb == "hold"
