"""`Attributes`: what is in a session, as a mapping by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from typing import Any

from zdd_sdk.errors import RecordError
from zdd_sdk.sessions.turn import Turn

__all__ = ["Attributes"]


class Attributes(MutableMapping[str, Any]):
    """The attributes of one turn.

    Values are what MessagePack knows, and `datetime`, `date`, `time`, `timedelta`, `Decimal`, `UUID`,
    tuples, sets and frozensets, in lists and dicts as deep as 32; anything else is refused where it is
    assigned. Changes inside a value are noticed.

    Args:
        turn: whose attributes.
        count_undecodable: told the release that wrote a field this one cannot read.

    Raises:
        SessionError: it was not loaded.
        SessionReadOnly: a change to a pre-login snapshot or a stale copy.
        RecordError: on reading a field that this release cannot read; it is kept as it is.
        SessionValueError, SessionTooLarge: on assigning what cannot be stored.
    """

    __slots__ = ("_count_undecodable", "_turn")

    def __init__(self, turn: Turn, count_undecodable: Callable[[str], None]) -> None:
        self._turn = turn
        self._count_undecodable = count_undecodable

    def __repr__(self) -> str:
        shown = f"{len(self)} attributes" if self._turn.loaded else "not loaded"
        return f"<{type(self).__name__}: {shown}>"

    def __getitem__(self, name: str) -> Any:
        try:
            return self._turn.fields.read(name)
        except RecordError:
            self._count_undecodable(self._turn.stored.writer if self._turn.stored else "unknown")
            raise

    def __setitem__(self, name: str, value: Any) -> None:
        self._turn.writable().write(name, value)

    def __delitem__(self, name: str) -> None:
        self._turn.writable().delete(name)

    def __contains__(self, name: object) -> bool:
        return name in self._turn.fields

    def __iter__(self) -> Iterator[str]:
        return iter(self._turn.fields)

    def __len__(self) -> int:
        return len(self._turn.fields)

    def clear(self) -> None:
        """Delete every attribute, also those this release cannot read; the user stays logged in."""
        self._turn.writable().clear()
