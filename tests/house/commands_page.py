"""docs/commands.md, written from the argument parser itself: ``make reference``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from zdd_sdk import cli

PAGE = Path("docs/commands.md")
_INTRODUCTION = """\
# Commands

Every command and option of `zdd`, from the argument parser itself (`make reference` writes this page; a test keeps it
current). Exit status: 0 done, 1 a check failed, 2 bad input, 130 interrupted.
"""


def page() -> str:
    """Return the whole page."""
    return "\n".join([_INTRODUCTION, *(_section(parser) for parser in commands())])


def commands(parser: argparse.ArgumentParser | None = None) -> Iterator[argparse.ArgumentParser]:
    """Yield the parser of each command and subcommand, in the order ``zdd --help`` lists them."""
    for action in (parser or cli._parser(""))._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: choice.help for choice in action._choices_actions}
            for name, command in action.choices.items():
                command.description = command.description or helps[name]
                yield command
                yield from commands(command)


def words(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """Return the options and arguments of one command, without ``--help`` and subcommands."""
    hidden = (argparse._HelpAction, argparse._SubParsersAction)
    return [action for action in parser._actions if not isinstance(action, hidden) and action.help != argparse.SUPPRESS]


def _section(parser: argparse.ArgumentParser) -> str:
    rows = [_row(action) for action in words(parser)]
    head = ["| option | default | what it does |", "| --- | --- | --- |"]
    said = parser.description or ""
    return "\n".join([f"## {parser.prog}", "", said[:1].upper() + said[1:], "", *([*head, *rows, ""] if rows else [])])


def _row(action: argparse.Action) -> str:
    cells = (f"`{_spelling(action)}`", _default(action), (action.help or "") % {"default": action.default})
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _spelling(action: argparse.Action) -> str:
    metavar = action.metavar if isinstance(action.metavar, str) else None
    choices = "{" + ",".join(map(str, action.choices)) + "}" if action.choices else None
    value = "" if action.nargs == 0 else metavar or choices or action.dest.upper()
    if not action.option_strings:
        return value if action.nargs in (None, 1) else f"{value} …"
    return f"{', '.join(action.option_strings)} {value}".strip()


def _default(action: argparse.Action) -> str:
    if action.nargs == 0 or action.default in (None, argparse.SUPPRESS, [], (), "", False):
        return "required" if action.required and action.option_strings else ""
    return f"`{action.default}`"
