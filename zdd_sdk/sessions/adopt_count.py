"""`Tally`: what adoption has met, counted here and, with the pulse, for the whole fleet: how safe the next step is."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zdd_sdk.store import Call, Keys, Store, load_script

__all__ = ["EVENTS", "Seen", "Tally", "read_tally", "tally_key"]

EVENTS: Mapping[str, str] = {
    "nobody": "requests of visitors without a session",
    "adopt": "sessions that came with the framework's cookie only and were taken over",
    "synced": "requests whose two copies agreed",
    "ours": "requests that found the framework's copy behind, and had it written anew",
    "legacy": "sessions written by a release without the SDK, or while Redis was away, and taken over",
    "ended": "sessions ended by a release without the SDK, and ended here",
    "closed": "requests from before a login of their session",
    "aside": "requests from before a login, of sessions written without the SDK since",
    "stale": "cookies of the framework that outlived our session, deleted",
    "alone": "requests that used the framework's session only",
    "merged": "requests that met another one's save and wrote both copies again",
    "refused": "sessions that ours cannot keep: a type, or a size",
    "legacy_refused": "sessions that the framework cannot keep: a type, or 4 KB of cookie",
    "legacy_away": "requests that found the framework's store away",
    "ours_away": "requests that found Redis away",
}
"""Every name that is counted."""

_LIFE = 90 * 86_400_000
"""Milliseconds the fleet's tally is kept after the last change: three times the life of a session."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One line of the fleet's tally.

    Attributes:
        count: how often.
        last: when last, server time in seconds since 1970.
    """

    count: int
    last: float


class Tally:
    """Counts; a part of the pulse, which adds what is new to the fleet's tally.

    Args:
        keys: names the fleet's tally.
        step: the step this process runs, kept with the time it was last seen.

    Attributes:
        counters: by name, since the start of this process.
    """

    name = "adoption"

    def __init__(self, keys: Keys, step: str) -> None:
        self._key = tally_key(keys)
        self._step = f"step:{step}"
        self._lock = threading.Lock()
        self._sent: dict[str, int] = {}
        self._asked: dict[str, int] = {}
        self.counters: dict[str, int] = dict.fromkeys(EVENTS, 0)

    def count(self, name: str) -> None:
        """Count one event of `EVENTS`."""
        with self._lock:
            self.counters[name] += 1

    def capabilities(self) -> Sequence[str]:
        """Return nothing: readers of sessions are told of elsewhere."""
        return ()

    def calls(self) -> Sequence[Call[Any]]:
        """Add what was counted since the last pulse that arrived; may count twice if a reply is lost."""
        with self._lock:
            self._asked = dict(self.counters)
        new = {name: count - self._sent.get(name, 0) for name, count in self._asked.items()}
        flat = [part for name, count in new.items() if count for part in (name, count)]
        script = load_script("zdd_sdk.sessions", "tally")
        return (Call(lambda _: None, script=script, keys=(self._key,), args=(_LIFE, self._step, 1, *flat)),)

    def applied(self, results: Sequence[Any]) -> None:
        """Remember what has arrived."""
        if not isinstance(results[0], Exception):
            self._sent = self._asked


def tally_key(keys: Keys) -> str:
    """Name the fleet's tally in Redis."""
    return keys.name("session", "adoption", "tally")


async def read_tally(store: Store, keys: Keys) -> dict[str, Seen]:
    """Return the fleet's tally: events by name, and ``step:<step>`` with when it was last seen.

    Raises:
        StoreUnavailable: Redis is away.
    """
    key = tally_key(keys)
    (seen,) = await store.ask(Call(_read, ("HGETALL", key), keys=(key,), again=True))
    return seen


def _read(reply: Any) -> dict[str, Seen]:
    raw = {name.decode(): int(value) for name, value in zip(reply[::2], reply[1::2], strict=True)}
    return {
        name[2:]: Seen(count, raw.get(f"t:{name[2:]}", 0) / 1000) for name, count in raw.items() if name[:2] == "n:"
    }
