"""Paths such as ``order.lines.0.amount`` into a call's bound arguments, or into a decoded body."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["follow"]


def follow(value: Any, path: Sequence[str]) -> Any:
    """Return what lies at a path: keys of mappings, positions in sequences, else attributes.

    Raises:
        LookupError: nothing is there.
    """
    for name in path:
        value = _step(value, name)
    return value


def _step(value: Any, name: str) -> Any:
    if isinstance(value, Mapping):
        return value[name]
    if isinstance(value, Sequence):
        if not name.isdecimal():
            raise LookupError(name)
        return value[int(name)]
    try:
        return getattr(value, name)
    except AttributeError:
        raise LookupError(name) from None
