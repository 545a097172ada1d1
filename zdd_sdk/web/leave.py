"""The leave: what all parts still have to ask Redis before an answer's first byte, in one trip."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from zdd_sdk.errors import StoreReplyError, StoreUnavailable, ZddError
from zdd_sdk.http import Answer, Exchange, Participant, problem, problem_of
from zdd_sdk.store import Call

__all__ = ["cors_headers", "give_up", "leave", "merge_headers", "merge_text_headers"]

_log = logging.getLogger("zdd.web")

_REPLACED = frozenset({"cache-control", b"cache-control"})
_MERGED = frozenset({"vary", b"vary"})
_EVERYTHING = frozenset({"*", b"*"})

A = TypeVar("A", str, bytes)

_Wanted = list[tuple[Participant, Sequence[Call[Any]]]]


async def leave(exchange: Exchange, participants: Sequence[Participant]) -> Answer | None:
    """Ask everything the participants want asked; a flow over the exchange's store.

    Waves go on until no participant asks for more: one for nearly every request, none where no part
    was used, two for a login on a Cluster. Once begun it comes to its end even if the caller is
    cancelled, because a client that hangs up must not leave a login or a logout half done.

    Returns:
        ``None``, or the answer to send instead: a part cannot live without its trip, or refuses what
        it was asked to keep.
    """
    departure = _Departure(exchange, participants)
    if exchange.wants_leave and not exchange.under_way:
        await (departure.begin() if exchange.store is None else exchange.store.shield(departure.begin()))
    wanted = departure.wanted()
    if wanted and exchange.store is not None:
        await exchange.store.shield(departure.run(wanted))
    elif wanted:
        departure.unavailable(wanted, StoreUnavailable("a part wants to ask Redis, and this application has no store"))
    return departure.answer


async def give_up(exchange: Exchange) -> None:
    """Leave without an answer, where the application has failed and something is still held back.

    What is held must be settled by whoever sees the application end: nobody else will.
    """
    if exchange.held:
        exchange.status = exchange.status or 500
        await leave(exchange, exchange.participants)


class _Departure:
    """One leave under way.

    Attributes:
        answer: what to send instead; the first reason counts.
    """

    def __init__(self, exchange: Exchange, participants: Sequence[Participant]) -> None:
        self.answer: Answer | None = None
        self._exchange = exchange
        self._parts = list(participants)

    def wanted(self) -> _Wanted:
        """What each part asks in the next wave."""
        return [(part, calls) for part in tuple(self._parts) if (calls := self._leaving(part))]

    def _leaving(self, part: Participant) -> Sequence[Call[Any]]:
        try:
            return part.leaving(self._exchange)
        except Exception as error:  # noqa: BLE001
            self._drop(part, error)
            return ()

    async def begin(self) -> None:
        """Run what a part has to do elsewhere first; one that fails has said so itself."""
        try:
            await self._exchange.begin_leave()
        except Exception:  # noqa: BLE001 - what comes next must not be lost with it
            _log.exception("before the leave of %s %s", self._exchange.method, self._exchange.path)

    async def run(self, wanted: _Wanted) -> None:
        """Ask wave by wave."""
        while wanted:
            await self._wave(wanted)
            wanted = self.wanted()

    async def _wave(self, wanted: _Wanted) -> None:
        assert self._exchange.store is not None  # noqa: S101 - for type checkers
        try:
            results = await self._exchange.store.ask(*(call for _, calls in wanted for call in calls))
        except (StoreUnavailable, StoreReplyError) as error:
            self.unavailable(wanted, error)
            return
        except ZddError as error:  # a reply that cannot be read: whose, the store does not say
            for part, _ in wanted:
                self._drop(part, error)
                part.unavailable(self._exchange, StoreUnavailable(str(error), sent=True))
            return
        for part, calls in wanted:
            self._left(part, results[: len(calls)])
            results = results[len(calls) :]

    def _left(self, part: Participant, results: Sequence[Any]) -> None:
        try:
            part.left(self._exchange, results)
        except Exception as error:  # noqa: BLE001
            self._drop(part, error)

    def unavailable(self, wanted: _Wanted, error: StoreUnavailable | StoreReplyError) -> None:
        """Hear from each part what is to be answered where the store is away."""
        failure = error if isinstance(error, StoreUnavailable) else StoreUnavailable(str(error), sent=True)
        _log.info("the leave of %s %s found no store: %s", self._exchange.method, self._exchange.path, error)
        answers = [part.unavailable(self._exchange, failure) for part, _ in wanted]
        self.answer = self.answer or next((answer for answer in answers if answer is not None), None)

    def _drop(self, part: Participant, error: Exception) -> None:
        """Leave without a part that refuses: its error is the answer, and the others are asked all the same."""
        exchange = self._exchange
        self._parts = [other for other in self._parts if other is not part]
        if isinstance(error, ZddError):
            _log.warning("%s %s answered %s: %s", exchange.method, exchange.path, error.code, error)
            self.answer = self.answer or problem_of(error)
        else:
            _log.error("%s failed at the leave of %s %s", part.name, exchange.method, exchange.path, exc_info=error)
            self.answer = self.answer or problem(500, ZddError.code, "what this request changed could not be kept")


def cors_headers(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Pick the headers without which a browser hides an answer from the page that asked."""
    return [
        (name, value) for name, value in headers if name.lower() == "vary" or name.lower().startswith("access-control-")
    ]


def merge_headers(
    headers: Iterable[tuple[bytes, bytes]], extra: Sequence[tuple[str, str]]
) -> list[tuple[bytes, bytes]]:
    """Return an answer's headers with those the parts want.

    ``Vary`` is merged into one line, ``Cache-Control`` replaces what was there, everything else
    (``Set-Cookie``) is added.
    """
    wanted = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in extra]
    return _merge(headers, wanted, b", ")


def merge_text_headers(headers: Iterable[tuple[str, str]], extra: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Do the same with headers as text, as WSGI has them."""
    return _merge(headers, [(name.title(), value) for name, value in extra], ", ")


def _merge(headers: Iterable[tuple[A, A]], wanted: Iterable[tuple[A, A]], comma: A) -> list[tuple[A, A]]:
    merged: list[tuple[A, A]] = list(headers)
    for name, value in wanted:
        key, new = name.lower(), value
        if key in _REPLACED or key in _MERGED:
            present = [pair for pair in merged if pair[0].lower() == key]
            if len(present) == 1 and present[0][1] == value:
                continue
            for pair in present:
                merged.remove(pair)
            if present and key in _MERGED:
                new = _merge_list([kept for _, kept in present] + [value], comma)
        merged.append((name, new))
    return merged


def _merge_list(lines: Iterable[Any], comma: Any) -> Any:
    names = {item.strip().lower(): item.strip() for line in lines for item in line.split(comma[:1])}
    names.pop(comma[:0], None)
    return next((name for name in names if name in _EVERYTHING), comma.join(names.values()))
