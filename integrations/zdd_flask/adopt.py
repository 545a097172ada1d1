"""Flask's own sessions taken over: the signed cookie, or Flask-Session, with ours beside them."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from typing import Any, NoReturn, cast

from flask import Flask, Request, Response
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface, SessionInterface, SessionMixin

from zdd_flask.visit import exchange_of
from zdd_sdk import ZeroDowntime
from zdd_sdk.errors import SessionUnavailable, SettingsError
from zdd_sdk.http import Exchange
from zdd_sdk.sessions.adopt_flow import Adopted, Adoption, LegacyRefused
from zdd_sdk.sessions.lifetime import Lifetime, choose_lifetime
from zdd_sdk.store import finish

__all__ = ["AdoptingInterface", "adopt_sessions"]

_log = logging.getLogger("zdd.sessions")

USER_FIELD = "_user_id"
"""Field in which Flask-Login says who is logged in, unless ``sessions.adopt_user`` names another."""

_MOST = 4093
"""Bytes of a cookie that browsers keep, as Werkzeug counts them (``Response.max_cookie_size``)."""

_PERMANENT = "_permanent"


def adopt_sessions(app: Flask, zdd: ZeroDowntime) -> bool:
    """Lay the adoption around the application's session interface; returns whether ``sessions.adopt`` is on.

    Raises:
        SettingsError: our cookie would have the name of Flask's.
    """
    adoption = zdd.adoption(USER_FIELD)
    if adoption is None:
        return False
    if app.config["SESSION_COOKIE_NAME"] == adoption.name:
        message = f"sessions.cookie_name is the name of Flask's cookie, {adoption.name}: choose another"
        raise SettingsError(message)
    app.session_interface = AdoptingInterface(app.session_interface, zdd, adoption)
    return True


class AdoptingInterface(SessionInterface):
    """What the application holds is the object of its own interface, filled with what is right.

    Args:
        legacy: the interface that is taken over.
        zdd: the service.
        adoption: the flow.
    """

    def __init__(self, legacy: SessionInterface, zdd: ZeroDowntime, adoption: Adoption) -> None:
        self.legacy = legacy
        self._zdd = zdd
        self._adoption = adoption

    def __getattr__(self, name: str) -> Any:
        """Give what an interface has beside Flask's words, such as Flask-Session's ``regenerate``."""
        if name == "legacy":
            raise AttributeError(name)
        return getattr(self.legacy, name)

    def open_session(self, app: Flask, request: Request) -> SessionMixin | None:
        """Return the session of a request; one trip to Redis if the request carries any session."""
        exchange, attached = exchange_of(request, self._zdd)
        kept = _FlaskSession(self.legacy, app, request)
        try:
            one = finish(self._adoption.open(exchange, kept))
        except SessionUnavailable as error:
            return _Unreachable(error)
        if kept.session is None and not kept.begin():
            return None
        kept.show(one.values)
        session: Any = kept.session
        session._zdd_adopted = (exchange, attached, kept, one)  # noqa: SLF001
        return cast("SessionMixin", session)

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        """Keep what the application has changed, on both sides."""
        state: tuple[Exchange, bool, _FlaskSession, Adopted] | None = getattr(session, "_zdd_adopted", None)
        if state is None:
            if not isinstance(session, _Unreachable):
                self.legacy.save_session(app, session, response)
            return
        exchange, attached, kept, one = state
        if session.accessed:
            response.vary.add("Cookie")
        finish(self._adoption.close(exchange, one, kept.leave(session, response)))
        if not attached:
            _carry_over(exchange, response)

    def is_null_session(self, obj: object) -> bool:
        """Whether it is the one Flask makes where there can be none."""
        return self.legacy.is_null_session(obj)

    def make_null_session(self, app: Flask) -> Any:
        """Make the one for an application without a secret key."""
        return self.legacy.make_null_session(app)


class _FlaskSession:
    """One request's session as the application's own interface keeps it."""

    def __init__(self, interface: SessionInterface, app: Flask, request: Request) -> None:
        self._interface, self._app, self._request = interface, app, request
        self._response = Response()
        self._left: dict[str, Any] = {}
        self._modified = False
        self.session: Any = None
        self.in_browser = isinstance(interface, SecureCookieSessionInterface)
        self.lifetime: float | None = None

    async def read(self) -> dict[str, Any]:
        """Have the interface open its session."""
        self.session = self._interface.open_session(self._app, self._request)
        if self.session is None or not self._presented():
            return {}
        if self._app.config["SESSION_REFRESH_EACH_REQUEST"] and self.session.get(_PERMANENT, not self.in_browser):
            self.lifetime = self._app.permanent_session_lifetime.total_seconds()
        return _fields(self.session)

    def begin(self) -> bool:
        """Make an empty session where the interface could not open one; ``False`` if it has refused to."""
        interface: Any = self._interface
        if self.in_browser:
            self.session = SecureCookieSession() if self._app.secret_key else None
        else:
            self.session = interface.session_class(sid=interface._generate_sid(interface.sid_length))  # noqa: SLF001
        return self.session is not None

    def show(self, values: Mapping[str, Any]) -> None:
        """Have the application see these values; that is no modification of its own."""
        if values != _fields(self.session):
            self._put(copy.deepcopy(dict(values)), modified=False)

    def leave(self, session: Any, response: Response) -> dict[str, Any]:
        """Note what the application left and where cookies go."""
        self.session, self._response = session, response
        self._left, self._modified = dict(session), bool(session.modified)
        return _fields(session)

    def as_read(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return what would come back."""
        try:
            return self._round_trip(dict(values))
        except (TypeError, ValueError, OverflowError) as error:
            raise LegacyRefused(str(error)) from None

    def terms(self) -> Lifetime:
        """As long as Flask lets it live; and as long as the browser runs, unless it is permanent."""
        return choose_lifetime(self._app.permanent_session_lifetime, None, browser=not self.session.permanent)

    async def write(self, values: Mapping[str, Any] | None) -> None:
        """Have the interface save; ``None``: what the application left, if it says that it modified it."""
        if values is None:
            self._put(self._left, modified=self._modified)
        else:
            permanent = {_PERMANENT: self._left[_PERMANENT]} if _PERMANENT in self._left else {}
            self._put({**permanent, **values}, modified=True)
        self._interface.save_session(self._app, self.session, self._response)

    async def end(self) -> None:
        """Have the interface delete the session; its cookie also if the store is away."""
        self._put({}, modified=True)
        try:
            self._interface.save_session(self._app, self.session, self._response)
        except Exception:
            interface, app = self._interface, self._app
            name = interface.get_cookie_name(app)
            self._response.delete_cookie(
                name, domain=interface.get_cookie_domain(app), path=interface.get_cookie_path(app)
            )
            raise

    def _put(self, values: dict[str, Any], *, modified: bool) -> None:
        session = self.session
        accessed = session.accessed
        dict.clear(session)
        dict.update(session, values)
        session.modified, session.accessed = modified, accessed

    def _round_trip(self, values: dict[str, Any]) -> dict[str, Any]:
        interface: Any = self._interface
        if self.in_browser:
            signing = interface.get_signing_serializer(self._app)
            text = signing.dumps(values)
            if (size := len(interface.get_cookie_name(self._app)) + len(text) + 1) > _MOST:
                message = f"its cookie would have {size} bytes; browsers keep {_MOST}"
                raise LegacyRefused(message)
            return _fields(signing.loads(text))
        # cachelib keeps the dict as it is; the interfaces over Redis, Memcached and databases encode it first
        if hasattr(interface, "cache") or getattr(interface, "serializer", None) is None:
            return _fields(values)
        return _fields(interface.serializer.decode(interface.serializer.encode(values)))

    def _presented(self) -> bool:
        """Whether the request has named a session, and the store has it: Flask-Session makes one up otherwise."""
        if self.in_browser:
            return True
        interface: Any = self._interface
        sid = self._request.cookies.get(self._app.config["SESSION_COOKIE_NAME"])
        if sid and interface.use_signer:
            sid = interface._unsign(self._app, sid)  # noqa: SLF001
        return bool(sid == self.session.sid)


def _fields(session: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is in a session; how long it lives is not by itself a session."""
    return {} if session.keys() <= {_PERMANENT} else dict(session)


def _carry_over(exchange: Exchange, response: Response) -> None:
    for name, value in exchange.response_headers:
        if name == "set-cookie":
            response.headers.add(name, value)
        elif name == "vary":
            response.vary.add(value)
        else:
            response.headers[name] = value
    exchange.response_headers.clear()


class _Unreachable(dict[str, Any], SessionMixin):
    """``flask.session`` while Redis is away and ours is the truth: views that do not need it do not notice."""

    accessed = modified = False

    def __init__(self, error: SessionUnavailable) -> None:
        super().__init__()
        self._error = error

    def _fail(self, *_: object, **__: object) -> NoReturn:
        raise self._error

    _refuse: Any = _fail
    __getitem__ = __setitem__ = __delitem__ = __contains__ = __iter__ = _refuse
    get = keys = values = items = pop = popitem = setdefault = update = clear = copy = _refuse
