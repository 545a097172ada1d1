"""Two releases, one user's browser, one framework's session store: everything but our own side is a model."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import Any, Literal

from tests.flows.sessions.visitor import ROOT
from zdd_sdk.errors import SessionUnavailable, StoreUnavailable
from zdd_sdk.http import Exchange
from zdd_sdk.secrets import Secrets
from zdd_sdk.sessions import Sessions
from zdd_sdk.sessions.adopt_count import Tally
from zdd_sdk.sessions.adopt_flow import Adoption, LegacyRefused
from zdd_sdk.sessions.lifetime import AS_CONFIGURED, Lifetime
from zdd_sdk.settings import SessionSettings
from zdd_sdk.store import Call, Keys, Store
from zdd_sdk.web.leave import leave

Release = Literal["none", "mirror", "lead", "final"]
Application = Callable[[dict[str, Any]], None]
NAME = "legacy"


class Pause:
    """Suspends a coroutine until its scheduler goes on."""

    def __await__(self):
        yield


class Paced:
    """The store, giving way before and after each trip where a scheduler wants to interleave."""

    def __init__(self, store: Store, world: World) -> None:
        self._store, self._world = store, world

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def ask(self, *calls: Call[Any], probe: bool = False) -> tuple[Any, ...]:
        if self._world.redis_away:
            message = "Redis is away"
            raise StoreUnavailable(message)
        await self._world.turn()
        answers = await self._store.ask(*calls, probe=probe)
        await self._world.turn()
        return answers

    async def shield(self, flow: Any) -> Any:
        return await flow


@dataclass
class World:
    """What exists once: the stores and what is wrong with them."""

    store: Store
    in_browser: bool
    rows: dict[str, str] = field(default_factory=dict)
    legacy_away: bool = False
    redis_away: bool = False
    interleave: bool = False
    last_row: int = 0
    limit: int = 4096

    async def turn(self) -> None:
        if self.interleave:
            await Pause()

    def check(self) -> None:
        if self.legacy_away:
            raise ConnectionResetError("the framework's store is away")


class Framework:
    """One request's session as a framework keeps it: a whole blob, in a row or in the cookie."""

    def __init__(self, world: World, cookie: str | None) -> None:
        self._world, self._cookie = world, cookie
        self.in_browser = world.in_browser
        self.lifetime: float | None = None
        self.answer: dict[str, str | None] = {}
        self.left: dict[str, Any] | None = None
        self.changed = False

    async def read(self) -> dict[str, Any]:
        if self._cookie is None:
            return {}
        if self.in_browser:
            return dict(json.loads(self._cookie))
        self._world.check()
        await self._world.turn()
        row = self._world.rows.get(self._cookie)
        await self._world.turn()
        return json.loads(row) if row else {}

    def as_read(self, values: Mapping[str, Any]) -> dict[str, Any]:
        try:
            text = json.dumps(values)
        except TypeError as error:
            raise LegacyRefused(str(error)) from None
        if self.in_browser and len(text) > self._world.limit:
            raise LegacyRefused("4 KB")
        return dict(json.loads(text))

    def terms(self) -> Lifetime:
        return AS_CONFIGURED

    async def write(self, values: Mapping[str, Any] | None) -> None:
        if values is None:
            if not self.changed:
                return
            values = self.left or {}
        if not values:
            await self.end()
            return
        text = json.dumps(values)
        if self.in_browser:
            if len(text) <= self._world.limit:  # a browser drops what is larger
                self.answer[NAME] = text
            return
        await self._row(text, values)

    async def _row(self, text: str, values: Mapping[str, Any]) -> None:
        world = self._world
        world.check()
        await world.turn()
        old = json.loads(world.rows.get(self._cookie or "", "{}"))
        if self._cookie not in world.rows or old.get("user") != values.get("user"):
            world.rows.pop(self._cookie or "", None)  # a login gets another key, as Django's cycle_key
            world.last_row += 1
            self._cookie = f"row{world.last_row}"
        world.rows[self._cookie] = text
        self.answer[NAME] = self._cookie
        await world.turn()

    async def end(self) -> None:
        if self._cookie is None:
            return
        self.answer[NAME] = None
        if not self.in_browser:
            self._world.check()
            self._world.rows.pop(self._cookie, None)


@dataclass
class Answer:
    """What one request saw and what its answer sets."""

    seen: dict[str, Any]
    cookies: dict[str, str | None]
    failed: bool = False


class Service:
    """One release of the service."""

    def __init__(self, world: World, release: Release) -> None:
        self.world, self.release = world, release
        if release == "none":
            return
        settings, keys = SessionSettings(adopt=release), Keys("test", "test")
        self.sessions = Sessions(settings, keys, lambda: Secrets([ROOT]), release=release)
        self.tally = Tally(keys, release)
        self.adoption = Adoption(self.sessions, settings, self.tally, user_field="user")

    async def handle(self, cookies: Mapping[str, str], application: Application) -> Answer:
        framework = Framework(self.world, cookies.get(NAME))
        if self.release == "none":
            return await self._stock(framework, application)
        header = "; ".join(f"{name}={value}" for name, value in cookies.items() if name != NAME)
        exchange = Exchange(
            "POST", "/", "https", lambda name: (header,) if name == "cookie" and header else (), self._store()
        )
        try:
            return await self._adopting(exchange, framework, application)
        except (SessionUnavailable, ConnectionResetError):
            return Answer({}, {}, failed=True)

    def _store(self) -> Any:
        return Paced(self.world.store, self.world)

    async def _stock(self, framework: Framework, application: Application) -> Answer:
        try:
            seen = await framework.read()
            after = dict(seen)
            application(after)
            if after != seen:
                await framework.write(after)
        except ConnectionResetError:
            return Answer({}, {}, failed=True)
        return Answer(seen, framework.answer)

    async def _adopting(self, exchange: Exchange, framework: Framework, application: Application) -> Answer:
        one = await self.adoption.open(exchange, framework)
        after = json.loads(json.dumps(one.values))
        application(after)
        framework.left, framework.changed = after, after != one.values
        await self.adoption.close(exchange, one, after)
        exchange.status = 200
        assert await leave(exchange, (self.sessions,)) is None
        return Answer(dict(one.values), {**framework.answer, **_set_cookies(exchange)})


def _set_cookies(exchange: Exchange) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for name, line in exchange.response_headers:
        if name == "set-cookie":
            for key, morsel in SimpleCookie(line).items():
                found[key] = None if morsel["max-age"] == "0" else morsel.value
    return found


class Browser:
    """Keeps its cookies."""

    def __init__(self) -> None:
        self.cookies: dict[str, str] = {}

    def take(self, answer: Answer) -> None:
        for name, value in answer.cookies.items():
            if value is None:
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value


def run(coroutine: Any) -> Any:
    """Run a coroutine that nobody interleaves."""
    while True:
        try:
            coroutine.send(None)
        except StopIteration as stop:
            return stop.value


def race(coroutines: list[Any], order: list[int]) -> list[Any]:
    """Run coroutines, at each pause going on with the one ``order`` names; round robin when it is used up."""
    results: list[Any] = [None] * len(coroutines)
    alive = list(range(len(coroutines)))
    choices = iter(order)
    while alive:
        index = alive[next(choices, 0) % len(alive)]
        try:
            coroutines[index].send(None)
        except StopIteration as stop:
            results[index] = stop.value
            alive.remove(index)
    return results
