"""`ZddSession`: what ``flask.session`` is: Flask's own surface, and a user."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Self, cast

import flask
from flask.sessions import SessionMixin

from zdd_sdk.errors import SettingsError
from zdd_sdk.sessions import Session
from zdd_sdk.sessions.attributes import Attributes
from zdd_sdk.sessions.devices import Device, label_of
from zdd_sdk.sessions.fields import Fields
from zdd_sdk.sessions.turn import Turn
from zdd_sdk.store import finish

if TYPE_CHECKING:
    from zdd_flask.visit import Visit

__all__ = ["ZddSession", "current_session"]


def current_session() -> ZddSession:
    """Return ``flask.session`` with its type: `login`, `logout`, `rotate`, `user`, `available`.

    Raises:
        SettingsError: this application's sessions are not ours.
        RuntimeError: outside a request.
    """
    found = cast("Any", flask.session)._get_current_object()  # noqa: SLF001 - werkzeug's documented way through a proxy
    if not isinstance(found, ZddSession):
        message = f"flask.session is a {type(found).__name__}, not ours: Zdd(app) with sessions.enabled and a store"
        raise SettingsError(message)
    return found


class ZddSession(Attributes, SessionMixin):
    """The session of one request, loaded when it is first looked into.

    It behaves as Flask's `SecureCookieSession` does, and notices changes inside a value, too. Emptied, it ends:
    ``clear()``, and ``pop`` of what was left, are a logout. What frameworks note about a request under names that
    begin with ``_`` is taken even by a pre-login snapshot or a stale copy, and forgotten with the request.

    Args:
        visit: whose session.
    """

    accessed = False
    """Whether the application has looked at it; set by Flask, since 3.1.3. The answer then has ``Vary: Cookie``."""

    def __init__(self, visit: Visit) -> None:
        self.visit = visit
        self._count_undecodable = visit.zdd.sessions.count_undecodable
        self.said: bool | None = None
        visit.session = self

    @property
    def turn(self) -> Turn:
        """The state behind it, for ``zdd.sessions.logout_everywhere(user, keep=current_session())``."""
        return self._turn

    @property
    def _turn(self) -> Turn:  # type: ignore[override]
        self.accessed = True
        return self.visit.load()

    def __repr__(self) -> str:
        loaded = self.visit.touched and self.visit.turn.loaded
        return f"<ZddSession: {len(self)} attributes>" if loaded else "<ZddSession: not loaded>"

    def __setitem__(self, name: str, value: Any) -> None:
        self._changeable(name).write(name, value)
        self.said = True

    def __delitem__(self, name: str) -> None:
        self._changeable(name).delete(name)
        self.said = True

    def _changeable(self, name: str) -> Fields:
        # Flask and flask-login keep books on a request (`_fresh`, `_flashes`): a snapshot takes them, and forgets them.
        turn = self._turn
        return turn.fields if turn.read_only and str(name).startswith("_") else turn.writable()

    def __reversed__(self) -> Iterator[str]:
        return reversed(list(self))

    def __or__(self, other: Mapping[str, Any]) -> dict[str, Any]:
        return {**self, **other}

    def __ror__(self, other: Mapping[str, Any]) -> dict[str, Any]:
        return {**other, **self}

    def __ior__(self, other: Mapping[str, Any]) -> Self:
        self.update(other)
        return self

    def copy(self) -> dict[str, Any]:
        """Return what is in it as a dict."""
        return dict(self)

    def popitem(self) -> tuple[str, Any]:
        """Remove and return what was put in last, as a dict does.

        Raises:
            KeyError: it is empty.
        """
        for name in reversed(self):
            return name, self.pop(name)
        message = "popitem(): the session is empty"
        raise KeyError(message)

    def clear(self) -> None:
        """End the session, user and all; what is put in afterwards begins a new one, under a new id."""
        self.logout()

    @property
    def modified(self) -> bool:
        """Whether there is something to save. ``False``, set by hand, drops what was changed so far."""
        if self.said is not None:
            return self.said
        return self.visit.touched and self.visit.turn.loaded and any(self.visit.turn.fields.changes())

    @modified.setter
    def modified(self, said: bool) -> None:
        self.said = bool(said)

    @property
    def new(self) -> bool:  # type: ignore[override]
        """Whether Redis has no session for this request yet."""
        return self._turn.id is None

    @property
    def user(self) -> str | None:
        """Who is logged in, as given to `login`; ``None`` for nobody."""
        return self._turn.user

    @property
    def available(self) -> bool:
        """``False`` if Redis was away and ``on_unavailable`` let the request go on without it."""
        return self._turn.available

    @property
    def read_only(self) -> bool:
        """Whether it is a pre-login snapshot or a stale copy."""
        return self._turn.read_only

    def login(self, user: str, *, label: str = "") -> None:
        """Log a user in, under a new id; the attributes stay unless they were another user's.

        If Redis cannot keep the login, the answer is 503 and no cookie is set.

        Args:
            user: the user's id, text of 1 to 255 bytes.
            label: what the user's list of devices shows, such as the user agent; cut to 255 bytes.

        Raises:
            SessionUnavailable: Redis was away at the load.
            SessionCrossSite: another site made the browser send this request, and without our cookie.
        """
        self._turn.login(user, label_of(label))
        self.said = True

    def logout(self) -> None:
        """End the session; needs no load. The cookie is deleted once Redis has confirmed it, else the answer is 503."""
        self.visit.turn.logout(self.visit.present())
        self.accessed = self.said = True

    def rotate(self) -> None:
        """Give the session a new id, after a change of privilege that is no login; the old one becomes a marker."""
        self._turn.rotate()
        self.said = True

    def devices(self) -> tuple[Device, ...]:
        """List where this user is logged in, this device marked; one trip. Nobody is logged in nowhere.

        Raises:
            StoreUnavailable: Redis is away.
        """
        return finish(self._core.devices())

    def logout_everywhere(self, *, keep: bool = True) -> int:
        """End every session of this user, and say how many others were listed; one trip.

        Args:
            keep: go on with this one. Otherwise it is logged out like the rest, and its cookie deleted.

        Raises:
            StoreUnavailable: Redis is away: some may still be there; ask again.
        """
        if not keep:
            self.said = True
        return finish(self._core.logout_everywhere(keep=keep))

    def logout_device(self, handle: str) -> bool:
        """End one device of this user, one trip; ``False`` if it is not on the list.

        Args:
            handle: of a `Device`, as `devices` gave it.

        Raises:
            StoreUnavailable: Redis is away: it may still be there; ask again.
        """
        return finish(self._core.logout_device(handle))

    @property
    def _core(self) -> Session:
        self.visit.load()
        return self.visit.zdd.sessions.open(self.visit.exchange)

    def save(self) -> None:
        """Save now instead of with the answer's head; in the generator of a streamed answer nothing else saves.

        Raises:
            SessionGone: it was logged out or has expired in the meantime; nothing was written.
            SessionReadOnly: it cannot be saved.
            SessionUnavailable: Redis is away; what was changed is still here.
            SessionError: a new session cannot be started once the answer's headers are out.
        """
        finish(self._core.save())
