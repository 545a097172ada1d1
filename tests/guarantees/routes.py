"""The routes of the small application that each framework serves; `act` is all of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, NamedTuple

from tests.guarantees.hands import Hand

Query = dict[str, str]


class Said(NamedTuple):
    """What a route answers."""

    status: int
    body: dict[str, Any]
    streamed: bool = False


class Moment:
    """Where a slow request stops until it is told to go on."""

    def __init__(self) -> None:
        self.reached, self.over = threading.Event(), threading.Event()

    def __call__(self) -> None:
        self.reached.set()
        assert self.over.wait(60), "nobody told the slow request to go on"


moments: dict[str, Moment] = {}
"""By the name in the query."""


async def act(path: str, query: Query, hand: Callable[[], Hand]) -> Said:
    """Answer one request; ``hand`` is asked for by the routes that use the session."""
    if path == "plain":
        return Said(200, {"plain": True})
    return await _ROUTES[path](query, hand())


async def _see(_: Query, hand: Hand) -> Said:
    return Said(200, {"user": await hand.user(), "fields": await hand.everything()})


async def _field(query: Query, hand: Hand) -> Said:
    value = await hand.read(query["name"])
    return Said(200, {"value": sorted(value) if isinstance(value, set) else value})


async def _put(query: Query, hand: Hand) -> Said:
    await hand.write(query["name"], query["value"])
    return Said(200, {})


async def _keep(query: Query, hand: Hand) -> Said:
    """Write, and save before anything else is answered."""
    await hand.write(query["name"], query["value"])
    await _pause(query, hand)
    await hand.save()
    return Said(200, {})


async def _inside(query: Query, hand: Hand) -> Said:
    """Change something inside a value, and tell nobody."""
    (await hand.read(query["name"])).append(query["value"])
    return Said(200, {})


async def _nest(query: Query, hand: Hand) -> Said:
    await hand.write(query["name"], [])
    return Said(200, {})


async def _merge(query: Query, hand: Hand) -> Said:
    name, value = query["name"], query["value"]
    given: dict[str, tuple[Any, ...]] = {
        "add": (name, int(value) if value.isdigit() else 0),
        "union": (name, {value}),
        "append": (name, value),
        "compare_and_set": (name, query.get("expected"), value),
    }
    if "moment" in query:
        await hand.read(name)
    await _pause(query, hand)
    await hand.merge(query["operation"], *given[query["operation"]])
    if "keep" in query:
        await hand.save()
    return Said(200, {})


async def _pause(query: Query, hand: Hand) -> None:
    """Stop half way, if told so."""
    if "moment" in query:
        await hand.wait(moments[query["moment"]])


async def _login(query: Query, hand: Hand) -> Said:
    if "moment" in query:
        await hand.user()
    await _pause(query, hand)
    await hand.login(query["user"], query.get("label", ""))
    return Said(200, {})


async def _logout(query: Query, hand: Hand) -> Said:
    await _pause(query, hand)
    await hand.logout()
    return Said(200, {})


async def _rotate(query: Query, hand: Hand) -> Said:
    if "moment" in query:
        await hand.user()
    await _pause(query, hand)
    await hand.rotate()
    return Said(200, {})


async def _slow(query: Query, hand: Hand) -> Said:
    """Read, wait, and write if told what."""
    seen = await hand.everything()
    await _pause(query, hand)
    if "name" in query:
        await hand.write(query["name"], query["value"])
    if "inside" in query:
        (await hand.read(query["inside"])).append(query["value"])
    return Said(200, {"seen": seen})


async def _fail(query: Query, hand: Hand) -> Said:
    await hand.write(query["name"], query["value"])
    return Said(int(query["status"]), {})


async def _big(query: Query, hand: Hand) -> Said:
    for number in range(int(query["fields"])):
        await hand.write(f"big{number}", "x" * int(query["size"]))
    return Said(200, {})


async def _stream(query: Query, hand: Hand) -> Said:
    await hand.write(query["name"], query["value"])
    return Said(200, {"streamed": True}, streamed=True)


async def _devices(_: Query, hand: Hand) -> Said:
    return Said(200, {"devices": await hand.devices()})


async def _everywhere(_: Query, hand: Hand) -> Said:
    return Said(200, {"ended": await hand.logout_everywhere()})


_ROUTES: dict[str, Callable[[Query, Hand], Any]] = {
    "see": _see, "field": _field, "put": _put, "keep": _keep, "inside": _inside, "nest": _nest, "merge": _merge,
    "login": _login, "logout": _logout, "rotate": _rotate, "slow": _slow, "fail": _fail, "big": _big,
    "stream": _stream, "devices": _devices, "everywhere": _everywhere,
}  # fmt: skip
