"""daphne: health, the drain flag and ``Connection: close`` for what it serves; SIGTERM on it drops requests."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Sequence
from typing import Any

from zdd_sdk.lifecycle.asgi import OuterHalf
from zdd_sdk.lifecycle.servers.own import adopt_lifecycle
from zdd_sdk.lifecycle.servers.signals import what_is_missing
from zdd_sdk.lifecycle.serving import begin_serving
from zdd_sdk.settings import load_settings

__all__ = ["ZddDaphne", "main"]

_log = logging.getLogger("zdd.lifecycle")
_cli: Any = importlib.import_module("daphne.cli")
_server: Any = importlib.import_module("daphne.server")


class ZddDaphne(_server.Server):  # type: ignore[misc]  # daphne has no types
    """A daphne server with health and the drain flag; takes what daphne's ``Server`` takes."""

    def __init__(self, application: Any, *rest: Any, **options: Any) -> None:
        self._outer = OuterHalf(application, adopt_lifecycle("daphne"), follow=True)
        super().__init__(self._outer, *rest, **options)
        begin_serving()

    def run(self) -> None:
        """Serve until a signal ends it."""
        _server.reactor.callLater(0, self._ready)  # not callWhenRunning, which is before its event loop runs
        super().run()

    def _ready(self) -> None:
        # daphne knows no lifespan, which would have started the lifecycle.
        self._outer.start()
        self._outer.lifecycle.mark_ready()
        _log.warning(what_is_missing("daphne", chained=False))


def main(arguments: Sequence[str]) -> None:
    """Run the ``daphne`` command line with our server: its options, defaults and help."""
    command: Any = _cli.CommandLineInterface()
    if load_settings().values.mode != "stock":
        command.server_class = ZddDaphne
    command.run(list(arguments))
