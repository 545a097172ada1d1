"""pytest plugin for Flask's own test suite: every application in it is given to `Zdd`, and runs on our sessions.

The engine is the one ``ZDD_REDIS_URL`` names. ``SESSION_REFRESH_EACH_REQUEST`` is what Flask's default is, said
aloud, so that the tests meet the meaning Flask gives it.
"""

from __future__ import annotations

from typing import Any

import flask
import flask.sessions
from flask.sessions import SecureCookieSessionInterface

from tests.integrations.flask import upstream_plugin_bare  # noqa: F401
from zdd_flask import Zdd, ZddSessionInterface
from zdd_sdk import ZeroDowntime

ZDD = ZeroDowntime("flask", environment="test", secret=("s" * 40,), fleet={"enabled": False})
_init = flask.Flask.__init__


class OurInterface(ZddSessionInterface):
    """What a test that builds upon Flask's interface builds upon instead."""

    def __init__(self) -> None:
        super().__init__(ZDD)


def init(app: flask.Flask, *args: Any, **options: Any) -> None:
    own = type(app).session_interface
    _init(app, *args, **options)
    Zdd(app, ZDD)
    app.config["SESSION_REFRESH_EACH_REQUEST"] = True
    if type(own) is not SecureCookieSessionInterface:
        app.session_interface = own


flask.Flask.__init__ = init  # type: ignore[method-assign]
flask.sessions.SecureCookieSessionInterface = OurInterface  # type: ignore[assignment,misc]
