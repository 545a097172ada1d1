"""`ZddSessionInterface`: Flask's words for the session cookie and its life, kept over sessions in Redis."""

from __future__ import annotations

import contextlib
import logging
from datetime import timedelta
from typing import Any, NoReturn

from flask import Flask, Request, Response, has_request_context, request
from flask.sessions import NullSession, SessionInterface, SessionMixin

from zdd_flask.session import ZddSession
from zdd_flask.visit import Visit, exchange_of
from zdd_sdk import ZeroDowntime
from zdd_sdk.errors import SessionUnavailable
from zdd_sdk.sessions.cookies import is_local
from zdd_sdk.sessions.lifetime import choose_lifetime
from zdd_sdk.sessions.turn import Renewal, Turn

__all__ = ["DUE", "ZddNullSession", "ZddSessionInterface"]

DUE = "due"
"""``SESSION_REFRESH_EACH_REQUEST`` where the application has not set it: when a tenth of the lifetime has passed."""

_DUE = 0.9
_FLASK_NAME = Flask.default_config["SESSION_COOKIE_NAME"]
_SERVER_ERROR = 500

_log = logging.getLogger("zdd.sessions")


class ZddNullSession(NullSession):
    """Where the service has no store: empty to read, and says why at the first change."""

    def _fail(self, *_: Any, **__: Any) -> NoReturn:
        message = "The session is unavailable because this service runs with redis_url=off: set ZDD_REDIS_URL"
        raise RuntimeError(message)

    __setitem__ = __delitem__ = clear = pop = popitem = update = setdefault = _fail


class ZddSessionInterface(SessionInterface):
    """Keeps ``flask.session`` in Redis.

    Every ``SESSION_…`` option keeps its meaning, and so do the hooks of the base class: override ``get_cookie_name``
    and its neighbours as ever. Where an option has Flask's default, ours applies.

    Args:
        zdd: the service.
    """

    null_session_class = ZddNullSession

    def __init__(self, zdd: ZeroDowntime) -> None:
        self.zdd = zdd
        self._said = False

    def open_session(self, app: Flask, request: Request) -> ZddSession | None:
        """Return the session of a request without asking anything; ``None`` where the service has no store."""
        visit = Visit(self, app, request, self.zdd)
        if visit.exchange.store is None and not self.zdd.stock:
            return None
        if not visit.attached:
            visit.present()  # a test client looks into its session when the request context is gone
        return ZddSession(visit)

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        """Settle what the leave will save; where nobody performs one, save here."""
        accessed = session.accessed
        if accessed and not (isinstance(session, ZddSession) and session.visit.varies):
            response.vary.add("Cookie")
        if isinstance(session, ZddSession):
            self._save(app, session, response)
            session.accessed = accessed  # by the application, not by us

    def _save(self, app: Flask, session: ZddSession, response: Response) -> None:
        visit = session.visit
        if app.config["SESSION_REFRESH_EACH_REQUEST"] is True:
            self._look(session, visit)
        if not visit.touched:
            return
        if visit.turn.loaded:
            self._settle(app, session, visit.turn)
        if not visit.attached:
            self._leave(visit, visit.turn, response)

    def _look(self, session: ZddSession, visit: Visit) -> None:
        """See whether a session that the application has not looked at is a permanent one, whose cookie is set anew."""
        with contextlib.suppress(SessionUnavailable):
            visit.load()
        if not session.accessed:
            headers = visit.exchange.response_headers
            headers[:] = [pair for pair in headers if pair != ("vary", "Cookie")]

    def get_cookie_name(self, app: Flask) -> str:
        """``SESSION_COOKIE_NAME`` as it stands; if it is Flask's ``session``, ours with its ``__Host-`` prefix."""
        name: str = app.config["SESSION_COOKIE_NAME"]
        if name != _FLASK_NAME:
            return name
        return self._prefix(app) + self.zdd.settings.sessions.cookie_name

    def read_cookie_names(self, app: Flask) -> tuple[str, ...]:
        """The name, then those of ``sessions.also_read_cookies``: as they stand, and with our prefix."""
        others = self.zdd.settings.sessions.also_read_cookies
        prefixed = [self._prefix(app) + name for name in others] if others else []
        return tuple(dict.fromkeys([self.get_cookie_name(app), *prefixed, *others]))

    def _prefix(self, app: Flask) -> str:
        if not self.get_cookie_secure(app):
            return ""
        host_only = not self.get_cookie_domain(app) and self.get_cookie_path(app) == "/"
        return "__Host-" if host_only else "__Secure-"

    def get_cookie_domain(self, app: Flask) -> str | None:
        """``SESSION_COOKIE_DOMAIN``, else ``sessions.cookie_domain``."""
        return super().get_cookie_domain(app) or self.zdd.settings.sessions.cookie_domain

    def get_cookie_path(self, app: Flask) -> str:
        """``SESSION_COOKIE_PATH``, else ``APPLICATION_ROOT``, else ``sessions.cookie_path``."""
        path = super().get_cookie_path(app)
        return path if path != "/" else self.zdd.settings.sessions.cookie_path

    def get_cookie_secure(self, app: Flask) -> bool:
        """``True`` unless ``sessions.insecure`` says otherwise, or this is plain http on a loopback or test host."""
        if super().get_cookie_secure(app) or app.config.get("SESSION_COOKIE_PARTITIONED"):
            return True
        insecure = self.zdd.settings.sessions.insecure
        if insecure is not None:
            return not insecure
        return not (has_request_context() and is_local(exchange_of(request, self.zdd)[0]))

    def say_plain(self, name: str) -> None:
        """Say once that the cookie is not Secure here."""
        if not self._said:
            self._said = True
            _log.warning("plain http: the session cookie is %s here, without Secure; over https it has it", name)

    def _settle(self, app: Flask, session: ZddSession, turn: Turn) -> None:
        if session.said is False and turn.renewal is Renewal.NONE:
            turn.begin(turn.id, turn.stored)
        elif turn.savable and self._emptied(session, turn):
            turn.emptied = True
        elif turn.savable and turn.lifetime is None and (turn.id is not None or len(turn.fields)):
            self._renew_life(app, session, turn)
        if turn.lifetime is not None or turn.leaving or turn.emptied:
            session.visit.name_cookie()

    def _emptied(self, session: ZddSession, turn: Turn) -> bool:
        return turn.id is not None and turn.user is None and not len(turn.fields) and session.modified

    def _renew_life(self, app: Flask, session: ZddSession, turn: Turn) -> None:
        life = app.permanent_session_lifetime
        if not self._wants_life(app, session, turn, life):
            return
        if session.permanent:
            turn.live(choose_lifetime(life, life, browser=False))
        else:
            turn.live(choose_lifetime(None, None, browser=True))

    def _wants_life(self, app: Flask, session: ZddSession, turn: Turn, life: timedelta) -> bool:
        stored = turn.stored
        if stored is None or turn.renewal is not Renewal.NONE:
            return True
        if session.permanent is ("b" in stored.flags) and session.modified:
            return True
        refresh = app.config["SESSION_REFRESH_EACH_REQUEST"]
        if refresh is True:
            return self.should_set_cookie(app, session)
        due = stored.ends - stored.now < _DUE * life.total_seconds() * 1000
        return due and session.permanent and (bool(refresh) or session.modified)

    def _leave(self, visit: Visit, turn: Turn, response: Response) -> None:
        """Save, and carry the headers over: for test contexts, through which no exchange passes."""
        saved = response.status_code < _SERVER_ERROR or self.zdd.settings.sessions.save_on_error
        if turn.leaving or (saved and turn.savable):
            visit.save()
        for name, value in visit.exchange.response_headers:
            if name == "set-cookie":
                response.headers.add(name, value)
            elif name == "vary":
                response.vary.add(value)
            else:
                response.headers[name] = value
        visit.exchange.response_headers.clear()
