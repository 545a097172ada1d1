"""One ask: route the calls, send them in one wave, read every reply, heal what has not run. Written once."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from zdd_sdk.errors import StoreReplyError, StoreUnavailable
from zdd_sdk.store.batch import (
    ABSENT,
    UNANSWERED,
    Question,
    may_repeat,
    phrase,
    redirect_of,
)
from zdd_sdk.store.link import Budget, Link, Network, refusal
from zdd_sdk.store.route import Route
from zdd_sdk.store.url import Address

__all__ = ["answer"]

WAVES = 6
"""Waves one attempt may take: the first, a script's source, and a few redirections."""

_PAUSE = (0.02, 0.08)
"""Seconds, drawn at random, before the second attempt: clients that failed together do not return together."""

_HOPELESS = frozenset({"busy", "rejected", "open"})
"""Reasons that a second attempt within half a second does not change."""


class Parcel(msgspec.Struct):
    """What one wave sends to one server."""

    address: Address
    questions: list[Question]
    link: Link | None = None
    unread: int = 0
    failure: StoreUnavailable | None = None


@dataclass(slots=True)
class Terms:
    """How long a trip may take, and how this process speaks to its servers.

    Attributes:
        operation_timeout: seconds for one wave.
        plain: the engine takes neither SHA-1s nor shebangs.
        role: of the connections used; see `zdd_sdk.store.link.Network.take`.
        scripts: SHA-1s of the scripts each server has answered already.
    """

    operation_timeout: float
    plain: bool = False
    role: str = ""
    scripts: dict[Address, set[str]] = field(default_factory=dict)


async def answer(questions: Sequence[Question], network: Network, route: Route, terms: Terms, budget: Budget) -> None:
    """Get every question answered, in at most two attempts.

    The second attempt re-sends what has no reply only if it was never sent, or every such call says ``again``.

    Raises:
        StoreUnavailable: some question has no answer.
    """
    try:
        await _attempt(questions, network, route, terms, budget)
    except StoreUnavailable as failure:
        pause = random.uniform(*_PAUSE)  # noqa: S311 - spreads load, guards nothing
        if failure.reason in _HOPELESS or not may_repeat(questions) or budget.left() <= pause:
            raise
        await network.pause(pause, budget)
        await _attempt(questions, network, route, terms, budget)


async def _attempt(questions: Sequence[Question], network: Network, route: Route, terms: Terms, budget: Budget) -> None:
    for _ in range(WAVES):
        open_questions = [question for question in questions if question.reply is UNANSWERED]
        if not open_questions:
            return
        parcels = await _pack(open_questions, network, route, budget)
        await _exchange(parcels, network, terms, budget)
        _judge(parcels, network, route, terms)
    message = "Redis redirected a call too often"
    raise StoreUnavailable(message, reason="moved")


async def _pack(questions: list[Question], network: Network, route: Route, budget: Budget) -> list[Parcel]:
    """One parcel per server. In order of address, so that two asks never hold what the other waits for."""
    parcels: dict[Address, Parcel] = {}
    for question in questions:
        address = question.address or await route.place(question.call, network, budget)
        parcels.setdefault(address, Parcel(address, [])).questions.append(question)
    return sorted(parcels.values(), key=lambda parcel: parcel.address) if len(parcels) > 1 else list(parcels.values())


async def _exchange(parcels: list[Parcel], network: Network, terms: Terms, budget: Budget) -> None:
    """Send every parcel, then read every reply; whatever happens, no link with an unread reply is reused."""
    try:
        for parcel in parcels:
            await _take(parcel, network, terms, budget)
        network.start([parcel.link for parcel in parcels if parcel.link], terms.operation_timeout, budget)
        for parcel in parcels:
            await _send(parcel, terms)
        for parcel in parcels:
            await _receive(parcel)
    finally:
        network.stop(budget)
        for parcel in parcels:
            _settle(parcel, network)


async def _take(parcel: Parcel, network: Network, terms: Terms, budget: Budget) -> None:
    try:
        parcel.link = await network.take(parcel.address, budget, role=terms.role)
    except StoreUnavailable as failure:
        parcel.failure = failure


async def _send(parcel: Parcel, terms: Terms) -> None:
    if parcel.link is None:
        return
    known = terms.scripts.setdefault(parcel.address, set())
    commands: list[tuple[Any, ...]] = []
    for question in parcel.questions:
        script = question.call.script
        # A script this server has not answered yet goes with its source: one trip instead of NOSCRIPT and another.
        question.source = question.source or (script is not None and script.sha not in known)
        question.sent = True
        commands += [("ASKING",)] * question.asking + [phrase(question, plain=terms.plain)]
    parcel.unread = len(commands)
    try:
        await parcel.link.send(commands)
    except StoreUnavailable as failure:
        parcel.failure = failure


async def _receive(parcel: Parcel) -> None:
    if parcel.link is None or parcel.failure:
        return
    try:
        for question in parcel.questions:
            reply = None
            for _ in range(1 + question.asking):
                reply = await parcel.link.receive()
                parcel.unread -= 1
            question.reply = reply
    except StoreUnavailable as failure:
        parcel.failure = failure


def _settle(parcel: Parcel, network: Network) -> None:
    if parcel.link is None:
        return
    if parcel.unread or parcel.failure:
        network.drop(parcel.link)
    else:
        network.give(parcel.link)


def _judge(parcels: list[Parcel], network: Network, route: Route, terms: Terms) -> None:
    """Reopen what has not run, learn from what was said, and raise if a second attempt is needed."""
    trouble: StoreUnavailable | None = None
    for parcel in parcels:
        if parcel.failure:
            route.doubt(parcel.address)
            trouble = trouble or parcel.failure
        for question in parcel.questions:
            trouble = _judge_one(question, parcel.address, network, route, terms) or trouble
    if trouble:
        raise trouble


def _judge_one(
    question: Question, address: Address, network: Network, route: Route, terms: Terms
) -> StoreUnavailable | None:
    reply, script = question.reply, question.call.script
    if not isinstance(reply, StoreReplyError):
        if script is not None and reply is not UNANSWERED:
            terms.scripts[address].add(script.sha)
        return None
    if reply.prefix == "NOSCRIPT" and script is not None and not question.source:
        terms.scripts[address].discard(script.sha)
        question.reopen()
        question.source = True
    elif redirect := redirect_of(reply):
        question.reopen()
        question.address = route.redirected(redirect, address)
        question.asking = not redirect.moved
    elif reply.prefix == "READONLY" and not question.demoted:
        question.reopen()
        question.demoted = True
        network.forget(address)
        route.doubt(address)
        return StoreUnavailable(f"Redis at {address} is a replica now", reason="moved")
    elif reply.prefix in ABSENT:
        question.reopen()
        route.doubt(address)
        return StoreUnavailable(f"Redis at {address} cannot answer now: {reply.prefix}", reason="loading")
    elif reply.prefix in {"NOAUTH", "WRONGPASS"} or "max number of clients" in str(reply):
        question.reopen()
        return refusal(address, reply)
    return None
