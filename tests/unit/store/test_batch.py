"""What is sent for a call, what may be sent twice, and what the replies amount to."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zdd_sdk.errors import RecordUndecodable, StoreReplyError
from zdd_sdk.store import Call, Script
from zdd_sdk.store.batch import Question, Redirect, conclude, may_repeat, phrase, redirect_of, strip_shebang

SCRIPT = Script("s", "#!lua\nreturn 1", "abc")


def _call(**more: Any) -> Call[Any]:
    return Call(lambda reply: reply, ("GET", "k"), **more)


def _answered(reply: Any, **more: Any) -> Question:
    return Question(_call(**more), sent=True, reply=reply)


def test_a_script_goes_by_hash_by_source_or_plain() -> None:
    call: Call[Any] = Call(lambda reply: reply, script=SCRIPT, keys=("a", "b"), args=(1, b"x"))
    assert phrase(Question(call)) == ("EVALSHA", "abc", 2, "a", "b", 1, b"x")
    assert phrase(Question(call, source=True)) == ("EVAL", SCRIPT.source, 2, "a", "b", 1, b"x")
    assert phrase(Question(call), plain=True) == ("EVAL", "--#!lua\nreturn 1", 2, "a", "b", 1, b"x")
    assert phrase(Question(_call())) == ("GET", "k")


def test_only_a_shebang_is_commented_out() -> None:
    assert strip_shebang("return 1") == "return 1"


@pytest.mark.parametrize(
    ("text", "redirect"),
    [
        ("MOVED 3999 10.0.0.1:7000", Redirect(3999, "10.0.0.1", 7000, moved=True)),
        ("ASK 1 host:7000", Redirect(1, "host", 7000, moved=False)),
        ("MOVED 1 ::1:7000", Redirect(1, "::1", 7000, moved=True)),
        ("MOVED 1 :7000", Redirect(1, "", 7000, moved=True)),
        ("MOVED x host:7000", None),
        ("MOVED 1 host", None),
        ("ASKED 1 host:7000", None),
        ("ERR MOVED 1 host:7000", None),
    ],
)
def test_redirections_are_read_or_left_alone(text: str, redirect: Redirect | None) -> None:
    assert redirect_of(StoreReplyError(text)) == redirect


def test_what_was_sent_and_not_answered_is_repeated_only_if_its_call_says_so() -> None:
    unsent, sent, again = Question(_call()), Question(_call(), sent=True), Question(_call(again=True), sent=True)
    assert may_repeat([unsent, again, _answered(1)])
    assert not may_repeat([unsent, sent])


def test_a_reply_that_says_not_run_makes_a_question_sendable() -> None:
    question = _answered(StoreReplyError("NOSCRIPT no"))
    question.reopen()
    assert may_repeat([question])


def test_every_reply_is_read_before_the_first_error_is_raised() -> None:
    seen: list[Any] = []
    questions = [
        _answered(StoreReplyError("OOM full")),
        Question(Call(seen.append, ("GET", "k")), reply=b"claimed"),
        _answered(StoreReplyError("ERR later")),
    ]
    with pytest.raises(StoreReplyError, match="OOM"):
        conclude(questions)
    assert seen == [b"claimed"]


def test_a_call_may_turn_its_own_error_into_a_value() -> None:
    questions = [_answered(StoreReplyError("OOM full"), on_error=lambda error: error.prefix), _answered(b"x")]
    assert conclude(questions) == ("OOM", b"x")


def test_a_reader_that_raises_is_raised_after_the_others_have_read() -> None:
    def undecodable(_: Any) -> Any:
        raise RecordUndecodable

    seen: list[Any] = []
    questions = [
        Question(Call(undecodable, ("GET", "k")), reply=b""),
        Question(Call(seen.append, ("GET", "k")), reply=b"y"),
    ]
    with pytest.raises(RecordUndecodable):
        conclude(questions)
    assert seen == [b"y"]


@given(st.lists(st.none() | st.integers() | st.binary(), max_size=8))
def test_results_come_in_the_order_of_the_calls(replies: list[Any]) -> None:
    assert conclude([_answered(reply) for reply in replies]) == tuple(replies)
