"""`Directory`: a user's sessions, listed and ended, from any process; one trip each."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import Protocol

from msgspec.structs import replace

from zdd_sdk.sessions.devices import Device, parse_handle, read_devices
from zdd_sdk.sessions.ids import Place
from zdd_sdk.sessions.keeper import Keeper
from zdd_sdk.sessions.model import check_user
from zdd_sdk.sessions.operations import Dismiss, ListDevices, Reply, Revoke
from zdd_sdk.sessions.turn import Turn
from zdd_sdk.store import Store

__all__ = ["AioDirectory", "Directory", "HasTurn", "turn_of"]

_TOKEN_BYTES = 8
_ROUNDS = 3


class Directory:
    """The flows.

    A user's sessions lie under one tag per root of ``ZDD_SECRET``, in each home; all are asked in the same trip.

    Args:
        keeper: of the sessions.
    """

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper

    async def devices(self, store: Store | None, user: str, turn: Turn | None = None) -> tuple[Device, ...]:
        """List where a user is logged in, the one seen last first.

        Args:
            store: where to ask.
            user: as given to `login`.
            turn: the session that asks.

        Raises:
            StoreUnavailable: Redis is away.
        """
        places = self._keeper.places
        current = places.key(turn.id)[-64:] if turn and turn.id else ""
        asked = [ListDevices(places.index(*lies)) for lies in self._lies(user, turn)]
        replies = await self._keeper.ask(store, asked)
        found = [device for reply in replies for device in read_devices(reply.fields, current)]
        return tuple(sorted(found, key=lambda device: device.seen, reverse=True))

    async def logout_everywhere(self, store: Store | None, user: str, keep: Turn | None = None) -> int:
        """End every session of a user but ``keep``, and say how many were listed.

        Raises:
            StoreUnavailable: Redis is away: some may still be there; ask again.
        """
        places = self._keeper.places
        kept = places.place(keep.id) if keep and keep.id else None
        wishes = [self._revoke(lies, user, kept) for lies in self._lies(user, keep)]
        replies = await self._keeper.ask(store, wishes)
        since = max(reply.since for reply in replies)
        if keep and keep.stored and since:
            keep.stored = keep.stored.described(since=since)
        return sum(reply.count for reply in replies) + await self._revoke_moved(store, wishes, replies)

    async def _revoke_moved(self, store: Store | None, wishes: Sequence[Revoke], replies: Sequence[Reply]) -> int:
        """Ask again where a login sent at the same time has given what is to go on a new id; in the end without it.

        The one that asks goes on under the new id only, which the login has given to whom it was for.
        """
        ended = 0
        for left in reversed(range(_ROUNDS)):
            pairs = zip(wishes, replies, strict=True)
            moved = [(wish, wish.keep, reply.message) for wish, reply in pairs if reply.status == "moved"]
            if not moved:
                break
            wishes = [
                replace(wish, keep=place.became(digest) if left and place else None) for wish, place, digest in moved
            ]
            replies = await self._keeper.ask(store, wishes)
            ended += sum(reply.count for reply in replies)
        return ended

    async def logout_device(self, store: Store | None, user: str, handle: str) -> bool:
        """End one device of a user; ``False`` if it is not on the user's list.

        Raises:
            StoreUnavailable: Redis is away: it may still be there; ask again.
        """
        named = parse_handle(handle)
        if named is None:
            return False
        device, digest = named
        tokens = {lies: secrets.token_bytes(_TOKEN_BYTES) for lies in self._lies(user)}
        places = self._keeper.places
        for _ in range(_ROUNDS):
            asked = [
                Dismiss(places.hashed(*lies, digest), places.index(*lies), device, token)
                for lies, token in tokens.items()
            ]
            replies = await self._keeper.ask(store, asked)
            moved = next((reply.message for reply in replies if reply.status == "moved"), None)
            if moved is None:
                return any(reply.count for reply in replies)
            digest = moved
        return False

    def _revoke(self, lies: tuple[str, int], user: str, kept: Place | None) -> Revoke:
        here = kept if kept and (kept.identity.tag, kept.identity.home) == lies else None
        return Revoke(self._keeper.places.index(*lies), user, secrets.token_bytes(_TOKEN_BYTES), here)

    def _lies(self, user: str, turn: Turn | None = None) -> tuple[tuple[str, int], ...]:
        """Where the user's sessions may be, and the one that asks is: its tag may be of a root that is gone."""
        known = self._keeper.places.of_user(check_user(user))
        if turn is None or turn.id is None or turn.stored is None or turn.stored.user != user:
            return known
        return tuple(dict.fromkeys((*known, (turn.id.tag, turn.id.home))))


class HasTurn(Protocol):
    """The session of a request: `Session`, Django's ``request.session``, Flask's `current_session`."""

    @property
    def turn(self) -> Turn:
        """The state behind it."""
        ...


def turn_of(session: HasTurn | None) -> Turn | None:
    """Return the state of a session that was loaded.

    Raises:
        SessionError: it was not: which one is to be kept is not known.
    """
    if session is None:
        return None
    session.turn.check_loaded()
    return session.turn


class AioDirectory:
    """`Sessions.devices` and its neighbours as coroutines, on the running event loop.

    Args:
        directory: the flows.
        store: returns the store of the running loop.
    """

    def __init__(self, directory: Directory, store: Callable[[], Store | None]) -> None:
        self._directory = directory
        self._store = store

    async def devices(self, user: str) -> tuple[Device, ...]:
        """List where a user is logged in, the one seen last first."""
        return await self._directory.devices(self._store(), user)

    async def logout_everywhere(self, user: str, keep: HasTurn | None = None) -> int:
        """End every session of a user but ``keep``, and say how many were listed."""
        return await self._directory.logout_everywhere(self._store(), user, turn_of(keep))

    async def logout_device(self, user: str, handle: str) -> bool:
        """End one device of a user; ``False`` if it is not on the user's list."""
        return await self._directory.logout_device(self._store(), user, handle)
