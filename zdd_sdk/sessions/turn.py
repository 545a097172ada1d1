"""`Turn`: one session in one request: what it was, what the application wants of it, what became of it. Pure."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from enum import Enum, auto
from typing import TYPE_CHECKING

from zdd_sdk.errors import SessionCrossSite, SessionError, SessionGone, SessionReadOnly, SessionUnavailable, ZddError
from zdd_sdk.sessions.envelope import Envelope
from zdd_sdk.sessions.fields import Fields
from zdd_sdk.sessions.ids import Place, SessionId
from zdd_sdk.sessions.lifetime import Lifetime
from zdd_sdk.sessions.model import NO_FIELDS, REVISION, check_user
from zdd_sdk.sessions.operations import Reply, Save
from zdd_sdk.sessions.stored import Stored, updated

if TYPE_CHECKING:
    from zdd_sdk.sessions.plan import Plan

__all__ = ["FRESH", "Renewal", "Turn"]

FRESH = 2.0
"""Seconds within which an answer tells the browser of a periodic rotation. A later one could follow upon a login's,
and replace its cookie with an id that leads no further. Who comes with the old id is told by the next answer."""


class Renewal(Enum):
    """Why a session gets a new id."""

    NONE = auto()
    ROTATION = auto()
    LOGIN = auto()


class Turn:
    """State of one session in one request.

    Args:
        max_field: largest encoded field, bytes.
        envelope: how attributes are stored.

    Attributes:
        ids: the well-formed ids the request carries; ``None`` until looked for.
        barred: this answer may not set a cookie: another site sent the request, and without our cookie.
        id: of the session that was loaded or created.
        place: where the session that was loaded was looked for.
        stored: the session as Redis has it; ``None`` for a new one.
        user: who is logged in, changes of this request included.
        label: what the list of devices shows of a login.
        available: Redis was there when asked.
        away: Redis is away and nobody's session is at stake yet: it may be read as empty, not changed.
        read_only: a pre-login snapshot or a stale copy.
        renewal: a new id is wanted.
        keep: a new id goes on with the data of the old one.
        begun: a new session is wanted even if there is nothing in it.
        reserved: the next id, shown before there is a session of that name, and whose it is for.
        lifetime: another lifetime is wanted.
        extra: raw fields of another layer, to be written with the next save or create.
        guarded: the next save is to write nothing if another request has saved since the load; it is `behind` then.
        leaving: sessions a logout has to end.
        emptied: end the session, if nobody else has changed it since it was loaded; else only save what was deleted.
        ended: Redis has confirmed the logout, so the cookie may be deleted.
        gone: a save found that the session had ended.
        refused: what Redis said when it refused a write.
        conflicts: saves that met, and merged with, another request's.
        behind: others have saved since the load what is not here.
        failure: why the last save wrote nothing, if that is the application's to know.
        unfinished: the plan of an explicit save that got no answer; it is asked again first.
        closed: nothing more is asked: a trip of the leave has failed.
        told: what went wrong has been counted and logged.
    """

    # Nearly all of it stays as it is in nearly every request, so it is said once, for all.
    ids: tuple[SessionId, ...] | None = None
    barred = False
    id: SessionId | None = None
    place: Place | None = None
    stored: Stored | None = None
    user: str | None = None
    label = ""
    available = True
    away = False
    read_only = False
    renewal = Renewal.NONE
    keep = True
    begun = False
    reserved: tuple[str | None, SessionId] | None = None
    lifetime: Lifetime | None = None
    extra: Mapping[bytes, bytes] = NO_FIELDS
    guarded = False
    leaving: tuple[SessionId, ...] = ()
    emptied = ended = False
    gone = False
    refused = ""
    conflicts = 0
    behind = False
    failure: ZddError | None = None
    unfinished: Plan | None = None
    closed = told = False
    _fields: Fields | None = None
    _issued: tuple[SessionId, int | None] | None = None
    _until: float | None = None
    _came: SessionId | None = None
    _saves = 0

    def __init__(self, max_field: int, envelope: Envelope) -> None:
        self._max_field = max_field
        self._envelope = envelope

    @property
    def issued(self) -> tuple[SessionId, int | None] | None:
        """Id and Max-Age (``None``: as long as the browser runs) of the cookie to set; see `FRESH`."""
        return None if self._until is not None and time.monotonic() > self._until else self._issued

    @issued.setter
    def issued(self, cookie: tuple[SessionId, int | None] | None) -> None:
        self._issued, self._until, self._came = cookie, None, None

    @property
    def came(self) -> SessionId | None:
        """The id of before a rotation that the request came with, while its answer is to tell of the new one."""
        return self._came if self.issued is not None else None

    @property
    def loaded(self) -> bool:
        """Whether attributes can be read."""
        return self._fields is not None

    @property
    def savable(self) -> bool:
        """Whether changes may be saved at all."""
        return self.loaded and self.available and not (self.read_only or self.gone or self.closed)

    @property
    def fields(self) -> Fields:
        """The attributes.

        Raises:
            SessionError: the session was not loaded.
        """
        if self._fields is None:
            message = "the session was not loaded: `await session.load()` first, or depend on UserSession"
            raise SessionError(message)
        return self._fields

    def check_loaded(self) -> None:
        """Raise `SessionError` if the session was not loaded."""
        _ = self.fields

    def check_known(self) -> None:
        """Raise `SessionUnavailable` if Redis was away at the load, so that nobody knows who is logged in."""
        if not self.available:
            message = "Redis was away when the session was loaded: who is logged in is not known"
            raise SessionUnavailable(message)

    def writable(self) -> Fields:
        """The attributes, to be changed.

        Raises:
            SessionError: the session was not loaded.
            SessionReadOnly: it cannot be changed.
            SessionUnavailable: what is written now would be lost.
        """
        fields = self.fields
        if self.away:
            message = "the session cannot be reached for the moment, so nothing was put into it"
            raise SessionUnavailable(message)
        if self.read_only:
            what = "the snapshot of before a login" if self.available else "a copy from before Redis went away"
            message = f"this session is {what} and can only be read"
            raise SessionReadOnly(message)
        return fields

    def check_savable(self, *, headers_out: bool) -> None:
        """See whether an explicit save can be carried out.

        Raises:
            SessionError: not loaded, or a cookie is needed and the answer's headers are out.
            SessionReadOnly: it cannot be changed.
            SessionUnavailable: it was begun while Redis was away.
        """
        if self.leaving:
            return
        self.writable()
        if not self.available:
            message = "this session was begun while Redis was away; its changes are not saved"
            raise SessionUnavailable(message)
        if headers_out and (self.id is None or self.renewal is not Renewal.NONE):
            message = "the answer's headers are out, so the cookie of a new id cannot be set any more"
            raise SessionError(message)

    @contextlib.contextmanager
    def saving(self, *, once: bool) -> Iterator[None]:
        """Be saving; ``once``: what must not be saved twice at a time.

        Raises:
            SessionError: another task of this request is saving.
        """
        if once and self._saves:
            message = "another task of this request is saving the session: await that first"
            raise SessionError(message)
        self._saves += 1
        try:
            yield
        finally:
            self._saves -= 1

    def raise_failure(self) -> None:
        """Raise what kept the last save from being written, once.

        Raises:
            SessionConflict: a field is not what it was expected to be.
            SessionError, RecordError: an operation does not fit what another request has left.
        """
        failure, self.failure = self.failure, None
        if failure is not None:
            raise failure

    def raise_outcome(self, gone: type[SessionGone] = SessionGone) -> None:
        """Report what an explicit save has met.

        Args:
            gone: what to raise where the session had ended.

        Raises:
            SessionConflict, SessionError, RecordError: as `raise_failure`.
            SessionGone: the session had ended.
            SessionUnavailable: Redis refused the write.
        """
        self.raise_failure()
        self.check_gone(gone)
        if self.refused:
            self.refused = ""
            message = "the session cannot be written for the moment"
            raise SessionUnavailable(message)

    def check_gone(self, error: type[SessionGone]) -> None:
        """Raise this error if a save found that the session had ended."""
        if self.gone:
            message = "the session was logged out or has expired; nothing was written"
            raise error(message)

    def begin(self, identity: SessionId | None = None, stored: Stored | None = None) -> None:
        """Take what was loaded, or begin a new session."""
        self.id, self.stored = identity, stored
        self.user = stored.user if stored else None
        self.read_only = stored is not None and stored.marker
        envelope = self._envelope.at(identity.home if identity else 0)
        self._fields = Fields(stored.fields if stored else {}, self._max_field, envelope)

    def begin_without_store(self, identity: SessionId | None = None, stale: Stored | None = None) -> None:
        """Begin while Redis is away: with a stale copy, or with an empty session whose changes are dropped."""
        self.begin(identity, stale)
        self.available, self.read_only = False, stale is not None

    def login(self, user: str, label: str = "") -> None:
        """Make the session ``user``'s, under a new id; the data of another user is dropped.

        A marker may log in too: the second of two login requests sent at once finds what the first left.

        Raises:
            SessionValueError: no text of 1 to 255 bytes.
            SessionUnavailable: Redis was away at the load.
            SessionCrossSite: another site made the browser send this request, and without our cookie.
        """
        fields = self.fields
        check_user(user)
        if not self.available:
            message = "nobody can log in while Redis is away"
            raise SessionUnavailable(message)
        if self.barred:
            message = (
                "a cross-site POST that came without the session cookie cannot log in: answer it with a redirect "
                "to a GET of this site, and log in there"
            )
            raise SessionCrossSite(message)
        if self.user not in {None, user}:
            fields.clear()
            self.keep = False
        self.user, self.renewal, self.read_only, self.label = user, Renewal.LOGIN, False, label

    def rotate(self) -> None:
        """Want a new id for the same session."""
        self.writable()
        if self.renewal is Renewal.NONE and self.id is not None:
            self.renewal = Renewal.ROTATION

    def live(self, lifetime: Lifetime) -> None:
        """Want another lifetime."""
        self.writable()
        self.lifetime = lifetime

    def logout(self, ids: Sequence[SessionId]) -> None:
        """End every session the request carries, and go on with an empty one."""
        known = [identity for identity in (self.id,) if identity is not None]
        available = self.available
        self.leaving = tuple(dict.fromkeys([*self.leaving, *ids, *known]))
        self.begin()
        self.available, self.renewal, self.keep, self.gone = available, Renewal.NONE, True, False
        self.lifetime, self.begun, self.emptied = None, False, False

    def moved(self, fields: Mapping[bytes, bytes]) -> Mapping[bytes, bytes]:
        """Return attributes as they are to be stored at home."""
        return self._envelope.moved(fields)

    def became(self, identity: SessionId, stored: Stored, sets: Mapping[str, bytes], deletes: AbstractSet[str]) -> None:
        """Note that the session now lives under a new id."""
        self.id, self.stored, self.renewal, self.keep, self.lifetime = identity, stored, Renewal.NONE, True, None
        self.behind = False
        self.fields.saved(stored.fields, sets, deletes)
        self.fields.wrap_as(self._envelope)

    def saved(self, save: Save, reply: Reply, sets: Mapping[str, bytes], deletes: AbstractSet[str]) -> None:
        """Note that changes have been saved; another lifetime wants the cookie set anew."""
        if (stored := self.stored) is None:
            return
        overtaken = reply.revision != stored.revision + 1
        self.conflicts += overtaken
        self.behind |= overtaken
        flags = self.lifetime.flags.encode() if self.lifetime else stored.raw.get(b"_l", b"")
        terms = {b"_x": b"%d" % reply.ends, b"_m": b"%d" % reply.idle, REVISION: b"%d" % reply.revision, b"_l": flags}
        self.stored = Stored(reply.now, updated(stored.raw, {**save.sets, **terms}, save.deletes))
        self.fields.saved(self.stored.fields, sets, deletes)
        if self.lifetime is not None and self.id is not None:
            self.issued, self.lifetime = (self.id, self.stored.max_age), None

    def follow(self, identity: SessionId, came: SessionId) -> None:
        """Note that a rotation has given the session a new id; who still came with the old one is told."""
        self.id = identity
        if self.stored is not None and not self.stored.marker:
            self.issued = (identity, self.stored.max_age)
            self._until, self._came = time.monotonic() + FRESH, came

    def lost(self) -> None:
        """Note that a save has found the session ended; a rotation of it is nothing to tell."""
        self.gone, self.issued = True, None

    def expired(self) -> None:
        """Note that the application has given the session a lifetime that is over: its cookie goes, too."""
        self.ended = self.id is not None
        self.id, self.stored, self.lifetime, self.closed = None, None, None, True
