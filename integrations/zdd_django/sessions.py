"""``SESSION_ENGINE = "zdd_django.sessions"``: Django's `SessionStore` over zdd's sessions.

Attributes are fields of one hash: only what was changed is saved, a field this release cannot read raises when it
is read, and there is no pickle. What Django asks of a store at once happens at once; only within a request is a new
key (`cycle_key`, a login) left to the save at its end, so that both are one trip, and only where an exchange holds
its answer back for a claim is the save left to the exchange's leave.
"""

from __future__ import annotations

from zdd_django.flows import SessionFlows, attributes_of, blocking_store, get_keeper, is_stored, user_of
from zdd_django.operations import SharedOperations
from zdd_sdk.sessions.attributes import Attributes
from zdd_sdk.sessions.turn import Renewal, Turn
from zdd_sdk.store import finish

__all__ = ["SessionStore"]


class SessionStore(SessionFlows, SharedOperations):
    """One session by its key.

    The methods without ``a`` use the blocking store, also in an async view; those with ``a`` the asyncio store of
    the running loop, and in an async view under WSGI the blocking one.

    Args:
        session_key: the id, as the cookie carries it; one that Redis does not know is never adopted.

    Raises:
        SessionUnavailable: Redis is away, and the session was needed.
        SessionReadOnly: a change to the snapshot of before a login, or to a stale copy.
        SessionValueError, SessionTooLarge: a value that cannot be stored was assigned.
    """

    def load(self) -> Attributes:  # type: ignore[override]
        """Load the session and return what is in it."""
        return attributes_of(finish(self._read(blocking_store())))

    async def aload(self) -> Attributes:  # type: ignore[override]
        """Load the session and return what is in it."""
        return attributes_of(await self._read(self.here()))

    def exists(self, session_key: str | None) -> bool:
        """Whether Redis has this session; a snapshot of before a login is none."""
        return finish(is_stored(session_key, blocking_store()))

    async def aexists(self, session_key: str | None) -> bool:
        """Whether Redis has this session; a snapshot of before a login is none."""
        return await is_stored(session_key, self.here())

    def create(self) -> None:
        """Begin a new session and save it once."""
        finish(self._create(blocking_store()))

    async def acreate(self) -> None:
        """Begin a new session and save it once."""
        await self._create(self.here())

    def save(self, must_create: bool = False) -> None:
        """Save now, field by field; within an exchange that holds its answer for a claim, at its leave.

        Raises:
            CreateError: ``must_create``, and there is such a session.
            UpdateError: it has ended in the meantime; nothing was written.
        """
        finish(self._save(blocking_store(), must_create=must_create))

    async def asave(self, must_create: bool = False) -> None:
        """Save now, field by field; within an exchange that holds its answer for a claim, at its leave.

        Raises:
            CreateError: ``must_create``, and there is such a session.
            UpdateError: it has ended in the meantime; nothing was written.
        """
        await self._save(self.here(), must_create=must_create)

    def delete(self, session_key: str | None = None) -> None:
        """End this session, or the one of that key, now."""
        finish(self._delete(session_key, blocking_store()))

    async def adelete(self, session_key: str | None = None) -> None:
        """End this session, or the one of that key, now."""
        await self._delete(session_key, self.here())

    def flush(self) -> None:
        """End the session and go on with an empty one; needs no load."""
        finish(self._flush(blocking_store()))

    async def aflush(self) -> None:
        """End the session and go on with an empty one; needs no load."""
        await self._flush(self.here())

    def cycle_key(self) -> None:
        """Go on under a new key; for ``login_grace`` the old one still reads what was there before."""
        finish(self._cycle(blocking_store()))

    async def acycle_key(self) -> None:
        """Go on under a new key; for ``login_grace`` the old one still reads what was there before."""
        await self._cycle(self.here())

    def clear(self) -> None:
        """Delete every attribute, also those this release cannot read."""
        self._session.clear()
        self.modified = True

    def is_empty(self) -> bool:
        """Whether there is neither a key nor anything to save under one."""
        turn = self._turn if self._loaded else None
        return not self._session_key and (turn is None or not (turn.begun or self._session_cache))

    @property
    def turn(self) -> Turn:
        """The state behind it, for ``zdd.sessions.logout_everywhere(user, keep=request.session)``."""
        self._get_session()
        assert self._turn is not None  # noqa: S101 - for type checkers
        return self._turn

    @property
    def renewed(self) -> bool:
        """Whether it has a new key, of which the browser must hear."""
        return self._turn is not None and self._turn.issued is not None and self._turn.id is not None

    @property
    def changed(self) -> bool:
        """Whether there is something to save; Django is told of changes inside a value, we look."""
        turn = self._turn if self._loaded else None
        return self.modified or (turn is not None and turn.savable and turn.fields.changes() != ({}, set()))

    @classmethod
    def clear_expired(cls) -> None:
        """Do nothing: Redis forgets expired sessions itself."""

    @classmethod
    async def aclear_expired(cls) -> None:
        """Do nothing: Redis forgets expired sessions itself."""

    @property
    def session_key(self) -> str | None:
        """The key; within a request that gives it a new one, that one, though it is saved at the end only."""
        turn = self._turn
        if turn is not None and (turn.renewal is not Renewal.NONE or (turn.begun and turn.id is None)):
            return get_keeper().reserve(turn, user_of(turn)).text
        return self._session_key

    def _get_session(self, no_load: bool = False) -> Attributes:  # noqa: ARG002 - Django's
        self.accessed = True
        if not self._loaded:
            finish(self._opened(blocking_store()))
        return self._session_cache

    async def _aget_session(self, no_load: bool = False) -> Attributes:  # noqa: ARG002 - Django's
        self.accessed = True
        if not self._loaded:
            await self._opened(self.here())
        return self._session_cache

    _session = property(_get_session)
