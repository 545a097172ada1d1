"""`Visit`: one session in one request of one Flask application: where it is found, and which cookie it gets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import Flask, Request
from werkzeug.http import dump_cookie

from zdd_sdk import ZeroDowntime
from zdd_sdk.http import Exchange, cookie_values
from zdd_sdk.http.cookies import MAX_COOKIE_VALUES
from zdd_sdk.sessions.cookies import is_cross_site, put_cookie
from zdd_sdk.sessions.ids import SessionId, parse_id
from zdd_sdk.sessions.turn import Turn
from zdd_sdk.store import finish
from zdd_sdk.web import environ_exchange

if TYPE_CHECKING:
    from zdd_flask.interface import ZddSessionInterface
    from zdd_flask.session import ZddSession

__all__ = ["Visit", "exchange_of"]

_OWN = "zdd_flask.exchange"


def exchange_of(request: Request, zdd: ZeroDowntime) -> tuple[Exchange, bool]:
    """Return the exchange of a request, and whether somebody will perform its leave.

    Nobody does where the request did not come through ``app.wsgi_app``: in ``test_request_context()`` and in
    ``session_transaction()``.
    """
    environ = request.environ
    if environ.get("zdd") is zdd:
        found: Exchange = environ["zdd.exchange"]
        found.scheme = request.scheme  # what ProxyFix has made of it, if it lies within
        return found, True
    if _OWN not in environ:
        environ[_OWN] = environ_exchange(environ, zdd.blocking_store())
    return environ[_OWN], False


class Visit:
    """One session in one request. Nothing is asked, or even looked at, before the application touches it.

    Args:
        interface: whose words name the cookie.
        app: the application.
        request: the request.
        zdd: the service.

    Attributes:
        exchange: the request's; a private one where nobody performs a leave.
        attached: somebody performs it.
        touched: there is a turn, so there may be something to save.
        session: what the application holds.
    """

    def __init__(self, interface: ZddSessionInterface, app: Flask, request: Request, zdd: ZeroDowntime) -> None:
        self.zdd = zdd
        self.touched = False
        self.session: ZddSession | None = None
        self._interface = interface
        self._app = app
        self.exchange, self.attached = exchange_of(request, zdd)
        self._failure: Exception | None = None
        self._words: dict[str, Any] | None = None
        self._turn: Turn | None = None

    @property
    def turn(self) -> Turn:
        """The session's state; from here on the leave looks at it."""
        if self._turn is None:
            self.touched = True
            self._turn = self.zdd.sessions.keeper.turn()
            self.zdd.sessions.stage(self.exchange, self._turn, self._deliver)
        return self._turn

    @property
    def varies(self) -> bool:
        """Whether the leave gives the answer its ``Vary: Cookie``."""
        return self.attached and ("vary", "Cookie") in self.exchange.response_headers

    def load(self) -> Turn:
        """Load the session: one trip, once, and none where the request carries no id.

        Raises:
            SessionUnavailable: Redis is away; raised again, without asking, wherever else this request looks.
            RecordTooNew: a newer release wrote a session this one must not touch.
        """
        turn = self.turn
        if turn.loaded:
            return turn
        if self._failure is not None:
            raise self._failure
        try:
            self.present()
            finish(self.zdd.sessions.load(self.exchange))
        except Exception as error:
            self._failure = error
            raise
        return turn

    def present(self) -> tuple[SessionId, ...]:
        """The well-formed ids the request carries, each once."""
        turn = self.turn
        if turn.ids is None:
            headers = self.exchange.header_values("cookie")
            names = self._interface.read_cookie_names(self._app) if headers else ()
            values = [value for name in names for value in cookie_values(headers, name)][:MAX_COOKIE_VALUES]
            parsed = (parse_id(value) for value in values)
            keeper = self.zdd.sessions.keeper
            turn.ids = keeper.everywhere(identity for identity in parsed if identity is not None)
            turn.barred = not values and is_cross_site(self.exchange)
        return turn.ids

    def save(self) -> None:
        """Save now; see `zdd_sdk.sessions.Session.save`."""
        finish(self.zdd.sessions.save(self.exchange))

    def name_cookie(self) -> dict[str, Any]:
        """Ask the application once how the cookie is to be written; in its request context, before the leave.

        Raises:
            ValueError: a word that cannot stand in a ``Set-Cookie`` header.
        """
        if self._words is None:
            interface, app = self._interface, self._app
            words: dict[str, Any] = {
                "key": interface.get_cookie_name(app),
                "domain": interface.get_cookie_domain(app),
                "path": interface.get_cookie_path(app),
                "secure": interface.get_cookie_secure(app),
                "httponly": interface.get_cookie_httponly(app),
                "samesite": interface.get_cookie_samesite(app),
            }
            if app.config.get("SESSION_COOKIE_PARTITIONED"):  # Flask knows it since 3.1
                words["partitioned"] = interface.get_cookie_partitioned(app)
            dump_cookie(**words)
            self._words = words
        return self._words

    def _deliver(self, turn: Turn) -> None:
        if turn.issued is not None:
            identity, life = turn.issued
            self._write(identity.text, life)
        elif turn.ended:
            self._put("", expires=0, max_age=0)

    def _write(self, value: str, life: int | None) -> None:
        assert self.session is not None  # noqa: S101 - for type checkers: without one there is nothing to save
        expires = self._interface.get_expiration_time(self._app, self.session)
        self._put(value, expires=expires, max_age=life if expires is None else None)

    def _put(self, value: str, **life: Any) -> None:
        words = self.name_cookie()
        if not words["secure"]:
            self._interface.say_plain(words["key"])
        self.exchange.response_headers.append(("vary", "Cookie"))
        put_cookie(self.exchange, words["key"], dump_cookie(value=value, **words, **life))
