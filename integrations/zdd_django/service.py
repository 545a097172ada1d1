"""The one `ZeroDowntime` of a Django process, built from ``settings.ZDD`` when somebody first asks for it."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from django.conf import settings
from django.utils.functional import SimpleLazyObject

from zdd_sdk import ZeroDowntime
from zdd_sdk.errors import SettingsError
from zdd_sdk.settings import SessionSettings

if TYPE_CHECKING:
    from zdd_sdk.idempotency import Idempotency
    from zdd_sdk.idempotency.bracket import Bracket

__all__ = ["DJANGO_WORDS", "forget", "get_zdd", "options", "start", "zdd"]

DJANGO_WORDS = {
    "cookie_name": "SESSION_COOKIE_NAME",
    "cookie_domain": "SESSION_COOKIE_DOMAIN",
    "cookie_path": "SESSION_COOKIE_PATH",
    "same_site": "SESSION_COOKIE_SAMESITE",
    "insecure": "SESSION_COOKIE_SECURE",
    "idle_timeout": "SESSION_COOKIE_AGE",
}
"""Options of sessions for which Django has a setting of its own, which is the one that counts."""

_lock = threading.Lock()
_built: list[ZeroDowntime] = []
_brackets: list[Bracket[Any]] = []
"""Of the views, which are decorated once, however often the service is built anew."""


class _Service(ZeroDowntime):
    """Knows the databases of the project."""

    @cached_property
    def idempotency(self) -> Idempotency:
        from zdd_django.guard import guards

        part = super().idempotency
        part.guards += guards()
        return part


def get_zdd() -> ZeroDowntime:
    """Return the service of this process; connects and starts nothing.

    Raises:
        SettingsError: ``settings.ZDD`` has an unknown option or an impossible value.
    """
    return _built[0] if _built else _build()


zdd = cast("ZeroDowntime", SimpleLazyObject(get_zdd))
"""The service of this process, built at its first use: ``from zdd_django import zdd``."""


def options() -> dict[str, Any]:
    """Return the arguments for `ZeroDowntime`: ``settings.ZDD``, and what Django's own settings say of sessions.

    Raises:
        SettingsError: ``settings.ZDD`` is no mapping of names.
    """
    given = getattr(settings, "ZDD", {})
    if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
        message = f"settings.ZDD must be a dict of options by name, not {type(given).__name__}"
        raise SettingsError(message)
    sessions = given.get("sessions", {})
    if not isinstance(sessions, Mapping):
        message = "settings.ZDD['sessions'] must be a dict of options by name"
        raise SettingsError(message)
    return {**given, "sessions": {**_said_by_django(), **sessions}}


def _said_by_django() -> dict[str, Any]:
    age = max(1, settings.SESSION_COOKIE_AGE)
    said: dict[str, Any] = {
        "cookie_name": settings.SESSION_COOKIE_NAME.removeprefix("__Host-").removeprefix("__Secure-"),
        "cookie_domain": settings.SESSION_COOKIE_DOMAIN or None,
        "cookie_path": settings.SESSION_COOKIE_PATH,
        "idle_timeout": age,
        "absolute_timeout": max(age, SessionSettings().absolute_timeout),
    }
    if settings.SESSION_COOKIE_SAMESITE:
        said["same_site"] = str(settings.SESSION_COOKIE_SAMESITE).capitalize()
    if settings.is_overridden("SESSION_COOKIE_SECURE"):
        said["insecure"] = not settings.SESSION_COOKIE_SECURE
    return said


def _build() -> ZeroDowntime:
    with _lock:
        if not _built:
            _built.append(_make())
        return _built[0]


def _make() -> ZeroDowntime:
    service = _Service(**options())
    service.before_serving(lambda: _check_views(service))
    for bracket in _brackets:
        bracket.move(service)
    _brackets.clear()
    return service


def _check_views(service: ZeroDowntime) -> None:
    from zdd_django.brackets import check_views

    check_views(service)


def start(service: ZeroDowntime) -> None:
    """Start the service, once every view has said what it is."""
    from zdd_django.brackets import load_views

    if not service.started and not service.stock and service.settings.idempotency.enabled:
        load_views()
    service.start()


def forget() -> None:
    """Stop and forget the service: its settings have changed (in tests)."""
    with _lock:
        gone = _built.pop() if _built else None
        _brackets.extend(gone.brackets if gone is not None else ())
        if isinstance(zdd, SimpleLazyObject):
            zdd.__init__(get_zdd)  # type: ignore[misc]
    if gone is not None and gone.started:
        gone.lifecycle.stop(1.0)
