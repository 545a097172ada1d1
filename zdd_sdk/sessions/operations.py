"""What may be asked about sessions, and what came back: structs, which cost a tenth of dataclasses to make. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from zdd_sdk.sessions.ids import Place
from zdd_sdk.sessions.lifetime import AS_CONFIGURED, Lifetime
from zdd_sdk.sessions.stored import Stored

__all__ = [
    "Create",
    "Delete",
    "Dismiss",
    "ListDevices",
    "Load",
    "Mark",
    "Operation",
    "Reply",
    "Revoke",
    "Save",
]


class Load(msgspec.Struct, frozen=True):
    """Read a session and, if less than 90 % of its idle time remains, prolong it; ``rotate`` it if that is due."""

    place: Place
    rotate: bool = False


class Create(msgspec.Struct, frozen=True):
    """Write a new session.

    Attributes:
        place: where it lies.
        user: who is logged in.
        fields: raw fields.
        created: when the session it continues began, ms since 1970; default now.
        lifetime: its own.
        vital: Redis refusing it is an error to raise, not a reply: nobody may believe to be logged in.
        device: its name in the index of its user.
        label: what the index shows of it; empty to keep what is there.
        since: when the user of the session it continues logged in, ms since 1970; default now.
    """

    place: Place
    user: str | None
    fields: Mapping[bytes, bytes]
    created: int | None = None
    lifetime: Lifetime = AS_CONFIGURED
    vital: bool = False
    device: str = ""
    label: str = ""
    since: int | None = None


class Save(msgspec.Struct, frozen=True):
    """Change some fields of a session that still exists; done once per ``token`` (8 bytes).

    Attributes:
        place: where it lies.
        token: of this save.
        sets: raw fields.
        deletes: names of raw fields.
        lifetime: a new lifetime, if it is to change.
        created: when the session began, ms since 1970.
        expected: what some raw fields must still be (empty: absent); else nothing is written.
        room: if another request has saved, what the session may grow to at most, bytes; 0: any size.
        known: revision up to which it is known what others have saved.
    """

    place: Place
    token: bytes
    sets: Mapping[bytes, bytes]
    deletes: Sequence[bytes]
    lifetime: Lifetime | None = None
    created: int = 0
    expected: Mapping[bytes, bytes] = msgspec.field(default_factory=dict)
    room: int = 0
    known: int = 0


class Mark(msgspec.Struct, frozen=True):
    """Turn a session into a marker.

    Attributes:
        place: where it lies.
        revision: of what was copied from it.
        keep: its data readable; else it is emptied.
        vital: Redis refusing it is an error to raise, not a reply: nobody may believe to be logged out.
        successor: hash of the new id, if there is one.
        returns: if nobody ever uses that one, this one comes back when the grace is over.
    """

    place: Place
    revision: int
    keep: bool
    vital: bool = False
    successor: str = ""
    returns: bool = False


class Delete(msgspec.Struct, frozen=True):
    """End a session.

    Attributes:
        place: where it lies.
        vital: Redis refusing it is an error to raise, not a reply: nobody may believe to be logged out.
    """

    place: Place
    vital: bool = False


class ListDevices(msgspec.Struct, frozen=True):
    """Read the index of a user's sessions under one tag."""

    index: str


class Revoke(msgspec.Struct, frozen=True):
    """End every session of a user under one tag; done once per ``token``.

    Attributes:
        index: of the user.
        user: whose.
        token: of this logout.
        keep: the session that goes on, if any.
    """

    index: str
    user: str
    token: bytes
    keep: Place | None = None


class Dismiss(msgspec.Struct, frozen=True):
    """End one device of a user; done once per ``token``.

    Attributes:
        key: the hash of the session it was last seen with.
        index: of the user.
        device: which.
        token: of this logout.
    """

    key: str
    index: str
    device: str
    token: bytes


Operation = Load | Create | Save | Mark | Delete | ListDevices | Revoke | Dismiss


class Reply(msgspec.Struct, frozen=True):
    """What came back for any operation.

    Attributes:
        status: ``ok``; ``none``: there is no such session; ``gone``: it has ended, or become a marker,
            so nothing was written; ``ended``: its new lifetime is over, so it was deleted;
            ``changed``: a field is not as expected, so nothing was written; ``large``: with what others have saved
            there is no room for it, so nothing was written; ``moved``: the device has another
            session by now, so nothing was done; ``error``: Redis refused.
        stored: the session (`Load`).
        now: server time, ms (`Create`, `Save`, `ListDevices`).
        ends: absolute end, ms (`Create`, `Save`).
        idle: idle timeout, ms (`Create`, `Save`).
        revision: after a `Save`.
        fields: raw fields of an index (`ListDevices`); if they changed since they were copied (`Mark`); those
            expected, as they are (`Save`).
        moved: which of its successors it was found under; 0 for its own id (`Load`, `Save`).
        rotated: it was due, so it has moved just now (`Load`).
        since: when its user logged in (`Create`, `Mark`), or the sessions left have (`Revoke`), ms since 1970.
        count: sessions ended (`Revoke`, `Dismiss`).
        message: the error reply, how ``large`` it would be, or the hash of the id it has ``moved`` to.
    """

    status: Literal["ok", "none", "gone", "ended", "changed", "large", "moved", "error"]
    stored: Stored | None = None
    now: int = 0
    ends: int = 0
    idle: int = 0
    revision: int = 0
    fields: Mapping[bytes, bytes] = msgspec.field(default_factory=dict)
    moved: int = 0
    rotated: bool = False
    since: int = 0
    count: int = 0
    message: str = ""
