"""uvicorn: a `Server` and a supervisor that drain, and `run` and `main` like uvicorn's own."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

import uvicorn
from uvicorn.config import Config
from uvicorn.supervisors import multiprocess

from zdd_sdk.lifecycle.servers.own import own_lifecycle
from zdd_sdk.lifecycle.servers.uvicorn_parent import Process, ZddSupervisor
from zdd_sdk.lifecycle.servers.uvicorn_server import STARTUP_FAILURE, ZddServer
from zdd_sdk.settings import load_settings

__all__ = ["ZddServer", "ZddSupervisor", "main", "run"]


def _supervise(config: Config) -> None:
    os.environ.setdefault("ZDD_INSTANCE", own_lifecycle().instance)
    listener = config.bind_socket()
    # uvicorn's supervisor has no seam for the class of its workers; this process runs nothing else.
    multiprocess.Process = Process  # type: ignore[assignment,misc]
    supervisor = ZddSupervisor(config, sockets=[listener])
    supervisor.run()
    if supervisor.failed:
        sys.exit(STARTUP_FAILURE)


def run(app: Any, **options: Any) -> None:
    """Run like ``uvicorn.run``, with the drain.

    Args:
        app: the ASGI application or ``"module:name"``.
        options: those of ``uvicorn.run``. With ``reload=True``, or with ``ZDD_MODE=stock``, this *is* ``uvicorn.run``.
    """
    if options.get("reload") or load_settings().values.mode == "stock":
        uvicorn.run(app, **options)
        return
    if (directory := options.pop("app_dir", None)) is not None:
        sys.path.insert(0, directory)
    config = Config(app, **options)
    if config.workers > 1 and not isinstance(app, str):
        sys.exit("several workers need the application as an import string, such as 'shop.app:app'")
    if config.workers > 1:
        _supervise(config)
        return
    server = ZddServer(config)
    with contextlib.suppress(KeyboardInterrupt):
        server.run()
    if not server.started:
        sys.exit(STARTUP_FAILURE)


def main(arguments: Sequence[str]) -> None:
    """Run the ``uvicorn`` command line with our `run`: its options, defaults, help and environment variables."""
    module: Any = importlib.import_module("uvicorn.main")
    # Its command ends in a call of its module's `run`, with exactly the arguments `run` takes.
    module.run = run
    module.main.main(args=list(arguments), prog_name="zdd serve uvicorn")
