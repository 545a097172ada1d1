"""`Keeper`: sessions by id, without HTTP: what an exchange's session and Django's `SessionStore` build on."""

from __future__ import annotations

import functools
import logging
import secrets as random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from zdd_sdk.errors import (
    RecordTooNew,
    SessionConflict,
    SessionGone,
    SessionLoginNeeded,
    SessionUnavailable,
    StoreReplyError,
    StoreUnavailable,
)
from zdd_sdk.secrets import MIN_SECRET_BYTES, Secrets
from zdd_sdk.sessions.calls import SessionCalls
from zdd_sdk.sessions.envelope import Envelope
from zdd_sdk.sessions.homes import everywhere, other_homes
from zdd_sdk.sessions.ids import Place, Places, SessionId, mint_id, random_tag
from zdd_sdk.sessions.model import LAYOUT
from zdd_sdk.sessions.operations import Create, Load, Mark, Operation, Reply, Save
from zdd_sdk.sessions.plan import Plan
from zdd_sdk.sessions.stale import StaleCopies
from zdd_sdk.sessions.stock import Shelf
from zdd_sdk.sessions.stored import Stored
from zdd_sdk.sessions.turn import Renewal, Turn
from zdd_sdk.settings import SessionSettings
from zdd_sdk.store import Call, Keys, Store, fuse

__all__ = ["LARGE_FIELD", "Keeper"]

logger = logging.getLogger("zdd.sessions")

LARGE_FIELD = 32 * 1024
"""Bytes of an attribute beyond which saves of it are counted as ``large``; half of what is refused by default."""


_PAIR = 2
"""A new session and the mark of the one it replaces go in one command. `Plan` sees to it that they can: on a Cluster
they share a wave only if they share a slot."""


class Keeper:
    """Loads and saves sessions by id.

    Args:
        settings: the session options.
        keys: names keys in Redis.
        secrets: returns the root secrets; asked at the first login only.
        release: the release that writes, kept with each session.
        stock: keep sessions in a dict of this process instead (``ZDD_MODE=stock``).

    Attributes:
        counters: since the start: ``gone``, ``conflicts`` (saves merged with another request's),
            ``clashes`` (`SessionConflict`), ``unavailable``, ``rotations`` (periodic ones), ``trips``,
            ``read_bytes`` (values as stored, also those of ours about the session), ``written_bytes``, ``large``
            (saves with a field beyond `LARGE_FIELD`), and ``undecodable`` by the release that wrote.
        gone: the error where a session has ended, as ``on_gone`` says.
    """

    def __init__(
        self,
        settings: SessionSettings,
        keys: Keys,
        secrets: Callable[[], Secrets],
        *,
        release: str,
        stock: bool = False,
    ) -> None:
        self._settings = settings
        self.gone = SessionLoginNeeded if settings.on_gone == "401" else SessionGone
        self._calls = SessionCalls(settings, release)
        self._homes = (keys, *other_homes(settings))
        # In stock mode sessions live no longer than this process, and so do the secrets their names are derived from.
        passing = Secrets([random.token_hex(MIN_SECRET_BYTES)])
        self.places = Places(self._homes, (lambda: passing) if stock else secrets)
        self._envelope = Envelope(encrypt=settings.encrypt, secrets=secrets, homes=self._homes)
        self.shelf = Shelf(settings, release) if stock else None
        self._copies = StaleCopies(time.monotonic) if settings.on_unavailable == "stale" and not stock else None
        self.counters: dict[str, Any] = {
            "gone": 0,
            "conflicts": 0,
            "clashes": 0,
            "unavailable": 0,
            "rotations": 0,
            "trips": 0,
            "read_bytes": 0,
            "written_bytes": 0,
            "large": 0,
            "undecodable": {},
        }

    def turn(self) -> Turn:
        """Return the state of one session that nothing has been asked about yet."""
        return Turn(self._settings.max_field, self._envelope)

    async def load(self, turn: Turn, ids: Sequence[SessionId], store: Store | None, *, rotate: bool = False) -> None:
        """Load the session that one of the ids names, or begin a new one; one trip, none without an id.

        Where a rotation has given it a new id, ``turn.issued`` says which cookie has to be set.

        Args:
            turn: the session.
            ids: those the request carries.
            store: where to ask.
            rotate: give it a new id if that is due; only where the answer can still set a cookie.

        Raises:
            SessionUnavailable: Redis is away and the policy is ``fail``, or ``stale`` without a fresh copy.
            RecordTooNew: a newer release wrote a session this one must not touch.
        """
        if not ids:
            self._begin_anew(turn, store)
            return
        ids = self.everywhere(ids)
        places = [*map(self.places.place, ids)]
        try:
            replies = await self.ask(store, [Load(place, rotate) for place in places])
        except StoreUnavailable as error:
            if not turn.loaded:
                self._go_without(turn, ids, error)
            return
        if turn.loaded:
            # Another task of this request was faster, and what it has changed since must stay.
            return
        found = [(place, reply, reply.stored) for place, reply in zip(places, replies, strict=True) if reply.stored]
        if found:
            self._found(turn, *(found[0] if len(found) == 1 else min(found, key=_earlier)))
        elif refused := [reply.message for reply in replies if reply.status == "error"]:
            self._go_without(turn, ids, StoreUnavailable(refused[0], sent=True))
        else:
            turn.begin()

    def plan(self, turn: Turn, store: Store | None, *, save: bool = True) -> Plan:
        """Say what has to be asked to keep what a turn has changed.

        Args:
            turn: the session.
            store: where it will be asked.
            save: whether changes are to be saved; a logout always takes effect.

        Raises:
            SessionValueError: something inside a value cannot be stored; nothing was written.
            SessionTooLarge: a limit is exceeded; nothing was written.
        """
        if save and turn.unfinished is not None:
            plan, turn.unfinished = turn.unfinished, None
            return plan.resume()
        return Plan(
            turn,
            place=self.places.place,
            mint=functools.partial(self._mint, turn),
            max_session=self._settings.max_session,
            cluster=store is not None and self.shelf is None and store.cluster,
            save=save,
        )

    async def carry_out(
        self, plan: Plan, turn: Turn, store: Store | None, settled: Callable[[], None] = lambda: None
    ) -> None:
        """Ask a plan's waves; ``settled()`` is called after each.

        Raises:
            SessionConflict: a field is not what it was expected to be; nothing was written.
            SessionGone: the session has ended in the meantime; nothing was written.
            SessionUnavailable: Redis is away, or refused.
            SessionError: another task of this request is saving what may be saved once only.
        """
        with turn.saving(once=plan.merges):
            try:
                while plan.waves:
                    plan.take(await self.ask(store, plan.waves[0]))
                    self.settle(turn)
                    settled()
            except (StoreUnavailable, StoreReplyError) as error:
                turn.unfinished = plan
                raise self._unavailable(error) from error
        turn.raise_outcome(self.gone)

    def calls(self, wave: Sequence[Operation]) -> Sequence[Call[Any]]:
        """Build the calls of a wave, for a trip that carries others' calls, too; `replies` reads what comes of them."""
        self.counters["trips"] += 1
        for operation in wave:
            if isinstance(operation, Save | Create):
                self._note_written(operation.sets if isinstance(operation, Save) else operation.fields)
        calls = [self._calls.call(operation) for operation in wave]
        if len(wave) == _PAIR and isinstance(wave[0], Create) and isinstance(wave[1], Mark):
            return [fuse(calls[0], calls[1])]
        return calls

    def replies(self, results: Sequence[Any]) -> Sequence[Reply]:
        """Return the reply to each operation of a wave."""
        return results[0] if len(results) == 1 and isinstance(results[0], tuple) else results

    async def ask(self, store: Store | None, wave: Sequence[Operation]) -> Sequence[Reply]:
        """Ask one wave: one trip.

        Raises:
            StoreUnavailable: Redis is away, or there is no store.
        """
        if self.shelf is not None:
            return [self.shelf.run(operation) for operation in wave]
        if not wave:
            return ()
        if store is None:
            message = "sessions need a store, and this application has none"
            raise StoreUnavailable(message)
        return self.replies(await store.ask(*self.calls(wave)))

    def settle(self, turn: Turn) -> None:
        """Count and log what the last wave has met, and keep the local copies true."""
        self.counters["conflicts"] += turn.conflicts
        self.counters["clashes"] += isinstance(turn.failure, SessionConflict)
        turn.conflicts = 0
        if turn.gone and not turn.told:
            turn.told = True
            self.counters["gone"] += 1
            logger.info("a session had ended when its changes came to be saved; nothing was written, no cookie was set")
        if turn.refused and not turn.told:
            turn.told = True
            self.counters["unavailable"] += 1
            logger.warning("Redis refused to write a session: %s", turn.refused)
        if self._copies is not None:
            self._refresh_copies(self._copies, turn)

    def count_undecodable(self, writer: str) -> None:
        """Count a field, or a session, that this release could not read, by the release that wrote it."""
        undecodable = self.counters["undecodable"]
        undecodable[writer] = undecodable.get(writer, 0) + 1

    def key(self, identity: SessionId) -> str:
        """Name the hash of a session in Redis."""
        return self.places.key(identity)

    def everywhere(self, ids: Iterable[SessionId]) -> tuple[SessionId, ...]:
        """Return each id in each place its session may lie in, each once."""
        return everywhere(ids, len(self._homes))

    def _note_written(self, written: Mapping[bytes, bytes]) -> None:
        sizes = [len(data) for data in written.values()]
        self.counters["written_bytes"] += sum(sizes)
        if max(sizes, default=0) <= LARGE_FIELD:
            return
        if not self.counters["large"]:
            name, data = max(written.items(), key=lambda pair: len(pair[1]))
            logger.warning("session field %r has %d bytes, which every request reads (said once)", name, len(data))
        self.counters["large"] += 1

    def _begin_anew(self, turn: Turn, store: Store | None) -> None:
        """Begin for a visitor who has no session yet: no trip, so what is known of Redis has to do."""
        known_away = self.shelf is None and store is not None and not store.available
        if known_away and self._settings.on_unavailable == "anonymous":
            self.counters["unavailable"] += 1
            turn.begin_without_store()
        elif not turn.loaded:
            turn.begin()
            turn.away = known_away

    def _found(self, turn: Turn, place: Place, reply: Reply, stored: Stored) -> None:
        self._begin(turn, place.after(reply.moved), stored)
        turn.place = place
        self.counters["rotations"] += reply.rotated
        self.counters["read_bytes"] += sum(map(len, stored.raw.values()))
        if reply.moved and turn.id is not None:
            turn.follow(turn.id, place.identity)

    def _begin(self, turn: Turn, identity: SessionId, stored: Stored) -> None:
        if stored.reader > LAYOUT:
            self.count_undecodable(stored.writer)
            message = (
                f"release {stored.writer} wrote this session for readers of layout {stored.reader}; this is {LAYOUT}"
            )
            raise RecordTooNew(message)
        turn.begin(identity, stored)
        if self._copies is not None:
            self._copies.put(self.key(identity), stored)

    def _go_without(self, turn: Turn, ids: Sequence[SessionId], error: StoreUnavailable) -> None:
        if self._settings.on_unavailable == "anonymous":
            self.counters["unavailable"] += 1
            turn.begin_without_store()
            return
        for identity in ids if self._copies is not None else ():
            stored = self._copies.get(self.key(identity)) if self._copies is not None else None
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

    def _refresh_copies(self, copies: StaleCopies, turn: Turn) -> None:
        for identity in turn.ids or ():
            copies.drop(self.key(identity))
        if turn.id is not None and turn.stored is not None and not turn.gone:
            copies.put(self.key(turn.id), turn.stored)

    def reserve(self, turn: Turn, user: str | None) -> SessionId:
        """Return the id a new session of this user will have, for those who must know it before it is saved."""
        if turn.reserved is None or turn.reserved[0] != user:
            turn.reserved = (user, mint_id(self._tag(turn, user)))
        return turn.reserved[1]

    def _mint(self, turn: Turn) -> SessionId:
        # Each id is asked for once: a create sent again under its own id would be taken for done.
        identity, turn.reserved = self.reserve(turn, turn.user), None
        return identity

    def _tag(self, turn: Turn, user: str | None) -> str:
        if turn.renewal is Renewal.ROTATION and turn.id is not None and turn.stored and turn.stored.user == user:
            return turn.id.tag  # one slot, so that on a Cluster, too, both ids are written or neither
        return random_tag() if user is None else self.places.tags(user)[0]


def _earlier(one: tuple[Place, Reply, Stored]) -> tuple[bool, bool, int]:
    """Of several cookies the one with the latest id comes first."""
    _, reply, stored = one
    return stored.marker, not reply.rotated, reply.moved
