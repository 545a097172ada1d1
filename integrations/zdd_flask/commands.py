"""``flask zdd …``: the commands of ``zdd``, for this application's service."""

from __future__ import annotations

import importlib

import click

from zdd_sdk import ZeroDowntime
from zdd_sdk.cli import COMMANDS, main

__all__ = ["zdd_commands"]


def zdd_commands(zdd: ZeroDowntime) -> click.Group:
    """Return the group; each command hands its words to ``zdd``."""
    return _Mirror(zdd)


class _Mirror(click.Group):
    def __init__(self, zdd: ZeroDowntime) -> None:
        super().__init__("zdd", help="Deploy without downtime, from inside the service.")
        self._zdd = zdd

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click asks so
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click asks so
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"zdd_sdk.cli.{cmd_name}")
        # Our own parser reads the words, --help among them.
        plain = {"ignore_unknown_options": True, "allow_interspersed_args": False, "help_option_names": []}
        words = click.Argument(["words"], nargs=-1, type=click.UNPROCESSED)

        @click.pass_context
        def run(context: click.Context, words: tuple[str, ...]) -> None:
            context.exit(main([cmd_name, *words], service=self._zdd))

        return click.Command(cmd_name, context_settings=plain, params=[words], help=module.HELP, callback=run)
