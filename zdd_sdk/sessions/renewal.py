"""What a new id asks for: the session that is made, and the marker that is left. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from zdd_sdk.sessions.ids import Place
from zdd_sdk.sessions.lifetime import AS_CONFIGURED, Lifetime
from zdd_sdk.sessions.model import BEFORE, RETURNED, device_of
from zdd_sdk.sessions.operations import Create, Mark
from zdd_sdk.sessions.stored import Stored
from zdd_sdk.sessions.turn import Renewal, Turn

__all__ = ["renew"]


def renew(turn: Turn, inside: Mapping[bytes, bytes], left: Place | None, place: Place) -> tuple[Create, Mark | None]:
    """Return what makes a session under a new id, and what marks the one it leaves.

    A rotation goes on as the same session, so the id it leaves may come back if nobody ever uses the new one; what a
    login leaves never does.

    Args:
        turn: the session.
        inside: the fields of its attributes.
        left: where it lies, if it does.
        place: where it is to lie.
    """
    old = turn.stored
    returns = old is not None and left is not None and _goes_on(turn, old, left, place)
    others = old.others if old is not None and turn.keep else {}
    fields = {**others, **turn.moved(inside)}
    if returns and left is not None:
        fields[BEFORE] = left.hash.encode()
    if old is not None and old.returned and turn.renewal is Renewal.ROTATION:
        fields[RETURNED] = b"1"
    vital = turn.renewal is Renewal.LOGIN
    create = Create(place, turn.user, {**fields, **turn.extra}, lifetime=_lifetime(turn, old), vital=vital)
    if turn.user is not None:
        create = replace(create, device=_device(turn, old, left, place), label=turn.label)
    if old is not None and turn.renewal is Renewal.ROTATION:
        create = replace(create, created=old.created, since=old.since if turn.user is not None else None)
    if old is None or old.marker or left is None:
        return create, None
    revision = -1 if turn.behind else old.revision
    return create, Mark(left, revision, turn.keep, successor=place.hash, returns=returns)


def _goes_on(turn: Turn, old: Stored, left: Place, place: Place) -> bool:
    """Whether it is the same user's by a rotation, and in the same index: that one knows which id is in use."""
    same = turn.keep and turn.user is not None and turn.user == old.user
    return same and turn.renewal is Renewal.ROTATION and left.index == place.index


def _device(turn: Turn, old: Stored | None, left: Place | None, place: Place) -> str:
    """What goes on as the same user's stays the same device."""
    if old is None or left is None or not turn.keep or old.user != turn.user:
        return device_of(place.hash)
    return old.device or device_of(left.hash)


def _lifetime(turn: Turn, old: Stored | None) -> Lifetime:
    """A rotation goes on as it was; a login with the same data keeps what was chosen."""
    if turn.lifetime is not None or old is None:
        return turn.lifetime or AS_CONFIGURED
    if turn.renewal is Renewal.ROTATION:
        return Lifetime(old.idle, ends=old.ends, flags=old.flags)
    if not turn.keep:
        return AS_CONFIGURED
    idle, ends = (old.idle if "m" in old.flags else None), (old.ends if "x" in old.flags else None)
    return Lifetime(idle, ends=ends, flags=old.flags)
