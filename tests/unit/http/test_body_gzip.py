"""A compressed body says what lies in it: a client may compress anew for each attempt."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.http.test_body import content, cut, multipart, typed
from zdd_sdk.http.body import MAX_KEPT

JSON = "application/json"
BODY = b'{"sku": "tea", "amount": 7}'


def zipped(data: bytes, level: int = 9, mtime: int = 1) -> bytes:
    return gzip.compress(data, level, mtime=mtime)


@given(st.binary(max_size=400), st.integers(0, 9), st.integers(0, 2**31), st.lists(st.integers(0, 10_000), max_size=6))
def test_time_level_and_chunks_do_not_count(data: bytes, level: int, mtime: int, places: list[int]) -> None:
    found = content("text/plain", *cut(zipped(data, level, mtime), places), encoding="gzip")
    assert found == content("text/plain", data)


def test_control_as_bytes_two_attempts_differ() -> None:
    assert content(JSON, zipped(BODY, mtime=1)).digest != content(JSON, zipped(BODY, mtime=2)).digest


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", " GZIP "])
def test_json_within_is_one_spelling_and_has_fields(encoding: str) -> None:
    found = content(JSON, zipped(b'{"amount":7,"sku":"tea"}'), encoding=encoding)
    assert found.canonical() == content(JSON, BODY).canonical()
    assert found.decoded()["sku"] == "tea"


def test_multipart_within_loses_its_boundary() -> None:
    bodies = [content(typed(name), zipped(multipart(name, [b"x"])), encoding="gzip") for name in ("aaa", "bbbb")]
    assert bodies[0].digest == bodies[1].digest


def test_several_members_are_one_body() -> None:
    assert content("a/b", zipped(b"te") + zipped(b"a"), encoding="gzip") == content("a/b", b"tea")


@pytest.mark.parametrize(
    "data",
    [b"", b"no gzip", zipped(BODY)[:-1], zipped(BODY) + b"x", zipped(BODY)[:15], zlib.compress(BODY)],
    ids=["empty", "plain", "cut off", "more", "a head", "zlib"],
)
def test_what_cannot_be_read_counts_as_it_came(data: bytes) -> None:
    found = content(JSON, data, encoding="gzip")
    assert (found.digest, found.length, found.canonical()) == (content("a/b", data).digest, len(data), None)


@pytest.mark.parametrize("encoding", ["br", "identity", "gzip, br", ""])
def test_other_encodings_count_as_they_came(encoding: str) -> None:
    data = zipped(BODY)
    assert content(JSON, data, encoding=encoding).digest == content(JSON, data).digest


@pytest.mark.parametrize(("size", "within"), [(MAX_KEPT, True), (MAX_KEPT + 1, False)])
def test_as_much_as_is_kept_is_decompressed(size: int, within: bool) -> None:
    found = content("a/b", zipped(bytes(size)), encoding="gzip")
    assert (found.length == size) is within


def test_a_bomb_takes_neither_memory_nor_time() -> None:
    """300 KB that become 300 MB: given up after the first of them."""
    bomb = zipped(bytes(300 * MAX_KEPT))
    tracemalloc.start()
    found = content(JSON, *cut(bomb, list(range(0, len(bomb), 65536))), encoding="gzip")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 6 * MAX_KEPT
    assert found.digest == content("a/b", bomb).digest


def test_many_empty_members_are_not_looked_into() -> None:
    """Each costs a window of 32 KiB and a copy of what lies behind it: 10 MB of them would take minutes."""
    empty = zipped(b"")
    few, many = zipped(BODY) + 1_000 * empty, zipped(BODY) + 1_100 * empty
    assert content(JSON, few, encoding="gzip") == content(JSON, BODY), "control"
    found = content(JSON, many, encoding="gzip")
    assert (found.length, found.canonical()) == (len(many), None)
