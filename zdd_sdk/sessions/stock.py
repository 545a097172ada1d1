"""`Shelf`: the same operations on a dict of this process. The negative control of every rehearsal.

It behaves as sessions in the memory of one worker do: right as long as that worker lives, unknown to all others.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from zdd_sdk.errors import SessionTooLarge
from zdd_sdk.sessions.devices import Entry, write_entry
from zdd_sdk.sessions.ids import Place
from zdd_sdk.sessions.lifetime import Lifetime
from zdd_sdk.sessions.model import BEFORE, LAYOUT, RETURNED, REVISION, check_size
from zdd_sdk.sessions.operations import (
    Create,
    Delete,
    Dismiss,
    ListDevices,
    Load,
    Mark,
    Operation,
    Reply,
    Revoke,
    Save,
)
from zdd_sdk.sessions.stored import Stored, write_meta
from zdd_sdk.settings import SessionSettings

__all__ = ["Shelf"]


_MOST = 100_000
"""Sessions kept; the oldest goes first, since nothing else clears what its visitor has forgotten."""


@dataclass(slots=True)
class _Kept:
    stored: Stored
    raw: dict[bytes, bytes]
    used: int
    index: str = ""
    tokens: tuple[bytes, ...] = ()
    before: str = ""
    renewed: int = 0
    confirmed: int | None = None
    emptied: bool = False
    returns: tuple[int, str, int] | None = None
    """Absolute end, hash of the new id and when that was seen: as ``_q`` in Redis."""


@dataclass(slots=True)
class _Index:
    epoch: int = 0
    entries: dict[str, Entry] = field(default_factory=dict)


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
        self._indexes: dict[str, _Index] = {}

    def run(self, operation: Operation) -> Reply:
        """Carry out one operation at once."""
        with self._lock:
            match operation:
                case Load(place, rotate):
                    return self._load(place, rotate=rotate)
                case Create():
                    return self._create(operation)
                case Save():
                    return self._save(operation)
                case Mark():
                    return self._mark(operation)
                case Delete(place):
                    return self._log_out(self._follow(place)[0])
                case _:
                    return self._run_of_user(operation)

    def _run_of_user(self, operation: ListDevices | Revoke | Dismiss) -> Reply:
        match operation:
            case ListDevices(index):
                return self._list(index)
            case Revoke():
                return self._revoke(operation)
            case Dismiss(key, index, device):
                return self._dismiss(key, index, device)

    def _follow(self, place: Place, *, grace: float = math.inf) -> tuple[str, int]:
        if place.key not in self._kept:
            for moved, (_, key) in enumerate(place.successors, 1):
                kept = self._kept.get(key)
                if kept is None or kept.before != place.key:
                    continue
                if kept.confirmed is None or self._clock() < kept.confirmed + grace:
                    return key, moved
        return place.key, 0

    def _alive(self, key: str, heir: str = "") -> _Kept | None:
        kept, now = self._kept.get(key), self._clock()
        if kept is None:
            return None
        idle = not kept.stored.marker and now - kept.used >= kept.stored.idle
        revoked = kept.stored.user is not None and kept.stored.since < self._index(kept.index).epoch
        returned = kept.returns is not None and not kept.stored.marker
        over = returned and self._listed(kept) not in {key[-64:], heir}
        if idle or revoked or over or now >= kept.stored.ends:
            self._end(key)
            return None
        return kept

    def _listed(self, kept: _Kept) -> str | None:
        entry = self._index(kept.index).entries.get(kept.stored.device)
        return entry.hash if entry else None

    def _log_out(self, key: str) -> Reply:
        if moved := self._moved(key):
            return moved
        self._end(key)
        return Reply("ok")

    def _moved(self, key: str) -> Reply | None:
        kept = self._kept.get(key)
        became = self._listed(kept) if kept is not None and kept.stored.marker else None
        return Reply("moved", message=became) if became and became != key[-64:] else None

    def _end(self, key: str) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self._unlist(kept, key)

    def _unlist(self, kept: _Kept, key: str) -> None:
        entries = self._index(kept.index).entries
        entry = entries.get(kept.stored.device)
        if entry is not None and entry.hash == key[-64:]:
            del entries[kept.stored.device]

    def _index(self, index: str) -> _Index:
        return self._indexes.get(index) or _Index()

    def _enlist(self, kept: _Kept, key: str, label: str = "") -> None:
        stored = kept.stored
        if stored.user is None:
            return
        entries = self._indexes.setdefault(kept.index, _Index()).entries
        known = entries.get(stored.device)
        created, label = (known.created, label or known.label) if known else (stored.created, label)
        expires = min(kept.used + stored.idle, stored.ends)
        seen = max(kept.used, known.seen + 1) if known else kept.used
        entries[stored.device] = Entry(key[-64:], created, seen, expires, label)

    def _load(self, place: Place, *, rotate: bool) -> Reply:
        key, moved = self._follow(place, grace=self._settings.rotation_grace * 1000)
        self._come_back(key)
        kept = self._alive(key)
        if kept is None:
            return Reply("none")
        kept.used = now = self._clock()
        rotated = False
        if not kept.stored.marker:
            if not moved and kept.before and kept.confirmed is None:
                kept.confirmed = now
            if rotate and not moved and self._due(kept) and place.successors:
                key, moved, rotated = self._rotate(key, place.successors[0][1]), 1, True
            self._enlist(kept, key)
        return Reply("ok", stored=Stored(now, {**kept.stored.raw, **kept.raw}), moved=moved, rotated=rotated)

    def _come_back(self, key: str) -> None:
        kept = self._kept.get(key)
        if kept is None or kept.returns is None or not kept.stored.marker or self._clock() < kept.stored.ends:
            return
        ends, successor, seen = kept.returns
        entry = self._index(kept.index).entries.get(kept.stored.device)
        unused = entry is not None and entry.hash == successor and entry.seen == seen
        if entry is not None and (unused or entry.hash == key[-64:]):
            kept.stored = kept.stored.described(marker=None, ends=ends)
            if kept.stored.since >= self._index(kept.index).epoch:
                self._enlist(kept, key)

    def _due(self, kept: _Kept) -> bool:
        now, settings = self._clock(), self._settings
        settled = kept.confirmed is not None and now >= kept.confirmed + settings.rotation_grace * 1000
        old = now - kept.renewed >= settings.rotate_every * 1000
        return kept.stored.user is not None and old and (settled or not kept.before)

    def _rotate(self, key: str, after: str) -> str:
        kept = self._kept[after] = self._kept.pop(key)
        kept.before, kept.renewed, kept.confirmed = key, self._clock(), None
        return after

    def _create(self, new: Create) -> Reply:
        now, epoch = self._clock(), self._index(new.place.index).epoch
        idle, ends = self._terms(new.lifetime, new.created, now)
        if now >= ends or (new.user is not None and new.since is not None and new.since < epoch):
            return Reply("gone")
        began, flags = new.created or now, new.lifetime.flags
        since = 0 if new.user is None else max(now, epoch) if new.since is None else new.since
        terms = {"ends": ends, "idle": idle, "created": began, "since": since, "revision": 1}
        user = {"user": new.user, "device": new.device, "flags": flags, "writer": self._writer}
        stored = Stored(now, write_meta(reader=LAYOUT, **terms, **user))
        if len(self._kept) >= _MOST:
            self._end(next(iter(self._kept)))
        before = new.place.became(new.fields[BEFORE].decode()).key if BEFORE in new.fields else ""
        kept = _Kept(stored, dict(new.fields), now, new.place.index, before=before, renewed=now)
        kept.returns = (0, "", 0) if RETURNED in new.fields else None
        self._kept[new.place.key] = kept
        self._enlist(kept, new.place.key, new.label)
        return Reply("ok", now=now, ends=ends, idle=idle, since=since)

    def _save(self, change: Save) -> Reply:
        key, moved = self._follow(change.place)
        kept, now = self._alive(key), self._clock()
        if kept is None or kept.stored.marker:
            return Reply("gone")
        if change.token not in kept.tokens:
            raw = {**kept.raw, REVISION: b"%d" % kept.stored.revision}
            found = {name: raw.get(name, b"") for name in change.expected}
            if found != change.expected:
                return Reply("changed", fields=found)
            if change.sets and change.room and change.known != kept.stored.revision:
                try:
                    self._check_size(kept, change)
                except SessionTooLarge as error:
                    return Reply("large", message=str(error))
            if change.lifetime is not None:
                idle, ends = self._terms(change.lifetime, change.created, now)
                if now >= ends:
                    self._end(key)
                    return Reply("ended")
                kept.stored = kept.stored.described(idle=idle, ends=ends, flags=change.lifetime.flags)
            self._write(kept, change.sets, change.deletes)
            kept.tokens = (change.token, *kept.tokens[:3])
        kept.used = now
        self._enlist(kept, key)
        stored = kept.stored
        return Reply("ok", revision=stored.revision, now=now, ends=stored.ends, idle=stored.idle, moved=moved)

    def _check_size(self, kept: _Kept, change: Save) -> None:
        before = Stored(0, kept.raw).fields
        after = Stored(0, self._changed(kept, change.sets, change.deletes)).fields
        check_size(after, change.room, before)

    def _changed(self, kept: _Kept, sets: Mapping[bytes, bytes], deletes: Sequence[bytes]) -> dict[bytes, bytes]:
        return {name: data for name, data in {**kept.raw, **sets}.items() if name not in deletes}

    def _write(self, kept: _Kept, sets: Mapping[bytes, bytes], deletes: Sequence[bytes]) -> None:
        kept.raw = self._changed(kept, sets, deletes)
        kept.stored = kept.stored.described(revision=kept.stored.revision + 1, writer=self._writer)

    def _terms(self, lifetime: Lifetime, created: int | None, now: int) -> tuple[int, int]:
        configured = round(self._settings.idle_timeout * 1000), round(self._settings.absolute_timeout * 1000)
        idle, life, ends = lifetime.terms(*configured, created)
        return idle, now + (life or 0) if ends is None else ends

    def _mark(self, mark: Mark) -> Reply:
        key, keep = self._follow(mark.place)[0], mark.keep
        kept = self._alive(key, mark.successor)
        if kept is None or (kept.emptied and keep):
            return Reply("none")
        if not keep and (moved := self._moved(key)):
            return moved
        changed = dict(kept.raw) if keep and kept.stored.revision != mark.revision else {}
        if not (kept.stored.marker and keep):
            kept.returns = self._returns(key, kept, mark)
            if kept.returns is None:
                self._unlist(kept, key)
            ends = self._clock() + round(self._settings.login_grace * 1000)
            user = kept.stored.user if keep else None
            kept.stored = kept.stored.described(marker="m", ends=ends, user=user)
            kept.raw = kept.raw if keep else {}
            kept.emptied = not keep
        return Reply("ok", fields=changed, since=kept.stored.since)

    def _returns(self, key: str, kept: _Kept, mark: Mark) -> tuple[int, str, int] | None:
        entry, successor = self._index(kept.index).entries.get(kept.stored.device), mark.successor
        if not mark.returns or not self._settings.login_grace or entry is None:
            return None
        return (kept.stored.ends, successor, entry.seen) if entry.hash in {successor, key[-64:]} else None

    def _list(self, index: str) -> Reply:
        now, entries = self._clock(), self._index(index).entries
        shown = {
            b"d:" + device.encode(): write_entry(entry) for device, entry in entries.items() if entry.expires > now
        }
        return Reply("ok", now=now, fields=shown)

    def _revoke(self, wish: Revoke) -> Reply:
        key = self._follow(wish.keep)[0] if wish.keep else ""
        kept, now = self._alive(key), self._clock()
        index = self._indexes.setdefault(wish.index, _Index())
        if kept is not None and kept.stored.marker and kept.stored.user == wish.user:
            became = index.entries.get(kept.stored.device)
            if became is not None and became.hash != key[-64:]:
                return Reply("moved", message=became.hash)
        index.epoch = max(now, index.epoch) + 1
        ended, index.entries = index.entries, {}
        goes_on = kept is not None and kept.stored.user == wish.user and not kept.stored.marker
        if kept is not None and goes_on:
            kept.stored = kept.stored.described(since=index.epoch)
            self._enlist(kept, key, ended.pop(kept.stored.device).label if kept.stored.device in ended else "")
        return Reply("ok", count=len(ended), since=index.epoch if goes_on else 0)

    def _dismiss(self, key: str, index: str, device: str) -> Reply:
        entry = self._index(index).entries.get(device)
        if entry is None:
            return Reply("ok", count=0)
        if entry.hash != key[-64:]:
            return Reply("moved", message=entry.hash)
        self._end(key)
        return Reply("ok", count=1)
