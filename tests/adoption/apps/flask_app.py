"""Flask: sources ``cookie`` (its own), ``redis`` and ``cachelib`` (Flask-Session)."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import redis
from cachelib import FileSystemCache
from flask import Flask, session


def shown() -> dict[str, Any]:
    named = {"user" if name == "_user_id" else name: value for name, value in session.items()}
    return {name: value for name, value in named.items() if not name.startswith("_")}


def make(step: str, source: str, legacy_url: str, directory: Path, **options: Any) -> Flask:
    """Build the application of one release; ``options`` go to `ZeroDowntime`."""
    app = Flask(__name__)
    app.secret_key = "0123456789" * 4
    if source != "cookie":
        _flask_session(app, source, legacy_url, directory)
    app.add_url_rule("/me", "me", shown)
    app.add_url_rule("/login/<user>", "login", login, methods=["GET", "POST"])
    app.add_url_rule("/logout", "logout", logout, methods=["GET", "POST"])
    app.add_url_rule("/put/<name>/<value>", "put", put, methods=["GET", "POST"])
    if step != "none":
        from zdd_flask import Zdd
        from zdd_sdk import ZeroDowntime

        sessions = {"adopt": step, **options.pop("sessions", {})}
        Zdd(app, ZeroDowntime("adoption", secret="k" * 40, sessions=sessions, **options))
    return app


def _flask_session(app: Flask, source: str, legacy_url: str, directory: Path) -> None:
    from flask_session import Session

    client = redis.Redis.from_url(legacy_url, socket_timeout=5)
    app.config.update(SESSION_TYPE=source, SESSION_REDIS=client, SESSION_PERMANENT=True)
    if source == "cachelib":
        app.config["SESSION_CACHELIB"] = FileSystemCache(str(directory / "sessions"), threshold=100_000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Session(app)


def login(user: str) -> dict[str, Any]:
    session["_user_id"] = user
    return shown()


def logout() -> dict[str, Any]:
    session.clear()
    return shown()


def put(name: str, value: str) -> dict[str, Any]:
    session[name] = value
    return shown()


if "ADOPT_STEP" in os.environ:
    wsgi = make(
        os.environ["ADOPT_STEP"],
        os.environ["ADOPT_SOURCE"],
        os.environ["ADOPT_LEGACY_URL"],
        Path(os.environ["ADOPT_DIRECTORY"]),
    )
