"""`Adoption`: one request's two sessions, opened as one and closed as one; written once for every framework."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from msgspec.structs import replace

from zdd_sdk.errors import (
    RecordError,
    SessionGone,
    SessionReadOnly,
    SessionTooLarge,
    SessionUnavailable,
    SessionValueError,
    ZddError,
)
from zdd_sdk.http import Exchange
from zdd_sdk.sessions.adopt import (
    LINK,
    RETIRED,
    Link,
    Sight,
    Step,
    Verdict,
    announced_in,
    announcement,
    changed_fields,
    fingerprint,
    identity_mark,
    judge,
    pack,
    read_link,
)
from zdd_sdk.sessions.adopt_count import Tally
from zdd_sdk.sessions.cookies import CookieJar, is_cross_site
from zdd_sdk.sessions.core import Sessions
from zdd_sdk.sessions.ids import parse_id
from zdd_sdk.sessions.lifetime import Lifetime
from zdd_sdk.sessions.turn import Renewal, Turn
from zdd_sdk.settings import SessionSettings
from zdd_sdk.store import Call, load_script

__all__ = ["Adopted", "Adoption", "Legacy", "LegacyRefused"]

logger = logging.getLogger("zdd.sessions")

_WORN = 0.1
"""Part of its life after which the framework's copy is prolonged; ours has the same."""

_ROUNDS = 4
"""How often a request looks again because another one has saved meanwhile."""


class LegacyRefused(Exception):
    """The framework's session cannot hold these values: their type, or 4 KB of cookie."""


class Legacy(Protocol):
    """One request's session as the framework keeps it, reached through the framework's own code.

    Attributes:
        in_browser: the whole session lies in its cookie.
        lifetime: seconds it lives after a write, where the framework writes it in each request to prolong it.
    """

    in_browser: bool
    lifetime: float | None

    async def read(self) -> dict[str, Any]:
        """Return its fields; empty if there is none. Raises whatever the framework raises if it is out of reach."""
        ...

    def as_read(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return what `read` would return after `write`.

        Raises:
            LegacyRefused: it cannot hold these values.
        """
        ...

    def terms(self) -> Lifetime:
        """Return how long ours is to live, which is as long as the framework's would."""
        ...

    async def write(self, values: Mapping[str, Any] | None) -> None:
        """Store and set the cookie as the framework does; ``None``: what the application left, by its own rules."""
        ...

    async def end(self) -> None:
        """Delete it and its cookie; the cookie also where the store is out of reach, which is raised."""
        ...


@dataclass(slots=True)
class Adopted:
    """What one request knows about its two sessions.

    Attributes:
        legacy: the framework's.
        turn: ours.
        verdict: what they were to each other.
        seen: the framework's fields as read.
        values: what the application is shown.
        packed: the same, encoded, to see what it changes.
        browser: the link that came with the request.
        alone: ours takes no part in this request.
        unwritten: the framework's store is away, or refuses.
    """

    legacy: Legacy
    turn: Turn
    verdict: Verdict = Verdict.NOBODY
    seen: dict[str, Any] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    packed: dict[str, bytes] = field(default_factory=dict)
    browser: Link | None = None
    alone: bool = False
    unwritten: bool = False

    @property
    def seen_print(self) -> str:
        """Fingerprint of what was read."""
        return fingerprint(pack(self.seen))


class Adoption:
    """Opens and closes both sessions of each request.

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
        one = Adopted(legacy, self._begin(exchange), browser=self._browser_link(exchange, legacy))
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
        if one.alone:
            one.turn.closed = True
            one.verdict, one.values = Verdict.NOBODY, one.seen
        self.tally.count("alone" if one.alone else one.verdict.value)
        one.packed = {} if one.alone else pack(one.values)
        return one

    async def close(self, exchange: Exchange, one: Adopted, after: Mapping[str, Any]) -> None:
        """Keep what the application has changed, on both sides.

        Args:
            exchange: of the request.
            one: what `open` returned.
            after: the fields as the application left them.

        Raises:
            SessionReadOnly: a request from before a login changed its session, and ours is the truth.
            SessionUnavailable: Redis is away and ours is the truth.
            SessionValueError: ours cannot hold a value, and there is nothing else any more.
        """
        if one.alone:
            await one.legacy.write(None)
        elif one.verdict is Verdict.CLOSED:
            await self._close_marker(one, after)
        else:
            await self._close(exchange, one, after)

    async def _close(self, exchange: Exchange, one: Adopted, after: Mapping[str, Any]) -> None:
        try:
            touched = self._apply(one, after)
            values = self._values(one.turn)
        except (SessionValueError, SessionTooLarge) as error:
            if self._step == "final":
                raise
            self._leave_alone(one, error)
            await one.legacy.write(None)
            return
        if not values:
            await self._end(exchange, one)
        elif self._step == "final":
            await self._save_ours(exchange, one)
        elif touched or one.verdict in {Verdict.ADOPT, Verdict.OURS, Verdict.LEGACY}:
            await self._write_both(exchange, one)
        elif self._due(one):
            await self._write_both(exchange, one, refresh=True)

    def _due(self, one: Adopted) -> bool:
        """Whether the framework, which prolongs its session by writing it, would have done so long ago."""
        stored, link, life = one.turn.stored, _link_of(one.turn), one.legacy.lifetime
        if stored is None or link is None or life is None or self._step == "final":
            return False
        return stored.now - link.at > life * 1000 * _WORN

    # reading

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
        for _ in range(_ROUNDS):
            one.verdict = self._verdict(one, revoked=revoked)
            if one.verdict not in {Verdict.LEGACY, Verdict.ENDED} or not await self._overtaken(exchange, turn):
                return
            await self._read(one)
        one.verdict = Verdict.OURS if turn.id is not None else Verdict.NOBODY

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
            _link_of(turn),
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

    # what the application changed

    def _apply(self, one: Adopted, after: Mapping[str, Any]) -> bool:
        """Bring the application's changes into ours; returns whether anything is to be written."""
        turn = one.turn
        sets, deletes = changed_fields(one.packed, pack(after))
        if sets or deletes:
            dropped = self._assign(turn, {name: after[name] for name in sets}, delete=deletes)
            if dropped:
                self._assign(turn, after, delete=set())
        return bool(sets or deletes or turn.renewal is not Renewal.NONE or any(turn.fields.changes()))

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

    # writing

    async def _write_both(self, exchange: Exchange, one: Adopted, *, refresh: bool = False) -> None:
        """Announce, save ours, write the framework's, agree: until nobody came in between."""
        turn, announced = one.turn, set[bytes]()
        for again in range(_ROUNDS):
            values = self._values(turn)
            coming = self._coming(one, values)
            revision = self._announce(one, coming, announced)
            # a cookie that is right already is not sent again: a parallel logout may have deleted it
            due = again or refresh or coming != one.seen_print
            shown = values if coming is not None and due else None
            # where an id is given up, the truth comes first: an error must leave the old one as it was
            first = self._step == "mirror" and not revision
            if first:
                await self._legacy_write(one, shown, refused=coming is None)
            if not await self._save(exchange, one):
                return
            if turn.behind and revision:
                self.tally.count("merged")
                await self._reload(exchange, turn)
                continue
            if not first:
                await self._legacy_write(one, shown, refused=coming is None)
            if one.unwritten or coming is None or await self._settle(exchange, one, coming, announced):
                return
            self.tally.count("merged")
            await self._reload(exchange, turn)

    def _coming(self, one: Adopted, values: Mapping[str, Any]) -> str | None:
        """Fingerprint the framework's copy will have; ``None`` if it cannot hold these values or is away."""
        if one.unwritten:
            return None
        try:
            return fingerprint(pack(one.legacy.as_read(values)))
        except LegacyRefused as error:
            self.tally.count("legacy_refused")
            logger.error("the framework cannot keep a session that ours can; ours goes on without it: %s", error)  # noqa: TRY400
            return None

    def _announce(self, one: Adopted, coming: str | None, announced: set[bytes]) -> int:
        """Have the next save tell other requests what the framework's copy may be from now on."""
        turn, stored = one.turn, one.turn.stored
        if stored is None or turn.renewal is not Renewal.NONE:
            turn.extra = {LINK: Link("", 0, self._last_known(one)).text.encode()}
            turn.live(one.legacy.terms())
            return 0
        prints = {coming, self._last_known(one) if one.verdict is Verdict.LEGACY else None} - {None, ""}
        turn.extra = dict(announcement(str(print_), stored.now) for print_ in prints)
        announced.update(turn.extra)
        return stored.revision

    def _last_known(self, one: Adopted) -> str:
        """Fingerprint of the framework's copy: as read, or else as it was when both last agreed."""
        if not one.unwritten and not self._retired(one.turn):
            return one.seen_print
        link = _link_of(one.turn)
        return link.fingerprint if link is not None else ""

    async def _save(self, exchange: Exchange, one: Adopted) -> bool:
        """Save ours; ``False``: it did not, and the framework's has been dealt with."""
        try:
            await self._sessions.save(exchange)
        except SessionGone:
            return False  # a logout, or a login of the same session, came first: nothing may undo it
        except SessionUnavailable as error:
            self._forgive(one, error)
            await one.legacy.write(None)
            return False
        except (SessionValueError, SessionTooLarge) as error:
            if self._step == "final":
                raise
            self._leave_alone(one, error)
            await one.legacy.write(None)
            return False
        finally:
            one.turn.extra = {}
        return True

    def _forgive(self, one: Adopted, error: SessionUnavailable) -> None:
        if self._step != "mirror":
            raise error
        self.tally.count("ours_away")
        one.turn.closed, one.turn.unfinished = True, None

    async def _legacy_write(self, one: Adopted, values: Mapping[str, Any] | None, *, refused: bool = False) -> None:
        if refused and self._step != "mirror":
            return
        try:
            if not one.unwritten and not (one.turn.barred and self._step != "mirror"):
                await one.legacy.write(values)
        except Exception as error:
            if self._step == "mirror":
                raise
            self._miss_legacy(one, error)

    async def _settle(self, exchange: Exchange, one: Adopted, coming: str, announced: set[bytes]) -> bool:
        turn = one.turn
        if turn.id is None or turn.stored is None or exchange.store is None:
            return True
        link = Link(identity_mark(turn.id), turn.stored.revision, coming, turn.stored.now)
        call = _settle_call(self._sessions.keeper.key(turn.id), link, announced)
        try:
            (agreed,) = await exchange.store.ask(call)
        except ZddError as error:
            logger.info("two copies agree and Redis could not be told: %s", error)
            return True
        if agreed and one.legacy.in_browser:
            self._links.write(exchange, link.text, None if "b" in turn.stored.flags else self._life)
        return agreed

    async def _end(self, exchange: Exchange, one: Adopted) -> None:
        """Nothing is left in it: a logout, unless there was nothing before."""
        turn = one.turn
        turn.logout(turn.ids or () if turn.id is not None or turn.leaving else ())
        if turn.leaving:
            await self._save_logout(exchange, one)
        if one.browser is not None:
            self._links.remove(exchange)
        if one.verdict is not Verdict.NOBODY and (one.seen or one.unwritten or self._step == "final"):
            await self._legacy_end(one)
        else:
            await self._legacy_write(one, None)

    async def _save_logout(self, exchange: Exchange, one: Adopted) -> None:
        try:
            await self._sessions.save(exchange)
        except SessionUnavailable as error:
            self._forgive(one, error)

    async def _save_ours(self, exchange: Exchange, one: Adopted) -> None:
        """From here on ours is the only one that is written."""
        turn, stored = one.turn, one.turn.stored
        if stored is None or turn.renewal is not Renewal.NONE:
            turn.extra = {RETIRED: b"1", LINK: Link("", 0, self._last_known(one)).text.encode()}
            turn.live(one.legacy.terms())
        elif RETIRED not in stored.others:
            turn.extra = {RETIRED: b"1"}
        if turn.extra or any(turn.fields.changes()):
            await self._save(exchange, one)

    async def _legacy_end(self, one: Adopted) -> None:
        try:
            await one.legacy.end()
        except Exception as error:
            if self._step == "mirror":
                raise
            self._miss_legacy(one, error)

    async def _close_marker(self, one: Adopted, after: Mapping[str, Any]) -> None:
        if not any(changed_fields(one.packed, pack(after))):
            return
        if self._step == "mirror":
            await one.legacy.write(None)
            return
        message = "this request began before its user logged in: what it changed was not kept"
        raise SessionReadOnly(message)

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

    def _browser_link(self, exchange: Exchange, legacy: Legacy) -> Link | None:
        return read_link(self._links.values(exchange)) if legacy.in_browser else None


def _link_of(turn: Turn) -> Link | None:
    stored = turn.stored
    return Link.parse(stored.others.get(LINK, b"").decode("ascii", "replace")) if stored is not None else None


def _settle_call(key: str, link: Link, announced: set[bytes]) -> Call[bool]:
    script = load_script("zdd_sdk.sessions", "settle")
    args: tuple[str | bytes, ...] = (str(link.revision), link.text, RETIRED, *sorted(announced))
    return Call(lambda reply: bool(reply[0] == b"ok"), script=script, keys=(key,), args=args, again=True)
