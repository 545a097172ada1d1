"""A stream of RESP is cut the same way whatever the chunks it arrives in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zdd_sdk.store.wire import encode_command
from zdd_sdk.testing.resp import CommandCutter, ReplyCutter

WORDS = st.lists(st.binary(max_size=20), min_size=1, max_size=4)
REPLIES = [
    b"+OK\r\n",
    b"-WRONGTYPE no\r\n",
    b":42\r\n",
    b"$3\r\na\r\n\r\n",
    b"$-1\r\n",
    b"*-1\r\n",
    b"*0\r\n",
    b"*2\r\n$1\r\na\r\n*1\r\n:1\r\n",
    b"%1\r\n+a\r\n~2\r\n#t\r\n_\r\n",
    b"=6\r\ntxt:ab\r\n",
    b"|1\r\n+ttl\r\n:1\r\n+decorated\r\n",
    b">2\r\n$7\r\nmessage\r\n,1.5\r\n",
]


def cut(data: bytes, sizes: list[int]) -> Iterator[bytes]:
    for size in sizes:
        yield data[:size]
        data = data[size:]
    yield data


@given(st.lists(WORDS, max_size=5), st.lists(st.integers(1, 30), max_size=20))
def test_commands_are_the_same_in_any_chunks(commands: list[list[bytes]], sizes: list[int]) -> None:
    cutter = CommandCutter()
    found = [
        name
        for chunk in cut(b"".join(encode_command(*words) for words in commands), sizes)
        for name in cutter.feed(chunk)
    ]

    assert found == [words[0].decode(errors="replace").upper() for words in commands]
    assert not cutter.inside


@given(st.lists(st.sampled_from(REPLIES), max_size=6), st.lists(st.integers(1, 30), max_size=20))
def test_replies_are_the_same_in_any_chunks(replies: list[bytes], sizes: list[int]) -> None:
    cutter = ReplyCutter()

    assert [reply for chunk in cut(b"".join(replies), sizes) for reply in cutter.feed(chunk)] == replies


@given(WORDS, st.data())
def test_a_command_cut_in_its_middle_is_known_to_go_on(words: list[bytes], data: st.DataObject) -> None:
    encoded = encode_command(*words)
    cutter = CommandCutter()

    assert cutter.feed(encoded[: data.draw(st.integers(1, len(encoded) - 1))]) == []
    assert cutter.inside


def test_inline_commands_have_names_too() -> None:
    assert CommandCutter().feed(b"ping\r\nget a\r\n") == ["PING", "GET"]


@pytest.mark.parametrize("garbage", [b"*x\r\n", b"$x\r\nab\r\n"])
def test_what_is_not_resp_is_an_error(garbage: bytes) -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        ReplyCutter().feed(garbage)
