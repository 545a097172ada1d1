"""What sessions ask Redis: an operation in, a `Call` out. One key each, so that any trip may carry several."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from zdd_sdk.errors import StoreReplyError
from zdd_sdk.sessions.model import LAYOUT, Create, Delete, Load, Mark, Operation, Reply, Save, read_stored
from zdd_sdk.settings import SessionSettings
from zdd_sdk.store import Call, load_script

__all__ = ["SPARE", "SessionCalls"]

SPARE = 60_000
"""Milliseconds the hash outlives its idle timeout, so that a request that began in time still finds it
(spring-session#2786: with equal times a live request met "Session was invalidated")."""

_PACKAGE = "zdd_sdk.sessions"
_STATUSES: dict[bytes, Literal["none", "ended"]] = {b"none": "none", b"ended": "ended"}


class SessionCalls:
    """Builds the calls of one service.

    Every call may be sent again: loads and marks leave the same behind when done twice, a create meets
    its own id, a delete finds nothing, and a save carries a token.

    Args:
        settings: the session options.
        writer: the release that writes, for ``_w``.
    """

    def __init__(self, settings: SessionSettings, writer: str) -> None:
        self._idle, self._absolute = _milliseconds(settings.idle_timeout), _milliseconds(settings.absolute_timeout)
        self._grace = _milliseconds(settings.login_grace)
        self._writer = writer

    def call(self, operation: Operation) -> Call[Reply]:
        """Build the call of one operation."""
        match operation:
            case Load(key):
                return _script("load", key, (SPARE,))
            case Create():
                return _script("create", operation.key, self._create(operation), vital=operation.vital)
            case Save():
                return _script("save", operation.key, self._save(operation))
            case Mark(key, revision, keep):
                return _script("mark", key, (self._grace, revision, int(keep)))
            case Delete(key, vital):
                on_error = None if vital else _refused
                return Call(lambda _: Reply("ok"), ("UNLINK", key), keys=(key,), again=True, on_error=on_error)

    def _create(self, new: Create) -> tuple[Any, ...]:
        meta = {b"_n": b"%d" % LAYOUT, b"_w": self._writer.encode()}
        if new.user is not None:
            meta[b"_u"] = new.user.encode()
        if new.lifetime.flags:
            meta[b"_l"] = new.lifetime.flags.encode()
        terms = new.lifetime.terms(self._idle, self._absolute, new.created)
        return (SPARE, *map(_or_empty, (*terms, new.created)), *_flat(meta), *_flat(new.fields))

    def _save(self, save: Save) -> tuple[Any, ...]:
        terms: tuple[int | None, ...] = (None, None, None)
        sets = save.sets
        if save.lifetime is not None:
            terms = save.lifetime.terms(self._idle, self._absolute, save.created)
            sets = {b"_l": save.lifetime.flags.encode(), **sets}
        head = (SPARE, save.token, self._writer, *map(_or_empty, terms))
        return (*head, len(sets), len(save.expected), *_flat(sets), *_flat(save.expected), *save.deletes)


def _script(name: str, key: str, args: tuple[Any, ...], *, vital: bool = False) -> Call[Reply]:
    script, on_error = load_script(_PACKAGE, name), None if vital else _refused
    read = _read_vital if vital else _READERS[name]
    return Call(read, script=script, keys=(key,), args=args, again=True, on_error=on_error)


def _unless_error(read: Callable[[Sequence[Any]], Reply]) -> Callable[[Any], Reply]:
    def checked(reply: Sequence[Any]) -> Reply:
        status = reply[0]
        if status == b"ok":
            return read(reply)
        if status == b"error":
            return Reply("error", message=reply[1].decode(errors="replace"))
        if status == b"changed":
            return Reply("changed", fields=_paired(reply[1:]))
        return Reply(_STATUSES.get(status, "gone"))

    return checked


def _read_load(reply: Sequence[Any]) -> Reply:
    return Reply("ok", stored=read_stored(int(reply[1]), _cut(reply[2], reply[3])))


def _read_create(reply: Sequence[Any]) -> Reply:
    return Reply("ok", now=int(reply[1]), ends=int(reply[2]), idle=int(reply[3]))


def _read_save(reply: Sequence[Any]) -> Reply:
    return Reply("ok", revision=int(reply[1]), now=int(reply[2]), ends=int(reply[3]), idle=int(reply[4]))


def _read_mark(reply: Sequence[Any]) -> Reply:
    return Reply("ok", fields=_paired(reply[1]))


def _read_vital(reply: Sequence[Any]) -> Reply:
    result = _READERS["create"](reply)
    if result.status == "error":
        raise StoreReplyError(result.message)
    return result


def _refused(error: StoreReplyError) -> Reply:
    return Reply("error", message=str(error))


_READERS = {
    "load": _unless_error(_read_load),
    "create": _unless_error(_read_create),
    "save": _unless_error(_read_save),
    "mark": _unless_error(_read_mark),
}


def _cut(sizes: bytes, joined: bytes) -> dict[bytes, bytes]:
    """Cut the fields and values of a hash out of one string."""
    parts, end = [], 0
    for size in sizes.split(b","):
        begin, end = end, end + int(size)
        parts.append(joined[begin:end])
    return _paired(parts)


def _paired(flat: Sequence[bytes]) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _flat(pairs: Mapping[bytes, bytes]) -> list[bytes]:
    return [part for pair in pairs.items() for part in pair]


def _or_empty(number: int | None) -> str:
    return "" if number is None else str(number)


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
