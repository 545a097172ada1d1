"""What ``answer=`` and probes may return: the operation's result, an answer, or a status and a result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zdd_sdk.errors import IdempotencyError
from zdd_sdk.idempotency.answer import StoredAnswer, is_pair
from zdd_sdk.idempotency.outcome import is_outcome

__all__ = ["read_said"]


def read_said(found: Any, write: Callable[[Any], StoredAnswer | None], *, plain: bool) -> StoredAnswer | None:
    """Make an answer to be given of what was returned; ``None`` where its bytes are not there.

    Args:
        found: what was returned.
        write: makes one of a result.
        plain: the operation is a plain function, whose result may be anything.

    Raises:
        IdempotencyError: it says nothing of what has happened: a forgotten ``return``, or a failure such as 503.
    """
    if plain:
        return found if isinstance(found, StoredAnswer) else write(found)
    if found is None:
        message = "it has returned None: where there is nothing to show, say (204, None)"
        raise IdempotencyError(message)
    if isinstance(found, StoredAnswer):
        answer: StoredAnswer | None = found
    elif is_pair(found):
        answer = write(found[1])
        answer = answer and answer.under(found[0])
    else:
        answer = write(found)
    if answer is not None and not is_outcome(answer.status):
        message = f"it has returned a {answer.status}, which is no outcome to remember"
        raise IdempotencyError(message)
    return answer
