"""The arguments of one call of a decorated function, by the names of its parameters."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["Arguments"]

_RECEIVERS = ("self", "cls")


class Arguments:
    """Binds calls of one function.

    Args:
        function: whose; a method is known by its first parameter, ``self`` or ``cls``.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._signature = inspect.signature(function)
        first = next(iter(self._signature.parameters), "")
        self._receiver = first if first in _RECEIVERS else ""

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return every argument by name, with the defaults.

        Raises:
            TypeError: the function cannot be called so.
        """
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return bound.arguments

    def given(self, bound: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what a caller has asked for: without the object of a method, and without what equals its default.

        So it does not matter whether a default is written out, and a parameter that a later release adds, with a
        default, makes no other call of one that an earlier release has seen.
        """
        return {name: bound[name] for name in bound if name != self._receiver and not self._default(name, bound[name])}

    def _default(self, name: str, value: Any) -> bool:
        parameter = self._signature.parameters[name]
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            return not value
        default = parameter.default
        return value is default or (type(value) is type(default) and bool(value == default))
