"""``manage.py zdd …``: every ``zdd`` command, with this project's settings."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from zdd_django.service import get_zdd
from zdd_sdk.cli import COMMANDS, main
from zdd_sdk.errors import ZddError

__all__ = ["Command"]


class Command(BaseCommand):
    """Runs ``zdd``; where a command takes a service, it is this project's."""

    help = f"Run a zdd command with this project's settings: {', '.join(COMMANDS)}."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Take every word that follows."""
        parser.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND ...", help="as for zdd itself")

    def handle(self, *_: Any, words: Sequence[str], **__: Any) -> None:
        """Run the command; a status other than 0 ends the process with it."""
        if words[:1] == ["serve"]:
            self.check()
        try:
            service = get_zdd()
        except ZddError as error:
            raise CommandError(str(error), returncode=2) from error
        if status := main(words, service=service):
            sys.exit(status)
