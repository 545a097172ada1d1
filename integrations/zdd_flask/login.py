"""flask-login: a login through it is one of ours too, so the id changes and the user is known by name."""

from __future__ import annotations

import importlib
from typing import Any

import flask
from flask import Flask

from zdd_flask.session import ZddSession
from zdd_sdk.errors import RecordError

__all__ = ["follow_flask_login"]

_LOGINS = ("user_logged_in", "user_loaded_from_cookie")
_ITS_OWN = ("_user_id", "_fresh", "_id", "_remember", "_remember_seconds")
"""What flask-login has just put into the session, for the user who logs in."""


def follow_flask_login(app: Flask) -> None:
    """Listen to flask-login's signals, if it is installed."""
    try:
        signals: Any = importlib.import_module("flask_login.signals")
    except ImportError:
        return
    for name in _LOGINS:
        getattr(signals, name).connect(_log_in, app)
    signals.user_logged_out.connect(_log_out, app)


def _log_in(_app: Flask, user: Any, **_: Any) -> None:
    session = _session()
    if session is not None:
        its_own = {name: session[name] for name in _ITS_OWN if name in session}
        session.login(str(user.get_id()))
        session.update(its_own)


def _log_out(_app: Flask, **_: Any) -> None:
    """End the session; what flask-login leaves in it goes on in a new one, where this release can read it."""
    session = _session()
    if session is not None:
        left = dict(_readable(session))
        session.logout()
        session.update(left)


def _readable(session: ZddSession) -> Any:
    for name in session:
        try:
            yield name, session[name]
        except RecordError:
            continue


def _session() -> ZddSession | None:
    found: Any = flask.session
    session = found._get_current_object()  # noqa: SLF001 - werkzeug's documented way through a proxy
    return session if isinstance(session, ZddSession) else None
