"""Two script calls made one: each sees its own keys and arguments, and each reads its own reply."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from zdd_sdk.errors import StoreReplyError
from zdd_sdk.store import Call, Script, fuse
from zdd_sdk.testing.flow import Flow


def _call(name: str, *keys: str, args: tuple[Any, ...] = (), **options: Any) -> Call[Any]:
    source = f"local here = KEYS\nreturn {{'{name}', here, ARGV}} -- {name}"
    script = Script(name, source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())
    options = {"again": True, "on_error": str, **options}
    return Call(lambda reply: (reply[0], *reply[1:]), script=script, keys=keys, args=args, **options)


def test_each_sees_its_own(flow: Flow) -> None:
    one = _call("one", "{k}1", "{k}2", args=("a", b"\x00\xff", 3))
    two = _call("two", "{k}3", args=())
    answers = flow(flow.store.ask(fuse(one, two)))[0]
    assert answers == (
        (b"one", [b"{k}1", b"{k}2"], [b"a", b"\x00\xff", b"3"]),
        (b"two", [b"{k}3"], []),
    )
    assert answers == flow(flow.store.ask(one, two))


@pytest.mark.parametrize(("first", "second"), [(True, True), (True, False), (False, True)])
def test_it_may_be_sent_again_if_both_may(*, first: bool, second: bool) -> None:
    assert fuse(_call("one", again=first), _call("two", again=second)).again is (first and second)


def test_an_error_is_mapped_by_both_or_raised() -> None:
    error = StoreReplyError("OOM no room")
    both, one = fuse(_call("one"), _call("two")), fuse(_call("one"), _call("two", on_error=None))
    assert both.on_error is not None
    assert both.on_error(error) == ("OOM no room", "OOM no room")
    assert one.on_error is not None
    with pytest.raises(StoreReplyError):
        one.on_error(error)
