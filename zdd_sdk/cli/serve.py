"""``zdd serve uvicorn app:app …``: run a server with its adapter."""

from __future__ import annotations

import argparse

from zdd_sdk.errors import LifecycleError

__all__ = ["HELP", "arguments", "run"]

HELP = "Run an application server so that stopping it loses nothing; all options are the server's own."


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the server's name; everything after it is passed on."""
    parser.add_argument("server", choices=["uvicorn"], help="which server")
    parser.add_argument("rest", nargs=argparse.REMAINDER, metavar="...", help="as for the server's own command")


def run(options: argparse.Namespace) -> int:
    """Serve until told to stop; return 0 after a drain."""
    try:
        from zdd_sdk.lifecycle.servers.uvicorn import main
    except ModuleNotFoundError as error:
        if error.name != "uvicorn":
            raise
        message = "uvicorn is not installed: pip install uvicorn"
        raise LifecycleError(message) from error
    main(options.rest)
    return 0
