"""``manage.py zdd …``: every ``zdd`` command, with this project's settings, and ``guard purge``, which needs them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections

from zdd_django.brackets import load_views
from zdd_django.guard import purge
from zdd_django.models import TABLE
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
        if words[:2] == ["guard", "purge"] and "--url" not in words:
            self._purge(words[2:])
            return
        if words[:1] == ["serve"]:
            self.check()
        try:
            service = get_zdd()
            if words[:1] == ["doctor"]:
                load_views()
        except ZddError as error:
            raise CommandError(str(error), returncode=2) from error
        if status := main(words, service=service):
            sys.exit(status)

    def _purge(self, aliases: Sequence[str]) -> None:
        """Delete expired guard rows: of the databases named, else of every one that has the table."""
        for alias in aliases or [one for one in connections if TABLE in connections[one].introspection.table_names()]:
            if alias not in connections:
                message = f"{alias!r} is none of DATABASES ({', '.join(connections)})"
                raise CommandError(message, returncode=2)
            self.stdout.write(f"{alias}: {purge(alias)} expired guard rows deleted")
