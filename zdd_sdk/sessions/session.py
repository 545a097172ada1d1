"""`Session`: what an application holds: a mapping with a user."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from zdd_sdk.sessions.attributes import Attributes
from zdd_sdk.sessions.devices import Device, label_of
from zdd_sdk.sessions.lifetime import choose_lifetime
from zdd_sdk.sessions.turn import Turn

if TYPE_CHECKING:
    from zdd_sdk.http import Exchange
    from zdd_sdk.sessions.core import Sessions

__all__ = ["Session"]


class Session(Attributes):
    """The session of one request: its `Attributes` by name (any text up to 255 bytes), and a user.

    Only what was changed is saved, before the answer's first byte.
    """

    __slots__ = ("_exchange", "_keeper")

    def __init__(self, keeper: Sessions, exchange: Exchange, turn: Turn) -> None:
        super().__init__(turn, keeper.count_undecodable)
        self._keeper = keeper
        self._exchange = exchange

    @property
    def user(self) -> str | None:
        """Who is logged in, as given to `login`; ``None`` for nobody."""
        self._turn.check_loaded()
        return self._turn.user

    @property
    def is_new(self) -> bool:
        """Whether Redis has no session for this request yet."""
        self._turn.check_loaded()
        return self._turn.id is None

    @property
    def available(self) -> bool:
        """``False`` if Redis was away at the load and ``on_unavailable`` let the request go on without it."""
        return self._turn.available

    @property
    def read_only(self) -> bool:
        """Whether it is a pre-login snapshot or a stale copy."""
        return self._turn.read_only

    @property
    def turn(self) -> Turn:
        """The state behind it, for integrations."""
        return self._turn

    def login(self, user: str, *, label: str = "") -> None:
        """Log a user in, under a new id; the attributes stay unless they were another user's.

        The old id becomes a marker: for ``login_grace`` it still reads what was there before, and nothing else.
        If Redis cannot keep the login, the answer is 503 and no cookie is set.

        Args:
            user: the user's id, text of 1 to 255 bytes.
            label: what the user's list of devices shows, such as the user agent; cut to 255 bytes.

        Raises:
            SessionUnavailable: Redis was away at the load.
            SessionCrossSite: another site made the browser send this request, and without our cookie.
        """
        self._turn.login(user, label_of(label))

    def logout(self) -> None:
        """End the session; needs no load. The cookie is deleted once Redis has confirmed it.

        If Redis is away the answer is 503 and the cookie stays, because the user is still logged in.
        """
        self._turn.logout(self._keeper.presented(self._exchange))

    def rotate(self) -> None:
        """Give the session a new id, after a change of privilege that is no login; the old one becomes a marker."""
        self._turn.rotate()

    def set_lifetime(
        self,
        *,
        idle: float | dt.timedelta | None = None,
        absolute: float | dt.timedelta | dt.datetime | None = None,
        browser: bool = False,
    ) -> None:
        """Give this session a lifetime of its own; saved with it, and the cookie is set anew.

        Each call says all of it: what is ``None`` is as configured, so ``set_lifetime()`` takes everything back.
        It outlives rotations and logins. Zero, less, or a moment in the past ends the session at the next save.

        Args:
            idle: idle timeout, seconds. Longer than the configured absolute timeout it counts for both.
            absolute: its end, seconds from now, or an aware moment.
            browser: the cookie has no Max-Age and ends with the browser; Redis ends the session as before.

        Raises:
            SessionValueError: not a number, longer than a century, or a moment without a time zone.
            SessionReadOnly: it cannot be changed.
        """
        self._turn.live(choose_lifetime(idle, absolute, browser=browser))

    async def devices(self) -> tuple[Device, ...]:
        """List where this user is logged in, this device marked; one trip. Nobody is logged in nowhere.

        Raises:
            StoreUnavailable: Redis is away.
        """
        user = self._known_user()
        return () if user is None else await self._keeper.directory.devices(self._exchange.store, user, self._turn)

    async def logout_everywhere(self, *, keep: bool = True) -> int:
        """End every session of this user, and say how many others were listed; one trip.

        Args:
            keep: go on with this one. Otherwise it is logged out like the rest, and its cookie deleted.

        Raises:
            StoreUnavailable: Redis is away: some may still be there; ask again.
        """
        user = self._known_user()
        if user is None:
            return 0
        kept = self._turn if keep else None
        ended = await self._keeper.directory.logout_everywhere(self._exchange.store, user, kept)
        if not keep:
            self.logout()
        return ended

    async def logout_device(self, handle: str) -> bool:
        """End one device of this user, one trip; ``False`` if it is not on the list.

        Args:
            handle: of a `Device`, as `devices` gave it.

        Raises:
            StoreUnavailable: Redis is away: it may still be there; ask again.
        """
        user = self._known_user()
        if user is None:
            return False
        return await self._keeper.directory.logout_device(self._exchange.store, user, handle)

    def _known_user(self) -> str | None:
        user = self.user
        if user is None:
            self._turn.check_known()
        return user

    async def load(self) -> Session:
        """Load the session: one trip, once per request.

        Raises:
            SessionUnavailable: Redis is away and ``on_unavailable`` is ``fail`` (or there is no fresh copy).
            RecordTooNew: a newer release wrote a session this one must not touch.
        """
        return await self._keeper.load(self._exchange)

    async def save(self) -> None:
        """Save now instead of at the end; in a WebSocket nothing else saves.

        Raises:
            SessionGone: it was logged out or has expired in the meantime; nothing was written.
            SessionReadOnly: it cannot be saved.
            SessionUnavailable: Redis is away; what was changed is still here.
            SessionError: a new session cannot be started once the answer's headers are out.
        """
        await self._keeper.save(self._exchange)
