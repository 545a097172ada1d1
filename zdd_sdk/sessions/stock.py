"""`Shelf`: the same operations on a dict of this process. The negative control of every rehearsal.

It behaves as sessions in the memory of one worker do: right as long as that worker lives, unknown to all others.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

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
        idle = not kept.stored.marker and now - kept.used >= self._settings.idle_timeout * 1000
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
        ends = new.ends or now + round(self._settings.absolute_timeout * 1000)
        if now >= ends:
            return Reply("gone")
        stored = Stored(now, new.created or now, ends, 1, new.user, self._writer, LAYOUT, False, {}, {})
        if len(self._kept) >= _MOST:
            del self._kept[next(iter(self._kept))]
        self._kept[new.key] = _Kept(stored, dict(new.fields), now)
        return Reply("ok", now=now, ends=ends)

    def _save(self, change: Save) -> Reply:
        kept = self._alive(change.key)
        if kept is None or kept.stored.marker:
            return Reply("gone")
        if change.token not in kept.tokens:
            kept.raw = {**kept.raw, **change.sets}
            for name in change.deletes:
                kept.raw.pop(name, None)
            kept.stored = replace(kept.stored, revision=kept.stored.revision + 1, writer=self._writer)
            kept.tokens = (change.token, *kept.tokens[:3])
        kept.used = self._clock()
        return Reply("ok", revision=kept.stored.revision)

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
