"""What a session is in Redis. Pure.

One hash per session. Fields of one character after ``_`` describe the hash itself and end with it;
attributes carry the prefix ``a:``, so that no name an application chooses can meet one of ours. Fields of
any other form belong to a later release: they are kept by saves and taken along by rotations.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

import msgspec

from zdd_sdk.errors import SessionTooLarge, SessionValueError

__all__ = [
    "ATTRIBUTE",
    "BEFORE",
    "LAYOUT",
    "MAX_FIELDS",
    "MAX_NAME",
    "MAX_USER",
    "NOTHING",
    "RETURNED",
    "REVISION",
    "TOLD",
    "Stored",
    "changed_since",
    "check_name",
    "check_size",
    "check_user",
    "device_of",
    "field_name",
    "raw_fields",
    "read_stored",
    "size_of",
    "updated",
]

LAYOUT = 1
"""Layout of the hash written by this release; ``_n`` names the oldest reader that understands it."""

ATTRIBUTE = b"a:"
"""Prefix of the fields that hold attributes."""

BEFORE = b"_o"
"""The field with the hash of the id before, which is over once this one has been used."""

RETURNED = b"_q"
"""The field of what has come back from a rotation whose new id nobody had used; it ends when somebody does."""

REVISION = b"_g"
"""The field that counts the saves."""

TOLD = b"_s"
"""The field that says when the cookie was last set anew under the same id, ms since 1970."""

MAX_NAME = 255
"""Bytes of an attribute's name in UTF-8."""

MAX_USER = 255
"""Bytes of a user's id in UTF-8."""

MAX_FIELDS = 1024
"""Attributes of one session: a script's ``unpack`` ends at 8,000 values (LUAI_MAXCSTACK)."""

NOTHING: Mapping[str, bytes] = MappingProxyType({})
"""No attributes."""

_DIGITS = 15


class Stored(msgspec.Struct, frozen=True):
    """One session as Redis has it.

    Attributes:
        now: server time of the load, ms since 1970.
        created: when it began, ms since 1970.
        ends: its absolute end, ms since 1970.
        revision: counts the saves.
        user: who is logged in, if anyone.
        writer: release that wrote last.
        reader: oldest layout a reader must know.
        marker: it is the snapshot a login left behind: read-only.
        fields: encoded attributes by name.
        others: fields of a later release, to be taken along.
        idle: its idle timeout, ms.
        flags: what of its lifetime was chosen for it; see `zdd_sdk.sessions.lifetime.Lifetime`.
        device: names it in the index of its user, whatever its id becomes.
        since: when its user logged in, ms since 1970; what began before the last logout everywhere has ended.
        returned: it has come back from a rotation whose new id nobody has used.
        told: when the browser was last given its id, ms since 1970; 0 if a release wrote it that did not say.
    """

    now: int
    created: int
    ends: int
    revision: int
    user: str | None
    writer: str
    reader: int
    marker: bool
    fields: Mapping[str, bytes]
    others: Mapping[bytes, bytes]
    idle: int = 0
    flags: str = ""
    device: str = ""
    since: int = 0
    told: int = 0
    returned: bool = False

    @property
    def max_age(self) -> int | None:
        """Seconds the cookie lives; ``None`` if it ends with the browser."""
        return None if "b" in self.flags else max(0, self.ends - self.now) // 1000


def device_of(digest: str) -> str:
    """Name a device by the hash of the first id it had."""
    return digest[:22]


def field_name(name: str) -> bytes:
    """Name of an attribute's field in the hash."""
    return ATTRIBUTE + name.encode()


def raw_fields(fields: Mapping[str, bytes]) -> dict[bytes, bytes]:
    """Return attributes by the names of their fields in the hash."""
    return {field_name(name): data for name, data in fields.items()}


def read_stored(now: int, raw: Mapping[bytes, bytes]) -> Stored:
    """Read a hash; what is missing or not a number counts as 0, so that it ends rather than lives for ever."""
    fields: dict[str, bytes] = {}
    others: dict[bytes, bytes] = {}
    for name, data in raw.items():
        if name[:2] == ATTRIBUTE:
            try:
                fields[name[2:].decode()] = data
            except UnicodeDecodeError:
                others[name] = data
        elif name[:1] != b"_":
            others[name] = data
    user = raw.get(b"_u")
    return Stored(
        now=now,
        created=_number(raw, b"_c"),
        ends=_number(raw, b"_x"),
        revision=_number(raw, REVISION),
        user=user.decode(errors="replace") if user is not None else None,
        writer=raw.get(b"_w", b"unknown").decode(errors="replace"),
        reader=_number(raw, b"_n"),
        marker=b"_k" in raw,
        fields=fields,
        others=others,
        idle=_number(raw, b"_m"),
        flags=raw.get(b"_l", b"").decode(errors="replace"),
        device=raw.get(b"_i", b"").decode(errors="replace"),
        since=_number(raw, b"_e") or _number(raw, b"_c"),
        told=_number(raw, TOLD if TOLD in raw else b"_r"),
        returned=RETURNED in raw,
    )


def updated(fields: Mapping[str, bytes], sets: Mapping[str, bytes], deletes: Iterable[str]) -> dict[str, bytes]:
    """Return the attributes with some set and some deleted; the rest byte for byte as it was."""
    result = {**fields, **sets}
    for name in deletes:
        result.pop(name, None)
    return result


def changed_since(before: Mapping[str, bytes], now: Mapping[str, bytes]) -> tuple[dict[str, bytes], set[str]]:
    """Return what another request has set and what it has deleted between two states of a session."""
    sets = {name: data for name, data in now.items() if before.get(name) != data}
    return sets, before.keys() - now.keys()


def check_name(name: object) -> str:
    """Return the name if it can be an attribute's: any Unicode text of at most `MAX_NAME` bytes.

    Raises:
        SessionValueError: it cannot.
    """
    return _check_text(name, MAX_NAME, "an attribute's name")


def check_user(user: object) -> str:
    """Return the user's id if it can be one: text of 1 to `MAX_USER` bytes.

    Raises:
        SessionValueError: it cannot.
    """
    if user == "":
        message = "a user's id cannot be empty"
        raise SessionValueError(message)
    return _check_text(user, MAX_USER, "a user's id")


def check_size(fields: Mapping[str, bytes], limit: int, before: Mapping[str, bytes] = NOTHING) -> None:
    """Check a whole session against its limits; one that was beyond them before may get smaller.

    Args:
        fields: its attributes.
        limit: bytes.
        before: what they were.

    Raises:
        SessionTooLarge: more than ``limit`` bytes, or more than `MAX_FIELDS` attributes.
    """
    size = size_of(fields)
    if size > limit and size > size_of(before):
        largest = max(fields, key=lambda name: len(fields[name]))
        message = f"the session has {size} bytes, more than sessions.max_session = {limit}; largest field: {largest!r}"
        raise SessionTooLarge(message)
    if len(fields) > MAX_FIELDS and len(fields) > len(before):
        message = f"the session has {len(fields)} fields, more than {MAX_FIELDS}"
        raise SessionTooLarge(message)


def size_of(fields: Mapping[str, bytes]) -> int:
    """Bytes of attributes in Redis, with their names."""
    return len(ATTRIBUTE) * len(fields) + len("".join(fields).encode()) + sum(map(len, fields.values()))


def _check_text(text: object, limit: int, what: str) -> str:
    if not isinstance(text, str):
        message = f"{what} must be a str, not {type(text).__name__}"
        raise SessionValueError(message)
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        size = limit + 1
    if size > limit:
        message = f"{what} must be Unicode text of at most {limit} bytes: {text[:40]!r}"
        raise SessionValueError(message)
    return text


def _number(raw: Mapping[bytes, bytes], name: bytes) -> int:
    written = raw.get(name, b"")
    return int(written) if written.isdigit() and len(written) <= _DIGITS else 0
