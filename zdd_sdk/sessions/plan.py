"""`Plan`: what a leave or a save still has to ask, in waves, and what the replies mean. Pure.

Nearly always one wave: a save, a create, a delete, or a create beside the mark of what it replaces. On a
Cluster, where a login leads to another slot, the mark follows in a wave of its own: calls of one wave fail apart
there, and a lost create beside a successful mark would lose the session.

Nobody knows a new id before its cookie is set, so a create can be taken back. That is what makes a
rotation in one wave safe: where its mark finds the old session ended (a logout in between), the new one
is deleted again. A login is different: it does not depend on what was there before.

Where a save meets a field that another request has changed under an operation of ours, nothing was written: the
operation is applied to what is there now, and the save asked again, in another wave.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from types import MappingProxyType
from typing import Any

from msgspec.structs import replace

from zdd_sdk.errors import SessionConflict, SessionTooLarge, ZddError
from zdd_sdk.sessions.ids import Place, SessionId
from zdd_sdk.sessions.lifetime import OVER
from zdd_sdk.sessions.merge import MAX_ROUNDS
from zdd_sdk.sessions.merge import Operation as Merge
from zdd_sdk.sessions.model import (
    ATTRIBUTE,
    LAYOUT,
    MAX_FIELDS,
    NOTHING,
    REVISION,
    check_size,
    field_name,
    raw_fields,
    size_of,
)
from zdd_sdk.sessions.operations import Create, Delete, Load, Mark, Operation, Reply, Save
from zdd_sdk.sessions.renewal import renew
from zdd_sdk.sessions.stored import Stored, changed_since, write_meta
from zdd_sdk.sessions.turn import Renewal, Turn

__all__ = ["Plan"]

_TOKEN_BYTES = 8


class Plan:
    """The waves of one leave or one explicit save.

    Args:
        turn: the session.
        place: says where a session lies.
        mint: makes the id of a new session.
        max_session: largest encoded session, bytes.
        cluster: whether calls of one wave may fail apart.
        save: whether changes are to be saved (not for a 5xx answer); a logout always takes effect.

    Raises:
        SessionValueError: something inside a value cannot be stored; nothing was written.
        SessionTooLarge: a limit is exceeded; nothing was written.
    """

    _merges: Mapping[str, Sequence[Merge]] = MappingProxyType({})
    _rounds = 0
    _more = _apart = False
    _sets: Mapping[str, bytes] = NOTHING
    _deletes: AbstractSet[str] = frozenset()
    _ending: Sequence[Mark | Delete] = ()
    _new: SessionId | None = None
    _refused: Create | None = None

    def __init__(
        self,
        turn: Turn,
        *,
        place: Callable[[SessionId], Place],
        mint: Callable[[], SessionId],
        max_session: int,
        cluster: bool,
        save: bool,
    ) -> None:
        self._turn = turn
        self._place = place
        self._mint = mint
        self._cluster = cluster
        self._max_session = max_session
        self._before = turn.stored
        self._renewal = turn.renewal
        self.waves: list[list[Operation]] = []
        first = self._changes() if save and turn.savable else []
        if turn.leaving:
            first = self._ends(begins=any(isinstance(change, Create) for change in first)) + first
        if first:
            self.waves.insert(0, first)
        elif turn.came is not None:
            self.waves.append([Load(place(turn.came))])

    @property
    def logs_in(self) -> bool:
        """Whether it carries out a login that Redis has not confirmed yet."""
        return self._renewal is Renewal.LOGIN and self._turn.renewal is Renewal.LOGIN

    @property
    def logs_out(self) -> bool:
        """Whether it carries out a logout that Redis has not confirmed yet."""
        return bool(self._turn.leaving) or self._turn.emptied

    def take(self, replies: Sequence[Reply]) -> None:
        """Take the replies to the first wave, in order; there may be another one then."""
        wave = self.waves.pop(0)
        answers = list(zip(wave, replies, strict=True))
        if self._ending:
            self._take_ends([reply for operation, reply in answers if operation in self._ending])
        for operation, reply in answers:
            if reply.status == "error":
                self._turn.refused = reply.message
            if isinstance(operation, Save):
                self._take_save(operation, reply)
            elif isinstance(operation, Create):
                self._take_create(operation, reply)
            elif isinstance(operation, Mark) and operation not in self._ending:
                self._take_mark(reply)
            elif isinstance(operation, Load) and (reply.stored is None or reply.stored.marker):
                # A login has come between the load and the answer that was to tell of a rotation: its cookie stays.
                self._turn.issued = None
        if moved := [(operation, reply.message) for operation, reply in answers if reply.status == "moved"]:
            self._follow(moved)
        if self._more and not self.waves and self._turn.savable:
            self._more = False
            self._ask(self._changes)

    def resume(self) -> Plan:
        """Go on after a failure: what got no answer is asked again as it was, so that it counts once; then the rest."""
        self._more = True
        return self

    @property
    def merges(self) -> bool:
        """Whether it carries operations, which count each time they are saved."""
        return bool(self._merges)

    def _changes(self) -> list[Operation]:
        turn = self._turn
        self._before, self._renewal, self._new = turn.stored, turn.renewal, None
        self._sets, self._deletes = turn.fields.changes()
        self._merges = turn.fields.pending()
        if self._sets:
            self._check_size()
        if self._renewal is Renewal.NONE and turn.id is not None:
            return self._save_changes(turn.id)
        known = turn.id is not None and self._before is not None and not self._before.marker
        if known and turn.id is not None and turn.fields.checks():
            self._more = True  # whether a value is what it should be has to be known before anything else happens
            return self._save_changes(turn.id)
        return self._renew(turn.fields.raw(self._sets, self._deletes))

    def _check_size(self) -> None:
        before = self._before if self._turn.keep else None
        # With all of its books a session may look too large; that it is small enough is seen at a glance.
        if before is None or before.size + size_of(self._sets) > self._max_session or self._many(before):
            merged = self._turn.fields.merged(self._sets, self._deletes)
            check_size(merged, self._max_session, before.fields if before else NOTHING)

    def _many(self, before: Stored) -> bool:
        return len(before.raw) + len(self._sets) > MAX_FIELDS

    def _save_changes(self, identity: SessionId) -> list[Operation]:
        turn = self._turn
        if turn.emptied and turn.stored is not None:
            revision = {REVISION: b"%d" % turn.stored.revision}
            return [self._save(identity, {}, set(), lifetime=OVER, expected=revision)]
        if not (self._sets or self._deletes or turn.lifetime or turn.extra):
            return []
        known = turn.stored.revision if turn.stored else 0
        expected = raw_fields(turn.fields.expected(self._sets)) if self._merges else {}
        if turn.guarded and turn.stored is not None:
            expected[REVISION] = b"%d" % known
        words: dict[str, Any] = {"expected": expected, "room": self._max_session, "known": known}
        if turn.lifetime is not None:
            words |= {"lifetime": turn.lifetime, "created": turn.stored.created if turn.stored else 0}
        return [self._save(identity, {**raw_fields(self._sets), **turn.extra}, self._deletes, **words)]

    def _renew(self, merged: Mapping[bytes, bytes]) -> list[Operation]:
        turn = self._turn
        if turn.barred or (self._renewal is Renewal.NONE and not (merged or turn.begun)):
            return []
        self._new = self._mint()
        left = self._place(turn.id) if turn.id is not None else None
        create, mark = renew(turn, merged, left, self._place(self._new))
        if mark is None:
            return [create]
        self._apart = self._cluster and mark.place.identity.tag != create.place.identity.tag
        if self._apart:
            self.waves.append([mark])
            return [create]
        return [create, mark]

    def _save(self, identity: SessionId, sets: Mapping[bytes, bytes], deletes: AbstractSet[str], **words: Any) -> Save:
        token, gone = secrets.token_bytes(_TOKEN_BYTES), [field_name(name) for name in sorted(deletes)]
        return Save(self._place(identity), token, sets, gone, **words)

    def _ends(self, *, begins: bool) -> list[Operation]:
        """End what a logout leaves behind.

        Where a new session begins at once, the old id stays as an empty marker: a request under way with it must
        not be taken for a new visitor's, and replace the new cookie with one of its own.
        """
        places = [] if self._turn.closed else [self._place(identity) for identity in self._turn.leaving]
        self._ending = [
            Mark(place, 0, keep=False, vital=True) if begins and not self._cluster else Delete(place, vital=True)
            for place in places
        ]
        return list(self._ending)

    def _take_ends(self, replies: Sequence[Reply]) -> None:
        if self._turn.leaving and replies and all(reply.status in {"ok", "none"} for reply in replies):
            self._turn.leaving = ()
            self._turn.ended = self._new is None or self._turn.id != self._new

    def _follow(self, moved: Sequence[tuple[Operation, str]]) -> None:
        """End what another request has made of a session meanwhile, then ask again for what has waited for that."""
        ends = [(step, digest) for step, digest in moved if step in self._ending or self._new is not None]
        if ends:
            self._ask(lambda: [each for step, digest in ends for each in self._with_heir(step, digest)])

    def _with_heir(self, step: Operation, digest: str) -> tuple[Operation, Operation]:
        self._count_round()
        assert isinstance(step, Mark | Delete)  # noqa: S101 - for type checkers: nothing else is told so
        heir = Delete(step.place.became(digest), vital=step.vital)
        self._ending = [*self._ending, heir] if step in self._ending else self._ending
        return heir, step

    def _take_create(self, create: Create, reply: Reply) -> None:
        if reply.status != "ok" or self._new is None:
            if self._continues(create, reply):
                return
            self._new = None
            self.waves.clear()
            if reply.status == "gone" and self._turn.lifetime is not None:
                self._turn.expired()
            if reply.status == "gone" and not self._turn.closed:
                self._turn.lost()
            return
        terms = {"created": create.created or reply.now, "ends": reply.ends, "idle": reply.idle, "revision": 1}
        user = {"user": create.user, "device": create.device, "since": reply.since, "flags": create.lifetime.flags}
        stored = Stored(reply.now, {**create.fields, **write_meta(reader=LAYOUT, **terms, **user)})
        self._turn.became(self._new, stored, self._sets, self._deletes)
        if self._renewal is not Renewal.ROTATION or self._refused is not None:
            self._issue()

    def _continues(self, create: Create, reply: Reply) -> bool:
        """Whether it is the mark in the same wave that says what a refused rotation is about.

        A log out everywhere since the load has ended what it continues, or kept it and said so there.
        """
        waits = reply.status == "gone" and create.since is not None and not self._apart and self._refused is None
        self._refused = create if waits else None
        return waits

    def _take_mark(self, reply: Reply) -> None:
        if self._new is None or reply.status == "moved":
            return
        if reply.status == "ok":
            if self._refused is not None:
                self.waves.append([replace(self._refused, since=reply.since)])
            elif self._renewal is Renewal.ROTATION:
                self._issue()
            self._merge(Stored(0, reply.fields))
        elif self._renewal is Renewal.ROTATION:
            if self._refused is None:
                self.waves.append([Delete(self._place(self._new))])
            if reply.status == "none":
                self._turn.lost()
            self._turn.closed = True

    def _merge(self, changed: Stored) -> None:
        """Bring along what another request saved between our load and our mark."""
        if self._new is None or self._before is None or not changed.revision:
            return
        sets, deletes = changed_since(self._before.fields, changed.fields)
        ours, theirs = self._sets.keys() | self._deletes, sets.keys() | deletes
        sets = {name: data for name, data in sets.items() if name not in ours}
        for name in self._merges.keys() & self._sets.keys() & theirs:
            with contextlib.suppress(ZddError):  # theirs does not fit the operation: ours is the last write
                sets[name] = self._turn.fields.applied(name, self._merges[name], changed.fields.get(name))
        if sets or deletes - ours:
            self._turn.conflicts += 1
            self.waves.append([self._save(self._new, self._turn.moved(raw_fields(sets)), deletes - ours)])

    def _ask(self, wave: Callable[[], list[Operation]]) -> None:
        try:
            operations = wave()
        except ZddError as error:
            self.waves.clear()
            self._turn.failure, self._more = error, False
        else:
            self.waves[:0] = [operations] if operations else []

    def _rebased(self, save: Save, found: Mapping[bytes, bytes]) -> list[Operation]:
        self._count_round()
        self._turn.fields.rebase({name[len(ATTRIBUTE) :].decode(): data for name, data in found.items()})
        # One token for all rounds: should the first arrive once more, later than this, it counts as done.
        return [replace(again, token=save.token) if isinstance(again, Save) else again for again in self._changes()]

    def _count_round(self) -> None:
        self._rounds += 1
        if self._rounds > MAX_ROUNDS:
            message = f"{MAX_ROUNDS} other requests in a row were faster at the same session; nothing was written"
            raise SessionConflict(message)

    def _take_save(self, save: Save, reply: Reply) -> None:
        if reply.status == "ok" and self._new is None:
            self._turn.saved(save, reply, self._sets, self._deletes)
            if reply.moved:
                self._turn.follow(save.place.after(reply.moved), save.place.identity)
        elif reply.status == "ended":
            self._turn.expired()
            self._turn.emptied = False
        elif reply.status == "large":
            self._turn.failure = SessionTooLarge(reply.message)
        elif reply.status == "changed" and self._turn.guarded:
            self._turn.behind = True
        elif reply.status == "changed":
            self._turn.conflicts += 1
            emptied, self._turn.emptied = self._turn.emptied, False
            self._ask(self._changes if emptied else lambda: self._rebased(save, reply.fields))
        elif reply.status == "gone" and self._new is None and save.lifetime is not None and save.lifetime.life == 0:
            # Ended as it should be, by this very save perhaps. A cookie is left: it may be a login's by now.
            self._turn.emptied, self._turn.closed = False, True
        elif reply.status == "gone" and self._new is None:
            self._turn.lost()

    def _issue(self) -> None:
        stored = self._turn.stored
        if self._new is not None and stored is not None:
            self._turn.issued = (self._new, stored.max_age)
