"""`Sessions`: the part sessions take in every exchange: which id a request carries, which cookie the answer sets."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from zdd_sdk.errors import SessionError, SessionUnavailable, SettingsError, StoreUnavailable
from zdd_sdk.http import Answer, Exchange, problem_of
from zdd_sdk.secrets import Secrets, check_encryption
from zdd_sdk.sessions.cookies import CookieJar, is_cross_site
from zdd_sdk.sessions.devices import Device
from zdd_sdk.sessions.directory import AioDirectory, Directory, HasTurn, turn_of
from zdd_sdk.sessions.homes import other_homes
from zdd_sdk.sessions.ids import SessionId, parse_id
from zdd_sdk.sessions.keeper import Keeper
from zdd_sdk.sessions.operations import Reply
from zdd_sdk.sessions.plan import Plan
from zdd_sdk.sessions.session import Session
from zdd_sdk.sessions.turn import Turn
from zdd_sdk.settings import SessionSettings
from zdd_sdk.store import Call, Keys, Store, finish

__all__ = ["Sessions", "check_settings"]

logger = logging.getLogger("zdd.sessions")

_VISIT = "session.visit"
_MAX_GRACE = 120.0
_MIN_ROTATION = 60.0
_SERVER_ERROR = 500


@dataclass(slots=True)
class _Visit:
    """One session in one exchange, what its leave asks, and who sets its cookie if not we."""

    session: Session
    turn: Turn
    plan: Plan | None = None
    deliver: Callable[[Turn], None] | None = None


class Sessions:
    """Sessions outside the process; a `zdd_sdk.http.Participant`.

    Args:
        settings: the session options.
        keys: names keys in Redis.
        secrets: returns the root secrets; asked at the first login only.
        release: the release that writes, kept with each session.
        blocking: returns the store for threads, to list and end a user's sessions outside of any request.
        aio: returns the store of the running event loop, for the same.
        can_rotate: says whether every live worker can follow a periodic rotation.
        stock: keep sessions in a dict of this process instead (``ZDD_MODE=stock``).

    Attributes:
        name: ``"session"``, the key in ``exchange.parts``.
        keeper: the same sessions by id, without HTTP.
        directory: the flows that list and end a user's sessions.
        aio: `devices`, `logout_everywhere` and `logout_device` as coroutines.

    Raises:
        SettingsError: an option has a value that cannot work.
    """

    name = "session"

    def __init__(
        self,
        settings: SessionSettings,
        keys: Keys,
        secrets: Callable[[], Secrets],
        *,
        release: str,
        blocking: Callable[[], Store | None] = lambda: None,
        aio: Callable[[], Store | None] = lambda: None,
        can_rotate: Callable[[], bool] = lambda: False,
        stock: bool = False,
    ) -> None:
        check_settings(settings)
        self._settings = settings
        self._jar = CookieJar(settings)
        self.keeper = Keeper(settings, keys, secrets, release=release, stock=stock)
        self.directory = Directory(self.keeper)
        self.aio = AioDirectory(self.directory, aio)
        self._blocking = blocking
        self._can_rotate = can_rotate

    @property
    def counters(self) -> dict[str, Any]:
        """What was counted since the start; see `Keeper`."""
        return self.keeper.counters

    def open(self, exchange: Exchange) -> Session:
        """Return the session of an exchange, the same object each time; asks nothing."""
        return self._visit(exchange).session

    def turn(self, exchange: Exchange) -> Turn:
        """Return the state behind the session of an exchange; for layers that fill it themselves."""
        return self._visit(exchange).turn

    async def load(self, exchange: Exchange) -> Session:
        """Load the session of an exchange: one trip, once; none where the request carries no id.

        Raises:
            SessionUnavailable: Redis is away and the policy is ``fail``, or ``stale`` without a fresh copy.
            RecordTooNew: a newer release wrote a session this one must not touch.
        """
        visit = self._visit(exchange)
        if not visit.turn.loaded:
            exchange.response_headers.append(("vary", "Cookie"))
            ids, rotate = self.presented(exchange), self.may_rotate(exchange)
            await self.keeper.load(visit.turn, ids, exchange.store, rotate=rotate)
        return visit.session

    async def save(self, exchange: Exchange) -> None:
        """Save the session of an exchange now.

        Raises:
            SessionGone: it has ended in the meantime; nothing was written.
            SessionUnavailable: Redis is away.
            SessionReadOnly: a pre-login snapshot or a stale copy.
            SessionConflict: a field is not what it was expected to be; nothing was written.
            SessionError: it was not loaded, or a cookie is needed and the answer's headers are out; or another
                task of this request is saving what may be saved once only.
        """
        turn = self._visit(exchange).turn
        turn.check_savable(headers_out=exchange.status != 0)
        plan = self._plan(exchange, turn, save=True)
        await self.keeper.carry_out(plan, turn, exchange.store, lambda: self._set_cookie(exchange, turn))

    def devices(self, user: str) -> tuple[Device, ...]:
        """List where a user is logged in, the one seen last first; one trip.

        Args:
            user: as given to `login`.

        Raises:
            StoreUnavailable: Redis is away.
        """
        return finish(self.directory.devices(self._blocking(), user))

    def logout_everywhere(self, user: str, keep: HasTurn | None = None) -> int:
        """End every session of a user, and say how many were listed; one trip.

        Args:
            user: as given to `login`.
            keep: the session that goes on: the one of the request, as your framework gives it.

        Raises:
            SessionError: ``keep`` was not loaded.
            StoreUnavailable: Redis is away: some may still be there; ask again.
        """
        return finish(self.directory.logout_everywhere(self._blocking(), user, turn_of(keep)))

    def logout_device(self, user: str, handle: str) -> bool:
        """End one device of a user, one trip; ``False`` if it is not on this user's list.

        Args:
            user: as given to `login`.
            handle: of a `Device`, as `devices` gave it.

        Raises:
            StoreUnavailable: Redis is away: it may still be there; ask again.
        """
        return finish(self.directory.logout_device(self._blocking(), user, handle))

    def stage(self, exchange: Exchange, turn: Turn, deliver: Callable[[Turn], None]) -> None:
        """Let the leave of an exchange save a turn that a framework's own session has filled.

        Args:
            exchange: whose leave.
            turn: the session.
            deliver: called once Redis has confirmed what was asked; sets or deletes the cookie.
        """
        exchange.parts[_VISIT] = _Visit(Session(self, exchange, turn), turn, deliver=deliver)

    def leaving(self, exchange: Exchange) -> Sequence[Call[Reply]]:
        """Say what the leave has to ask: what was changed, a login or a logout; nothing if nothing was."""
        visit: _Visit | None = exchange.parts.get(_VISIT)
        if visit is None:
            return ()
        if visit.plan is None:
            visit.plan = self._plan(exchange, visit.turn, save=self._saves(exchange))
        if self.keeper.shelf is not None:
            while visit.plan.waves:
                self.left(exchange, [self.keeper.shelf.run(operation) for operation in visit.plan.waves[0]])
        if not visit.plan.waves:
            self._set_cookie(exchange, visit.turn)
            return ()
        return self.keeper.calls(visit.plan.waves[0])

    def left(self, exchange: Exchange, results: Sequence[Reply]) -> None:
        """Take the results; sets or deletes the cookie only where Redis has confirmed why.

        Raises:
            SessionConflict: a field is not what it was expected to be; nothing was written.
            SessionGone: the session has ended in the meantime, and ``on_gone`` says to say so.
        """
        visit: _Visit = exchange.parts[_VISIT]
        if visit.plan is not None and visit.plan.waves:
            visit.plan.take(self.keeper.replies(results))
            self.keeper.settle(visit.turn)
            self._set_cookie(exchange, visit.turn)
            if self._settings.on_gone != "ignore" and not exchange.held:
                visit.turn.check_gone(self.keeper.gone)
            visit.turn.raise_failure()

    def unavailable(self, exchange: Exchange, error: StoreUnavailable) -> Answer | None:
        """Answer 503 if a login or a logout could not be kept; other changes leave the answer as it is.

        Either would be a claim that is not true: who was told to be logged out walks away from the machine.
        """
        visit: _Visit | None = exchange.parts.get(_VISIT)
        if visit is None or visit.plan is None or not visit.plan.waves:
            return None
        self.counters["unavailable"] += 1
        lost = "a login" if visit.plan.logs_in else "a logout" if visit.plan.logs_out else "changes"
        logger.warning("%s of a session did not reach Redis; no cookie was set or deleted: %s", lost, error)
        visit.turn.closed = True
        visit.plan.waves.clear()
        if not (visit.plan.logs_in or visit.plan.logs_out):
            return None
        what = "login" if visit.plan.logs_in else "logout"
        outcome = "nobody was logged in" if visit.plan.logs_in else "the session may still be there; log out again"
        message = f"the {what} could not be kept because the session store is away; {outcome}"
        return problem_of(SessionUnavailable(message, retry_after=error.retry_after))

    def presented(self, exchange: Exchange) -> tuple[SessionId, ...]:
        """The well-formed ids a request carries, at most four, each once."""
        turn = self._visit(exchange).turn
        if turn.ids is None:
            values = self._jar.values(exchange)
            parsed = (parse_id(value) for value in values)
            turn.ids = self.keeper.everywhere(identity for identity in parsed if identity is not None)
            turn.barred = not values and is_cross_site(exchange)
        return turn.ids

    def count_undecodable(self, writer: str) -> None:
        """Count a field that this release could not read, by the release that wrote it."""
        self.keeper.count_undecodable(writer)

    def _visit(self, exchange: Exchange) -> _Visit:
        visit: _Visit | None = exchange.parts.get(_VISIT)
        if visit is None:
            turn = self.keeper.turn()
            visit = exchange.parts[_VISIT] = _Visit(Session(self, exchange, turn), turn)
            exchange.parts[self.name] = visit.session
        return visit

    def _plan(self, exchange: Exchange, turn: Turn, *, save: bool) -> Plan:
        try:
            return self.keeper.plan(turn, exchange.store, save=save)
        except SessionError:
            turn.closed = exchange.status != 0
            raise

    def may_rotate(self, exchange: Exchange) -> bool:
        """Whether a load may give the session a new id: periodic rotation is on, and a cookie can still be set."""
        if not self._settings.rotate_every or exchange.status or exchange.method == "WEBSOCKET":
            return False
        return self.keeper.shelf is not None or self._can_rotate()

    def _saves(self, exchange: Exchange) -> bool:
        return self._settings.save_on_error or exchange.status < _SERVER_ERROR

    def _set_cookie(self, exchange: Exchange, turn: Turn) -> None:
        deliver = self._visit(exchange).deliver
        if deliver is not None:
            deliver(turn)
        elif turn.issued is not None:
            identity, life = turn.issued
            self._jar.write(exchange, identity.text, life)
        elif turn.ended:
            self._jar.remove(exchange)
        turn.issued, turn.ended = None, False


def check_settings(settings: SessionSettings) -> None:
    """Judge the session options against one another.

    Raises:
        SettingsError: an option has a value that cannot work.
        MissingExtra: ``encrypt`` is not off, and ``cryptography`` is not installed.
    """
    CookieJar(settings)
    other_homes(settings)
    if settings.encrypt != "off":
        check_encryption()
    if not 0 <= settings.login_grace <= _MAX_GRACE:
        message = f"sessions.login_grace cannot be {settings.login_grace:g}s: 0 to {_MAX_GRACE:g} s"
        raise SettingsError(message)
    if not 0 <= settings.rotation_grace <= _MAX_GRACE:
        message = f"sessions.rotation_grace cannot be {settings.rotation_grace:g}s: 0 to {_MAX_GRACE:g} s"
        raise SettingsError(message)
    if settings.rotate_every and settings.rotate_every < max(_MIN_ROTATION, settings.rotation_grace):
        least = max(_MIN_ROTATION, settings.rotation_grace)
        message = f"sessions.rotate_every cannot be {settings.rotate_every:g}s: 0, or at least {least:g} s"
        raise SettingsError(message)
    for option in ("idle_timeout", "absolute_timeout"):
        if getattr(settings, option) < 1:
            message = f"sessions.{option} cannot be {getattr(settings, option):g}s: at least 1 s"
            raise SettingsError(message)
    if not 0 < settings.max_field <= settings.max_session:
        message = f"sessions.max_field ({settings.max_field}) must fit sessions.max_session ({settings.max_session})"
        raise SettingsError(message)
