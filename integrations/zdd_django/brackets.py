"""Idempotent views: whether they are routed as decorated, and whether everything they need is in the settings."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.urls import URLPattern, URLResolver, get_resolver

from zdd_django.guard import DjangoGuard
from zdd_sdk import ZeroDowntime
from zdd_sdk.errors import SettingsError
from zdd_sdk.idempotency.bracket import Bracket, bracket_of

__all__ = ["CAPTURE_MIDDLEWARE", "Finding", "check_views", "find", "load_views"]

CAPTURE_MIDDLEWARE = "zdd_django.middleware.CaptureMiddleware"


@dataclass(frozen=True, slots=True)
class Finding:
    """What keeps idempotent views from working.

    Attributes:
        id: of the system check.
        text: what is wrong.
        hint: what to do.
    """

    id: str
    text: str
    hint: str


def load_views() -> None:
    """Import the URLconf, and with it every view that says ``@zdd.idempotent``; Django itself waits for a request."""
    if getattr(settings, "ROOT_URLCONF", None):
        for _ in _routes(get_resolver().url_patterns):
            pass


def check_views(zdd: ZeroDowntime) -> None:
    """Refuse to serve.

    Raises:
        SettingsError: with the first finding.
    """
    for finding in find(zdd):
        message = f"{finding.text} {finding.hint}"
        raise SettingsError(message)


def find(zdd: ZeroDowntime) -> Iterator[Finding]:
    """Say what is wrong with the idempotent views of a service; imports the URLconf."""
    load_views()
    brackets = [bracket for bracket in zdd.brackets if bracket.endpoint]
    if brackets:
        yield from _middleware()
        for bracket in brackets:
            yield from _misplaced(bracket)
            yield from _coroutine(bracket, zdd)
        yield from _lost(brackets)


def _middleware() -> Iterator[Finding]:
    order = list(settings.MIDDLEWARE)
    if order[-1:] != [CAPTURE_MIDDLEWARE]:
        where = "is not the last one" if CAPTURE_MIDDLEWARE in order else "is missing"
        text = f"Views are idempotent, and CaptureMiddleware {where} in MIDDLEWARE: their answers could not be kept."
        yield Finding("zdd.E010", text, f"Put {CAPTURE_MIDDLEWARE!r} last.")


def _misplaced(bracket: Bracket[Any]) -> Iterator[Finding]:
    function, name = bracket.function, bracket.operation.name
    if function.__module__ == "django.utils.decorators":
        text = f"{name}: method_decorator would make another operation of every call."
        yield Finding("zdd.E012", text, "Put @zdd.idempotent(…) right above the method.")
    elif hasattr(function, "cls"):
        text = f"{name}: around a whole view of REST framework keys are claimed before it has authenticated anybody."
        hint = "Put @zdd.idempotent(…) below @api_view, or right above the class's method."
        yield Finding("zdd.E012", text, hint)


def _coroutine(bracket: Bracket[Any], zdd: ZeroDowntime) -> Iterator[Finding]:
    if bracket.operation.effects != "db" or not inspect.iscoroutinefunction(bracket.function):
        return
    if all(isinstance(guard, DjangoGuard) for guard in zdd.idempotency.guards):
        text = f'{bracket.operation.name}: effects="db" in a coroutine: Django has no transactions there.'
        yield Finding("zdd.E013", text, "Write the view as a plain function; Django runs it in a thread.")


def _lost(brackets: list[Bracket[Any]]) -> Iterator[Finding]:
    bare = {function: bracket for bracket in brackets for function in _chain(bracket.function)}
    for route, view in _routes(get_resolver().url_patterns):
        for function in _functions(view):
            inside = [bare[one] for one in _chain(function) if one in bare]
            if inside and bracket_of(function) is None:
                text = f"{inside[0].operation.name}: {route} routes the function without its bracket."
                yield Finding("zdd.E011", text, "Put @zdd.idempotent(…) where the function is defined.")


def _routes(patterns: Iterable[URLPattern | URLResolver], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for one in patterns:
        path = f"{prefix}{one.pattern}"
        if isinstance(one, URLResolver):
            yield from _routes(one.url_patterns, path)
        else:
            yield path, one.callback


def _functions(view: Any) -> Iterator[Any]:
    """Yield the view, and the methods of the class it may be made of."""
    yield view
    kind = getattr(view, "cls", None) or getattr(view, "view_class", None)
    names = {*getattr(kind, "http_method_names", ()), *(getattr(view, "actions", None) or {}).values()}
    for name in sorted(names) if kind is not None else ():
        if callable(method := getattr(kind, name, None)):
            yield method


def _chain(function: Any) -> Iterator[Any]:
    while function is not None:
        yield function
        function = getattr(function, "__wrapped__", None)
