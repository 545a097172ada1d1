"""`Shelf`: the same operations on a dict of this process. The negative control of every rehearsal.

It behaves as sessions in the memory of one worker do: right as long as that worker lives, unknown to all others.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from zdd_sdk.sessions.lifetime import Lifetime
from zdd_sdk.sessions.model import (
    LAYOUT,
    Create,
    Delete,
    Load,
    Mark,
    Operation,
    Reply,
    Save,
    Stored,
    read_stored,
)
from zdd_sdk.settings import SessionSettings

__all__ = ["Shelf"]


_MOST = 100_000
"""Sessions kept; the oldest goes first, since nothing else clears what its visitor has forgotten."""


@dataclass(slots=True)
class _Kept:
    stored: Stored
    raw: dict[bytes, bytes]
    used: int
    tokens: tuple[bytes, ...] = ()


class Shelf:
    """Sessions in memory; lost on restart.

    Args:
        settings: the session options.
        writer: the release that writes.
        clock: milliseconds since 1970.
    """

    def __init__(
        self, settings: SessionSettings, writer: str, clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    ) -> None:
        self._settings = settings
        self._writer = writer
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: dict[str, _Kept] = {}

    def run(self, operation: Operation) -> Reply:
        """Carry out one operation at once."""
        with self._lock:
            match operation:
                case Load(key):
                    return self._load(key)
                case Create():
                    return self._create(operation)
                case Save():
                    return self._save(operation)
                case Mark(key, revision, keep):
                    return self._mark(key, revision, keep=keep)
                case Delete(key):
                    self._kept.pop(key, None)
                    return Reply("ok")

    def _alive(self, key: str) -> _Kept | None:
        kept, now = self._kept.get(key), self._clock()
        if kept is None:
            return None
        idle = not kept.stored.marker and now - kept.used >= kept.stored.idle
        if idle or now >= kept.stored.ends:
            del self._kept[key]
            return None
        return kept

    def _load(self, key: str) -> Reply:
        kept = self._alive(key)
        if kept is None:
            return Reply("none")
        kept.used = self._clock()
        shown = read_stored(kept.used, kept.raw)
        return Reply("ok", stored=replace(kept.stored, now=kept.used, fields=shown.fields, others=shown.others))

    def _create(self, new: Create) -> Reply:
        now = self._clock()
        idle, ends = self._terms(new.lifetime, new.created, now)
        if now >= ends:
            return Reply("gone")
        began, flags = new.created or now, new.lifetime.flags
        stored = Stored(now, began, ends, 1, new.user, self._writer, LAYOUT, False, {}, {}, idle, flags)
        if len(self._kept) >= _MOST:
            del self._kept[next(iter(self._kept))]
        self._kept[new.key] = _Kept(stored, dict(new.fields), now)
        return Reply("ok", now=now, ends=ends, idle=idle)

    def _save(self, change: Save) -> Reply:
        kept = self._alive(change.key)
        if kept is None or kept.stored.marker:
            return Reply("gone")
        now = self._clock()
        if change.token not in kept.tokens:
            if change.lifetime is not None:
                idle, ends = self._terms(change.lifetime, change.created, now)
                if now >= ends:
                    del self._kept[change.key]
                    return Reply("ended")
                kept.stored = replace(kept.stored, idle=idle, ends=ends, flags=change.lifetime.flags)
            found = {name: kept.raw.get(name, b"") for name in change.expected}
            if found != change.expected:
                return Reply("changed", fields=found)
            kept.raw = {**kept.raw, **change.sets}
            for name in change.deletes:
                kept.raw.pop(name, None)
            kept.stored = replace(kept.stored, revision=kept.stored.revision + 1, writer=self._writer)
            kept.tokens = (change.token, *kept.tokens[:3])
        kept.used = now
        stored = kept.stored
        return Reply("ok", revision=stored.revision, now=now, ends=stored.ends, idle=stored.idle)

    def _terms(self, lifetime: Lifetime, created: int | None, now: int) -> tuple[int, int]:
        configured = round(self._settings.idle_timeout * 1000), round(self._settings.absolute_timeout * 1000)
        idle, life, ends = lifetime.terms(*configured, created)
        return idle, now + (life or 0) if ends is None else ends

    def _mark(self, key: str, revision: int, *, keep: bool) -> Reply:
        kept = self._alive(key)
        if kept is None:
            return Reply("none")
        changed = dict(kept.raw) if keep and kept.stored.revision != revision else {}
        if not kept.stored.marker:
            ends = self._clock() + round(self._settings.login_grace * 1000)
            user = kept.stored.user if keep else None
            kept.stored = replace(kept.stored, marker=True, ends=ends, user=user)
            kept.raw = kept.raw if keep else {}
        return Reply("ok", fields=changed)
