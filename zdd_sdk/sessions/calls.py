"""What sessions ask Redis: an operation in, a `Call` out. One slot each, so that any trip may carry several."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from zdd_sdk.errors import RecordUndecodable, StoreReplyError
from zdd_sdk.sessions.model import LAYOUT, MAX_FIELDS
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
from zdd_sdk.sessions.stored import Stored
from zdd_sdk.settings import SessionSettings
from zdd_sdk.store import Call, load_script

__all__ = ["SPARE", "SessionCalls"]

SPARE = 60_000
"""Milliseconds the hash outlives its idle timeout, so that a request that began in time still finds it
(spring-session#2786: with equal times a live request met "Session was invalidated")."""

_BETWEEN = secrets.token_bytes(12)
"""Between the words of a loaded session: 96 random bits that nobody could have put into a value."""

_UNCHANGED: tuple[str, ...] = ("", "", "")
"""The terms of a save that leaves them as they are."""

_PACKAGE = "zdd_sdk.sessions"
_STATUSES: dict[bytes, Literal["none", "ended"]] = {b"none": "none", b"ended": "ended"}

_WORDS: dict[bytes, Literal["moved", "large"]] = {b"moved": "moved", b"large": "large"}


class SessionCalls:
    """Builds the calls of one service.

    Every call may be sent again: loads and marks leave the same behind when done twice, a create meets
    its own id, a delete finds nothing, a rotation finds itself done, and the others carry a token.

    Args:
        settings: the session options.
        writer: the release that writes, for ``_w``.
    """

    def __init__(self, settings: SessionSettings, writer: str) -> None:
        self._idle, self._absolute = _milliseconds(settings.idle_timeout), _milliseconds(settings.absolute_timeout)
        self._grace, self._followed = _milliseconds(settings.login_grace), _milliseconds(settings.rotation_grace)
        self._rotate_every = _milliseconds(settings.rotate_every)
        self._writer = writer

    def call(self, operation: Operation) -> Call[Reply]:
        """Build the call of one operation."""
        match operation:
            case Load(place, rotate):
                every = self._rotate_every if rotate else ""
                return _script("load", place.keys, (SPARE, self._followed, every, _BETWEEN))
            case Create(place):
                keys = place.keys[: 2 if operation.device else 1]
                return _script("create", keys, self._create(operation), vital=operation.vital)
            case Save(place):
                return _script("save", place.keys, self._save(operation))
            case Mark(place, revision, keep, vital, successor, returns):
                args = (self._grace, revision, int(keep), successor, int(returns))
                return _script("mark", place.keys, args, vital=vital)
            case Delete(place, vital):
                return _script("end", place.keys, (), vital=vital)
            case _:
                return self._call_of_user(operation)

    def _call_of_user(self, operation: ListDevices | Revoke | Dismiss) -> Call[Reply]:
        match operation:
            case ListDevices(index):
                return _script("devices", (index, index), (), vital=True)
            case Revoke(index, user, token, keep):
                keys = keep.keys if keep else (index, index)
                args = (int(keep is not None), user, max(self._absolute, self._idle) + SPARE, token)
                return _script("revoke", keys, args, vital=True)
            case Dismiss(key, index, device, token):
                return _script("dismiss", (key, index), (device, token), vital=True)

    def _create(self, new: Create) -> tuple[Any, ...]:
        meta = {b"_n": b"%d" % LAYOUT, b"_w": self._writer.encode()}
        if new.user is not None:
            meta[b"_u"] = new.user.encode()
        if new.lifetime.flags:
            meta[b"_l"] = new.lifetime.flags.encode()
        terms = new.lifetime.terms(self._idle, self._absolute, new.created)
        head = (SPARE, *map(_or_empty, (*terms, new.created)), new.device, new.label, _or_empty(new.since))
        return (*head, *_flat(meta), *_flat(new.fields))

    def _save(self, save: Save) -> tuple[Any, ...]:
        terms, sets = _UNCHANGED, save.sets
        if save.lifetime is not None:
            terms = tuple(map(_or_empty, save.lifetime.terms(self._idle, self._absolute, save.created)))
            sets = {b"_l": save.lifetime.flags.encode(), **sets}
        head = (SPARE, save.token, self._writer, *terms)
        sizes = (len(sets), len(save.expected), save.room or "", MAX_FIELDS, save.known)
        return (*head, *sizes, *_flat(sets), *_flat(save.expected), *save.deletes)


def _script(name: str, keys: tuple[str, ...], args: tuple[Any, ...], *, vital: bool = False) -> Call[Reply]:
    script, on_error = load_script(_PACKAGE, name, prelude="common"), None if vital else _refused
    return Call((_VITAL if vital else _READERS)[name], (), script, keys, args, again=True, on_error=on_error)


def _unless_error(read: Callable[[Any], Reply]) -> Callable[[Any], Reply]:
    def checked(reply: Any) -> Reply:
        if isinstance(reply, bytes):
            return read(reply)
        status = reply[0]
        if status == b"ok":
            return read(reply)
        if status == b"error":
            return Reply("error", message=reply[1].decode(errors="replace"))
        if status in _WORDS:
            return Reply(_WORDS[status], message=reply[1].decode())
        if status == b"changed":
            return Reply("changed", fields=_paired(reply[1:]))
        return Reply(_STATUSES.get(status, "gone"))

    return checked


def _read_load(reply: bytes) -> Reply:
    head, *words = reply.split(_BETWEEN)
    _, now, moved, rotated, size = head.split(b" ")
    if len(words) != int(size):
        message = "a loaded session does not have as many words as were sent"
        raise RecordUndecodable(message)
    return Reply("ok", stored=Stored(int(now), _paired(words)), moved=int(moved), rotated=rotated == b"1")


def _read_create(reply: bytes) -> Reply:
    now, ends, idle, since = map(int, reply.split(b" ")[1:])
    return Reply("ok", now=now, ends=ends, idle=idle, since=since)


def _read_save(reply: bytes) -> Reply:
    revision, now, ends, idle, moved = map(int, reply.split(b" ")[1:])
    return Reply("ok", revision=revision, now=now, ends=ends, idle=idle, moved=moved)


def _read_mark(reply: Any) -> Reply:
    if isinstance(reply, bytes):
        return Reply("ok", since=int(reply.split(b" ")[1]))
    return Reply("ok", fields=_paired(reply[1]), since=int(reply[2]))


def _read_end(_reply: Sequence[Any]) -> Reply:
    return Reply("ok")


def _read_devices(reply: Sequence[Any]) -> Reply:
    return Reply("ok", now=int(reply[1]), fields=_paired(reply[2]))


def _read_revoke(reply: Sequence[Any]) -> Reply:
    return Reply("ok", count=int(reply[1]), since=int(reply[2]))


def _read_dismiss(reply: Sequence[Any]) -> Reply:
    return Reply("ok", count=int(reply[1]))


def _or_raise(read: Callable[[Any], Reply]) -> Callable[[Any], Reply]:
    def checked(reply: Any) -> Reply:
        result = read(reply)
        if result.status == "error":
            raise StoreReplyError(result.message)
        return result

    return checked


def _refused(error: StoreReplyError) -> Reply:
    return Reply("error", message=str(error))


_READERS = {
    "load": _unless_error(_read_load),
    "create": _unless_error(_read_create),
    "save": _unless_error(_read_save),
    "mark": _unless_error(_read_mark),
    "end": _unless_error(_read_end),
    "devices": _unless_error(_read_devices),
    "revoke": _unless_error(_read_revoke),
    "dismiss": _unless_error(_read_dismiss),
}
_VITAL = {name: _or_raise(read) for name, read in _READERS.items()}


def _paired(flat: Sequence[bytes]) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _flat(pairs: Mapping[bytes, bytes]) -> list[bytes]:
    return [part for pair in pairs.items() for part in pair]


def _or_empty(number: int | None) -> str:
    return "" if number is None else str(number)


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
