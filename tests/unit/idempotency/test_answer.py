"""What is kept of an answer: byte for byte the same again, small, and never somebody else's."""

from __future__ import annotations

import os
import zlib
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zdd_sdk.errors import RecordSealed, RecordTooNew, RecordUndecodable, SettingsError
from zdd_sdk.idempotency.answer import INLINE, StoredAnswer, check_replayed, decode, encode, keep
from zdd_sdk.idempotency.model import Newer, Replay, replay
from zdd_sdk.store.record import frame

NAMES = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=20)
HEADERS = st.lists(st.tuples(NAMES, st.text(st.characters(codec="latin-1"), max_size=40)), max_size=5)
BODIES = st.binary(max_size=3000) | st.builds(
    lambda part, times: part * times, st.binary(max_size=9), st.integers(0, 900)
)


@given(st.integers(100, 599), HEADERS, BODIES, st.integers(0, 4000))
def test_comes_back_as_it_was(status, headers, body, inline):
    answer = StoredAnswer(status, tuple(headers), body)
    kept, apart = encode(answer, inline)
    assert decode(kept, apart or None) == answer
    assert StoredAnswer.of_bytes(answer.to_bytes()) == answer


def test_a_small_body_lies_in_the_record_and_a_larger_one_apart():
    assert encode(StoredAnswer(200, (), os.urandom(INLINE)))[1] == b""
    kept, apart = encode(StoredAnswer(200, (), os.urandom(INLINE + 1)))
    assert len(apart) > INLINE > len(kept)


def test_a_large_body_is_compressed_where_that_pays():
    text, noise = b'{"sku": "tea"}' * 1000, os.urandom(14_000)
    assert len(encode(StoredAnswer(200, (), text))[0]) < 300
    assert len(encode(StoredAnswer(200, (), noise))[1]) <= len(noise) + 2
    assert encode(StoredAnswer(200, (), b"x" * 1023), 5000)[0].endswith(b"x" * 1023)


def test_without_its_body_there_is_no_answer():
    kept, _ = encode(StoredAnswer(200, (), os.urandom(1000)))
    assert decode(kept, None) is None
    assert decode(b"", None) is None
    with pytest.raises(RecordUndecodable):
        StoredAnswer.of_bytes(kept)


def test_another_body_is_not_its():
    text = b'{"sku": "tea"}' * 1000
    kept, _ = encode(StoredAnswer(200, (), text), 0)
    ruins = [b"", b"\x00\x00x", frame(b"x"), frame(zlib.compress(text[:-1])), frame(zlib.compress(text + b"x"))]
    for body in [*ruins, frame(zlib.compress(bytes(10_000_000)))]:
        with pytest.raises(RecordUndecodable):
            decode(kept, body)


@given(st.binary(max_size=200))
def test_garbage_is_a_typed_error(data):
    with suppress(RecordUndecodable, RecordTooNew, RecordSealed):
        decode(data, None)


def test_what_a_newer_release_wrote_is_not_absent():
    kept, _ = encode(StoredAnswer(201, (), b"{}"))
    with pytest.raises(RecordTooNew):
        decode(b"\x02" + kept[1:], None)
    assert isinstance(replay(b"\x02" + kept[1:], None, "2.0", 1, 2), Newer)
    assert isinstance(replay(b"\x01\x01" + kept[2:], None, "2.0", 1, 2), Newer)
    assert replay(kept[:-1], None, "1.0", 1, 2) == Replay(None, "1.0", 1, 2)


def test_fields_of_a_later_release_are_passed_over():
    later = frame(msgspec.msgpack.encode({"s": 200, "l": 2, "b": b"{}", "later": 1}))
    assert decode(later, None) == StoredAnswer(200, (), b"{}")


def test_headers_of_one_exchange_are_not_kept():
    sent = [
        ("Content-Type", "application/json"),
        ("Location", "/orders/1"),
        ("Set-Cookie", "session=secret"),
        ("Date", "today"),
        ("X-Request-Id", "1"),
        ("X-Order", "1"),
    ]
    assert keep(201, sent, b"").headers == (("content-type", "application/json"), ("location", "/orders/1"))
    assert keep(201, sent, b"", check_replayed(["X-Order"])).headers[-1] == ("x-order", "1")


@pytest.mark.parametrize("name", ["Set-Cookie", "authorization", "Content-Length", "vary"])
def test_nor_can_anybody_ask_for_them(name):
    with pytest.raises(SettingsError, match=name.lower()):
        check_replayed(["x-order", name])
