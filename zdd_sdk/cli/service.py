"""The service a command looks at, and how quietly it does so."""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from zdd_sdk.app import ZeroDowntime
from zdd_sdk.errors import SettingsError
from zdd_sdk.settings import Loaded, load_settings

__all__ = ["add_service", "find_service", "quiet", "read_settings", "within"]

_around: ContextVar[ZeroDowntime | None] = ContextVar("zdd_command_of", default=None)


def add_service(parser: argparse.ArgumentParser) -> None:
    """Add the argument that names the `ZeroDowntime` of an application."""
    parser.add_argument(
        "service",
        nargs="?",
        metavar="MODULE:NAME",
        help="the ZeroDowntime your code builds, such as shop:zdd; without it, options given in code are not seen",
    )
    parser.set_defaults(service_last=True)


def find_service(place: str | None) -> ZeroDowntime:
    """Import what ``module:name`` says, from the working directory too.

    ``None``: the service whose command this is, else environment and file alone.

    Raises:
        SettingsError: there is no such module or name, or it is no `ZeroDowntime`.
    """
    if place is None:
        return _around.get() or ZeroDowntime()
    module, _, name = place.partition(":")
    if not module or not name:
        message = f"{place!r} is not MODULE:NAME, such as shop:zdd"
        raise SettingsError(message)
    found = _import(module, name)
    if not isinstance(found, ZeroDowntime):
        message = f"{place} is a {type(found).__name__}, not a ZeroDowntime"
        raise SettingsError(message)
    return found


def read_settings(given: Mapping[str, Any] | None = None) -> Loaded:
    """Load the settings of this command: what it was given, the service whose command it is, environment and file."""
    around = _around.get()
    return load_settings({**(around.arguments if around is not None else {}), **(given or {})})


@contextmanager
def within(service: ZeroDowntime) -> Iterator[None]:
    """Make a command one of this service's."""
    token = _around.set(service)
    try:
        yield
    finally:
        _around.reset(token)


def _import(module: str, name: str) -> Any:
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        message = f"{module}:{name} cannot be imported: {error}"
        raise SettingsError(message) from error
    return found


@contextmanager
def quiet() -> Iterator[None]:
    """Keep warnings of our own loggers off the terminal: the command says in its answer what they would say."""
    logger = logging.getLogger("zdd")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
