"""Which cookie carries the session: Django's own settings, and a safe name and Secure where they say nothing."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.http import http_date

from zdd_django.service import get_zdd
from zdd_sdk.http import Exchange, cookie_values, current_exchange
from zdd_sdk.http.cookies import MAX_COOKIE_VALUES
from zdd_sdk.sessions.cookies import is_local, tell_if_refused
from zdd_sdk.web import environ_exchange

__all__ = [
    "Profile",
    "choose_profile",
    "exchange_of",
    "forget_profiles",
    "presented",
    "profile_of",
    "remove_cookie",
    "write_cookie",
]

_log = logging.getLogger("zdd.sessions")
_TEST_HOST = "testserver"


@dataclass(frozen=True, slots=True)
class Profile:
    """Name of the cookie, and whether it is Secure."""

    name: str
    secure: bool


@functools.cache
def _profiles() -> tuple[Profile, Profile]:
    """The profile for the world and the one for loopback and tests, which cannot have a prefix."""
    name, secure = settings.SESSION_COOKIE_NAME, settings.SESSION_COOKIE_SECURE
    chosen = settings.is_overridden("SESSION_COOKIE_SECURE")
    safe = bool(secure) if chosen else True
    prefix = ""
    if safe and not settings.is_overridden("SESSION_COOKIE_NAME"):
        host_only = not settings.SESSION_COOKIE_DOMAIN and settings.SESSION_COOKIE_PATH == "/"
        prefix = "__Host-" if host_only else "__Secure-"
    return Profile(prefix + name, safe), Profile(name, bool(secure) if chosen else False)


@functools.cache
def _other_names() -> tuple[str, ...]:
    return get_zdd().settings.sessions.also_read_cookies


def forget_profiles() -> None:
    """Read the settings anew."""
    _profiles.cache_clear()
    _other_names.cache_clear()
    _say_once.cache_clear()


def profile_of(request: HttpRequest) -> Profile:
    """Return name and flag of the session's cookie for this request."""
    host = request.META.get("HTTP_HOST") or request.META.get("SERVER_NAME", "")
    return choose_profile(host, lambda: exchange_of(request))


def choose_profile(host: str, exchange: Callable[[], Exchange]) -> Profile:
    """Return name and flag of the session's cookie for this host, and this exchange if it matters."""
    world, local = _profiles()
    # Django's test client, https or not: it looks for the cookie under SESSION_COOKIE_NAME.
    if world == local or (host.partition(":")[0] != _TEST_HOST and not is_local(exchange())):
        return world
    _say_once(local.name, world.name)
    return local


@functools.cache
def _say_once(local: str, world: str) -> None:
    _log.warning("plain http: the session cookie is %s here; over https it is %s, and Secure", local, world)


def exchange_of(request: HttpRequest) -> Exchange:
    """Return the exchange of this request; where `ZddMiddleware` has opened none, one to look at headers with."""
    exchange = current_exchange()
    return exchange or environ_exchange(request.META, None, scheme=request.scheme)


def presented(request: HttpRequest) -> tuple[str, ...]:
    """Return every value the request carries under our cookie's name, or one to be read as well; at most four."""
    header = request.META.get("HTTP_COOKIE", "")
    parsed = request.__dict__.get("COOKIES")
    others = _other_names()
    if not parsed and not others and _profiles()[1].name not in header:
        return ()
    lines = _cookie_headers(request, header)
    names = (profile_of(request).name, *others)
    values = [value for name in names for value in cookie_values(lines, name)]
    values += [parsed[name] for name in names if parsed and name in parsed]
    return tuple(dict.fromkeys(values))[:MAX_COOKIE_VALUES]


def _cookie_headers(request: HttpRequest, header: str) -> list[str]:
    # Django before 6.0 joins the Cookie headers of HTTP/2 with commas, which are no separators within one.
    scope: Mapping[str, Any] | None = getattr(request, "scope", None)
    if scope is None:
        return [header]
    return [value.decode("latin-1") for name, value in scope["headers"] if name == b"cookie"]


def write_cookie(request: HttpRequest, response: HttpResponseBase, value: str, max_age: int | None) -> None:
    """Set the cookie as Django's settings say, and forbid caches to keep that answer."""
    profile = profile_of(request)
    if profile.secure:
        tell_if_refused(exchange_of(request))
    response.set_cookie(
        profile.name,
        value,
        max_age=max_age,
        expires=None if max_age is None else http_date(time.time() + max_age),
        domain=settings.SESSION_COOKIE_DOMAIN,
        path=settings.SESSION_COOKIE_PATH,
        secure=profile.secure,
        httponly=settings.SESSION_COOKIE_HTTPONLY,
        samesite=settings.SESSION_COOKIE_SAMESITE,
    )
    for other in _others(request):
        _delete(response, other, secure=profile.secure)
    _forbid_storing(response)


def remove_cookie(request: HttpRequest, response: HttpResponseBase) -> None:
    """Delete the cookie; only after Redis has confirmed a logout."""
    profile = profile_of(request)
    for name in (profile.name, *_others(request)):
        _delete(response, name, secure=profile.secure)
    _forbid_storing(response)


def _others(request: HttpRequest) -> Iterator[str]:
    """The browser is left one cookie: with two names in it, which session it shows would depend on the release."""
    return (name for name in _other_names() if name in request.COOKIES)


def _delete(response: HttpResponseBase, name: str, *, secure: bool) -> None:
    response.delete_cookie(
        name,
        path=settings.SESSION_COOKIE_PATH,
        domain=settings.SESSION_COOKIE_DOMAIN,
        samesite=settings.SESSION_COOKIE_SAMESITE,
    )
    if secure:
        response.cookies[name]["secure"] = True


def _forbid_storing(response: HttpResponseBase) -> None:
    # `private`, because Django's own cache middleware knows nothing of no-store.
    said = {word.strip().lower() for word in response.headers.get("Cache-Control", "").split(",")}
    if not {"no-store", "private"} <= said:
        response.headers["Cache-Control"] = "no-store, private"
