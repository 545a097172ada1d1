"""The service a command looks at, and how quietly it does so."""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from zdd_sdk.app import ZeroDowntime
from zdd_sdk.errors import SettingsError

__all__ = ["add_service", "find_service", "quiet"]


def add_service(parser: argparse.ArgumentParser) -> None:
    """Add the argument that names the `ZeroDowntime` of an application."""
    parser.add_argument(
        "service",
        nargs="?",
        metavar="MODULE:NAME",
        help="the ZeroDowntime your code builds, such as shop:zdd; without it, options given in code are not seen",
    )


def find_service(place: str | None) -> ZeroDowntime:
    """Import what ``module:name`` says, from the working directory too; ``None``: environment and file alone.

    Raises:
        SettingsError: there is no such module or name, or it is no `ZeroDowntime`.
    """
    if place is None:
        return ZeroDowntime()
    module, _, name = place.partition(":")
    if not module or not name:
        message = f"{place!r} is not MODULE:NAME, such as shop:zdd"
        raise SettingsError(message)
    found = _import(module, name)
    if not isinstance(found, ZeroDowntime):
        message = f"{place} is a {type(found).__name__}, not a ZeroDowntime"
        raise SettingsError(message)
    return found


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
