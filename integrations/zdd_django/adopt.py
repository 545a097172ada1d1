"""Django's own session engines taken over: the application keeps holding their `SessionStore`, with ours beside it."""

from __future__ import annotations

import copy
import functools
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from importlib import import_module
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.sessions.backends.base import SessionBase
from django.contrib.sessions.backends.cache import SessionStore as CacheStore
from django.contrib.sessions.backends.signed_cookies import SessionStore as CookieStore
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.crypto import get_random_string

from zdd_django.cookies import exchange_of
from zdd_django.problems import problem_response, replaced
from zdd_django.service import get_zdd
from zdd_sdk.errors import SessionUnavailable, ZddError
from zdd_sdk.http import Exchange
from zdd_sdk.sessions.adopt_flow import Adopted, Adoption, LegacyRefused
from zdd_sdk.sessions.lifetime import Lifetime, choose_lifetime
from zdd_sdk.store import Store, finish

__all__ = ["adopting", "begin_adopted", "keep_adopted", "keep_adopted_async"]

_log = logging.getLogger("zdd.sessions")

USER_FIELD = "_auth_user_id"
"""Field in which django.contrib.auth says who is logged in, unless ``sessions.adopt_user`` names another."""

COOKIE = "zdd_session"
"""Name of our cookie meanwhile, because Django's own name is taken."""

_MOST = 4096
"""Bytes of a cookie's name and value that browsers keep (RFC 6265bis, 5.6)."""


def adopting() -> Adoption | None:
    """Return the adoption of this process, or ``None`` while ``sessions.adopt`` is off."""
    return get_zdd().adoption(USER_FIELD, COOKIE)


def begin_adopted(request: HttpRequest, adoption: Adoption) -> None:
    """Give the request the session of the engine that is taken over; asks nothing."""
    store = _adopting_store(_engine())
    session = store(request.COOKIES.get(settings.SESSION_COOKIE_NAME))
    session.adopt(request, adoption)
    request.session = session


def keep_adopted(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    """Keep what the request has changed, on both sides; on the blocking store."""
    kept = _kept(request)
    if kept is None or not kept.touched(response):
        return response
    with kept.using(get_zdd().blocking_store()):
        return finish(_close(kept, response))


async def keep_adopted_async(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    """Do the same on the server's loop."""
    kept = _kept(request)
    if kept is None or not kept.touched(response):
        return response
    kept.on_loop = True
    with kept.using(get_zdd().aio_store() if hasattr(request, "scope") else kept.exchange.store):
        return await _close(kept, response)


async def _close(kept: _DjangoSession, response: HttpResponseBase) -> HttpResponseBase:
    try:
        one = await kept.open()
        await kept.adoption.close(kept.exchange, one, kept.leave(response))
    except ZddError as error:
        return replaced(response, problem_response(kept.request, error))
    return response


def _kept(request: HttpRequest) -> _DjangoSession | None:
    found: _DjangoSession | None = getattr(getattr(request, "session", None), "adopted", None)
    return found


@functools.cache
def _stock() -> SessionMiddleware:
    return SessionMiddleware(lambda _: None)  # type: ignore[arg-type]


def _engine() -> str:
    """``SESSION_ENGINE``, which stays as it was; where it is ours already, ``sessions.adopt_engine``."""
    chosen: str = settings.SESSION_ENGINE
    return get_zdd().settings.sessions.adopt_engine if chosen == "zdd_django.sessions" else chosen


@functools.cache
def _adopting_store(engine: str) -> Any:
    base: type[SessionBase] = import_module(engine).SessionStore
    # Django signs what it stores with the name of the class: under another name nothing could be read
    return type(base.__name__, (_Adopting, base), {"base": base, "__qualname__": base.__qualname__})


class _Adopting:
    """What is added to an engine's store: it is opened with ours, and forgiven where ours is the truth."""

    adopted: _DjangoSession
    base: Any

    def adopt(self, request: HttpRequest, adoption: Adoption) -> None:
        """Become the session of a request."""
        self.adopted = _DjangoSession(self, request, adoption)

    @classmethod
    def get_model_class(cls) -> Any:
        """Return the engine's own model."""
        return cls.base.get_model_class()

    def _get_session(self: Any, no_load: bool = False) -> dict[str, Any]:
        self.accessed = True
        if "_session_cache" not in self.__dict__:
            kept = self.adopted
            if no_load or kept.reading:
                return self.base._get_session(self, no_load=no_load)  # type: ignore[no-any-return] # noqa: SLF001
            with kept.using(get_zdd().blocking_store()):
                finish(kept.open())
        return self._session_cache  # type: ignore[no-any-return]

    async def _aget_session(self: Any, no_load: bool = False) -> dict[str, Any]:
        self.accessed = True
        if "_session_cache" not in self.__dict__:
            kept = self.adopted
            if no_load or kept.reading:
                return await self.base._aget_session(self, no_load=no_load)  # type: ignore[no-any-return] # noqa: SLF001
            kept.on_loop = True
            with kept.using(get_zdd().aio_store() if hasattr(kept.request, "scope") else kept.exchange.store):
                await kept.open()
        return self._session_cache  # type: ignore[no-any-return]

    _session = property(_get_session)

    def is_empty(self: Any) -> bool:
        """Whether there is neither a key nor anything in it; the cookie of ours counts as a key until it is opened."""
        return not self.session_key and not self.__dict__.get("_session_cache")

    def save(self: Any, must_create: bool = False) -> None:
        """Save as the engine does; in ``final`` nothing is written there."""
        if not self.adopted.staged:
            self.base.save(self, must_create=must_create)

    async def asave(self: Any, must_create: bool = False) -> None:
        """Save as the engine does; in ``final`` nothing is written there."""
        if not self.adopted.staged:
            await self.base.asave(self, must_create=must_create)

    def create(self: Any) -> None:
        """Begin a session under a new key."""
        with self.adopted.forgiving(self):
            self.base.create(self)

    async def acreate(self: Any) -> None:
        """Begin a session under a new key."""
        with self.adopted.forgiving(self):
            await self.base.acreate(self)

    def cycle_key(self: Any) -> None:
        """Go on under a new key."""
        data = self._session
        with self.adopted.forgiving(self):
            self.base.cycle_key(self)
        self._session_cache, self.modified = data, True

    async def acycle_key(self: Any) -> None:
        """Go on under a new key."""
        data = await self._aget_session()
        with self.adopted.forgiving(self):
            await self.base.acycle_key(self)
        self._session_cache, self.modified = data, True

    def flush(self: Any) -> None:
        """End the session and go on with an empty one."""
        _ = self._session
        with self.adopted.forgiving(self):
            self.base.flush(self)
        self._session_cache, self.modified, self.accessed = {}, True, True

    async def aflush(self: Any) -> None:
        """End the session and go on with an empty one."""
        await self._aget_session()
        with self.adopted.forgiving(self):
            await self.base.aflush(self)
        self._session_cache, self.modified, self.accessed = {}, True, True


class _DjangoSession:
    """One request's session as its engine keeps it, read and written by the engine and by Django's middleware."""

    def __init__(self, session: Any, request: HttpRequest, adoption: Adoption) -> None:
        self._session = session
        self.request, self.adoption = request, adoption
        self.exchange: Exchange = exchange_of(request)
        self.in_browser, self._in_cache = isinstance(session, CookieStore), isinstance(session, CacheStore)
        self.lifetime: float | None = settings.SESSION_COOKIE_AGE if settings.SESSION_SAVE_EVERY_REQUEST else None
        self.on_loop = self.reading = False
        self.staged = adoption.step == "final"
        self._one: Adopted | None = None
        self._failure: SessionUnavailable | None = None
        self._left: dict[str, Any] = {}
        self._modified = False
        self._response: Any = None

    @contextmanager
    def using(self, store: Store | None) -> Iterator[None]:
        """Ask this store: a view may be sync on a loop, or async without one."""
        before, self.exchange.store = self.exchange.store, store
        try:
            yield
        finally:
            self.exchange.store = before

    @contextmanager
    def forgiving(self, session: Any) -> Iterator[None]:
        """Let ours go on where it is the truth and the engine's store is away."""
        try:
            yield
        except Exception:
            if self.adoption.step == "mirror":
                raise
            _log.warning("the engine's session store is away; ours goes on alone", exc_info=True)
            session._session_key = session._session_key or get_random_string(32)  # noqa: SLF001
            if self._one is not None:
                self._one.unwritten = True

    def touched(self, response: HttpResponseBase) -> bool:
        """Whether there is anything to keep; Django keeps nothing of a request that failed."""
        session = self._session
        opened = "_session_cache" in session.__dict__
        return response.status_code < HTTPStatus.INTERNAL_SERVER_ERROR and (opened or session.modified)

    async def open(self) -> Adopted:
        """Open both sessions, once."""
        if self._failure is not None:
            raise self._failure
        if self._one is None:
            try:
                self._one = await self.adoption.open(self.exchange, self)
            except SessionUnavailable as error:
                self._failure = error
                raise
            self._session._session_cache = copy.deepcopy(self._one.values)  # noqa: SLF001
        return self._one

    def leave(self, response: HttpResponseBase) -> dict[str, Any]:
        """Note what the application left, and where cookies go."""
        self._response = response
        self._left, self._modified = dict(self._session._session_cache), self._session.modified  # noqa: SLF001
        return self._left

    async def read(self) -> dict[str, Any]:
        """Have the engine load its session."""
        session = self._session
        if not session.session_key:
            return {}
        self.reading = True
        try:
            await self._probe()
            return dict(await session.aload() if self.on_loop else session.load())
        finally:
            self.reading = False
            session.__dict__.pop("_session_cache", None)

    async def _probe(self) -> None:
        """Django's cache engine takes a cache that is away for an empty one, which here would be a logout."""
        session: Any = self._session
        if self._in_cache and self.adoption.step != "mirror":
            cache, key = session._cache, session.cache_key_prefix + session.session_key  # noqa: SLF001
            await cache.aget(key) if self.on_loop else cache.get(key)

    def as_read(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return what would come back."""
        session: Any = self._session
        if self._in_cache:
            return dict(values)
        try:
            text = session.encode(dict(values))
        except (TypeError, ValueError) as error:
            raise LegacyRefused(str(error)) from None
        if self.in_browser and (size := len(settings.SESSION_COOKIE_NAME) + len(text)) > _MOST:
            message = f"its cookie would have {size} bytes; browsers keep {_MOST}"
            raise LegacyRefused(message)
        return dict(session.decode(text))

    def terms(self) -> Lifetime:
        """As long as Django says."""
        session = self._session
        return choose_lifetime(session.get_expiry_age(), None, browser=session.get_expire_at_browser_close())

    async def write(self, values: Mapping[str, Any] | None) -> None:
        """Have Django's middleware save and set the cookie; ``None``: by its own rules."""
        session = self._session
        session._session_cache = self._left if values is None else dict(values)  # noqa: SLF001
        session.modified = self._modified if values is None else True
        await self._respond()

    async def end(self) -> None:
        """Have the engine delete the session; its cookie also if the store is away."""
        session, key = self._session, self._session.session_key
        session._session_cache, session._session_key, session.modified = {}, None, True  # noqa: SLF001
        try:
            if key and not self.in_browser:
                await self._run(session.delete, key)
        finally:
            await self._respond()

    async def _respond(self) -> None:
        staged, self.staged = self.staged, False
        try:
            await self._run(_stock().process_response, self.request, self._response)
        finally:
            self.staged = staged

    async def _run(self, function: Any, *arguments: Any) -> None:
        # On a loop as Django itself does it: its middleware and engines are synchronous.
        await sync_to_async(function)(*arguments) if self.on_loop else function(*arguments)
