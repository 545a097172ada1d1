"""`Adoption`: one request's two sessions, opened as one and closed as one; written once for every framework."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from zdd_sdk.errors import (
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
    Verdict,
    announcement,
    changed_fields,
    fingerprint,
    identity_mark,
    pack,
    taken_print,
    worn_announcements,
)
from zdd_sdk.sessions.adopt_legacy import Adopted, Legacy, LegacyRefused, link_of
from zdd_sdk.sessions.adopt_open import ROUNDS, Opening
from zdd_sdk.sessions.turn import Renewal
from zdd_sdk.store import Call, load_script

__all__ = ["Adopted", "Adoption", "Legacy", "LegacyRefused"]

logger = logging.getLogger("zdd.sessions")

_WORN = 0.1
"""Part of its life after which the framework's copy is prolonged; ours has the same."""


class Adoption(Opening):
    """Opens and closes both sessions of each request; see `Opening` for its arguments."""

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
            await self._save_ours(exchange, one, after)
        elif touched or one.verdict in {Verdict.ADOPT, Verdict.OURS, Verdict.LEGACY}:
            await self._write_both(exchange, one, after)
        elif self._due(one):
            await self._write_both(exchange, one, after, refresh=True)

    def _due(self, one: Adopted) -> bool:
        """Whether the framework, which prolongs its session by writing it, would have done so long ago."""
        stored, link, life = one.turn.stored, link_of(one.turn), one.legacy.lifetime
        if stored is None or link is None or life is None or self._step == "final":
            return False
        return stored.now - link.at > life * 1000 * _WORN

    def _apply(self, one: Adopted, after: Mapping[str, Any]) -> bool:
        """Bring the application's changes into ours; returns whether anything is to be written."""
        turn = one.turn
        sets, deletes = changed_fields(one.packed, pack(after))
        if sets or deletes:
            dropped = self._assign(turn, {name: after[name] for name in sets}, delete=deletes)
            if dropped:
                self._assign(turn, after, delete=set())
        return bool(sets or deletes or turn.renewal is not Renewal.NONE or any(turn.fields.changes()))

    async def _write_both(
        self, exchange: Exchange, one: Adopted, after: Mapping[str, Any], *, refresh: bool = False
    ) -> None:
        """Announce, save ours, write the framework's, agree: until nobody came in between."""
        turn, announced = one.turn, set[bytes]()
        for again in range(ROUNDS):
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
                if not await self._catch_up(exchange, one, after):
                    return
                continue
            if not first:
                await self._legacy_write(one, shown, refused=coming is None)
            if one.unwritten or coming is None or await self._settle(exchange, one, coming, announced):
                return
            if not await self._catch_up(exchange, one, after):
                await self._unwrite(one)
                return

    async def _unwrite(self, one: Adopted) -> None:
        """A logout came between our save and our write of the framework's copy: it counts there, too."""
        if one.turn.stored is None:
            await self._legacy_end(one)

    async def _catch_up(self, exchange: Exchange, one: Adopted, after: Mapping[str, Any]) -> bool:
        """Look at what another request has saved; what was to be taken over it may have taken over already.

        Returns:
            whether ours is still there: what has ended is not written again.
        """
        self.tally.count("merged")
        turn = one.turn
        await self._reload(exchange, turn)
        if turn.stored is None or turn.stored.marker:
            return False
        if not turn.guarded:
            return True
        turn.guarded = False
        if not one.legacy.in_browser:
            await self._read(one)
        one.verdict = self._verdict(one, revoked=False)
        if one.verdict is Verdict.LEGACY:
            self._show(one)
        self._apply(one, after)
        return True

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
        turn.guarded = one.verdict is Verdict.LEGACY
        prints = {coming, self._last_known(one) if turn.guarded else None} - {None, ""}
        turn.extra = dict(announcement(str(print_), stored.now) for print_ in prints)
        announced.update(turn.extra, worn_announcements(stored.others, stored.now))
        turn.extra = {**turn.extra, **self._taken(one)}
        return stored.revision

    def _taken(self, one: Adopted) -> dict[bytes, bytes]:
        """What tells a request sent at the same time that this write without us has been taken over."""
        taken, stored = taken_print(one.seen_print, one.browser), one.turn.stored
        if not taken or stored is None or one.verdict is not Verdict.LEGACY:
            return {}
        return dict([announcement(taken, stored.now)])

    def _last_known(self, one: Adopted) -> str:
        """Fingerprint of the framework's copy: as read, or else as it was when both last agreed."""
        if not one.unwritten and not self._retired(one.turn):
            return one.seen_print
        link = link_of(one.turn)
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
        if one.verdict is Verdict.LEGACY and not one.turn.behind:
            one.verdict, one.turn.guarded = Verdict.OURS, False
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
            agreed = True  # what the browser is given is a pair all the same
        if agreed:
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

    async def _save_ours(self, exchange: Exchange, one: Adopted, after: Mapping[str, Any]) -> None:
        """From here on ours is the only one that is written."""
        turn = one.turn
        for _ in range(ROUNDS):
            self._mark_retired(one)
            if not (turn.extra or any(turn.fields.changes())):
                return
            guarded = turn.guarded
            if not await self._save(exchange, one) or not (guarded and turn.behind):
                return
            if not await self._catch_up(exchange, one, after):
                return

    def _mark_retired(self, one: Adopted) -> None:
        turn, stored = one.turn, one.turn.stored
        link = {LINK: Link("", 0, self._last_known(one)).text.encode()}
        turn.guarded, turn.extra = False, {}
        if stored is None or turn.renewal is not Renewal.NONE:
            turn.extra = {RETIRED: b"1", **link}
            turn.live(one.legacy.terms())
        elif one.verdict is Verdict.LEGACY:
            turn.extra, turn.guarded = {RETIRED: b"1", **link, **self._taken(one)}, True
        elif RETIRED not in stored.others:
            turn.extra = {RETIRED: b"1"}

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


def _settle_call(key: str, link: Link, announced: set[bytes]) -> Call[bool]:
    script = load_script("zdd_sdk.sessions", "settle")
    args: tuple[str | bytes, ...] = (str(link.revision), link.text, RETIRED, *sorted(announced))
    return Call(lambda reply: bool(reply[0] == b"ok"), script=script, keys=(key,), args=args, again=True)
