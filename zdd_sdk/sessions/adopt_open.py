"""`Opening`: finds out which of a request's two sessions is right, and shows it to the application."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from zdd_sdk.errors import RecordError, SessionTooLarge, SessionValueError, ZddError
from zdd_sdk.http import Exchange
from zdd_sdk.sessions.adopt import (
    RETIRED,
    Sight,
    Step,
    Verdict,
    announced_in,
    identity_mark,
    judge,
    pack,
    read_link,
)
from zdd_sdk.sessions.adopt_count import Tally
from zdd_sdk.sessions.adopt_legacy import Adopted, Legacy, link_of
from zdd_sdk.sessions.cookies import CookieJar, is_cross_site
from zdd_sdk.sessions.core import Sessions
from zdd_sdk.sessions.ids import parse_id
from zdd_sdk.sessions.turn import Renewal, Turn
from zdd_sdk.settings import SessionSettings
from zdd_sdk.store import Call

__all__ = ["ROUNDS", "Opening"]

logger = logging.getLogger("zdd.sessions")

ROUNDS = 4
"""How often a request looks again because another one has saved meanwhile."""


class Opening:
    """The first half of an adoption.

    Args:
        sessions: ours.
        settings: the session options; ``adopt`` is not ``off``.
        tally: counts what is met.
        user_field: field of the framework's session that says who is logged in, unless ``adopt_user`` does.
        cookie: name of our cookie, which is never the framework's; default ``cookie_name``.

    Attributes:
        step: ``mirror``, ``lead`` or ``final``.
        name: of our cookie, without its prefix.
        tally: what was met, by name.
    """

    def __init__(
        self, sessions: Sessions, settings: SessionSettings, tally: Tally, *, user_field: str, cookie: str | None = None
    ) -> None:
        self._sessions = sessions
        self._step: Step = settings.adopt  # type: ignore[assignment]
        self._user = settings.adopt_user or user_field
        name = cookie or settings.cookie_name
        self._jar = CookieJar(replace(settings, cookie_name=name))
        self._links = CookieJar(replace(settings, cookie_name=f"{name}_adopt", also_read_cookies=()))
        self._life = round(settings.absolute_timeout)
        self.name = name
        self.step = self._step
        self.tally = tally

    async def open(self, exchange: Exchange, legacy: Legacy) -> Adopted:
        """Read both sessions and say what the application is to see.

        Raises:
            SessionUnavailable: Redis is away, ours is the truth, and ``on_unavailable`` is ``fail``.
        """
        one = Adopted(legacy, self._begin(exchange), browser=read_link(self._links.values(exchange)))
        one.alone = not await self._load(exchange, one.turn)
        if not self._retired(one.turn):
            await self._read(one)
        one.alone |= one.turn.barred and (self._step == "mirror" or bool(one.seen))
        try:
            if not one.alone:
                await self._judge(exchange, one)
                self._show(one)
        except (SessionValueError, SessionTooLarge) as error:
            self._leave_alone(one, error)
        if not one.alone:
            self.tally.count(one.verdict.value)
        if one.alone or one.verdict is Verdict.ASIDE:
            one.alone = one.turn.closed = True
            one.verdict, one.values = Verdict.NOBODY, one.seen
            self.tally.count("alone")
        one.packed = {} if one.alone else pack(one.values)
        return one

    def _begin(self, exchange: Exchange) -> Turn:
        turn, values = self._sessions.keeper.turn(), self._jar.values(exchange)
        parsed = (parse_id(value) for value in values)
        turn.ids = tuple(dict.fromkeys(identity for identity in parsed if identity is not None))
        turn.barred = not values and is_cross_site(exchange)
        turn.label = exchange.header("user-agent") or ""
        self._sessions.stage(exchange, turn, lambda settled: self._deliver(exchange, settled))
        return turn

    def _deliver(self, exchange: Exchange, turn: Turn) -> None:
        if turn.issued is not None:
            identity, life = turn.issued
            self._jar.write(exchange, identity.text, life)
        elif turn.ended:
            self._jar.remove(exchange)

    async def _load(self, exchange: Exchange, turn: Turn) -> bool:
        try:
            await self._sessions.load(exchange)
        except ZddError as error:
            if self._step != "mirror":
                raise
            logger.info("the copy of a session could not be read; the framework's goes on alone: %s", error)
        here = turn.loaded and turn.available and not turn.away
        if not here:
            turn.closed = True
            self.tally.count("ours_away")
        return here or self._step != "mirror"

    async def _read(self, one: Adopted) -> None:
        try:
            one.seen = await one.legacy.read()
        except Exception as error:
            if self._step == "mirror" or one.alone:
                raise
            self._miss_legacy(one, error)

    def _retired(self, turn: Turn) -> bool:
        """Whether ``final`` need not look at the framework's copy any more."""
        stored = turn.stored
        return self._step == "final" and stored is not None and not stored.marker and RETIRED in stored.others

    async def _judge(self, exchange: Exchange, one: Adopted) -> None:
        turn = one.turn
        revoked = bool(one.seen) and await self._revoked(exchange, turn)
        for _ in range(ROUNDS):
            one.verdict = self._verdict(one, revoked=revoked)
            if one.verdict not in {Verdict.LEGACY, Verdict.ENDED} or not await self._overtaken(exchange, turn):
                return
            await self._read(one)
        one.verdict = Verdict.NOBODY if turn.stored is None else Verdict.OURS
        one.alone = bool(one.seen)  # ours changes under our eyes: this request lets it, and the next one looks again

    async def _revoked(self, exchange: Exchange, turn: Turn) -> bool:
        """Whether the user of an id that Redis does not know was logged out everywhere."""
        if self._step == "mirror" or turn.stored is not None or not turn.ids or exchange.store is None:
            return False
        places = self._sessions.keeper.places
        keys = {places.index(identity.tag, identity.home) for identity in turn.ids}
        epochs = await exchange.store.ask(
            *(Call(lambda epoch: epoch, ("HGET", key, "_e"), keys=(key,), again=True) for key in sorted(keys))
        )
        return any(epoch is not None for epoch in epochs)

    def _verdict(self, one: Adopted, *, revoked: bool) -> Verdict:
        turn = one.turn
        stored = turn.stored
        if one.unwritten or self._retired(turn):
            return Verdict.OURS if stored is not None else Verdict.NOBODY
        if not turn.available:
            return Verdict.CLOSED
        legacy = one.seen_print
        if stored is None:
            presented = turn.ids[0] if turn.ids else None
            alone = Sight(legacy, identity=identity_mark(presented), browser=one.browser, revoked=revoked)
            return judge(self._step, alone)
        sight = Sight(
            legacy,
            "marker" if stored.marker else "alive",
            identity_mark(turn.id),
            stored.revision,
            link_of(turn),
            announced_in(stored.others, stored.now),
            RETIRED in stored.others,
            one.browser,
        )
        return judge(self._step, sight)

    async def _overtaken(self, exchange: Exchange, turn: Turn) -> bool:
        """Whether ours was saved while the framework's was being read: then both have to be looked at again."""
        before = turn.stored.revision if turn.stored is not None else 0
        await self._reload(exchange, turn)
        return turn.stored is None or turn.stored.revision != before

    async def _reload(self, exchange: Exchange, turn: Turn) -> None:
        keeper, fresh = self._sessions.keeper, self._sessions.keeper.turn()
        ids = () if turn.id is None else (turn.id,)
        await keeper.load(fresh, ids, exchange.store)
        turn.begin(fresh.id, fresh.stored)
        turn.behind = False

    def _show(self, one: Adopted) -> None:
        turn = one.turn
        if one.verdict in {Verdict.ADOPT, Verdict.LEGACY}:
            self._assign(turn, one.seen, delete=set(turn.fields) | set(self._values(turn)))
            one.values = one.seen
        elif one.verdict in {Verdict.ENDED, Verdict.STALE}:
            turn.logout(turn.ids or ())
            one.values = {}
        elif one.verdict is Verdict.CLOSED and self._step == "mirror":
            one.values = one.seen or self._values(turn)
        elif one.verdict is Verdict.SYNCED and self._step == "mirror":
            one.values = one.seen
        else:
            one.values = self._values(turn)

    def _assign(self, turn: Turn, values: Mapping[str, Any], *, delete: set[str]) -> bool:
        """Set and delete fields; returns whether a change of user has dropped all others."""
        dropped = self._identify(turn, values, delete - values.keys())
        fields = turn.fields
        for name in delete - values.keys():
            if name in fields:
                fields.delete(name)
        for name, value in values.items():
            fields.write(name, value)
        return dropped

    def _identify(self, turn: Turn, values: Mapping[str, Any], deleted: set[str]) -> bool:
        if values.get(self._user) is not None:
            user = str(values[self._user])
            before = turn.user
            if user != before:
                turn.login(user, turn.label)
            return before is not None and user != before
        if self._user in values or self._user in deleted:
            self._log_off(turn)
        return False

    @staticmethod
    def _log_off(turn: Turn) -> None:
        """The user has left and the rest stays: a session of nobody, under another id."""
        if turn.user is not None:
            turn.user, turn.renewal, turn.keep = None, Renewal.LOGIN, False

    def _values(self, turn: Turn) -> dict[str, Any]:
        values = {}
        for name in turn.fields:
            try:
                values[name] = turn.fields.read(name)
            except RecordError:
                # a later release's: it stays in ours, and the framework has never had it
                self._sessions.count_undecodable(turn.stored.writer if turn.stored else "unknown")
        if turn.user is not None and self._user not in values:
            values[self._user] = turn.user
        return values

    # what goes wrong

    def _leave_alone(self, one: Adopted, error: ZddError) -> None:
        """Ours cannot hold this session: it stays where it is, whatever the step."""
        one.alone, one.turn.closed = True, True
        self.tally.count("refused")
        logger.error("a session stays with the framework, because ours cannot keep it: %s", error)

    def _miss_legacy(self, one: Adopted, error: Exception) -> None:
        one.unwritten = True
        self.tally.count("legacy_away")
        logger.warning("the framework's session store is away; ours goes on alone: %r", error)
