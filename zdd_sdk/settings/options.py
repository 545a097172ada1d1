"""The options as a flat list: what the loader fills, `zdd explain` prints and the reference documents."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from zdd_sdk.settings.model import Option, Part, Settings
from zdd_sdk.settings.units import format_duration, format_size, parse_duration, parse_size

__all__ = ["Leaf", "leaves"]


@dataclass(frozen=True, slots=True)
class Leaf:
    """One option of one part.

    Attributes:
        part: name of the part's table, empty for a top-level option.
        name: name of the option.
        type: its Python type, without the annotation.
        option: unit, documentation and flags.
        default: the value if nothing says otherwise.
    """

    part: str
    name: str
    type: Any
    option: Option
    default: Any

    @property
    def path(self) -> str:
        """How messages and files call it: ``sessions.idle_timeout``."""
        return f"{self.part}.{self.name}" if self.part else self.name

    @property
    def env(self) -> str:
        """The environment variable that sets it."""
        return self.option.env or "_".join(filter(None, ("ZDD", self.part, self.name))).upper()

    def parse(self, value: Any) -> Any:
        """Turn what a person wrote into the option's unit; types are checked by the struct."""
        if self.option.unit == "duration" and value is not None:
            return parse_duration(value)
        if self.option.unit == "size" and value is not None:
            return parse_size(value)
        if get_origin(self.type) is tuple and isinstance(value, str):
            return tuple(item.strip() for item in value.split(",") if item.strip())
        return value

    def check(self, value: Any) -> None:
        """Raise `ValueError` if a number is outside the option's bounds."""
        option = self.option
        if isinstance(value, bool) or not isinstance(value, int | float):
            return
        if option.least is not None and not value >= option.least:
            message = f"at least {self.show(option.least)}"
            raise ValueError(message)
        if option.most is not None and not value <= option.most:
            message = f"at most {self.show(option.most)}"
            raise ValueError(message)

    def show(self, value: Any) -> str:
        """Write a value as a person would; a secret only as set or unset."""
        if self.option.secret:
            return "(set)" if value else "(unset)"
        if value is None:
            return "(unset)"
        if self.option.unit == "duration":
            return format_duration(value)
        return format_size(value) if self.option.unit == "size" else str(value)


@functools.cache
def leaves() -> tuple[Leaf, ...]:
    """Every option, in the order they are declared."""
    found: list[Leaf] = []
    for name, hint in get_type_hints(Settings, include_extras=True).items():
        if isinstance(hint, type) and issubclass(hint, Part):
            found += [_leaf(name, inner, annotation, hint()) for inner, annotation in _hints(hint)]
        else:
            found.append(_leaf("", name, hint, Settings()))
    return tuple(found)


def _hints(part: type[Part]) -> list[tuple[str, Any]]:
    return list(get_type_hints(part, include_extras=True).items())


def _leaf(part: str, name: str, annotation: Any, defaults: Part) -> Leaf:
    if get_origin(annotation) is not Annotated:
        message = f"{part}.{name} has no Option"
        raise TypeError(message)
    kind, option = get_args(annotation)
    return Leaf(part, name, kind, option, getattr(defaults, name))
