"""waitress: health, the drain flag and ``Connection: close`` for what it serves; SIGTERM on it drops requests."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import Any

import waitress.runner
from waitress.channel import HTTPChannel
from waitress.task import WSGITask

from zdd_sdk.lifecycle.core import active
from zdd_sdk.lifecycle.servers.own import adopt_lifecycle
from zdd_sdk.lifecycle.servers.signals import what_is_missing
from zdd_sdk.lifecycle.serving import begin_serving
from zdd_sdk.lifecycle.wsgi import OuterHalf
from zdd_sdk.settings import load_settings

__all__ = ["main", "serve"]

_log = logging.getLogger("zdd.lifecycle")


_Task: Any = WSGITask


class _ClosingTask(_Task):  # type: ignore[misc]  # the types of waitress are not its own
    """Answers with ``Connection: close`` while draining, which waitress forbids applications to say."""

    def build_response_header(self) -> bytes:
        lifecycle = active()
        if lifecycle is not None and lifecycle.draining:
            self.request.headers["CONNECTION"] = "close"
        header: bytes = super().build_response_header()
        return header


def serve(app: Any, **options: Any) -> None:
    """Serve like ``waitress.serve``, with health and the drain flag.

    Args:
        app: the WSGI application.
        options: those of ``waitress.serve``.
    """
    outer = OuterHalf(app, adopt_lifecycle("waitress"), follow=True)
    begin_serving()
    outer.start()
    outer.lifecycle.mark_ready()
    _log.warning(what_is_missing("waitress", chained=False))
    channel: Any = HTTPChannel
    channel.task_class = _ClosingTask
    run: Any = waitress.serve
    run(outer, **options)


def main(arguments: Sequence[str]) -> None:
    """Run the ``waitress-serve`` command line with our `serve`: its options, defaults and help."""
    stock = load_settings().values.mode == "stock"
    run: Any = waitress.runner.run
    sys.exit(run(["zdd serve waitress", *arguments], waitress.serve if stock else serve))
