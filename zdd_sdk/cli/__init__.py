"""The ``zdd`` command. One module per command: ``HELP``, ``arguments(parser)`` and ``run(options) -> int``."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from zdd_sdk.errors import ZddError

if TYPE_CHECKING:
    from zdd_sdk.app import ZeroDowntime

__all__ = ["main"]

COMMANDS = ("serve", "drain", "fleet", "release", "rehearse", "keys", "guard", "cost", "explain", "doctor", "uninstall")
"""In the order ``zdd --help`` lists them; each is a module of this package."""


def main(argv: Sequence[str] | None = None, *, service: ZeroDowntime | None = None) -> int:
    """Run one ``zdd`` command and return its exit status: 0 done, 1 a check failed, 2 bad input.

    Args:
        argv: the words after ``zdd``; default those of this process.
        service: whose command it is, for frameworks that have commands of their own (``flask zdd …``): what its code
            says counts, too.
    """
    words = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    options = _parse(words)
    try:
        with _within(service):
            return int(options.run(options))
    except ZddError as error:
        print(f"zdd: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _within(service: ZeroDowntime | None) -> AbstractContextManager[None]:
    if service is None:
        return nullcontext()
    from zdd_sdk.cli.service import within

    return within(service)


def _parse(words: list[str]) -> argparse.Namespace:
    """Take the service's name where it stands behind options, too, which argparse by itself does not."""
    parser = _parser(words[0])
    options, rest = parser.parse_known_args(words)
    if (
        len(rest) == 1
        and not rest[0].startswith("-")
        and getattr(options, "service_last", False)
        and not options.service
    ):
        options.service = rest.pop()
    if rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return options


def _version() -> str:
    from importlib.metadata import version

    return f"zdd-sdk {version('zdd-sdk')}"


def _parser(wanted: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="zdd", description="Deploy without downtime, from inside the service.")
    parser.add_argument("--version", action="version", version=_version() if wanted == "--version" else "")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name in COMMANDS if wanted not in COMMANDS else (wanted,):
        module = importlib.import_module(f"zdd_sdk.cli.{name}")
        command = commands.add_parser(name, help=module.HELP, description=module.HELP)
        module.arguments(command)
        command.set_defaults(run=module.run)
    return parser
