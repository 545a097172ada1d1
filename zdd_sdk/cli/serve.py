"""``zdd serve uvicorn app:app …``: run a server with its adapter."""

from __future__ import annotations

import argparse
import importlib

from zdd_sdk.errors import LifecycleError

__all__ = ["HELP", "SERVERS", "arguments", "run"]

HELP = "Run an application server so that stopping it loses nothing; all options are the server's own."

SERVERS = ("uvicorn", "gunicorn", "hypercorn", "granian", "waitress", "daphne")
"""Each is a module of `zdd_sdk.lifecycle.servers` with ``main(arguments)``."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the server's name; everything after it is passed on."""
    parser.add_argument("server", choices=SERVERS, help="which server")
    parser.add_argument("rest", nargs=argparse.REMAINDER, metavar="...", help="as for the server's own command")


def run(options: argparse.Namespace) -> int:
    """Serve until told to stop; return 0 after a drain."""
    server = str(options.server)
    try:
        adapter = importlib.import_module(f"zdd_sdk.lifecycle.servers.{server}")
    except ModuleNotFoundError as error:
        if error.name != server:
            raise
        message = f"{server} is not installed: pip install {server}"
        raise LifecycleError(message) from error
    adapter.main(options.rest)
    return 0
