"""A browser of one visitor: carries our cookie from answer to request and runs the real leave."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from zdd_sdk.errors import ZddError
from zdd_sdk.http import Answer, Exchange, problem_of
from zdd_sdk.secrets import Secrets
from zdd_sdk.sessions import Session, Sessions
from zdd_sdk.sessions.ids import Place, Places, SessionId, parse_id
from zdd_sdk.settings import SessionSettings
from zdd_sdk.store import Keys, Store
from zdd_sdk.web.leave import leave

ROOT = "0123456789abcdef" * 4
COOKIE = "__Host-zdd_session"

Handler = Callable[[Session], Awaitable[Any]]


def make_sessions(
    *,
    release: str = "1",
    stock: bool = False,
    roots: tuple[str, ...] = (ROOT,),
    keys: Keys = Keys("test", "test"),  # noqa: B008 - frozen
    **options: Any,
) -> Sessions:
    return Sessions(SessionSettings(**options), keys, lambda: Secrets(roots), release=release, stock=stock)


PLACES = Places([Keys("test", "test")], lambda: Secrets([ROOT]))


def id_of(cookie: str | None) -> SessionId:
    identity = parse_id(cookie or "")
    assert identity is not None
    return identity


def key_of(cookie: str | None) -> str:
    """Name of the hash behind a cookie."""
    return PLACES.key(id_of(cookie))


def place_of(cookie: str | None) -> Place:
    """Where the session behind a cookie lies."""
    return PLACES.place(id_of(cookie))


def index_of(user: str) -> str:
    """Name of a user's index."""
    return PLACES.index(PLACES.tags(user)[0])


@dataclass
class Reply:
    """What the visitor sees."""

    status: int
    headers: list[tuple[str, str]]
    result: Any = None
    error: Exception | None = None

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]

    @property
    def cookie(self) -> str | None:
        """The Set-Cookie line, of which there is at most one."""
        lines = self.values("set-cookie")
        assert len(lines) <= 1
        return lines[0] if lines else None


@dataclass
class Visitor:
    """One browser."""

    sessions: Sessions
    store: Store | None
    cookie: str | None = None
    name: str = COOKIE
    history: list[Reply] = field(default_factory=list)

    def exchange(
        self, method: str = "GET", *, headers: dict[str, str] | None = None, cookies: list[str] | None = None
    ) -> Exchange:
        """A request with the visitor's cookie, or with these whole cookie headers instead."""
        plain = {"host": "shop.example", **(headers or {})}
        sent = [f"{self.name}={self.cookie}"] if cookies is None and self.cookie else cookies or []
        values = lambda name: sent if name == "cookie" else [plain[name]] if name in plain else []  # noqa: E731
        return Exchange(method, "/", plain.get("scheme", "https"), values, self.store)

    async def visit(
        self, handler: Handler | None = None, *, status: int = 200, keep: bool = True, **request: Any
    ) -> Reply:
        """One request: load, handler, leave; the cookie of the answer is kept unless told otherwise."""
        exchange = self.exchange(**request)
        return await self.answer(exchange, handler, status=status, keep=keep)

    async def answer(
        self, exchange: Exchange, handler: Handler | None, *, status: int = 200, keep: bool = True, load: bool = True
    ) -> Reply:
        result, error = None, None
        try:
            session = self.sessions.open(exchange)
            if handler is not None:
                if load:
                    await session.load()
                result = await handler(session)
        except ZddError as caught:
            error, status = caught, problem_of(caught).status
        reply = await self.depart(exchange, status)
        reply.result, reply.error = result, error
        if keep:
            self.receive(reply)
        return reply

    async def depart(self, exchange: Exchange, status: int = 200) -> Reply:
        """Run the leave."""
        exchange.status = status
        instead: Answer | None = await leave(exchange, [self.sessions])
        if instead is not None:
            return Reply(instead.status, instead.headers, instead.body.decode())
        return Reply(status, exchange.response_headers)

    def receive(self, reply: Reply) -> None:
        """Do with the answer's cookie what a browser does."""
        self.history.append(reply)
        if reply.cookie is not None:
            value = reply.cookie.partition("=")[2].partition(";")[0]
            self.cookie = value if "Max-Age=0" not in reply.cookie else None


def reading(*names: str) -> Handler:
    """A handler that reads attributes and returns them."""

    async def handler(session: Session) -> dict[str, Any]:
        return {name: session.get(name) for name in names or tuple(session)}

    return handler


def writing(**values: Any) -> Handler:
    """A handler that sets attributes."""

    async def handler(session: Session) -> None:
        session.update(values)

    return handler


def login(user: str) -> Handler:
    async def handler(session: Session) -> None:
        session.login(user)

    return handler


async def logout(session: Session) -> None:
    session.logout()


async def state(session: Session) -> tuple[str | None, dict[str, Any]]:
    """A handler that returns everything there is."""
    return session.user, dict(session)
