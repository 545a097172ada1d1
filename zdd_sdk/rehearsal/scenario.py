"""A scenario: a Python file whose ``async def`` functions are virtual users."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from zdd_sdk.errors import RehearsalError
from zdd_sdk.rehearsal.user import User

__all__ = ["Behaviour", "Scenario", "load_scenario", "weight"]

Behaviour = Callable[[User], Awaitable[None]]
F = TypeVar("F", bound=Callable[..., Any])

_HOOKS = ("prepare", "setup", "audit")


@dataclass(frozen=True, slots=True)
class Scenario:
    """What virtual users do, and what surrounds them.

    Attributes:
        behaviours: one round of each kind of user, with its weight; a user stays of one kind.
        prepare: ``(directory) -> environment``: runs before any server starts, for a database say;
            what it returns is added to the environment of every instance.
        setup: ``await setup(target)`` before the traffic, against a ready instance.
        audit: ``await audit(target) -> counts`` after the traffic, against a live instance.
    """

    behaviours: tuple[tuple[Behaviour, float], ...]
    prepare: Callable[[Path], dict[str, str]] | None = None
    setup: Callable[[Any], Awaitable[None]] | None = None
    audit: Callable[[Any], Awaitable[dict[str, int]]] | None = None

    def behaviour(self, number: int, users: int) -> Behaviour:
        """The behaviour of one of so many users: shares follow the weights as exactly as whole users allow."""
        total = sum(share for _, share in self.behaviours)
        place, reached = (number + 0.5) / users * total, 0.0
        for behaviour, share in self.behaviours:
            reached += share
            if place < reached:
                return behaviour
        return self.behaviours[-1][0]


def weight(share: float) -> Callable[[F], F]:
    """Mark a behaviour: how many users take it, relative to the others (default 1)."""

    def mark(function: F) -> F:
        function.zdd_weight = share  # type: ignore[attr-defined]
        return function

    return mark


def load_scenario(path: str | Path) -> Scenario:
    """Import a scenario file.

    Virtual users are its top-level ``async def`` functions with one parameter, in the order they
    are written, except those that begin with an underscore and `setup` and `audit`.

    Raises:
        RehearsalError: the file is missing, cannot be imported, or has no virtual user.
    """
    module = _import(Path(path).resolve())
    behaviours = tuple(
        (function, float(getattr(function, "zdd_weight", 1.0)))
        for name, function in vars(module).items()
        if _is_behaviour(name, function, module)
    )
    if not behaviours:
        message = f"{path} has no virtual user: write at least one `async def someone(user):`"
        raise RehearsalError(message)
    return Scenario(behaviours, *(getattr(module, name, None) for name in _HOOKS))


def _is_behaviour(name: str, function: Any, module: ModuleType) -> bool:
    return (
        inspect.iscoroutinefunction(function)
        and function.__module__ == module.__name__
        and name not in _HOOKS
        and not name.startswith("_")
        and len(inspect.signature(function).parameters) == 1
    )


def _import(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"zdd_scenario_{path.stem}", path)
    if spec is None or spec.loader is None or not path.is_file():
        message = f"the scenario {path} is not a Python file"
        raise RehearsalError(message)
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        message = f"the scenario {path} cannot be imported: {type(error).__name__}: {error}"
        raise RehearsalError(message) from error
    finally:
        sys.path.remove(str(path.parent))
    return module
