"""``SESSION_ENGINE = "zdd_django.sessions"``: Django's `SessionStore` over zdd's sessions.

Attributes are fields of one hash: only what was changed is saved, a field this release cannot read raises when it
is read, and there is no pickle. What Django asks of a store at once happens at once; only within a request is a new
key (`cycle_key`, a login) left to the save at its end, so that both are one trip, and only where an exchange holds
its answer back for a claim is the save left to the exchange's leave.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.base import CreateError, SessionBase, UpdateError
from django.utils.functional import cached_property
from django.utils.module_loading import import_string

from zdd_django.service import get_zdd
from zdd_sdk.errors import RecordError, SessionGone, SessionUnavailable
from zdd_sdk.http import Exchange, current_exchange
from zdd_sdk.sessions.attributes import Attributes
from zdd_sdk.sessions.devices import label_of
from zdd_sdk.sessions.ids import SessionId, parse_id
from zdd_sdk.sessions.lifetime import Lifetime, choose_lifetime
from zdd_sdk.sessions.operations import Load
from zdd_sdk.sessions.turn import Renewal, Turn
from zdd_sdk.store import Store, finish

if TYPE_CHECKING:
    from zdd_sdk.sessions import Keeper

__all__ = ["SessionStore"]

_log = logging.getLogger("zdd.sessions")
_EXPIRY = "_session_expiry"


class SessionStore(SessionBase):
    """One session by its key.

    The methods without ``a`` use the blocking store, also in an async view; those with ``a`` the asyncio store of
    the running loop, and in an async view under WSGI the blocking one.

    Args:
        session_key: the id, as the cookie carries it; one that Redis does not know is never adopted.

    Attributes:
        ended: Redis has confirmed a logout, so the cookie may be deleted.

    Raises:
        SessionUnavailable: Redis is away, and the session was needed.
        SessionReadOnly: a change to the snapshot of before a login, or to a stale copy.
        SessionValueError, SessionTooLarge: a value that cannot be stored was assigned.
    """

    _session_cache: Attributes

    def __init__(self, session_key: str | None = None) -> None:
        # Not Django's own, which imports SESSION_SERIALIZER for each request: `serializer` does when it is asked for.
        self._session_key = session_key
        self.accessed = self.modified = self.ended = False
        self._turn: Turn | None = None
        self._visit: _Visit | None = None
        self._offered: tuple[SessionId, ...] = ()
        self._snapshot = False
        self._terms: tuple[Any, int] = (None, 0)

    @cached_property
    def serializer(self) -> Any:
        """``SESSION_SERIALIZER``, for `encode` and `decode`; what is stored does not pass through it."""
        return import_string(settings.SESSION_SERIALIZER)

    # The request it belongs to

    def attend(
        self,
        values: Sequence[str],
        *,
        asgi: bool,
        label: Callable[[], str],
        cross_site: Callable[[], bool],
        deliver: Callable[[Turn], None],
    ) -> None:
        """Become the session of a request; for `SessionMiddleware`.

        Args:
            values: every value the request carries under our cookie's name.
            asgi: the request came through ASGI, so that async methods run on the server's loop.
            label: says what a login is called in the user's list of devices.
            cross_site: says whether another site made the browser send this request.
            deliver: called when the exchange's leave has saved the session: sets or deletes the cookie.
        """
        if values:
            identities = (parse_id(value) for value in values)
            self._offered = tuple(dict.fromkeys(identity for identity in identities if identity is not None))
        self._visit = _Visit(asgi, label, cross_site if not values else None, deliver)

    async def keep(self, store: Store | None) -> bool:
        """Save what a request has changed, before its answer; returns whether the cookie is to be set.

        A snapshot of before a login, and changes that Redis cannot take, leave the answer as it is.

        Raises:
            UpdateError: the session has ended in the meantime.
            SessionUnavailable: Redis is away, and somebody was to be logged in.
            SessionCrossSite: a login in a cross-site POST that came without our cookie.
        """
        turn = await self._opened(store)
        self._settle(turn)
        if turn.gone:
            raise UpdateError
        login = turn.renewal is Renewal.LOGIN
        if not turn.savable or (self._snapshot and not login) or self._staged(turn):
            return False
        try:
            await self._carry_out(turn, store)
        except SessionUnavailable as error:
            if login:
                raise
            _log.warning("changes of a session did not reach Redis; no cookie was set or deleted: %s", error)
            return False
        return turn.id is not None

    # What Django's contract asks for

    def load(self) -> Attributes:  # type: ignore[override]
        """Load the session and return what is in it."""
        return _attributes(finish(self._read(_blocking())))

    async def aload(self) -> Attributes:  # type: ignore[override]
        """Load the session and return what is in it."""
        return _attributes(await self._read(self.here()))

    def exists(self, session_key: str | None) -> bool:
        """Whether Redis has this session; a snapshot of before a login is none."""
        return finish(_exists(session_key, _blocking()))

    async def aexists(self, session_key: str | None) -> bool:
        """Whether Redis has this session; a snapshot of before a login is none."""
        return await _exists(session_key, self.here())

    def create(self) -> None:
        """Begin a new session and save it once."""
        finish(self._create(_blocking()))

    async def acreate(self) -> None:
        """Begin a new session and save it once."""
        await self._create(self.here())

    def save(self, must_create: bool = False) -> None:
        """Save now, field by field; within an exchange that holds its answer for a claim, at its leave.

        Raises:
            CreateError: ``must_create``, and there is such a session.
            UpdateError: it has ended in the meantime; nothing was written.
        """
        finish(self._save(_blocking(), must_create=must_create))

    async def asave(self, must_create: bool = False) -> None:
        """Save now, field by field; within an exchange that holds its answer for a claim, at its leave.

        Raises:
            CreateError: ``must_create``, and there is such a session.
            UpdateError: it has ended in the meantime; nothing was written.
        """
        await self._save(self.here(), must_create=must_create)

    def delete(self, session_key: str | None = None) -> None:
        """End this session, or the one of that key, now."""
        finish(self._delete(session_key, _blocking()))

    async def adelete(self, session_key: str | None = None) -> None:
        """End this session, or the one of that key, now."""
        await self._delete(session_key, self.here())

    def flush(self) -> None:
        """End the session and go on with an empty one; needs no load."""
        finish(self._flush(_blocking()))

    async def aflush(self) -> None:
        """End the session and go on with an empty one; needs no load."""
        await self._flush(self.here())

    def cycle_key(self) -> None:
        """Go on under a new key; for ``login_grace`` the old one still reads what was there before."""
        finish(self._cycle(_blocking()))

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
        """The state behind it, for ``zdd.sessions.logout_everywhere(user, keep=request.session.turn)``."""
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

    def _get_session_key(self) -> str | None:
        turn = self._turn
        if turn is not None and (turn.renewal is not Renewal.NONE or (turn.begun and turn.id is None)):
            return _keeper().reserve(turn, _user_of(turn)).text
        return self._session_key

    session_key = property(_get_session_key)

    def _get_session(self, no_load: bool = False) -> Attributes:  # noqa: ARG002 - Django's
        self.accessed = True
        if not self._loaded:
            finish(self._opened(_blocking()))
        return self._session_cache

    async def _aget_session(self, no_load: bool = False) -> Attributes:  # noqa: ARG002 - Django's
        self.accessed = True
        if not self._loaded:
            await self._opened(self.here())
        return self._session_cache

    _session = property(_get_session)

    # The flows, written once for both stores

    @property
    def _loaded(self) -> bool:
        return "_session_cache" in self.__dict__

    def here(self) -> Store | None:
        """The store for a coroutine: the exchange chooses, and outside a request the running loop."""
        exchange = current_exchange()
        if exchange is None or (self._visit is not None and self._visit.asgi):
            return get_zdd().aio_store()
        return exchange.store

    def _known(self) -> tuple[SessionId, ...]:
        if self._offered:
            return self._offered
        identity = parse_id(self._session_key or "")
        return () if identity is None else (identity,)

    async def _read(self, store: Store | None, turn: Turn | None = None) -> Turn:
        keeper = _keeper()
        turn = turn or keeper.turn()
        turn.ids = self._known()
        await keeper.load(turn, turn.ids, store, rotate=self._may_rotate())
        self._session_key = turn.id.text if turn.id else None
        return turn

    def _may_rotate(self) -> bool:
        exchange = current_exchange()
        return self._visit is not None and exchange is not None and get_zdd().sessions.may_rotate(exchange)

    async def _opened(self, store: Store | None) -> Turn:
        """Load once, also where several tasks of a request ask at the same time."""
        if self._loaded and self._turn is not None:
            return self._turn
        if self._turn is None or self._turn.loaded:
            self._turn = _keeper().turn()
        turn = await self._read(store, self._turn)
        if not self._loaded:
            self._take(turn)
        return turn

    def _take(self, turn: Turn) -> None:
        self._turn, self._session_cache = turn, _attributes(turn)
        self._snapshot = self._snapshot or (turn.stored is not None and turn.stored.marker)
        self._terms = (_peek(turn, _EXPIRY), settings.SESSION_COOKIE_AGE)

    async def _create(self, store: Store | None) -> None:
        turn = self._turn
        if not self._loaded or turn is None or turn.id is not None:
            self._offered, self._session_key = (), None
            turn = await self._read(store)
            self._take(turn)
        turn.begun = True
        await self._save_turn(turn, store)
        self.modified = True

    async def _save(self, store: Store | None, *, must_create: bool) -> None:
        turn = await self._opened(store)
        if must_create and turn.id is not None:
            raise CreateError
        if turn.id is None:
            turn.begun = self.modified = True
        await self._save_turn(turn, store)

    async def _save_turn(self, turn: Turn, store: Store | None) -> None:
        self._settle(turn)
        if not turn.gone:
            turn.check_savable(headers_out=False)
        if not self._staged(turn):
            await self._carry_out(turn, store)

    async def _carry_out(self, turn: Turn, store: Store | None) -> None:
        keeper = _keeper()
        try:
            await keeper.carry_out(keeper.plan(turn, store), turn, store)
        except SessionGone as error:
            raise UpdateError(str(error)) from error
        self._follow(turn)

    def _follow(self, turn: Turn) -> None:
        """Note under which key the session now lives."""
        self._offered, self._session_key = (), turn.id.text if turn.id else None
        self.ended = self.ended or turn.ended
        self._terms = (_peek(turn, _EXPIRY), self.get_session_cookie_age())

    def _staged(self, turn: Turn) -> bool:
        """Leave the save to the exchange's leave, if one holds its answer back for a claim."""
        exchange: Exchange | None = current_exchange()
        if exchange is None or self._visit is None or not exchange.held:
            return False
        get_zdd().sessions.stage(exchange, turn, self._deliver)
        return True

    def _deliver(self, turn: Turn) -> None:
        self._follow(turn)
        if self._visit is not None:
            self._visit.deliver(turn)

    async def _delete(self, session_key: str | None, store: Store | None) -> None:
        own = session_key is None or session_key == self._session_key
        identity = parse_id((self._session_key if session_key is None else session_key) or "")
        if identity is None:
            return
        await self._end(_keeper().turn(), (identity,), store)
        if own and self._loaded and self._turn is not None:
            self._turn.gone = True

    async def _flush(self, store: Store | None) -> None:
        self.accessed = self.modified = True
        turn = self._turn if self._loaded and self._turn is not None else _keeper().turn()
        if self._snapshot:
            # Whoever is logged in now has another id, and a cookie with it that must stay.
            turn.begin()
        elif self._visit is not None and self._held():
            turn.logout(self._known())
            self._staged(turn)
        else:
            await self._end(turn, self._known(), store)
            self.ended = True
        self._offered, self._session_key = (), None
        self._take(turn)

    def _held(self) -> bool:
        exchange = current_exchange()
        return exchange is not None and exchange.held

    async def _end(self, turn: Turn, ids: Sequence[SessionId], store: Store | None) -> None:
        turn.ids = tuple(ids)
        turn.logout(ids)
        keeper = _keeper()
        await keeper.carry_out(keeper.plan(turn, store, save=False), turn, store)

    async def _cycle(self, store: Store | None) -> None:
        turn = await self._opened(store)
        self.accessed = self.modified = True
        if self._snapshot:
            turn.read_only = False  # a login may come of it, and nothing else is saved
            return
        turn.writable()
        if turn.id is None:
            turn.begun = True
        turn.rotate()
        if self._visit is None:
            await self._save_turn(turn, store)

    def _settle(self, turn: Turn) -> None:
        """Tell the turn what Django keeps as attributes: who is logged in, and how long the session lives."""
        if self._visit is not None and self._visit.cross_site is not None and turn.id is None:
            turn.barred = self._visit.cross_site()
        user = _user_of(turn)
        if user is not None and user != turn.user:
            # Who was logged in before without a flush keeps nothing; the attributes are Django's to keep.
            turn.keep, turn.user = turn.user is None, None
            turn.login(user, label_of(self._visit.label()) if self._visit else "")
        elif user != turn.user:
            turn.rotate()
            turn.user = user
        terms = (_peek(turn, _EXPIRY), self.get_session_cookie_age())
        if terms != self._terms and turn.savable:
            turn.live(_lifetime(*terms))


class _Visit:
    """What a session knows of its request."""

    __slots__ = ("asgi", "cross_site", "deliver", "label")

    def __init__(
        self,
        asgi: bool,
        label: Callable[[], str],
        cross_site: Callable[[], bool] | None,
        deliver: Callable[[Turn], None],
    ) -> None:
        self.asgi = asgi
        self.label = label
        self.cross_site = cross_site
        self.deliver = deliver


def _keeper() -> Keeper:
    return get_zdd().sessions.keeper


def _blocking() -> Store | None:
    return get_zdd().blocking_store()


def _attributes(turn: Turn) -> Attributes:
    return Attributes(turn, _keeper().count_undecodable)


async def _exists(session_key: str | None, store: Store | None) -> bool:
    keeper, identity = _keeper(), parse_id(session_key or "")
    if identity is None:
        return False
    (reply,) = await keeper.ask(store, [Load(keeper.places.place(identity))])
    return reply.stored is not None and not reply.stored.marker


def _peek(turn: Turn, name: str) -> Any:
    """Read an attribute; ``None`` if it is not there or this release cannot read it."""
    try:
        return turn.fields.read(name) if name in turn.fields else None
    except RecordError:
        return None


def _user_of(turn: Turn) -> str | None:
    try:
        user = turn.fields.read(SESSION_KEY) if SESSION_KEY in turn.fields else None
    except RecordError:
        return turn.user
    return None if user is None else str(user)


def _lifetime(expiry: float | str | None, age: int) -> Lifetime:
    """Read what `SessionBase.set_expiry` has kept: seconds, a moment, 0 for the browser's run, or nothing."""
    own = None if age == settings.SESSION_COOKIE_AGE else age
    if isinstance(expiry, str):
        moment = dt.datetime.fromisoformat(expiry).astimezone()
        left = (moment - dt.datetime.now(dt.UTC)).total_seconds()
        return choose_lifetime(max(left, 1), moment, browser=False)
    if not expiry:
        return choose_lifetime(own, None, browser=expiry == 0)
    return choose_lifetime(expiry, None, browser=False)
