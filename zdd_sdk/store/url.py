"""Store URLs: which Redis, where, and as whom.

=============================  ====================================================================
scheme                         what follows it
=============================  ====================================================================
``redis://`` ``valkey://``     ``[user:password@]host[:6379][/db]``
``rediss://`` ``valkeys://``   the same over TLS, certificate and host name checked
``unix://``                    ``[user:password@]/path/to/socket[?db=0]``
``redis+sentinel://``          ``[user:password@]host[:26379],host…/service[/db]``; ``rediss+sentinel``
``redis+cluster://``           ``[user:password@]host[:6379],host…``; ``rediss+cluster``
``embedded://``                an engine of our own, in development
=============================  ====================================================================

User names and passwords are percent-decoded. Query options: ``db``, ``engine=fakeredis`` and, with
Sentinel, ``sentinel_username`` and ``sentinel_password``. Timeouts are options of the store, not of the URL.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NoReturn
from urllib.parse import unquote_to_bytes

import msgspec

from zdd_sdk.errors import SettingsError

__all__ = ["Address", "Target", "is_embedded", "parse_url"]

Kind = Literal["single", "sentinel", "cluster", "embedded", "off"]

_SUFFIXES: dict[str, Kind] = {"": "single", "+sentinel": "sentinel", "+cluster": "cluster"}
_SCHEMES: dict[str, tuple[Kind, bool]] = {
    f"{name}{'s' * tls}{suffix}": (kind, bool(tls))
    for name in ("redis", "valkey")
    for tls in (0, 1)
    for suffix, kind in _SUFFIXES.items()
}
_SENTINEL_PORT = 26379
_REDIS_PORT = 6379
_LAST_PORT = 65535
_QUERY = ("db", "engine", "sentinel_password", "sentinel_username")


class Address(msgspec.Struct, frozen=True, order=True):
    """Where one server listens: a host and a port, or the path of a Unix socket."""

    host: str
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        """``host:port`` or the path; what messages show."""
        return self.path or f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Target:
    """What a store URL says.

    Attributes:
        kind: how servers are found.
        nodes: the server, the sentinels, or some nodes of the cluster.
        tls: whether to speak TLS.
        username: who to log in as; ``None`` is Redis' ``default`` user.
        password: never shown.
        db: number of the database; 0 on a cluster.
        service: name of the master set, with Sentinel.
        engine: ``"fakeredis"`` if the server is one, so that scripts go as ``EVAL`` without a shebang.
        sentinel_username: who to log in as on the sentinels.
        sentinel_password: never shown.
    """

    kind: Kind
    nodes: tuple[Address, ...] = ()
    tls: bool = False
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    db: int = 0
    service: str = ""
    engine: str = ""
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)


def is_embedded(url: str | None) -> bool:
    """Whether a store URL asks for an engine of our own."""
    return url is None or url in ("embedded://", "embedded")


def parse_url(url: str | None, option: str = "store.redis_url") -> Target:
    """Read a store URL; ``None`` is ``embedded://``, ``"off"`` is no store.

    Args:
        url: what a person configured.
        option: name of the option, for messages.

    Raises:
        SettingsError: not a store URL. The message names the option and quotes nothing of the URL,
            because anything in it may be the password.
    """
    if url is None or is_embedded(url):
        return Target("embedded")
    if url == "off":
        return Target("off")
    try:
        return _parse(url)
    except _Wrong as wrong:
        message = f"{option}: {wrong}"
        raise SettingsError(message) from None


class _Wrong(Exception):
    """What is wrong with a URL, in words that quote none of it."""


def _wrong(text: str) -> NoReturn:
    raise _Wrong(text)


def _parse(url: str) -> Target:
    if not url.isprintable():
        _wrong("the URL has a line break or another unprintable character in it")
    scheme, colon, rest = url.partition("://")
    if scheme.lower() == "unix" and colon:
        return _parse_unix(rest)
    if not colon or scheme.lower() not in _SCHEMES:
        _wrong(f"the URL must begin with one of {', '.join(f'{name}://' for name in _SCHEMES)}, unix:// or embedded://")
    kind, tls = _SCHEMES[scheme.lower()]
    rest, options = _split_query(rest)
    username, password, rest = _split_login(rest)
    hosts, _, path = rest.partition("/")
    nodes = tuple(_address(host, _SENTINEL_PORT if kind == "sentinel" else _REDIS_PORT) for host in hosts.split(","))
    if kind == "single" and len(nodes) > 1:
        _wrong("several hosts need redis+sentinel:// or redis+cluster://")
    service, db = _split_path(kind, path, options)
    return Target(
        kind, nodes, tls, username, password, db, service, options.get("engine", ""),
        options.get("sentinel_username"), options.get("sentinel_password"),
    )  # fmt: skip


def _parse_unix(rest: str) -> Target:
    rest, options = _split_query(rest)
    username, password, path = _split_login(rest)
    if not path.startswith("/"):
        _wrong("unix:// needs an absolute path: unix:///run/redis.sock")
    node = Address("", 0, _decode(path))
    db = _number(options.get("db", "0"))
    return Target("single", (node,), username=username, password=password, db=db, engine=options.get("engine", ""))


def _split_query(rest: str) -> tuple[str, dict[str, str]]:
    rest, _, query = rest.partition("?")
    options: dict[str, str] = {}
    for item in filter(None, query.split("&")):
        name, _, value = item.partition("=")
        if name not in _QUERY:
            _wrong(f"the URL has a query option it cannot have; known are {', '.join(_QUERY)}")
        options[name] = _decode(value)
    if options.get("engine", "") not in ("", "fakeredis"):
        _wrong("the query option engine can only be fakeredis")
    return rest, options


def _split_login(rest: str) -> tuple[str | None, str | None, str]:
    login, at, rest = rest.rpartition("@")
    if not at:
        return None, None, rest
    username, colon, password = login.partition(":")
    if not colon:
        _wrong("the URL has a user name without a password; a password alone is written :password@host")
    if "/" in login or "@" in login:
        _wrong("the password has a character that must be percent-encoded (@ as %40, / as %2F)")
    return _decode(username) or None, _decode(password) or None, rest


def _split_path(kind: Kind, path: str, options: dict[str, str]) -> tuple[str, int]:
    service = ""
    if kind == "sentinel":
        service, _, path = path.partition("/")
        service = _decode(service)
        if not service:
            _wrong("redis+sentinel:// needs the name of the master set: redis+sentinel://host:26379/service/0")
    db = _number(path or options.get("db", "0"))
    if kind == "cluster" and db:
        _wrong("a cluster has no database but 0")
    return service, db


def _address(text: str, default: int) -> Address:
    host, bracket, port = text.rpartition("]") if text.startswith("[") else ("", "", text)
    if bracket:
        host, port = host[1:], port.removeprefix(":")
    else:
        host, _, port = port.partition(":")
    host = _decode(host)
    if not host or (not bracket and any(character in host for character in " []/@:?#")):
        _wrong("a host is missing or is no host name")
    return Address(host, _port(port) if port else default)


def _port(text: str) -> int:
    number = _number(text)
    if not 0 < number <= _LAST_PORT:
        _wrong("a port is not between 1 and 65535")
    return number


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < len("100000")):
        _wrong("a port or database is not a number")
    return int(text)


def _decode(text: str) -> str:
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        _wrong("a percent-encoded character is not UTF-8")
