"""gunicorn: workers and an arbiter that drain, and `main` like gunicorn's own command.

``zdd serve gunicorn shop.wsgi:app …`` takes gunicorn's own options and configuration. Who keeps starting
``gunicorn`` gets the same with one line in ``gunicorn.conf.py``::

    from zdd_sdk.lifecycle.servers.gunicorn import on_starting
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from gunicorn.app.wsgiapp import WSGIApplication

from zdd_sdk.lifecycle.servers.gunicorn.arbiter import adapt
from zdd_sdk.settings import load_settings

__all__ = ["main", "on_starting"]


def on_starting(server: Any) -> None:
    """Make gunicorn drain: its hook of this name. With ``ZDD_MODE=stock`` it stays as it is.

    Args:
        server: the arbiter.

    Raises:
        LifecycleError: a worker class that cannot drain.
    """
    if load_settings().values.mode != "stock":
        adapt(server)


class _Application(WSGIApplication):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's application, with our hook before the one its configuration names."""

    def load_config(self) -> None:
        super().load_config()
        theirs = self.cfg.on_starting

        def both(server: Any) -> None:
            # What SIGUSR2 runs anew: the whole command, of which gunicorn has seen its own part only.
            server.START_CTX["args"] = [sys.executable, *sys.orig_argv[1:]]
            on_starting(server)
            theirs(server)

        self.cfg.set("on_starting", both)


def main(arguments: Sequence[str]) -> None:
    """Run the ``gunicorn`` command line: its options, configuration file, defaults and environment variables."""
    # gunicorn reads them from here, at every SIGHUP again.
    sys.argv = ["gunicorn", *arguments]
    _Application("%(prog)s [OPTIONS] [APP_MODULE]", prog="zdd serve gunicorn").run()
