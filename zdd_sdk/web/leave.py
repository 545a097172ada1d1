"""The leave: what all parts still have to ask Redis before an answer's first byte, in one trip."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

from zdd_sdk.errors import StoreReplyError, StoreUnavailable
from zdd_sdk.http import Answer, Exchange, Participant
from zdd_sdk.store import Call

__all__ = ["leave", "merge_headers"]

_log = logging.getLogger("zdd.web")

_REPLACED = frozenset({"cache-control"})
_MERGED = frozenset({"vary"})


async def leave(exchange: Exchange, participants: Sequence[Participant]) -> Answer | None:
    """Ask everything the participants want asked; a flow over the exchange's store.

    Waves go on until no participant asks for more: one for nearly every request, none where no part
    was used, two for a login on a Cluster.

    Returns:
        ``None``, or the answer to send instead because a part cannot live without its trip.
    """
    while wanted := [(part, calls) for part in participants if (calls := part.leaving(exchange))]:
        try:
            results = await _ask(exchange, wanted)
        except (StoreUnavailable, StoreReplyError) as error:
            return _unavailable(exchange, [part for part, _ in wanted], error)
        for part, calls in wanted:
            part.left(exchange, results[: len(calls)])
            results = results[len(calls) :]
    return None


async def _ask(exchange: Exchange, wanted: list[tuple[Participant, Sequence[Call[Any]]]]) -> tuple[Any, ...]:
    if exchange.store is None:
        message = "a part wants to ask Redis, and this application has no store"
        raise StoreUnavailable(message)
    return await exchange.store.ask(*(call for _, calls in wanted for call in calls))


def _unavailable(
    exchange: Exchange, parts: Iterable[Participant], error: StoreUnavailable | StoreReplyError
) -> Answer | None:
    failure = error if isinstance(error, StoreUnavailable) else StoreUnavailable(str(error), sent=True)
    _log.warning("the leave of %s %s found no store: %s", exchange.method, exchange.path, error)
    answers = [part.unavailable(exchange, failure) for part in parts]
    return next((answer for answer in answers if answer is not None), None)


def merge_headers(
    headers: Sequence[tuple[bytes, bytes]], extra: Sequence[tuple[str, str]]
) -> list[tuple[bytes, bytes]]:
    """Return an answer's headers with those the parts want.

    ``Vary`` is merged into one line, ``Cache-Control`` replaces what was there, everything else
    (``Set-Cookie``) is added.
    """
    merged = [(name.lower(), value) for name, value in headers]
    for name, value in extra:
        key, new = name.lower().encode("latin-1"), value.encode("latin-1")
        if name.lower() in _REPLACED:
            merged = [(old, kept) for old, kept in merged if old != key]
        elif name.lower() in _MERGED:
            new = _merge_list([kept for old, kept in merged if old == key], new)
            merged = [(old, kept) for old, kept in merged if old != key]
        merged.append((key, new))
    return merged


def _merge_list(present: Sequence[bytes], new: bytes) -> bytes:
    names = [item.strip() for line in (*present, new) for item in line.split(b",") if item.strip()]
    return b", ".join({item.lower(): item for item in names}.values())
