"""What a session is in Redis. Pure.

One hash per session. Fields of one character after ``_`` describe the hash itself and end with it;
attributes carry the prefix ``a:``, so that no name an application chooses can meet one of ours. Fields of
any other form belong to a later release: they are kept by saves and taken along by rotations.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from zdd_sdk.errors import SessionTooLarge, SessionValueError

__all__ = [
    "ATTRIBUTE",
    "BEFORE",
    "LAYOUT",
    "MAX_FIELDS",
    "MAX_NAME",
    "MAX_USER",
    "NOTHING",
    "NO_FIELDS",
    "RETURNED",
    "REVISION",
    "TOLD",
    "check_name",
    "check_size",
    "check_user",
    "device_of",
    "field_name",
    "raw_fields",
    "size_of",
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

NO_FIELDS: Mapping[bytes, bytes] = MappingProxyType({})
"""No raw fields."""


def device_of(digest: str) -> str:
    """Name a device by the hash of the first id it had."""
    return digest[:22]


def field_name(name: str) -> bytes:
    """Name of an attribute's field in the hash."""
    return ATTRIBUTE + name.encode()


def raw_fields(fields: Mapping[str, bytes]) -> dict[bytes, bytes]:
    """Return attributes by the names of their fields in the hash."""
    return {field_name(name): data for name, data in fields.items()}


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
