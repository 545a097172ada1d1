"""The header ``Idempotency-Key``: a string of RFC 9651 (Structured Fields), or the same text bare.

draft-ietf-httpapi-idempotency-key-header-07 has the quoted form only; most clients send the bare one, and a client
that changes from one to the other between two attempts means the same key.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, NoReturn

import msgspec

from zdd_sdk.errors import IdempotencyKeyExpired, IdempotencyKeyInvalid, IdempotencyKeyMissing

__all__ = ["MAX_AHEAD", "Key", "KeyFormat", "check_age", "parse_key"]

KeyFormat = Literal["any", "uuid", "uuid7"]
"""What a key must be: any text; a UUID of whatever version; a UUID of version 7, which tells when it was made."""

MAX_AHEAD = 300.0
"""Seconds a client's clock may be ahead of ours; what is further ahead says nothing of a key's age."""

# RFC 9651, 3.1.2 and 3.3. The bare form has no space, no quote, no comma (a list), no semicolon (parameters).
_STRING = r'"((?:[ !#-\[\]-~]|\\["\\])*)"'
_BARE = r"((?!')[!#-+\--:<-~]+)"
_VALUES = (
    r"-?\d{1,12}\.\d{1,3}|-?\d{1,15}|@-?\d{1,15}|\?[01]|:[A-Za-z0-9+/]*={0,2}:",
    r"[A-Za-z*][!#$%&'*+\-.^_`|~0-9A-Za-z:/]*",
    r'"(?:[ !#-\[\]-~]|\\["\\])*"|%"(?:[ !#$&-~]|%[0-9a-f]{2})*"',
)
_PARAMETERS = rf"(?:; *[a-z*][a-z0-9_\-.*]*(?:=(?:{'|'.join(_VALUES)}))?)*"
_ITEM = re.compile(rf" *(?:{_STRING}|{_BARE}){_PARAMETERS} *", re.ASCII)
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-([0-9a-f])[0-9a-f]{3}-([0-9a-f])[0-9a-f]{3}-[0-9a-f]{12}")


class Key(msgspec.Struct, frozen=True):
    """One key. Its ``repr`` does not show it: whoever knows a key may ask for its answer.

    Attributes:
        text: without quotes; a UUID, where one is asked for, in lower case.
        raised_at: Unix time in seconds at which the client made it, if the format is ``uuid7``.
    """

    text: str
    raised_at: float | None = None

    def __repr__(self) -> str:
        return f"<Key of {len(self.text)} characters>"


def parse_key(values: Sequence[str], *, most: int = 255, least: int = 1, format: KeyFormat = "any") -> Key:  # noqa: A002
    """Read the key of a request.

    Parameters of the Structured Field must be well-formed and are ignored. Only ``uuid7`` tells an age: one in 64
    of the random UUIDs that clients make without setting a version looks like version 7.

    Args:
        values: every value of the header, as many as the request has.
        most: longest key, in characters.
        least: shortest key.
        format: what it must be.

    Raises:
        IdempotencyKeyMissing: there is no such header.
        IdempotencyKeyInvalid: it is no key; the message says why, and never quotes it.
    """
    if not values:
        message = "the request has no Idempotency-Key header"
        raise IdempotencyKeyMissing(message)
    if len(values) > 1:
        _refuse("more than one Idempotency-Key header was sent")
    match = _ITEM.fullmatch(values[0])
    if match is None:
        _refuse(_fault(values[0]))
    quoted, bare = match.groups()
    text = bare if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
    if not least <= len(text) <= most:
        _refuse(f"the key has {len(text)} characters; {least} to {most} are allowed")
    return Key(text) if format == "any" else _uuid(text.lower(), format)


def check_age(key: Key, retention: float, now: float) -> None:
    """Refuse a key whose outcome may have been forgotten: executing it might be the second time.

    A client whose clock is ahead makes its keys look younger than they are, by at most `MAX_AHEAD`.

    Args:
        key: whose time is known if its format is ``uuid7``; any other passes.
        retention: seconds an outcome is remembered.
        now: Unix time in seconds.

    Raises:
        IdempotencyKeyExpired: it is older than that.
        IdempotencyKeyInvalid: it comes from the future.
    """
    if key.raised_at is None:
        return
    age = now - key.raised_at
    if age > retention:
        message = f"the key is {age:.0f} seconds old, and outcomes are remembered for {retention:.0f}"
        raise IdempotencyKeyExpired(message)
    if age < -MAX_AHEAD:
        _refuse(f"the key was made {-age:.0f} seconds from now: the client's clock is wrong")


def _uuid(text: str, wanted: KeyFormat) -> Key:
    match = _UUID.fullmatch(text)
    if match is None:
        _refuse("the key is not a UUID")
    if wanted == "uuid":
        return Key(text)
    version, variant = match.groups()
    if version != "7" or variant not in "89ab":
        _refuse("the key is not a UUID of version 7 (RFC 9562)")
    return Key(text, int(text[:8] + text[9:13], 16) / 1000)


def _fault(value: str) -> str:
    if not value.strip():
        return "the Idempotency-Key header is empty"
    if not value.isascii() or not value.isprintable():
        return "the key has characters that are not printable ASCII"
    if "," in value:
        return "the Idempotency-Key header is a list; it must be one key"
    return 'the Idempotency-Key header is neither "a quoted string" nor one word (RFC 9651)'


def _refuse(why: str) -> NoReturn:
    raise IdempotencyKeyInvalid(why)
