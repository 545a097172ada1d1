"""What becomes of a key when its operation has ended; pure.

"Complete" remembers the outcome, "release" forgets the attempt so that the next one runs, "hold" says that nobody
knows. The table is in ``docs/idempotency.md``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from zdd_sdk.idempotency.model import Effects

__all__ = ["NEVER_STORED", "Ending", "OnError", "Outcome", "is_outcome", "judge"]

OnError = Literal["hold", "store"]
"""What an ``unsafe`` operation that fails leaves behind: an unknown outcome, or its 5xx as the answer (Stripe v1)."""

NEVER_STORED = frozenset({401, 403, 407, 408, 421, 425, 429, 503, 504})
"""Statuses that say "not now" or "not you": the next attempt may be answered otherwise."""

_RETURNED, _SUCCESS, _ERROR, _SERVER_ERROR = 0, 200, 400, 500


@dataclass(frozen=True, slots=True)
class Ending:
    """How an operation ended.

    Attributes:
        status: of its answer; 0 for a plain function that returned, 500 for one that raised.
        committed: its guarded transaction was seen to commit; ``None``: it has none.
        answered: the whole answer is known and not too large, so that it can be kept.
        whole: it came in one piece, so that a commit was to be seen before it; a stream's comes later.
        nothing_done: the operation said that it had no effect.
        failed: an error came out of it, and what was answered in its place is not the operation's own.
        refused: an error of ours came out of it, which is never an answer to keep.
        cut: it did not end by itself, and why: a short word.
    """

    status: int
    committed: bool | None = None
    answered: bool = True
    whole: bool = True
    nothing_done: bool = False
    failed: bool = False
    refused: bool = False
    cut: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What to do with the key.

    Attributes:
        verb: see the module.
        answer: keep the answer, too.
        why: of a hold.
    """

    verb: Literal["complete", "release", "hold"]
    answer: bool = False
    why: str = ""


_RELEASE = Outcome("release")


def is_outcome(status: int) -> bool:
    """Whether an answer of this status says what has happened, so that it may be given again."""
    return _SUCCESS <= status < _SERVER_ERROR and status not in NEVER_STORED


def judge(effects: Effects, ending: Ending, *, on_error: OnError = "hold") -> Outcome:
    """Say what becomes of a key.

    Args:
        effects: class of the operation.
        ending: how it ended.
        on_error: for ``unsafe``.
    """
    said = ending.status < _SERVER_ERROR and ending.status not in NEVER_STORED and not ending.refused
    if ending.nothing_done and not ending.committed:
        return Outcome("complete", answer=True) if said and ending.answered else _RELEASE
    if effects == "db":
        return _guarded(ending, said=said)
    if effects == "unsafe":
        return _unsafe(ending, said=said, store=on_error == "store")
    if ending.status == _RETURNED:
        return Outcome("complete", answer=ending.answered)
    return Outcome("complete", answer=True) if said and ending.answered else _RELEASE


def _guarded(ending: Ending, *, said: bool) -> Outcome:
    if ending.committed:
        return Outcome("complete", answer=said and ending.answered)
    if ending.status >= _ERROR:
        return Outcome("complete", answer=True) if said and ending.answered else _RELEASE
    streamed = not ending.whole and ending.status != _RETURNED
    return _RELEASE if streamed else Outcome("hold", why="not-guarded")


def _unsafe(ending: Ending, *, said: bool, store: bool) -> Outcome:
    if (said and not ending.failed) or (store and ending.status >= _SERVER_ERROR):
        return Outcome("complete", answer=ending.answered)
    return Outcome("hold", why=ending.cut or f"failed-{ending.status}")
