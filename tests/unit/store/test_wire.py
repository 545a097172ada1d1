"""Replies cut out of any pieces in which they may arrive."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zdd_sdk.errors import StoreReplyError
from zdd_sdk.store.wire import UNFINISHED, Replies

leaves = st.none() | st.binary() | st.integers(-(2**63), 2**63 - 1)
trees = st.recursive(leaves, lambda inner: st.lists(inner, max_size=4), max_leaves=12)


def written(reply: Any) -> bytes:
    if reply is None:
        return b"$-1\r\n"
    if isinstance(reply, bytes):
        return b"$%d\r\n%b\r\n" % (len(reply), reply)
    if isinstance(reply, int):
        return b":%d\r\n" % reply
    return b"*%d\r\n" % len(reply) + b"".join(map(written, reply))


def taken(replies: Replies) -> list[Any]:
    found = []
    while (reply := replies.next()) is not UNFINISHED:
        found.append(reply)
    return found


@given(st.lists(trees, max_size=4), st.lists(st.integers(1, 40), min_size=1, max_size=8))
def test_what_arrives_in_pieces_comes_out_whole(sent, sizes):
    data, replies, found = b"".join(map(written, sent)), Replies(), []
    while data:
        replies.feed(data[: sizes[0]])
        data, sizes = data[sizes[0] :], [*sizes[1:], sizes[0]]
        assert not replies.empty
        found += taken(replies)
    assert found == sent
    assert replies.empty


def test_status_error_and_nil_array():
    replies = Replies()
    replies.feed(b"+OK\r\n-NOSCRIPT No matching script\r\n*-1\r\n*2\r\n-ERR no\r\n:1\r\n")
    status, error, nil, pair = taken(replies)
    assert (status, nil) == (b"OK", None)
    assert isinstance(error, StoreReplyError)
    assert error.prefix == "NOSCRIPT"
    assert isinstance(pair[0], StoreReplyError)
    assert pair[1] == 1


@pytest.mark.parametrize("garbage", [b"HTTP/1.1 400 Bad Request\r\n", b"$x\r\n", b"*1\r\n?\r\n", b"\r\n"])
def test_what_is_not_resp_is_refused(garbage):
    replies = Replies()
    replies.feed(garbage)
    with pytest.raises(ValueError, match="cannot begin|invalid literal"):
        replies.next()
