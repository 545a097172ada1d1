"""`Device`: one of a user's sessions, as the user may see it; and how the index keeps it. Pure.

An entry is ``1 <hash> <created> <seen> <expires> <label>``: the SHA-256 of the session's id, milliseconds since 1970,
and free text. A handle is a device's name and that hash, so that one script can be told every key it touches. It
leads nowhere without the user, whose tag is in the key, and never to the session: a cookie is what the hash is of.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["MAX_LABEL", "Device", "Entry", "label_of", "parse_handle", "read_devices", "write_entry"]

MAX_LABEL = 255
"""Bytes of a label in UTF-8; the rest is cut off."""

_HANDLE = re.compile(r"([0-9a-f]{22})([0-9a-f]{64})", re.ASCII)
_ENTRY = re.compile(rb"1 ([0-9a-f]{64}) (\d{1,14}) (\d{1,14}) (\d{1,14}) (.*)", re.DOTALL)
_DEVICE = b"d:"


@dataclass(frozen=True, slots=True)
class Device:
    """One device on which a user is logged in.

    Attributes:
        handle: names it for `logout_device`; may be shown to the user.
        label: what the login said of it, such as the user agent.
        created: when the user logged in on it.
        seen: when it was last seen, to the hour.
        expires: when its session ends unless it is used again.
        current: it is the session that asks.
    """

    handle: str
    label: str
    created: dt.datetime
    seen: dt.datetime
    expires: dt.datetime
    current: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """What the index keeps of a device; times in ms since 1970."""

    hash: str
    created: int
    seen: int
    expires: int
    label: str


def label_of(text: str) -> str:
    """Return a label that fits the index: at most `MAX_LABEL` bytes, whatever a browser calls itself."""
    return str(text or "").encode(errors="replace")[:MAX_LABEL].decode(errors="ignore")


def write_entry(entry: Entry) -> bytes:
    """Encode an entry."""
    return f"1 {entry.hash} {entry.created} {entry.seen} {entry.expires} {entry.label}".encode()


def read_devices(raw: Mapping[bytes, bytes], current: str = "") -> list[Device]:
    """Read the devices of an index; what a later release wrote in another way is left out.

    Args:
        raw: the fields of the index.
        current: hash of the session that asks.
    """
    found = ((name[len(_DEVICE) :].decode(errors="replace"), _ENTRY.fullmatch(data)) for name, data in raw.items())
    return [_device(name, match, current) for name, match in found if match is not None]


def parse_handle(handle: object) -> tuple[str, str] | None:
    """Return device and hash of a handle; ``None`` unless it has exactly the form of one."""
    match = _HANDLE.fullmatch(handle) if isinstance(handle, str) else None
    return (match[1], match[2]) if match else None


def _device(name: str, entry: re.Match[bytes], current: str) -> Device:
    digest = entry[1].decode()
    created, seen, expires = (dt.datetime.fromtimestamp(int(entry[part]) / 1000, dt.UTC) for part in (2, 3, 4))
    label = entry[5].decode(errors="replace")
    return Device(name + digest, label, created, seen, expires, current=digest == current)
