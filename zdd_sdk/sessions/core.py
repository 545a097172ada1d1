"""`Sessions`: the flows, and the part sessions take in every exchange."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from zdd_sdk.errors import (
    RecordTooNew,
    SessionError,
    SessionUnavailable,
    SettingsError,
    StoreReplyError,
    StoreUnavailable,
)
from zdd_sdk.http import Answer, Exchange, problem_of
from zdd_sdk.secrets import Secrets
from zdd_sdk.sessions.calls import SessionCalls
from zdd_sdk.sessions.cookies import CookieJar, is_cross_site
from zdd_sdk.sessions.ids import SessionId, parse_id, random_tag, user_tag
from zdd_sdk.sessions.model import LAYOUT, Load, Operation, Reply, Stored
from zdd_sdk.sessions.plan import Plan
from zdd_sdk.sessions.session import Session
from zdd_sdk.sessions.stale import StaleCopies
from zdd_sdk.sessions.stock import Shelf
from zdd_sdk.sessions.turn import Turn
from zdd_sdk.settings import SessionSettings
from zdd_sdk.store import Call, Keys

__all__ = ["Sessions", "check_settings"]

logger = logging.getLogger("zdd.sessions")

_VISIT = "session.visit"
_MAX_GRACE = 120.0
_SERVER_ERROR = 500


@dataclass(slots=True)
class _Visit:
    """One session in one exchange, and what its leave asks."""

    session: Session
    turn: Turn
    plan: Plan | None = None


class Sessions:
    """Sessions outside the process; a `zdd_sdk.http.Participant`.

    Args:
        settings: the session options.
        keys: names keys in Redis.
        secrets: returns the root secrets; asked at the first login only.
        release: the release that writes, kept with each session.
        stock: keep sessions in a dict of this process instead (``ZDD_MODE=stock``).

    Attributes:
        name: ``"session"``, the key in ``exchange.parts``.
        counters: since the start: ``gone``, ``conflicts`` (saves merged with another request's),
            ``unavailable``, and ``undecodable`` by the release that wrote.

    Raises:
        SettingsError: an option has a value that cannot work.
    """

    name = "session"

    def __init__(
        self,
        settings: SessionSettings,
        keys: Keys,
        secrets: Callable[[], Secrets],
        *,
        release: str,
        stock: bool = False,
    ) -> None:
        check_settings(settings)
        self._settings = settings
        self._keys = keys
        self._secrets = secrets
        self._jar = CookieJar(settings)
        self._calls = SessionCalls(settings, release)
        self._shelf = Shelf(settings, release) if stock else None
        self._copies = StaleCopies(time.monotonic) if settings.on_unavailable == "stale" and not stock else None
        self.counters: dict[str, Any] = {"gone": 0, "conflicts": 0, "unavailable": 0, "undecodable": {}}

    def open(self, exchange: Exchange) -> Session:
        """Return the session of an exchange, the same object each time; asks nothing."""
        return self._visit(exchange).session

    async def load(self, exchange: Exchange) -> Session:
        """Load the session of an exchange: one trip, once; none where the request carries no id.

        Raises:
            SessionUnavailable: Redis is away and the policy is ``fail``, or ``stale`` without a fresh copy.
            RecordTooNew: a newer release wrote a session this one must not touch.
        """
        visit = self._visit(exchange)
        if not visit.turn.loaded:
            exchange.response_headers.append(("vary", "Cookie"))
            await self._load(exchange, visit.turn)
        return visit.session

    async def save(self, exchange: Exchange) -> None:
        """Save the session of an exchange now.

        Raises:
            SessionGone: it has ended in the meantime; nothing was written.
            SessionUnavailable: Redis is away.
            SessionReadOnly: a pre-login snapshot or a stale copy.
            SessionError: it was not loaded, or a cookie is needed and the answer's headers are out.
        """
        turn = self._visit(exchange).turn
        turn.check_savable(headers_out=exchange.status != 0)
        plan = self._plan(exchange, turn, save=True)
        try:
            while plan.waves:
                plan.take(await self._ask(exchange, plan.waves[0]))
                self._settle(exchange, turn)
        except (StoreUnavailable, StoreReplyError) as error:
            raise self._unavailable(error) from error
        turn.raise_outcome()

    def leaving(self, exchange: Exchange) -> Sequence[Call[Reply]]:
        """Say what the leave has to ask: what was changed, a login or a logout; nothing if nothing was."""
        visit: _Visit | None = exchange.parts.get(_VISIT)
        if visit is None:
            return ()
        if visit.plan is None:
            visit.plan = self._plan(exchange, visit.turn, save=self._saves(exchange))
        if self._shelf is not None:
            while visit.plan.waves:
                self.left(exchange, [self._shelf.run(operation) for operation in visit.plan.waves[0]])
        return [self._calls.call(operation) for operation in visit.plan.waves[0]] if visit.plan.waves else ()

    def left(self, exchange: Exchange, results: Sequence[Reply]) -> None:
        """Take the results; sets or deletes the cookie only where Redis has confirmed why."""
        visit: _Visit = exchange.parts[_VISIT]
        if visit.plan is not None and visit.plan.waves:
            visit.plan.take(results)
            self._settle(exchange, visit.turn)

    def unavailable(self, exchange: Exchange, error: StoreUnavailable) -> Answer | None:
        """Answer 503 if a login or a logout could not be kept; other changes leave the answer as it is.

        Either would be a claim that is not true: who was told to be logged out walks away from the machine.
        """
        visit: _Visit | None = exchange.parts.get(_VISIT)
        if visit is None or visit.plan is None or not visit.plan.waves:
            return None
        self.counters["unavailable"] += 1
        lost = "a login" if visit.plan.logs_in else "a logout" if visit.plan.logs_out else "changes"
        logger.warning("%s of a session did not reach Redis; no cookie was set or deleted: %s", lost, error)
        visit.turn.closed = True
        visit.plan.waves.clear()
        if not (visit.plan.logs_in or visit.plan.logs_out):
            return None
        what = "login" if visit.plan.logs_in else "logout"
        outcome = "nobody was logged in" if visit.plan.logs_in else "the session may still be there; log out again"
        message = f"the {what} could not be kept because the session store is away; {outcome}"
        return problem_of(SessionUnavailable(message, retry_after=error.retry_after))

    def presented(self, exchange: Exchange) -> tuple[SessionId, ...]:
        """The well-formed ids a request carries, at most four, each once."""
        turn = self._visit(exchange).turn
        if turn.ids is None:
            values = self._jar.values(exchange)
            parsed = (parse_id(value) for value in values)
            turn.ids = tuple(dict.fromkeys(identity for identity in parsed if identity is not None))
            turn.barred = not values and is_cross_site(exchange)
        return turn.ids

    def count_undecodable(self, writer: str) -> None:
        """Count a field, or a session, that this release could not read, by the release that wrote it."""
        undecodable = self.counters["undecodable"]
        undecodable[writer] = undecodable.get(writer, 0) + 1

    def _visit(self, exchange: Exchange) -> _Visit:
        visit: _Visit | None = exchange.parts.get(_VISIT)
        if visit is None:
            turn = Turn(self._settings.max_field)
            visit = exchange.parts[_VISIT] = _Visit(Session(self, exchange, turn), turn)
            exchange.parts[self.name] = visit.session
        return visit

    async def _load(self, exchange: Exchange, turn: Turn) -> None:
        ids = self.presented(exchange)
        if not ids:
            self._begin_anew(exchange, turn)
            return
        try:
            replies = await self._ask(exchange, [Load(self._key(identity)) for identity in ids])
        except StoreUnavailable as error:
            if not turn.loaded:
                self._go_without(turn, ids, error)
            return
        if turn.loaded:
            # Another task of this request was faster, and what it has changed since must stay.
            return
        found = [(identity, reply.stored) for identity, reply in zip(ids, replies, strict=True) if reply.stored]
        refused = next((reply.message for reply in replies if reply.status == "error"), None)
        if found:
            self._begin(turn, *min(found, key=lambda pair: pair[1].marker))
        elif refused is not None:
            self._go_without(turn, ids, StoreUnavailable(refused, sent=True))
        else:
            turn.begin()

    def _begin_anew(self, exchange: Exchange, turn: Turn) -> None:
        """Begin for a visitor who has no session yet: no trip, so what is known of Redis has to do."""
        known_away = self._shelf is None and exchange.store is not None and not exchange.store.available
        if known_away and self._settings.on_unavailable == "anonymous":
            self.counters["unavailable"] += 1
            turn.begin_without_store()
        elif not turn.loaded:
            turn.begin()
            turn.away = known_away

    def _begin(self, turn: Turn, identity: SessionId, stored: Stored) -> None:
        if stored.reader > LAYOUT:
            self.count_undecodable(stored.writer)
            message = (
                f"release {stored.writer} wrote this session for readers of layout {stored.reader}; this is {LAYOUT}"
            )
            raise RecordTooNew(message)
        turn.begin(identity, stored)
        if self._copies is not None:
            self._copies.put(self._key(identity), stored)

    def _go_without(self, turn: Turn, ids: Sequence[SessionId], error: StoreUnavailable) -> None:
        if self._settings.on_unavailable == "anonymous":
            self.counters["unavailable"] += 1
            turn.begin_without_store()
            return
        for identity in ids if self._copies is not None else ():
            stored = self._copies.get(self._key(identity)) if self._copies is not None else None
            if stored is not None:
                self.counters["unavailable"] += 1
                turn.begin_without_store(identity, stored)
                return
        raise self._unavailable(error) from error

    def _unavailable(self, error: StoreUnavailable | StoreReplyError) -> SessionUnavailable:
        self.counters["unavailable"] += 1
        logger.info("a session could not be loaded: %s", error)
        message = "the session cannot be reached for the moment; the cookie is untouched"
        return SessionUnavailable(message, retry_after=getattr(error, "retry_after", 1.0))

    async def _ask(self, exchange: Exchange, wave: Sequence[Operation]) -> Sequence[Reply]:
        if self._shelf is not None:
            return [self._shelf.run(operation) for operation in wave]
        if not wave:
            return ()
        if exchange.store is None:
            message = "sessions need a store, and this application has none"
            raise StoreUnavailable(message)
        return await exchange.store.ask(*(self._calls.call(operation) for operation in wave))

    def _plan(self, exchange: Exchange, turn: Turn, *, save: bool) -> Plan:
        try:
            return Plan(
                turn,
                key=self._key,
                tag=self._tag,
                max_session=self._settings.max_session,
                cluster=exchange.store is not None and exchange.store.cluster,
                save=save,
            )
        except SessionError:
            turn.closed = exchange.status != 0
            raise

    def _saves(self, exchange: Exchange) -> bool:
        return self._settings.save_on_error or exchange.status < _SERVER_ERROR

    def _settle(self, exchange: Exchange, turn: Turn) -> None:
        if turn.issued is not None:
            identity, life = turn.issued
            self._jar.write(exchange, identity.text, life)
        elif turn.ended:
            self._jar.remove(exchange)
        turn.issued, turn.ended = None, False
        self._account(turn)
        if self._copies is not None:
            self._refresh_copies(self._copies, turn)

    def _account(self, turn: Turn) -> None:
        self.counters["conflicts"] += turn.conflicts
        turn.conflicts = 0
        if turn.gone and not turn.told:
            turn.told = True
            self.counters["gone"] += 1
            logger.info("a session had ended when its changes came to be saved; nothing was written, no cookie was set")
        if turn.refused and not turn.told:
            turn.told = True
            self.counters["unavailable"] += 1
            logger.warning("Redis refused to write a session: %s", turn.refused)

    def _refresh_copies(self, copies: StaleCopies, turn: Turn) -> None:
        for identity in turn.ids or ():
            copies.drop(self._key(identity))
        if turn.id is not None and turn.stored is not None and not turn.gone:
            copies.put(self._key(turn.id), turn.stored)

    def _key(self, identity: SessionId) -> str:
        return identity.key(self._keys)

    def _tag(self, user: str | None) -> str:
        return random_tag() if user is None or self._shelf is not None else user_tag(self._secrets(), user)


def check_settings(settings: SessionSettings) -> None:
    """Judge the session options against one another.

    Raises:
        SettingsError: an option has a value that cannot work.
    """
    CookieJar(settings)
    if not 0 <= settings.login_grace <= _MAX_GRACE:
        message = f"sessions.login_grace cannot be {settings.login_grace:g}s: 0 to {_MAX_GRACE:g} s"
        raise SettingsError(message)
    for option in ("idle_timeout", "absolute_timeout"):
        if getattr(settings, option) < 1:
            message = f"sessions.{option} cannot be {getattr(settings, option):g}s: at least 1 s"
            raise SettingsError(message)
    if not 0 < settings.max_field <= settings.max_session:
        message = f"sessions.max_field ({settings.max_field}) must fit sessions.max_session ({settings.max_session})"
        raise SettingsError(message)
