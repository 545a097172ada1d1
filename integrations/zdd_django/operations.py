"""What Django's sessions do not have: changes that merge, a struct's view of a session, and the user's devices.

As in Django, each method has a twin with ``a`` for coroutines.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, TypeVar

from zdd_django.service import get_zdd
from zdd_sdk.sessions import Device
from zdd_sdk.sessions.attributes import Attributes
from zdd_sdk.sessions.turn import Turn
from zdd_sdk.store import Store, finish

__all__ = ["SharedOperations"]

M = TypeVar("M")


class SharedOperations(ABC):
    """Beside `django.contrib.sessions.backends.base.SessionBase`; the merges and `typed` are `Attributes`'."""

    modified: bool
    _turn: Turn | None

    @abstractmethod
    def _get_session(self, no_load: bool = False) -> Attributes: ...

    @abstractmethod
    async def _aget_session(self, no_load: bool = False) -> Attributes: ...

    @abstractmethod
    def here(self) -> Store | None:
        """The store for a coroutine."""

    @abstractmethod
    def flush(self) -> None:
        """End the session."""

    @abstractmethod
    async def aflush(self) -> None:
        """End the session."""

    def add(self, name: str, amount: Any) -> None:
        """Add to a number (an absent one is 0), however many others add at the same time."""
        self._get_session().add(name, amount)
        self.modified = True

    async def aadd(self, name: str, amount: Any) -> None:
        """Add to a number (an absent one is 0), however many others add at the same time."""
        (await self._aget_session()).add(name, amount)
        self.modified = True

    def union(self, name: str, members: Iterable[Any]) -> None:
        """Put members into a set (an absent one is empty), beside those that others put there."""
        self._get_session().union(name, members)
        self.modified = True

    async def aunion(self, name: str, members: Iterable[Any]) -> None:
        """Put members into a set (an absent one is empty), beside those that others put there."""
        (await self._aget_session()).union(name, members)
        self.modified = True

    def append(self, name: str, item: Any, *, limit: int | None = None) -> None:
        """Put an item at the end of a list (an absent one is empty), beside those that others append."""
        self._get_session().append(name, item, limit=limit)
        self.modified = True

    async def aappend(self, name: str, item: Any, *, limit: int | None = None) -> None:
        """Put an item at the end of a list (an absent one is empty), beside those that others append."""
        (await self._aget_session()).append(name, item, limit=limit)
        self.modified = True

    def compare_and_set(self, name: str, expected: Any, new: Any) -> None:
        """Replace a value if it is still the expected one; else nothing of this request is saved: 409."""
        self._get_session().compare_and_set(name, expected, new)
        self.modified = True

    async def acompare_and_set(self, name: str, expected: Any, new: Any) -> None:
        """Replace a value if it is still the expected one; else nothing of this request is saved: 409."""
        (await self._aget_session()).compare_and_set(name, expected, new)
        self.modified = True

    def typed(self, model: type[M]) -> M:
        """Return the session seen through a struct; what is changed there is saved."""
        return self._get_session().typed(model)

    async def atyped(self, model: type[M]) -> M:
        """Return the session seen through a struct; what is changed there is saved."""
        return (await self._aget_session()).typed(model)

    def devices(self) -> tuple[Device, ...]:
        """List where this user is logged in, this device marked; one trip. Nobody is logged in nowhere.

        Raises:
            StoreUnavailable: Redis is away.
        """
        self._get_session()
        return finish(self._devices(get_zdd().blocking_store()))

    async def adevices(self) -> tuple[Device, ...]:
        """List where this user is logged in, this device marked; one trip. Nobody is logged in nowhere."""
        await self._aget_session()
        return await self._devices(self.here())

    def logout_everywhere(self, *, keep: bool = True) -> int:
        """End every session of this user, and say how many others were listed; one trip.

        Args:
            keep: go on with this one; otherwise it is flushed like the rest, one trip more.

        Raises:
            StoreUnavailable: Redis is away: some may still be there; ask again.
        """
        self._get_session()
        ended = finish(self._logout_everywhere(get_zdd().blocking_store(), keep=keep))
        if not keep:
            self.flush()
        return ended

    async def alogout_everywhere(self, *, keep: bool = True) -> int:
        """End every session of this user, and say how many others were listed; one trip."""
        await self._aget_session()
        ended = await self._logout_everywhere(self.here(), keep=keep)
        if not keep:
            await self.aflush()
        return ended

    def logout_device(self, handle: str) -> bool:
        """End one device of this user, one trip; ``False`` if it is not on the list.

        Args:
            handle: of a `Device`, as `devices` gave it.

        Raises:
            StoreUnavailable: Redis is away: it may still be there; ask again.
        """
        self._get_session()
        return finish(self._logout_device(get_zdd().blocking_store(), handle))

    async def alogout_device(self, handle: str) -> bool:
        """End one device of this user, one trip; ``False`` if it is not on the list."""
        await self._aget_session()
        return await self._logout_device(self.here(), handle)

    def _asking(self) -> Turn:
        turn = self._turn
        assert turn is not None  # noqa: S101 - for type checkers
        if turn.user is None:
            turn.check_known()
        return turn

    async def _devices(self, store: Store | None) -> tuple[Device, ...]:
        turn = self._asking()
        if turn.user is None:
            return ()
        return await get_zdd().sessions.directory.devices(store, turn.user, turn)

    async def _logout_everywhere(self, store: Store | None, *, keep: bool) -> int:
        turn = self._asking()
        if turn.user is None:
            return 0
        return await get_zdd().sessions.directory.logout_everywhere(store, turn.user, turn if keep else None)

    async def _logout_device(self, store: Store | None, handle: str) -> bool:
        turn = self._asking()
        if turn.user is None:
            return False
        return await get_zdd().sessions.directory.logout_device(store, turn.user, handle)
