"""Durations and sizes as people write them."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zdd_sdk.settings.units import format_duration, format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("15s", 15), ("500ms", 0.5), ("10m", 600), ("1h30m", 5400), ("14d", 1209600), ("2", 2), (0.25, 0.25), ("0s", 0)],
)
def test_durations(text: str | float, seconds: float) -> None:
    assert seconds == parse_duration(text)


@pytest.mark.parametrize(("text", "size"), [("64KiB", 65536), ("1MB", 1_000_000), ("12", 12), ("1.5KiB", 1536)])
def test_sizes(text: str, size: int) -> None:
    assert size == parse_size(text)


@pytest.mark.parametrize("text", ["", "fast", "-1s", "5 parsecs", "1s junk", "inf", "nan", True, "1hs"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be finite|is not a duration"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["", "big", "-1KiB", "1.5B", "3 kib"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be finite|is not"):
        parse_size(text)


@given(st.integers(0, 10**9))
def test_written_durations_read_back(milliseconds: int) -> None:
    assert parse_duration(format_duration(milliseconds / 1000)) == pytest.approx(milliseconds / 1000, rel=1e-5)


@given(st.integers(0, 2**50))
def test_written_sizes_read_back(size: int) -> None:
    assert size == parse_size(format_size(size))


@given(st.text())
def test_any_text_is_a_duration_or_a_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert parse_duration(text) >= 0
