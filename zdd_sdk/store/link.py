"""What the flows of the store need from a network, blocking or asyncio: links, budgets, and how errors are named."""

from __future__ import annotations

import functools
import inspect
import ssl
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from zdd_sdk.errors import SettingsError, StoreRefused, StoreReplyError, StoreUnavailable
from zdd_sdk.store.resolve import Resolver
from zdd_sdk.store.url import Address

__all__ = [
    "Budget",
    "Limits",
    "Link",
    "Login",
    "Network",
    "as_reply_error",
    "connection_options",
    "make_tls",
    "receive_one",
    "refusal",
    "unconnected",
]


Credentials = Callable[[], tuple[str | None, str]]
"""Returns user name (``None`` for the default user) and password, such as a token of a managed service."""


@dataclass(frozen=True, slots=True)
class Login:
    """Who we are on a server, and over what.

    Attributes:
        username: ``None`` is Redis' ``default`` user.
        password: ``None`` logs nobody in.
        db: number of the database.
        tls: the TLS context, or ``None``.
        credentials: asked for user name and password at each new connection, instead of the above.
    """

    username: str | None = None
    password: str | None = field(default=None, repr=False)
    db: int = 0
    tls: ssl.SSLContext | None = None
    credentials: Credentials | None = field(default=None, repr=False)


class Budget(Protocol):
    """The time one ask may still take."""

    def left(self) -> float:
        """Seconds left, negative when used up."""
        ...

    def part(self, seconds: float) -> Budget:
        """A budget of at most ``seconds``; what is spent of it is spent of this one too."""
        ...


class Link(Protocol):
    """One connection, on which replies come in the order of what was sent.

    Attributes:
        address: of the server.
        ended: the network was closed while the link was being listened on.
    """

    address: Address
    ended: bool

    def send(self, packed: bytes) -> None:
        """Send packed commands in one write.

        Raises:
            StoreUnavailable: the connection broke or the limit passed.
        """

    async def receive(self, replies: list[Any], count: int) -> None:
        """Read replies into a list until it has so many: values, or a `StoreReplyError` as a value.

        Raises:
            StoreUnavailable: the connection broke or the limit passed; what had come is in the list.
        """


class Network(Protocol):
    """Connections to servers and time to use them in: the part of a store that differs by colour."""

    resolver: Resolver

    def budget(self, seconds: float) -> Budget:
        """Start the clock of one ask."""
        ...

    async def take(self, address: Address, budget: Budget, *, role: str = "") -> Link:
        """A free connection, new or pooled, waiting for one if all are in use.

        Args:
            address: of the server.
            budget: time it may take.
            role: ``""`` for asks, ``"wait"`` for commands that block (not limited in number, because each
                blocks its caller anyway), ``"sentinel"`` for sentinels.

        Raises:
            StoreUnavailable: no connection inside the budget.
        """
        ...

    def give(self, link: Link) -> None:
        """Put back a connection that has no unread reply."""

    def drop(self, link: Link) -> None:
        """Close a connection whose state is unknown."""

    def listening(self, link: Link, *, since: bool) -> None:
        """From now on (``since``), or no longer, this link is read without limit, until the network closes."""

    def forget(self, address: Address) -> None:
        """Close the idle connections to a server and look its name up again."""

    def start(self, links: Sequence[Link], seconds: float, budget: Budget) -> None:
        """From now on these links fail after ``seconds``, or when the budget is used up if that is earlier."""

    def stop(self, budget: Budget) -> None:
        """End the limit of `start`."""

    async def pause(self, seconds: float, budget: Budget, /) -> None:
        """Sleep, on the budget's time."""


def connection_options(login: Login) -> dict[str, Any]:
    """Arguments of redis-py's connections (5 to 8): RESP2, no retry, no timeout of its own, no ``CLIENT SETINFO``."""
    if login.credentials is None:
        return {"username": login.username, "password": login.password, "db": login.db, **_fixed_options()}
    return {"credential_provider": _make_provider(login.credentials), "db": login.db, **_fixed_options()}


def _make_provider(credentials: Credentials) -> Any:
    """Wrap a callable as redis-py's ``CredentialProvider``; its failure is a refused login."""
    from redis.credentials import CredentialProvider
    from redis.exceptions import AuthenticationError

    class Provider(CredentialProvider):
        def get_credentials(self) -> tuple[str] | tuple[str, str]:
            try:
                username, password = credentials()
            except Exception as error:
                message = f"the credentials callable failed with {type(error).__name__}"
                raise AuthenticationError(message) from error
            return (username, password) if username else (password,)

    return Provider()


@functools.cache
def _fixed_options() -> dict[str, Any]:
    from redis.backoff import NoBackoff
    from redis.connection import AbstractConnection
    from redis.retry import Retry

    known = inspect.signature(AbstractConnection.__init__).parameters
    silent = {"driver_info": None} if "driver_info" in known else {"lib_name": None, "lib_version": None}
    limits = {"retry": Retry(NoBackoff(), 0), "socket_timeout": None, "socket_connect_timeout": None}
    return {"protocol": 2, **limits, **silent}


async def receive_one(link: Link) -> Any:
    """Read one reply.

    Raises:
        StoreUnavailable: the connection broke or the limit passed.
    """
    replies: list[Any] = []
    await link.receive(replies, 1)
    return replies[0]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a network may use.

    Attributes:
        connect: seconds for one connection, name resolution, TLS and login included.
        operation: seconds for one round trip.
        size: connections per server (and event loop).
    """

    connect: float
    operation: float
    size: int

    def pool_size(self, role: str) -> int:
        """Connections for a role: commands that block are not limited, each blocks its caller anyway."""
        return sys.maxsize if role == "wait" else self.size

    def wait_for_place(self, budget: Budget) -> float:
        """Seconds to wait for a connection in use: the operation behind it keeps its own time, or half of all.

        Else our own crowd would leave Redis too little time and look like an absent Redis to the breaker.
        """
        left = budget.left()
        return max(left - self.operation, left / 2, 0.0)

    def crowded(self, address: Address) -> StoreUnavailable:
        """Nobody gave a connection back in time."""
        message = f"all {self.size} connections to {address} are in use (store.pool_size)"
        return StoreUnavailable(message, reason="busy")


def make_tls(ca_file: str | None) -> ssl.SSLContext:
    """A context that checks the certificate and the host name.

    Args:
        ca_file: PEM bundle; ``None`` trusts what the platform trusts.

    Raises:
        SettingsError: the bundle cannot be read.
    """
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        message = f"store.ca_file cannot be used: {error}"
        raise SettingsError(message) from None


_PREFIXES = {
    "AskError": "ASK", "AuthenticationError": "WRONGPASS", "BusyLoadingError": "LOADING",
    "ClusterCrossSlotError": "CROSSSLOT", "ClusterDownError": "CLUSTERDOWN", "ExecAbortError": "EXECABORT",
    "MasterDownError": "MASTERDOWN", "MovedError": "MOVED", "NoPermissionError": "NOPERM",
    "NoScriptError": "NOSCRIPT", "OutOfMemoryError": "OOM", "ReadOnlyError": "READONLY", "TryAgainError": "TRYAGAIN",
}  # fmt: skip
"""redis-py takes the first word off the replies it has a class for; we put it back."""


def as_reply_error(error: BaseException) -> StoreReplyError | None:
    """The error reply behind an exception of redis-py; ``None`` if it means that the connection broke."""
    text, name = str(error), type(error).__name__
    if name in _PREFIXES:
        prefix = getattr(error, "status_code", None) or _PREFIXES[name]
        return StoreReplyError(text if text.startswith(f"{prefix} ") else f"{prefix} {text}")
    if any(base.__name__ == "ResponseError" for base in type(error).__mro__):
        first = text.partition(" ")[0]
        return StoreReplyError(text if first.isupper() and first.isalnum() else f"ERR {text}")
    if text == "max number of clients reached":
        return StoreReplyError(f"ERR {text}")
    return None


def refusal(address: Address, error: StoreReplyError) -> StoreUnavailable:
    """What an error reply means that came while a connection was made."""
    text = str(error)
    if error.prefix in {"LOADING", "MASTERDOWN"}:
        message = f"Redis at {address} is not ready yet: {error.prefix}"
        return StoreUnavailable(message, reason="loading")
    if error.prefix in {"WRONGPASS", "NOAUTH", "NOPERM"} or "AUTH" in text or "password" in text:
        text = "wrong user or password in store.redis_url"
    elif "DB index" in text:
        text = "no such database; see the number at the end of store.redis_url"
    message = f"Redis at {address} refused us: {text}"
    return StoreRefused(message, reason="rejected")


def unconnected(address: Address, error: BaseException) -> StoreUnavailable:
    """Name what kept a connection from being made."""
    if isinstance(error, StoreUnavailable):
        return error
    if reply := as_reply_error(error):
        return refusal(address, reply)
    cause = error.__context__ or error
    if isinstance(cause, StoreUnavailable):
        return cause
    if isinstance(cause, TimeoutError) or "Timeout" in type(error).__name__:
        return StoreUnavailable(f"no connection to {address} in time", reason="timeout")
    return StoreUnavailable(f"no connection to {address}: {cause}", reason="refused")
