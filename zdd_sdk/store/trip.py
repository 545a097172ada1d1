"""One ask: route the calls, send them in one wave, read every reply, heal what has not run. Written once."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
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
from zdd_sdk.store.call import Call
from zdd_sdk.store.link import Budget, Link, Network, refusal
from zdd_sdk.store.route import Route
from zdd_sdk.store.url import Address
from zdd_sdk.store.wire import encode_command

__all__ = ["Terms", "Trip"]

WAVES = 6
"""Waves one attempt may take: the first, a script's source, and a few redirections."""

_PAUSE = (0.02, 0.08)
"""Seconds, drawn at random, before the second attempt: clients that failed together do not return together."""

_HOPELESS = frozenset({"busy", "rejected", "open"})
"""Reasons that a second attempt within half a second does not change."""


class Parcel(msgspec.Struct):
    """What one wave sends to one server.

    Attributes:
        address: of the server.
        questions: what it is asked.
        link: the connection, if there is one.
        sent: how many replies are to come.
        replies: those that have come.
        failure: why not all have.
    """

    address: Address
    questions: Sequence[Question]
    link: Link | None = None
    sent: int = 0
    replies: list[Any] = []
    failure: StoreUnavailable | None = None


@dataclass(slots=True)
class Terms:
    """How long a trip may take, and how this process speaks to its servers.

    Attributes:
        operation_timeout: seconds for one wave.
        total_timeout: seconds for all of it.
        plain: the engine takes neither SHA-1s nor shebangs.
        role: of the connections used; see `zdd_sdk.store.link.Network.take`.
        scripts: SHA-1s of the scripts each server has answered already.
    """

    operation_timeout: float
    total_timeout: float
    plain: bool = False
    role: str = ""
    scripts: dict[Address, set[str]] = field(default_factory=dict)

    def waiting(self, timeout: float) -> Terms:
        """The terms of a call that may block for ``timeout`` seconds, on a connection nothing else uses."""
        operation, total = timeout + self.operation_timeout, timeout + self.total_timeout
        return replace(self, operation_timeout=operation, total_timeout=total, role="wait")

    def known(self, address: Address) -> set[str]:
        """The scripts a server has answered already."""
        known = self.scripts.get(address)
        return self.scripts.setdefault(address, set()) if known is None else known

    def learn(self, address: Address, call: Call[Any]) -> None:
        """A server has answered this call, sent with its source."""
        if call.script is not None:
            self.known(address).add(call.script.sha)


class Trip(msgspec.Struct):
    """One ask under way.

    Attributes:
        questions: what is asked.
        network: where the connections are.
        route: which server a question goes to.
        terms: how long it may take.
        budget: what is left of that.
    """

    questions: Sequence[Question]
    network: Network
    route: Route
    terms: Terms
    budget: Budget

    async def make(self) -> None:
        """Get every question answered, in at most two attempts.

        The second attempt re-sends what has no reply only if it was never sent, or every such call says ``again``.

        Raises:
            StoreUnavailable: some question has no answer.
        """
        try:
            await self._attempt(self.questions)
        except StoreUnavailable as failure:
            pause = random.uniform(*_PAUSE)  # noqa: S311 - spreads load, guards nothing
            if failure.reason in _HOPELESS or not may_repeat(self.questions) or self.budget.left() <= pause:
                raise
            await self.network.pause(pause, self.budget)
            await self._attempt([question for question in self.questions if question.reply is UNANSWERED])

    async def _attempt(self, unanswered: Sequence[Question]) -> None:
        for _ in range(WAVES):
            sole = self.route.sole
            parcels = await self._pack(unanswered) if sole is None else [Parcel(sole, unanswered)]
            await self._exchange(parcels)
            unanswered = self._judge(parcels)
            if not unanswered:
                return
        message = "Redis redirected a call too often"
        raise StoreUnavailable(message, reason="moved")

    async def _pack(self, questions: Sequence[Question]) -> list[Parcel]:
        """One parcel per server. In order of address, so that two asks never hold what the other waits for."""
        parcels: dict[Address, list[Question]] = {}
        for question in questions:
            address = question.address or await self.route.place(question.call, self.network, self.budget)
            parcels.setdefault(address, []).append(question)
        return [Parcel(address, parcels[address]) for address in sorted(parcels)]

    async def _exchange(self, parcels: list[Parcel]) -> None:
        """Send every parcel, then read every reply; whatever happens, no link with an unread reply is reused."""
        network, terms, budget = self.network, self.terms, self.budget
        links: list[Link] = []
        try:
            for parcel in parcels:
                try:
                    parcel.link = link = await network.take(parcel.address, budget, role=terms.role)
                    links.append(link)
                except StoreUnavailable as failure:
                    parcel.failure = failure
            network.start(links, terms.operation_timeout, budget)
            for parcel in parcels:
                _send(parcel, terms)
            for parcel in parcels:
                await _receive(parcel)
        finally:
            network.stop(budget)
            for parcel in parcels:
                _settle(parcel, network)

    def _judge(self, parcels: list[Parcel]) -> list[Question]:
        """Learn from what was said, and return what has not run and is to be asked again.

        Raises:
            StoreUnavailable: it takes a second attempt.
        """
        trouble: StoreUnavailable | None = None
        unanswered: list[Question] = []
        for parcel in parcels:
            if parcel.failure:
                self.route.doubt(parcel.address)
                trouble = trouble or parcel.failure
            for question in parcel.questions:
                if isinstance(question.reply, StoreReplyError):
                    trouble = self._judge_error(question, question.reply, parcel.address) or trouble
                elif question.source and question.reply is not UNANSWERED:
                    self.terms.learn(parcel.address, question.call)
                if question.reply is UNANSWERED:
                    unanswered.append(question)
        if trouble:
            raise trouble
        return unanswered

    def _judge_error(self, question: Question, reply: StoreReplyError, address: Address) -> StoreUnavailable | None:
        route = self.route
        script = question.call.script
        if reply.prefix == "NOSCRIPT" and script is not None and not question.source:
            self.terms.known(address).discard(script.sha)
            question.reopen()
            question.source = True
        elif redirect := redirect_of(reply):
            question.reopen()
            question.address = route.redirected(redirect, address)
            question.asking = not redirect.moved
        elif reply.prefix == "READONLY" and not question.demoted:
            question.reopen()
            question.demoted = True
            self.network.forget(address)
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


def _send(parcel: Parcel, terms: Terms) -> None:
    if parcel.link is None:
        return
    known = terms.known(parcel.address)
    commands: list[bytes] = []
    for question in parcel.questions:
        script = question.call.script
        # A script this server has not answered yet goes with its source: one trip instead of NOSCRIPT and another.
        question.source = question.source or (script is not None and script.sha not in known)
        question.sent = True
        if question.asking:
            commands.append(encode_command("ASKING"))
        commands.append(encode_command(*phrase(question, plain=terms.plain)))
        if question.call.behind:
            commands.append(encode_command(*question.call.behind))
    parcel.sent = len(commands)
    try:
        parcel.link.send(b"".join(commands))
    except StoreUnavailable as failure:
        parcel.failure = failure


async def _receive(parcel: Parcel) -> None:
    if parcel.link is None or parcel.failure:
        return
    try:
        await parcel.link.receive(parcel.replies, parcel.sent)
    except StoreUnavailable as failure:
        parcel.failure = failure
    replies = iter(parcel.replies)
    for question in parcel.questions:
        if question.asking:
            next(replies, None)
        question.reply = next(replies, UNANSWERED)
        if question.call.behind:
            question.behind = next(replies, UNANSWERED)
            question.reply = UNANSWERED if question.behind is UNANSWERED else question.reply


def _settle(parcel: Parcel, network: Network) -> None:
    if parcel.link is None:
        return
    if parcel.failure or len(parcel.replies) < parcel.sent:
        network.drop(parcel.link)
    else:
        network.give(parcel.link)
