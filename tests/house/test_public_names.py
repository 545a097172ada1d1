"""What users can import changes on purpose only: after a change that was meant, ``make api``."""

from __future__ import annotations

import sys
import types

import pytest

from tests.house import public_names


def test_public_names_are_as_written_down():
    assert public_names.render() == public_names.SNAPSHOT.read_text(encoding="utf-8"), "was it meant? then: make api"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (lambda a, b: None, lambda a: None),
        (lambda a, b: None, lambda a, *, b: None),
        (lambda a, b=1: None, lambda a, b: None),
    ],
    ids=["parameter gone", "keyword only", "default gone"],
)
def test_control_a_changed_function_is_seen(monkeypatch, before, after):
    face = types.ModuleType("face")
    face.__all__ = ["function"]
    monkeypatch.setitem(sys.modules, "face", face)
    face.function = before
    first = public_names.render(("face",))
    face.function = after
    assert public_names.render(("face",)) != first
