"""Frames outlive releases: newer is a typed error, never absent, never garbage."""

from __future__ import annotations

import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zdd_sdk.errors import RecordError, RecordTooNew, RecordUndecodable
from zdd_sdk.store.record import decode, encode, frame, unframe


class Row(msgspec.Struct):
    name: str
    count: int = 0


def test_a_value_comes_back() -> None:
    assert Row("a", 2) == decode(encode(Row("a", 2)), Row)


def test_fields_of_a_newer_release_are_ignored() -> None:
    assert Row("a") == decode(encode({"name": "a", "colour": "red"}), Row)


def test_formats() -> None:
    assert (1, b"x") == unframe(frame(b"x"))
    assert (1, b"x") == unframe(frame(b"x", format=1), newest=2)
    with pytest.raises(RecordTooNew, match="format 2"):
        unframe(frame(b"x", format=2))
    with pytest.raises(RecordUndecodable):
        unframe(frame(b"x", format=1), newest=3)
    with pytest.raises(RecordTooNew, match="flags"):
        unframe(b"\x01\x80x")


@given(st.binary(max_size=64))
def test_any_bytes_are_a_row_or_a_record_error(data: bytes) -> None:
    with contextlib.suppress(RecordError):
        decode(data, Row)
