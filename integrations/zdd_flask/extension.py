"""`Zdd`: the Flask extension: makes an application part of a fleet that can be replaced under load."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

from flask import Flask, Response, current_app
from flask.sessions import SecureCookieSessionInterface

from zdd_flask.adopt import adopt_sessions
from zdd_flask.commands import zdd_commands
from zdd_flask.interface import DUE, ZddSessionInterface
from zdd_flask.login import follow_flask_login
from zdd_flask.surface import FlaskSurface, check_views, show_answers
from zdd_sdk import ZddError, ZeroDowntime
from zdd_sdk.errors import SettingsError
from zdd_sdk.http import current_exchange, problem_of
from zdd_sdk.lifecycle import on_serve
from zdd_sdk.lifecycle.wsgi import OuterHalf
from zdd_sdk.web import WsgiServiceHalf

__all__ = ["Zdd"]

_log = logging.getLogger("zdd.web")


class Zdd:
    """``Zdd(app)``, or ``zdd = Zdd()`` and ``zdd.init_app(app)`` in an application factory.

    Options are those of `ZeroDowntime`, from ``app.config["ZDD"]`` and from here; here wins. Applications with
    the same options share one `ZeroDowntime`, found in ``app.extensions["zdd"]``.

    Args:
        app: the application.
        zdd: a `ZeroDowntime` of your own, for one service with several applications or with other parts.
        options: instead of ``zdd``: its options.

    Raises:
        SettingsError: an unknown option, an impossible value, or both ``zdd`` and options.
    """

    def __init__(self, app: Flask | None = None, zdd: ZeroDowntime | None = None, **options: Any) -> None:
        if zdd is not None and options:
            message = f"options belong to the ZeroDowntime that Zdd was given: {', '.join(sorted(options))}"
            raise SettingsError(message)
        self._given = zdd
        self._options = options
        self._built: list[tuple[dict[str, Any], ZeroDowntime]] = []
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Wrap ``app.wsgi_app``, keep ``flask.session`` in Redis, answer our errors, add ``flask zdd``.

        Raises:
            SettingsError: an unknown option, an impossible value, or the application has a `Zdd` already.
        """
        if "zdd" in app.extensions:
            message = f"Zdd was initialised twice for {app.name!r}"
            raise SettingsError(message)
        zdd = app.extensions["zdd"] = self._service(app)
        half = WsgiServiceHalf(app.wsgi_app, zdd, FlaskSurface())
        # In stock mode the server's own SIGTERM handling stays: no drain and no health paths, as without zdd.
        app.wsgi_app = half if zdd.stock else OuterHalf(half, zdd.lifecycle)  # type: ignore[method-assign]
        on_serve(zdd.start)
        zdd.before_serving(partial(check_views, weakref.ref(app), zdd))
        show_answers(app)
        _answer_errors(app)
        app.cli.add_command(zdd_commands(zdd))
        if zdd.settings.sessions.enabled:
            _keep_sessions(app, zdd)

    def _service(self, app: Flask) -> ZeroDowntime:
        configured = app.config.get("ZDD", {})
        if self._given is not None:
            if configured:
                message = 'options belong to the ZeroDowntime that Zdd was given, not in app.config["ZDD"]'
                raise SettingsError(message)
            return self._given
        options = {**configured, **self._options}
        for known, zdd in self._built:
            if known == options:
                return zdd
        self._built.append((options, ZeroDowntime(**options)))
        return self._built[-1][1]


def _keep_sessions(app: Flask, zdd: ZeroDowntime) -> None:
    if adopt_sessions(app, zdd):
        return
    rival = app.session_interface
    if type(rival) is not SecureCookieSessionInterface:
        _log.warning("%s is replaced by zdd's sessions; sessions.enabled=False keeps it", type(rival).__name__)
    app.session_interface = ZddSessionInterface(zdd)
    # What the application sets after this, and what it has set to something else before, is what counts.
    if app.config["SESSION_COOKIE_SAMESITE"] is None:
        app.config["SESSION_COOKIE_SAMESITE"] = zdd.settings.sessions.same_site
    if app.config["SESSION_REFRESH_EACH_REQUEST"] is True:
        app.config["SESSION_REFRESH_EACH_REQUEST"] = DUE
    follow_flask_login(app)


def _answer_errors(app: Flask) -> None:
    """Answer our errors within Flask, so that ``after_request`` (CORS) sees the answer and the user's handlers win."""
    handlers = app.error_handler_spec[None][None]
    handlers.setdefault(ZddError, _answer)
    app.handle_exception = _foreseen(app, app.handle_exception)  # type: ignore[assignment,method-assign]


def _answer(error: ZddError) -> Response:
    answer, exchange = problem_of(error), current_exchange()
    where = f"{exchange.method} {exchange.path}" if exchange is not None else "a request"
    level = logging.ERROR if error.status == problem_of(ZddError()).status else logging.INFO
    _log.log(level, "%s answered %s: %s", where, error.code, error)
    return current_app.response_class(answer.body, answer.status, answer.headers)


def _foreseen(app: Flask, handle: Callable[[Exception], Response]) -> Callable[[Exception], Response]:
    """Let handlers have our errors that were raised outside views, too: in ``after_request``, in URL converters.

    Flask hands those, and only those, to ``handle_exception`` at once, as a mere 500.
    """

    def handle_exception(error: Exception) -> Response:
        if not isinstance(error, ZddError):
            return handle(error)
        return app.finalize_request(app.handle_user_exception(error), from_error_handler=True)

    return handle_exception
