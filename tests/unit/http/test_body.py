"""What a body says does not depend on how it arrives, nor on what clients draw anew for each attempt."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zdd_sdk.http import body
from zdd_sdk.http.body import Content, RequestBody, canonical_json
from zdd_sdk.store import finish

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
BOUNDARY = st.text("abcdefXYZ0123456789'()+_,-./:=?", min_size=1, max_size=20)
MULTIPART = "multipart/form-data"


def content(content_type: str, *chunks: bytes, **options: Any) -> Content:
    body = RequestBody(content_type, **options)
    for chunk in chunks:
        body.feed(chunk)
    body.end()
    return finish(body.whole())


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """Cut into chunks at some places, some of them empty."""
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


def multipart(boundary: str, parts: list[bytes]) -> bytes:
    opened = b"".join(b"--%b\r\n\r\n%b\r\n" % (boundary.encode(), part) for part in parts)
    return opened + b"--%b--\r\n" % boundary.encode()


def typed(boundary: str) -> str:
    return f'{MULTIPART}; boundary="{boundary}"'


@given(st.binary(max_size=300), st.lists(st.integers(0, 10_000), max_size=8), st.sampled_from(["", "text/plain"]))
def test_any_chunking_says_the_same(data: bytes, places: list[int], kind: str):
    assert content(kind, *cut(data, places)) == content(kind, data)


@given(BOUNDARY, st.lists(st.binary(max_size=30), max_size=4), st.lists(st.integers(0, 10_000), max_size=12))
def test_any_chunking_of_a_multipart_body_says_the_same(boundary: str, parts: list[bytes], places: list[int]):
    data = multipart(boundary, parts)
    assert content(typed(boundary), *cut(data, places)).digest == content(typed(boundary), data).digest


@given(st.lists(st.sampled_from([b"--", b"-", b"aa", b"a", b"--aa", b"--aaa", b"x"]), max_size=12))
def test_begins_of_boundaries_that_lead_nowhere(pieces: list[bytes]):
    data = b"".join(pieces)
    assert content(typed("aaa"), *(data[at : at + 1] for at in range(len(data)))) == content(typed("aaa"), data)


@given(st.lists(st.binary(max_size=60), min_size=1, max_size=4))
def test_multipart_bodies_that_differ_only_in_the_boundary_are_equal(parts: list[bytes]):
    first, second = "----WebKitFormBoundary7MA4YWxkTrZu0gW", "c0ffee"
    if any(b"--c0ffee" in part for part in parts):
        return
    one, other = content(typed(first), multipart(first, parts)), content(typed(second), multipart(second, parts))
    assert one.digest == other.digest


@given(st.lists(st.binary(max_size=20), max_size=4), st.lists(st.binary(max_size=20), max_size=4))
def test_other_parts_are_another_body(parts: list[bytes], others: list[bytes]):
    same = parts == others
    drawn = "f47ac10b58cc4372a567"
    first, second = (content(typed(drawn), multipart(drawn, each)) for each in (parts, others))
    assert (first.digest == second.digest) is same


def test_bytes_cannot_move_from_one_part_to_the_next():
    one = content(typed("B"), b"ab--B" + b"c")
    assert content(typed("B"), b"a--B" + b"bc").digest != one.digest
    assert content(typed("B"), b"ab--Bc").digest == one.digest


def test_bytes_cannot_move_between_earlier_parts_either():
    found = {content(typed("B"), data).digest for data in (b"ab--B--Bc", b"a--Bb--Bc", b"--Bab--Bc", b"ab--Bc")}
    assert len(found) == 4


def test_control_without_its_boundary_a_multipart_body_is_compared_byte_by_byte():
    first, second = (content(MULTIPART, multipart(boundary, [b"x"])) for boundary in ("one", "two"))
    assert first.digest != second.digest


@pytest.mark.parametrize("header", [typed("a b"), f"{MULTIPART}; boundary=ab", f"{MULTIPART};charset=x;boundary=ab"])
def test_how_a_boundary_is_written(header: str):
    boundary = "a b" if "a b" in header else "ab"
    assert content(header, multipart(boundary, [b"1"])).digest == content(typed("q"), multipart("q", [b"1"])).digest


# JSON


def canonical(data: bytes, kind: str = "application/json") -> bytes | None:
    return content(kind, data).canonical()


@given(JSON, st.booleans(), st.sampled_from([None, 1, "\t"]), st.booleans())
def test_json_of_any_spelling_says_the_same(value: Any, escaped: bool, indent: Any, upside_down: bool):
    def turned(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: turned(value[name]) for name in (reversed(value) if upside_down else value)}
        return [turned(one) for one in value] if isinstance(value, list) else value

    one = json.dumps(value, separators=(",", ":")).encode()
    other = json.dumps(turned(value), ensure_ascii=escaped, indent=indent).encode("utf-8", "surrogatepass")
    if b"\\ud" not in one:
        assert canonical(one) == canonical(other) is not None


@given(JSON, JSON)
def test_other_values_are_other_json(one: Any, other: Any):
    first, second = json.dumps(one, sort_keys=True), json.dumps(other, sort_keys=True)
    found = canonical_json(first.encode()), canonical_json(second.encode())
    if None not in found and found[0] == found[1]:
        assert one == other


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("10.00", "10"),
        ("1e2", "100"),
        ("-0.0", "0"),
        ("0.10", "1e-1"),
        ("1E+30", "1e30"),
        ("12345678901234567890.5", "123456789012345678905e-1"),
    ],
)
def test_numbers_of_one_value(one: str, other: str):
    assert canonical_json(one.encode()) == canonical_json(other.encode()) is not None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("10.00", "10.01"),
        ("1", '"1"'),
        ("9007199254740993", "9007199254740992"),
        ("0.1", "0.10000000000000000001"),
        ("12345678901234567890.5", "12345678901234567890.6"),
        ("1e999999999", "1e999999998"),
        ("1e99999999999999999999999", "1e99999999999999999999998"),
        ("null", "0"),
        ("[]", "{}"),
    ],
)
def test_amounts_that_differ(one: str, other: str):
    """Two of them would be one as doubles, which RFC 8785 compares."""
    found = canonical_json(one.encode()), canonical_json(other.encode())
    assert found[0] != found[1]
    assert None not in found


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[1,]", b"NaN", b"\xff", b"\xef\xbb\xbf{}", b'"\\ud800"', b"[" * 100_000, b"9" * 5000]
)
def test_what_is_no_json_is_compared_byte_by_byte(data: bytes):
    found = content("application/json", data)
    assert found.canonical() is None
    assert found.digest == content("text/plain", data).digest
    with pytest.raises(ValueError):
        found.decoded()


@pytest.mark.parametrize(
    "kind", ["application/json", "Application/JSON; charset=utf-8", "application/merge-patch+json"]
)
def test_media_types_of_json(kind: str):
    assert canonical(b"[1 ]", kind) == b"[1]"


@pytest.mark.parametrize("kind", ["", "text/plain", "application/jsonl", "application/x-www-form-urlencoded"])
def test_other_media_types(kind: str):
    assert canonical(b"[1 ]", kind) is None


# Bounds


def test_beyond_the_cap_there_is_only_a_digest():
    data = json.dumps({"a": "x" * 100}).encode()
    found = content("application/json", data[:50], data[50:], cap=100)
    assert found.kept is None
    assert found.canonical() is None
    assert found.length == len(data)
    assert found.digest == content("application/json", data).digest
    assert content("application/json", data, cap=len(data)).canonical() is not None


def test_only_what_has_to_be_understood_is_kept():
    assert content("text/plain", b"x").kept is None
    assert content(typed("B"), b"x").kept is None
    assert content("application/json", b"1").kept == b"1"


def test_fields_of_a_form():
    form = content("application/x-www-form-urlencoded", b"a=1&b=&a=2")
    assert form.decoded() == {"a": ["1", "2"], "b": [""]}


def test_whole_reads_the_rest_once():
    asked = []

    async def rest() -> None:
        asked.append(1)
        body.feed(b"cd")
        body.end()

    body = RequestBody("text/plain", rest)
    body.feed(b"ab")
    assert finish(body.whole()) == finish(body.whole()) == content("text/plain", b"abcd")
    assert asked == [1]


@given(st.from_regex(r"-?(0|[1-9][0-9]{0,18})\.[0-9]{1,12}", fullmatch=True))
def test_the_short_way_to_write_a_number_is_the_exact_one(text: str):
    assert bytes(body._number(text)) == bytes(body._exactly(text))
