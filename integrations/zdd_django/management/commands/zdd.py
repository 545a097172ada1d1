"""``manage.py zdd …``: every ``zdd`` command, with this project's settings."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from zdd_django.service import get_zdd
from zdd_sdk.cli import main

__all__ = ["Command"]


class Command(BaseCommand):
    """Runs ``zdd``; where a command takes a service, it is this project's."""

    help = "Run a zdd command with this project's settings: serve, drain, fleet, release, rehearse, explain, doctor."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Take every word that follows."""
        parser.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND ...", help="as for zdd itself")

    def handle(self, *_: Any, words: Sequence[str], **__: Any) -> None:
        """Run the command; a status other than 0 ends the process with it."""
        if words[:1] == ["serve"]:
            self.check()
        if status := main(words, service=get_zdd()):
            sys.exit(status)
