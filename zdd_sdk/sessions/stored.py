"""`Stored`: a session as Redis has it. Pure.

Most of a hash is looked at by no request. So it is kept as it came, and read where it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import filterfalse
from operator import methodcaller
from typing import TypeVar

import msgspec

from zdd_sdk.sessions.model import ATTRIBUTE, RETURNED, REVISION, TOLD, field_name, raw_fields

__all__ = ["Stored", "changed_since", "name_of", "named", "unnamed", "updated", "write_meta"]

K = TypeVar("K")

_DIGITS = 15

_META = {
    "created": b"_c",
    "ends": b"_x",
    "revision": REVISION,
    "user": b"_u",
    "writer": b"_w",
    "reader": b"_n",
    "marker": b"_k",
    "idle": b"_m",
    "flags": b"_l",
    "device": b"_i",
    "since": b"_e",
}


class Stored(msgspec.Struct, frozen=True):
    """One session; what is missing or not a number counts as 0, so that it ends rather than lives for ever.

    Attributes:
        now: server time of the load, ms since 1970.
        raw: the hash.
    """

    now: int
    raw: Mapping[bytes, bytes]

    @property
    def created(self) -> int:
        """When it began, ms since 1970."""
        return self._number(b"_c")

    @property
    def ends(self) -> int:
        """Its absolute end, ms since 1970."""
        return self._number(b"_x")

    @property
    def revision(self) -> int:
        """Counts the saves."""
        return self._number(REVISION)

    @property
    def user(self) -> str | None:
        """Who is logged in, if anyone."""
        user = self.raw.get(b"_u")
        return user.decode(errors="replace") if user is not None else None

    @property
    def writer(self) -> str:
        """Release that wrote last."""
        return self.raw.get(b"_w", b"unknown").decode(errors="replace")

    @property
    def reader(self) -> int:
        """Oldest layout a reader must know."""
        return self._number(b"_n")

    @property
    def marker(self) -> bool:
        """Whether it is the snapshot a login left behind: read-only."""
        return b"_k" in self.raw

    @property
    def idle(self) -> int:
        """Its idle timeout, ms."""
        return self._number(b"_m")

    @property
    def flags(self) -> str:
        """What of its lifetime was chosen for it; see `zdd_sdk.sessions.lifetime.Lifetime`."""
        return self.raw.get(b"_l", b"").decode(errors="replace")

    @property
    def device(self) -> str:
        """Names it in the index of its user, whatever its id becomes."""
        return self.raw.get(b"_i", b"").decode(errors="replace")

    @property
    def since(self) -> int:
        """When its user logged in, ms since 1970; what began before the last logout everywhere has ended."""
        return self._number(b"_e") or self.created

    @property
    def told(self) -> int:
        """When the browser was last given its id, ms since 1970; 0 if a release wrote it that did not say."""
        return self._number(TOLD if TOLD in self.raw else b"_r")

    @property
    def returned(self) -> bool:
        """Whether it has come back from a rotation whose new id nobody has used."""
        return RETURNED in self.raw

    @property
    def max_age(self) -> int | None:
        """Seconds the cookie lives; ``None`` if it ends with the browser."""
        return None if "b" in self.flags else max(0, self.ends - self.now) // 1000

    @property
    def fields(self) -> Mapping[str, bytes]:
        """Encoded attributes by name."""
        return _Named(self.raw)

    @property
    def others(self) -> dict[bytes, bytes]:
        """Fields of a later release, to be taken along."""
        return _without(self.raw, _IS_KNOWN)

    @property
    def size(self) -> int:
        """Bytes of the whole hash, its own books included: no less than its attributes have."""
        return sum(map(len, self.raw)) + sum(map(len, self.raw.values()))

    def changed(self, sets: Mapping[bytes, bytes], deletes: Iterable[bytes] = ()) -> Stored:
        """Return it with some fields set and some deleted."""
        return Stored(self.now, updated(self.raw, sets, deletes))

    def described(self, **meta: str | int | None) -> Stored:
        """Return it with some of what describes it changed, by the names above; ``None`` is not there."""
        absent = [_META[name] for name, value in meta.items() if value is None]
        return self.changed(write_meta(**meta), absent)

    def _number(self, name: bytes) -> int:
        written = self.raw.get(name, b"")
        return int(written) if written.isdigit() and len(written) <= _DIGITS else 0


def write_meta(**meta: str | int | None) -> dict[bytes, bytes]:
    """Write what describes a session, by the names of `Stored`; not what is ``None``."""
    return {_META[name]: str(value).encode() for name, value in meta.items() if value is not None}


def _without(raw: Mapping[bytes, bytes], prefix: Callable[[bytes], bool]) -> dict[bytes, bytes]:
    """Fields whose names do not begin so; the interpreter sorts them out, not we."""
    return {name: raw[name] for name in filterfalse(prefix, raw)}


_IS_KNOWN = methodcaller("startswith", (b"_", ATTRIBUTE))
_IS_ATTRIBUTE = methodcaller("startswith", ATTRIBUTE)


class _Named(Mapping[str, bytes]):
    """The attributes of a hash, by name; none is read before it is asked for."""

    __slots__ = ("_raw",)

    def __init__(self, raw: Mapping[bytes, bytes]) -> None:
        self._raw = raw

    def __getitem__(self, name: str) -> bytes:
        try:
            return self._raw[field_name(name)]
        except (KeyError, UnicodeEncodeError):
            raise KeyError(name) from None

    def __contains__(self, name: object) -> bool:
        try:
            return isinstance(name, str) and field_name(name) in self._raw
        except UnicodeEncodeError:
            return False

    def __iter__(self) -> Iterator[str]:
        return iter(self.all())

    def __len__(self) -> int:
        return len(self.all())

    def all(self) -> dict[str, bytes]:
        """Return them as a dict."""
        return {text: data for name, data in self.raw().items() if (text := name_of(name)) is not None}

    def raw(self) -> dict[bytes, bytes]:
        """Return them by the names of their fields, also those whose names are no text."""
        return {name: self._raw[name] for name in filter(_IS_ATTRIBUTE, self._raw)}


def named(fields: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return attributes as a dict."""
    return fields.all() if isinstance(fields, _Named) else dict(fields)


def unnamed(fields: Mapping[str, bytes]) -> dict[bytes, bytes]:
    """Return attributes by the names of their fields in the hash."""
    return fields.raw() if isinstance(fields, _Named) else raw_fields(fields)


def name_of(field: bytes) -> str | None:
    """The name of an attribute; ``None`` for a field that is none, or whose name is no text."""
    if field[:2] != ATTRIBUTE:
        return None
    try:
        return field[2:].decode()
    except UnicodeDecodeError:
        return None


def updated(fields: Mapping[K, bytes], sets: Mapping[K, bytes], deletes: Iterable[K]) -> dict[K, bytes]:
    """Return fields with some set and some deleted; the rest byte for byte as it was."""
    result = {**fields, **sets}
    for name in deletes:
        result.pop(name, None)
    return result


def changed_since(before: Mapping[str, bytes], now: Mapping[str, bytes]) -> tuple[dict[str, bytes], set[str]]:
    """Return what another request has set and what it has deleted between two states of a session."""
    known, found = named(before), named(now)
    return {name: data for name, data in found.items() if known.get(name) != data}, known.keys() - found.keys()
