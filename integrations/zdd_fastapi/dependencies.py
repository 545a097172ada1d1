"""The session as a FastAPI dependency."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from fastapi import Depends
from starlette.requests import HTTPConnection

from zdd_sdk import ZeroDowntime
from zdd_sdk.errors import SettingsError, StoreNotConfigured
from zdd_sdk.http import Exchange
from zdd_sdk.sessions import Session

__all__ = ["LazySession", "Typed", "UserSession", "lazy_session", "user_session"]

M = TypeVar("M")


async def user_session(connection: HTTPConnection) -> Session:
    """Load the session of this request: one trip to Redis, once per request.

    Raises:
        StoreNotConfigured: the service runs with ``redis_url="off"``.
        SessionUnavailable: Redis is away and ``on_unavailable`` is ``fail``; answered with 503.
    """
    zdd, exchange = _wired(connection)
    return await zdd.sessions.load(exchange)


async def lazy_session(connection: HTTPConnection) -> Session:
    """Return the session without loading it: ``await session.load()`` when needed; ``logout()`` never needs it."""
    zdd, exchange = _wired(connection)
    return zdd.sessions.open(exchange)


def _wired(connection: HTTPConnection) -> tuple[ZeroDowntime, Exchange]:
    try:
        zdd, exchange = connection.scope["zdd"], connection.scope["zdd.exchange"]
    except KeyError:
        message = "the session needs the middleware: app.add_middleware(ZddMiddleware, zdd=zdd)"
        raise SettingsError(message) from None
    if exchange.store is None and not zdd.stock:
        message = "the session needs a store, and this service runs with redis_url=off: set ZDD_REDIS_URL"
        raise StoreNotConfigured(message)
    return zdd, exchange


UserSession = Annotated[Session, Depends(user_session)]
"""A parameter of this type is the request's session, loaded."""

LazySession = Annotated[Session, Depends(lazy_session)]
"""A parameter of this type is the request's session, not loaded yet."""


if TYPE_CHECKING:
    Typed = Annotated[M, "the request's session, seen through a struct"]
else:

    class Typed:
        """``Typed[ShopSession]``: a parameter of this type is the request's session, loaded, seen through a struct."""

        def __class_getitem__(cls, model: type[M]) -> Any:
            """Return the dependency on a session of this model."""

            async def typed_session(connection: HTTPConnection) -> Any:
                return (await user_session(connection)).typed(model)

            return Annotated[model, Depends(typed_session)]
