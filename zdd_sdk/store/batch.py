"""The calls of one ask, and where each of them stands: what to send, and what its reply means. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from zdd_sdk.errors import StoreReplyError
from zdd_sdk.store.call import Call
from zdd_sdk.store.url import Address

__all__ = [
    "ABSENT",
    "UNANSWERED",
    "Question",
    "Redirect",
    "conclude",
    "may_repeat",
    "phrase",
    "redirect_of",
    "strip_shebang",
]


class _Unanswered:
    """The reply of a question that has none yet; Redis' own nil is ``None``."""

    def __repr__(self) -> str:
        return "UNANSWERED"


UNANSWERED: Final = _Unanswered()

ABSENT = frozenset({"LOADING", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN"})
"""Error replies that mean "not now" whatever is asked. Like ``NOSCRIPT``, ``MOVED``, ``ASK`` and ``READONLY`` they
come from a server that did not run the command, so that sending it again is safe."""


class Question(msgspec.Struct):
    """One call of an ask.

    Attributes:
        call: what is asked.
        source: send the script's source instead of its SHA-1.
        sent: the call may have reached a server and run.
        reply: what came back: a value, a `StoreReplyError`, or `UNANSWERED`.
        behind: what came back of the command behind it, where there is one.
        address: where a redirection sent it, overriding the route.
        asking: precede it with ``ASKING`` (a slot that is being moved).
        demoted: a replica answered ``READONLY`` once; the second time is the answer.
    """

    call: Call[Any]
    source: bool = False
    sent: bool = False
    reply: Any = UNANSWERED
    behind: Any = UNANSWERED
    address: Address | None = None
    asking: bool = False
    demoted: bool = False

    def reopen(self) -> None:
        """Forget a reply that says the call has not run."""
        self.reply = UNANSWERED
        self.sent = False


@dataclass(frozen=True, slots=True)
class Redirect:
    """What a ``MOVED`` or ``ASK`` reply says.

    Attributes:
        slot: the slot it is about.
        host: of the node to go to; empty means that of the node that said so.
        port: of the node to go to.
        moved: the slot has a new owner for good; else only this call goes there.
    """

    slot: int
    host: str
    port: int
    moved: bool


def phrase(question: Question, *, plain: bool = False) -> tuple[Any, ...]:
    """The command to send for a question.

    Args:
        question: what is asked.
        plain: the engine knows neither SHA-1s (its error reply would cost the connection) nor shebangs.
    """
    call = question.call
    if call.script is None:
        return call.command
    if plain:
        return ("EVAL", strip_shebang(call.script.source), len(call.keys), *call.keys, *call.args)
    how, text = ("EVAL", call.script.source) if question.source else ("EVALSHA", call.script.sha)
    return (how, text, len(call.keys), *call.keys, *call.args)


def strip_shebang(source: str) -> str:
    """A script without its ``#!lua …`` line; line numbers in error messages stay right."""
    return "--" + source if source.startswith("#!") else source


def redirect_of(error: StoreReplyError) -> Redirect | None:
    """Read ``MOVED 3999 host:port`` or ``ASK …``; ``None`` if the reply is neither."""
    words = str(error).split()
    if len(words) != len(("MOVED", "slot", "address")) or words[0] not in {"MOVED", "ASK"} or not words[1].isdigit():
        return None
    host, _, port = words[2].rpartition(":")
    return Redirect(int(words[1]), host, int(port), moved=words[0] == "MOVED") if port.isdigit() else None


def may_repeat(questions: Iterable[Question]) -> bool:
    """Whether what is unanswered may be sent: it was not sent yet, or twice is as good as once."""
    return all(question.call.again or not question.sent for question in questions if question.reply is UNANSWERED)


def conclude(questions: Sequence[Question]) -> tuple[Any, ...]:
    """The results in order, once every question is answered.

    Every reply is read before anything is raised, so that one call's error cannot hide what another did.

    Raises:
        StoreReplyError: the first error reply its call did not map.
        Exception: whatever a ``read`` or an ``on_error`` raised first.
    """
    results: list[Any] = []
    first: Exception | None = None
    for question in questions:
        reply, call = question.reply, question.call
        try:
            if isinstance(reply, StoreReplyError):
                results.append(_explain(call, reply))
            else:
                results.append(call.read((reply, question.behind) if call.behind else reply))
        except Exception as error:  # noqa: BLE001 - a reader is the caller's code; its error is re-raised below
            first = first or error
    if first is not None:
        raise first
    return tuple(results)


def _explain(call: Call[Any], reply: StoreReplyError) -> Any:
    if call.on_error is None:
        raise reply
    return call.on_error(reply)
