"""`Attributes`: what is in a session, as a mapping by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, MutableMapping
from typing import Any, TypeVar, cast

from zdd_sdk.errors import RecordError
from zdd_sdk.sessions.forms import Form
from zdd_sdk.sessions.merge import Extend, Increase, Operation, Swap, check_limit, joined
from zdd_sdk.sessions.models import TypedSession
from zdd_sdk.sessions.turn import Turn

__all__ = ["Attributes"]

M = TypeVar("M")


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
            self._note_undecodable()
            raise

    def typed(self, model: type[M]) -> M:
        """Return the session seen through a struct, whose attributes are read and assigned as its own.

        Attributes the struct does not declare stay as they are. Before the first use of a mutable value here.

        Args:
            model: a `msgspec.Struct` with a default for each attribute that may be absent; a rule as in
                ``visits: Annotated[int, Add()] = 0`` says how parallel changes are merged.

        Raises:
            TypeError: the struct cannot describe a session.
            SessionError: it was not loaded.
            SessionValueError: a mutable value that the struct declares was read or assigned before.
        """
        typed = TypedSession(self, model)
        for form in typed._forms.values():  # noqa: SLF001 - a struct's names may be any
            self._turn.fields.describe(form.shape.name, form)
        return cast("M", typed)

    def read_as(self, name: str, form: Form) -> Any:
        """Return a value in a form of its own, or its default, or `ABSENT`; for typed sessions."""
        self._turn.fields.describe(name, form)
        try:
            return self._turn.fields.read_or_default(name)
        except RecordError:
            self._note_undecodable()
            raise

    def write_as(self, name: str, form: Form, value: Any) -> None:
        """Set a value in a form of its own; for typed sessions."""
        fields = self._turn.writable()
        fields.describe(name, form)
        fields.write(name, value)

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

    def add(self, name: str, amount: Any) -> None:
        """Add to a number (an absent one is 0), however many others add at the same time.

        Args:
            name: of the attribute.
            amount: an int, float or Decimal, negative to take away.

        Raises:
            SessionValueError: one of both is no number.
        """
        self._merge(name, Increase(amount))

    def union(self, name: str, members: Iterable[Any]) -> None:
        """Put members into a set (an absent one is empty), beside those that others put there.

        Raises:
            SessionValueError: the attribute is no set.
        """
        self._merge(name, joined(members))

    def append(self, name: str, item: Any, *, limit: int | None = None) -> None:
        """Put an item at the end of a list (an absent one is empty), beside those that others append.

        Args:
            name: of the attribute.
            item: what to append.
            limit: the newest items to keep; default all.

        Raises:
            SessionValueError: the attribute is no list.
        """
        check_limit(limit)
        self._merge(name, Extend((item,), limit))

    def compare_and_set(self, name: str, expected: Any, new: Any) -> None:
        """Replace a value if it is still the expected one; else nothing of this request is saved.

        Args:
            name: of the attribute.
            expected: what it must be, here and when it is saved; ``None`` also for an absent one.
            new: what it becomes.

        Raises:
            SessionConflict: it has another value already; if it gets one before the save, the save raises it:
                the answer is then 409.
        """
        self._merge(name, Swap(expected, new))

    def _merge(self, name: str, operation: Operation) -> None:
        try:
            self._turn.writable().merge(name, operation)
        except RecordError:
            self._note_undecodable()
            raise

    def _note_undecodable(self) -> None:
        self._count_undecodable(self._turn.stored.writer if self._turn.stored else "unknown")
