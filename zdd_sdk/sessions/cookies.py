"""Which cookie carries a session, and whether this answer may set it (design 6; RFC 6265bis)."""

from __future__ import annotations

import functools
import ipaddress
import logging
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from zdd_sdk.errors import SettingsError
from zdd_sdk.http import Exchange, cookie_values, delete_cookie, set_cookie
from zdd_sdk.http.cookies import MAX_COOKIE_VALUES
from zdd_sdk.settings import SessionSettings

__all__ = ["CookieJar", "is_cross_site", "is_local", "put_cookie", "tell_if_refused"]

logger = logging.getLogger("zdd.sessions")

_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,64}", re.ASCII)
_ATTRIBUTE = re.compile(r"[!-+\--:<-~]*", re.ASCII)
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "WEBSOCKET"})
_PREFIXES = ("__Host-", "__Secure-")
_FORWARDED = ("x-forwarded-proto", "forwarded")
_LOCAL_NAMES = frozenset({"localhost", "testserver"})


@dataclass(frozen=True, slots=True)
class _Profile:
    name: str
    secure: bool


class CookieJar:
    """Reads and writes the session cookie as the settings and the request's origin demand.

    Args:
        settings: the session options.

    Raises:
        SettingsError: the name, domain or path cannot stand in a ``Set-Cookie`` header.
    """

    def __init__(self, settings: SessionSettings) -> None:
        _check(settings)
        host_only = settings.cookie_domain is None and settings.cookie_path == "/"
        prefix = "__Host-" if host_only else "__Secure-"
        self._secure = _Profile(prefix + settings.cookie_name, secure=True)
        self._plain = _Profile(settings.cookie_name, secure=False)
        self._others = {
            True: tuple(name if _prefix_of(name) else prefix + name for name in settings.also_read_cookies),
            False: tuple(name.removeprefix(_prefix_of(name)) for name in settings.also_read_cookies),
        }
        self._settings = settings
        self._said = False

    def values(self, exchange: Exchange) -> tuple[str, ...]:
        """Every value the request carries under our name, then under other names to be read; at most four."""
        headers = exchange.header_values("cookie")
        if not headers:
            return ()
        profile = self._profile(exchange)
        names = (profile.name, *self._others[profile.secure])
        return tuple(value for name in names for value in cookie_values(headers, name))[:MAX_COOKIE_VALUES]

    def write(self, exchange: Exchange, value: str, max_age: int | None) -> None:
        """Have the answer set the cookie; ``None``: it ends with the browser."""
        profile, settings = self._profile(exchange), self._settings
        if profile.secure:
            tell_if_refused(exchange)
        line = set_cookie(
            profile.name,
            value,
            max_age=max_age,
            path=settings.cookie_path,
            domain=settings.cookie_domain,
            secure=profile.secure,
            same_site=settings.same_site,
        )
        put_cookie(exchange, profile.name, line)
        self._remove_others(exchange, profile)

    def remove(self, exchange: Exchange) -> None:
        """Have the answer delete the cookie; only after Redis has confirmed a logout."""
        profile = self._profile(exchange)
        put_cookie(exchange, profile.name, self._deletion(profile.name, secure=profile.secure))
        self._remove_others(exchange, profile)

    def _remove_others(self, exchange: Exchange, profile: _Profile) -> None:
        """Leave the browser one cookie: with two names in it, which session it shows would depend on the release."""
        headers = exchange.header_values("cookie")
        for name in self._others[profile.secure]:
            if cookie_values(headers, name):
                put_cookie(exchange, name, self._deletion(name, secure=profile.secure))

    def _deletion(self, name: str, *, secure: bool) -> str:
        if name.startswith("__Host-"):
            return delete_cookie(name, secure=True)
        return delete_cookie(name, path=self._settings.cookie_path, domain=self._settings.cookie_domain, secure=secure)

    def _profile(self, exchange: Exchange) -> _Profile:
        insecure = self._settings.insecure
        if insecure is None:
            insecure = is_local(exchange)
        if not insecure:
            return self._secure
        if not self._said:
            self._said = True
            logger.warning(
                "plain http: the session cookie is %s here; over https it is %s, and Secure",
                self._plain.name,
                self._secure.name,
            )
        return self._plain


def _prefix_of(name: str) -> str:
    return next((prefix for prefix in _PREFIXES if name.startswith(prefix)), "")


def is_local(exchange: Exchange) -> bool:
    """Whether this is plain http to a loopback or test host, and no proxy says that the client used https."""
    return _is_plain(exchange) and _is_loopback(exchange.header("host") or "")


def _is_plain(exchange: Exchange) -> bool:
    if exchange.scheme not in {"http", "ws"}:
        return False
    for header in _FORWARDED:
        forwarded = exchange.header(header)
        if forwarded is not None and ("https" in forwarded.lower() or "wss" in forwarded.lower()):
            return False
    return True


def tell_if_refused(exchange: Exchange) -> None:
    """Say once that browsers do not keep the Secure cookie this answer sets, if it goes out over plain http."""
    if _is_plain(exchange) and not _is_loopback(exchange.header("host") or ""):
        _say_refused()


@functools.cache
def _say_refused() -> None:
    logger.warning(
        "a Secure session cookie goes out over plain http to a host that is not local: browsers refuse it, so that "
        "each request begins a session of its own and nobody stays logged in. Serve https; or, if a proxy does, "
        "let it send X-Forwarded-Proto; or, never in production, set sessions.insecure (Django: "
        "SESSION_COOKIE_SECURE = False)"
    )


@functools.lru_cache(maxsize=64)
def _is_loopback(authority: str) -> bool:
    host = _host_name(authority)
    if host in _LOCAL_NAMES:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_cross_site(exchange: Exchange) -> bool:
    """Whether another site made the browser send this unsafe request.

    ``Sec-Fetch-Site`` decides; where a browser does not send it, an ``Origin`` that is not the ``Host``.
    Clients that send neither are no browsers.
    """
    if exchange.method in _SAFE_METHODS:
        return False
    site = exchange.header("sec-fetch-site")
    if site is not None:
        return site.strip().lower() == "cross-site"
    origin = exchange.header("origin")
    return origin is not None and _authority(origin) != (exchange.header("host") or "").lower()


def put_cookie(exchange: Exchange, name: str, line: str) -> None:
    """Have the answer carry a ``Set-Cookie`` line, the only one of that name, and forbid caches to keep it."""
    earlier = [pair for pair in exchange.response_headers if pair[0] == "set-cookie" and pair[1].startswith(f"{name}=")]
    for pair in earlier:
        exchange.response_headers.remove(pair)
    exchange.response_headers += [("set-cookie", line), ("cache-control", "no-store")]


def _authority(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _host_name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _check(settings: SessionSettings) -> None:
    name = settings.cookie_name
    if not _NAME.fullmatch(name) or _prefix_of(name):
        message = f"sessions.cookie_name cannot be {name!r}: a cookie token of 1 to 64 characters without a prefix"
        raise SettingsError(message)
    for other in settings.also_read_cookies:
        if not _NAME.fullmatch(other) or other == name:
            message = f"sessions.also_read_cookies cannot hold {other!r}: another cookie token of 1 to 64 characters"
            raise SettingsError(message)
    for option, text in (("cookie_path", settings.cookie_path), ("cookie_domain", settings.cookie_domain or "")):
        if not _ATTRIBUTE.fullmatch(text):
            message = f"sessions.{option} cannot be {text!r}: no spaces, commas, semicolons or control characters"
            raise SettingsError(message)
    if not settings.cookie_path.startswith("/"):
        message = f"sessions.cookie_path cannot be {settings.cookie_path!r}: it starts with a slash"
        raise SettingsError(message)
    if settings.same_site == "None" and settings.insecure:
        message = "sessions.same_site cannot be 'None' with sessions.insecure: browsers refuse it without Secure"
        raise SettingsError(message)
