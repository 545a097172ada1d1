"""What a Django session does, written once for both stores; `zdd_django.sessions` gives it Django's names."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.base import CreateError, SessionBase, UpdateError
from django.contrib.sessions.exceptions import SessionInterrupted
from django.utils.functional import cached_property
from django.utils.module_loading import import_string

from zdd_django.lifetimes import lifetime_of
from zdd_django.service import get_zdd
from zdd_django.visit import Visit
from zdd_sdk.errors import RecordError, SessionGone, SessionUnavailable
from zdd_sdk.http import Exchange, current_exchange
from zdd_sdk.sessions.attributes import Attributes
from zdd_sdk.sessions.devices import label_of
from zdd_sdk.sessions.ids import SessionId, parse_id
from zdd_sdk.sessions.model import TOLD
from zdd_sdk.sessions.operations import Load
from zdd_sdk.sessions.turn import Renewal, Turn
from zdd_sdk.store import Store

if TYPE_CHECKING:
    from zdd_sdk.sessions import Keeper

__all__ = ["SessionEnded", "SessionFlows", "attributes_of", "blocking_store", "get_keeper", "is_stored", "user_of"]

_log = logging.getLogger("zdd.sessions")
_EXPIRY = "_session_expiry"
_RENEWED_AFTER = 0.1
"""Of the cookie's life."""


class SessionFlows(SessionBase):
    """The state of one session in Django, and its flows.

    Attributes:
        ended: Redis has confirmed a logout, so the cookie may be deleted.
    """

    _session_cache: Attributes

    def __init__(self, session_key: str | None = None) -> None:
        # Not Django's own, which imports SESSION_SERIALIZER for each request: `serializer` does when it is asked for.
        self._session_key = session_key
        self.accessed = self.modified = self.ended = False
        self._turn: Turn | None = None
        self._visit: Visit | None = None
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
        self._visit = Visit(asgi, label, cross_site if not values else None, deliver, frozenset(values))

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
        renews = self._renews(turn)
        if renews and turn.stored is not None:
            turn.extra = {**turn.extra, TOLD: b"%d" % turn.stored.now}
        try:
            await self._carry_out(turn, store)
        except SessionUnavailable as error:
            if login:
                raise
            _log.warning("changes of a session did not reach Redis; no cookie was set or deleted: %s", error)
            return False
        return turn.id is not None and (renews or turn.issued is not None)

    def _renews(self, turn: Turn) -> bool:
        """Whether a save sets the cookie though there is no new id to tell.

        Not each, as in Django: an answer that overtakes a login's would leave the browser with the id of before.
        """
        stored, visit = turn.stored, self._visit
        if stored is None or visit is None or settings.SESSION_SAVE_EVERY_REQUEST:
            return stored is not None
        if turn.place is not None and turn.place.identity.text not in visit.values:
            return True  # of the application's choice: the browser does not have it
        if isinstance(self._terms[0], str) or self.get_expire_at_browser_close():
            return False  # no later save prolongs that
        return stored.now - (stored.told or stored.created) > _RENEWED_AFTER * self.get_expiry_age() * 1000

    async def leads(self, store: Store | None) -> bool:
        """Whether the key that a periodic rotation has given it is still the one to tell the browser."""
        turn, keeper = await self._opened(store), get_keeper()
        try:
            await keeper.carry_out(keeper.plan(turn, store, save=False), turn, store)
        except SessionUnavailable:
            return False
        return turn.issued is not None

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
        keeper = get_keeper()
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
            self._turn = get_keeper().turn()
        turn = await self._read(store, self._turn)
        if not self._loaded:
            self._take(turn)
        return turn

    def _take(self, turn: Turn) -> None:
        self._turn, self._session_cache = turn, attributes_of(turn)
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
        keeper = get_keeper()
        try:
            await keeper.carry_out(keeper.plan(turn, store), turn, store)
        except SessionGone as error:
            raise SessionEnded(str(error)) from error
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
        await self._end(get_keeper().turn(), (identity,), store)
        if own and self._loaded and self._turn is not None:
            self._turn.gone = True

    async def _flush(self, store: Store | None) -> None:
        self.accessed = self.modified = True
        turn = self._turn if self._loaded and self._turn is not None else get_keeper().turn()
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
        keeper = get_keeper()
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
        user = user_of(turn)
        if user is not None and user != turn.user:
            # Who was logged in before without a flush keeps nothing; the attributes are Django's to keep.
            turn.keep, turn.user = turn.user is None, None
            turn.login(user, label_of(self._visit.label()) if self._visit else "")
        elif user != turn.user:
            turn.rotate()
            turn.user = user
        terms = (_peek(turn, _EXPIRY), self.get_session_cookie_age())
        if terms != self._terms and turn.savable:
            turn.live(lifetime_of(*terms))


class SessionEnded(UpdateError, SessionInterrupted):
    """`UpdateError`, as Django's contract says; where a view lets it pass, the 400 of its middleware."""


def get_keeper() -> Keeper:
    """Return the sessions of this process, by id."""
    return get_zdd().sessions.keeper


def blocking_store() -> Store | None:
    """Return the store for methods that are no coroutines."""
    return get_zdd().blocking_store()


def attributes_of(turn: Turn) -> Attributes:
    """Return what is in the session of a turn."""
    return Attributes(turn, get_keeper().count_undecodable)


async def is_stored(session_key: str | None, store: Store | None) -> bool:
    """Whether Redis has a session of that key; a snapshot of before a login is none."""
    keeper, identity = get_keeper(), parse_id(session_key or "")
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


def user_of(turn: Turn) -> str | None:
    """Return who is logged in, as `django.contrib.auth` keeps it among the attributes."""
    try:
        user = turn.fields.read(SESSION_KEY) if SESSION_KEY in turn.fields else None
    except RecordError:
        return turn.user
    return None if user is None else str(user)
