"""What a change of one field means where another request has changed the field, too. Pure.

A *rule* is declared for a field of a typed model (`Add`, `Union`, `Append`, `CompareAndSet`; without one the
last write wins). An *operation* is one change under a rule: it can be applied again, to what the other
request has left. A save carries, for each field that operations have changed, the bytes they were applied to; where
Redis has other bytes by now it writes nothing and returns those. (Bytes and not their hash: most are a few, the
comparison is exact, and not every engine's Lua can hash.)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Any, ClassVar, Protocol

from zdd_sdk.errors import SessionConflict, SessionValueError

__all__ = [
    "ABSENT",
    "MAX_ROUNDS",
    "Absent",
    "Add",
    "Append",
    "CompareAndSet",
    "Extend",
    "Increase",
    "Join",
    "Operation",
    "Rule",
    "Swap",
    "Union",
    "check_limit",
    "joined",
]

MAX_ROUNDS = 64
"""How often a save is asked again because another request was faster; each time one of them has got ahead."""


class Absent(Enum):
    """The type of `ABSENT`."""

    ABSENT = "absent"


ABSENT = Absent.ABSENT
"""Stands for the value of a field that is not there."""


class Operation(Protocol):
    """One change of one field.

    Attributes:
        checks: it is worth a trip even where it changes nothing.
    """

    checks: ClassVar[bool]

    def apply(self, current: Any) -> Any:
        """Return the new value, a new object; ``current`` may be `ABSENT`.

        Raises:
            SessionValueError: ``current`` is of a type it cannot be applied to.
            SessionConflict: ``current`` is not what it was.
        """
        ...


@dataclass(frozen=True, slots=True)
class Increase:
    """Add an amount to a number; an absent one is 0."""

    amount: Any
    checks: ClassVar[bool] = False

    def apply(self, current: Any) -> Any:
        """Return the sum."""
        try:
            if current is ABSENT:
                return _number(self.amount)
            return _number(current) + _number(self.amount)
        except TypeError:
            message = f"{type(self.amount).__name__} cannot be added to {type(current).__name__}"
            raise SessionValueError(message) from None


@dataclass(frozen=True, slots=True)
class Join:
    """Put members into a set, after taking some out; an absent one is empty."""

    members: frozenset[Any]
    without: frozenset[Any] = frozenset()
    checks: ClassVar[bool] = False

    def apply(self, current: Any) -> Any:
        """Return the set."""
        kept = _typed(set() if current is ABSENT else current, (set, frozenset), "union")
        return kept - self.without | self.members


@dataclass(frozen=True, slots=True)
class Extend:
    """Put items at the end of a list and drop the oldest beyond a limit; an absent one is empty."""

    items: tuple[Any, ...]
    limit: int | None = None
    checks: ClassVar[bool] = False

    def apply(self, current: Any) -> Any:
        """Return the list."""
        items = [*_typed([] if current is ABSENT else current, (list,), "append"), *self.items]
        return items if self.limit is None else items[max(0, len(items) - self.limit) :]


@dataclass(frozen=True, slots=True)
class Swap:
    """Replace one value by another, if it is still there; an absent one counts as ``None``."""

    expected: Any
    new: Any
    checks: ClassVar[bool] = True

    def apply(self, current: Any) -> Any:
        """Return the new value."""
        if (None if current is ABSENT else current) != self.expected:
            message = "it has another value than expected"
            raise SessionConflict(message)
        return self.new


class Rule(Protocol):
    """How the changes of one field are merged."""

    def derive(self, before: Any, now: Any) -> Operation | None:
        """Return the operation that made ``now`` of ``before``; ``None`` for a plain write, where the last one wins."""
        ...


@dataclass(frozen=True, slots=True)
class Add:
    """A number that many add to: what counts is the difference."""

    def derive(self, before: Any, now: Any) -> Operation | None:
        """Return the difference."""
        try:
            return Increase(_number(now) if before is ABSENT else _number(now) - _number(before))
        except (TypeError, SessionValueError):
            return None


@dataclass(frozen=True, slots=True)
class Union:
    """A set that many add to and discard from."""

    def derive(self, before: Any, now: Any) -> Operation | None:
        """Return the members that came and went."""
        old = frozenset() if before is ABSENT else before
        if not isinstance(old, set | frozenset) or not isinstance(now, set | frozenset):
            return None
        return Join(frozenset(now - old), frozenset(old - now))


@dataclass(frozen=True, slots=True)
class Append:
    """A list that many append to. Any other change of it is a plain write.

    Attributes:
        limit: the newest items that are kept; default all.
    """

    limit: int | None = None

    def __post_init__(self) -> None:
        check_limit(self.limit)

    def derive(self, before: Any, now: Any) -> Operation | None:
        """Return the items that came."""
        old = [] if before is ABSENT else before
        if not isinstance(old, list) or not isinstance(now, list) or now[: len(old)] != old:
            return None
        return Extend(tuple(now[len(old) :]), self.limit)


@dataclass(frozen=True, slots=True)
class CompareAndSet:
    """A value that is replaced only if nobody else has replaced it since it was read."""

    def derive(self, before: Any, now: Any) -> Operation | None:
        """Return the exchange."""
        return Swap(None if before is ABSENT else before, now)


def joined(members: Iterable[Any]) -> Join:
    """Return the operation that puts members into a set.

    Raises:
        SessionValueError: one of them cannot be in a set.
    """
    try:
        return Join(frozenset(members))
    except TypeError as error:
        message = f"a set cannot hold it: {error}"
        raise SessionValueError(message) from None


def check_limit(limit: int | None) -> None:
    """Raise `SessionValueError` unless a list can be kept at this length."""
    if limit is not None and limit < 1:
        message = f"a list cannot be limited to {limit} items"
        raise SessionValueError(message)


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        message = f"a value of type {type(value).__name__} is not a number that can be added to"
        raise SessionValueError(message)
    return value


def _typed(value: Any, types: tuple[type, ...], what: str) -> Any:
    if not isinstance(value, types):
        message = f"{what} needs a {types[0].__name__}, and it is a {type(value).__name__}"
        raise SessionValueError(message)
    return value
