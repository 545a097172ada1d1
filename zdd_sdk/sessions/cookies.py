"""Which cookie carries a session, and whether this answer may set it (design 6; RFC 6265bis)."""

from __future__ import annotations

import ipaddress
import logging
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from zdd_sdk.errors import SettingsError
from zdd_sdk.http import Exchange, cookie_values, delete_cookie, set_cookie
from zdd_sdk.settings import SessionSettings

__all__ = ["CookieJar", "is_cross_site", "is_local", "put_cookie"]

logger = logging.getLogger("zdd.sessions")

_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,64}", re.ASCII)
_ATTRIBUTE = re.compile(r"[!-+\--:<-~]*", re.ASCII)
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "WEBSOCKET"})
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
        self._settings = settings
        self._said = False

    def values(self, exchange: Exchange) -> tuple[str, ...]:
        """Every value the request carries under our name, at most four."""
        headers = exchange.header_values("cookie")
        return cookie_values(headers, self._profile(exchange).name) if headers else ()

    def write(self, exchange: Exchange, value: str, max_age: int | None) -> None:
        """Have the answer set the cookie; ``None``: it ends with the browser."""
        profile, settings = self._profile(exchange), self._settings
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

    def remove(self, exchange: Exchange) -> None:
        """Have the answer delete the cookie; only after Redis has confirmed a logout."""
        profile, settings = self._profile(exchange), self._settings
        path, domain = settings.cookie_path, settings.cookie_domain
        put_cookie(exchange, profile.name, delete_cookie(profile.name, path=path, domain=domain, secure=profile.secure))

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


def is_local(exchange: Exchange) -> bool:
    """Whether this is plain http to a loopback or test host, and no proxy says that the client used https."""
    if exchange.scheme not in {"http", "ws"}:
        return False
    forwarded = f"{exchange.header('x-forwarded-proto')} {exchange.header('forwarded')}".lower()
    if "https" in forwarded or "wss" in forwarded:
        return False
    host = _host_name(exchange.header("host") or "")
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
    if not _NAME.fullmatch(name) or name.startswith(("__Host-", "__Secure-")):
        message = f"sessions.cookie_name cannot be {name!r}: a cookie token of 1 to 64 characters without a prefix"
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
