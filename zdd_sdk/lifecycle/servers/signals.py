"""Drain under a server that knows nothing of us: stand in front of its SIGTERM handler."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from zdd_sdk.lifecycle.core import Lifecycle

__all__ = ["at_terminal", "chain_sigterm", "running_server", "what_is_missing"]

_log = logging.getLogger("zdd.lifecycle")
_Handler = Callable[[int, FrameType | None], Any] | int | signal.Handlers | None

_ADAPTED = frozenset({"uvicorn", "gunicorn", "hypercorn", "granian"})
_DROPPING = frozenset({"waitress", "daphne", "uwsgi"})
_DEAF = frozenset({"hypercorn", "granian", "waitress", "uwsgi"})
"""Standing before their SIGTERM handler is in vain: it is in the event loop or in C, or there is none."""


def running_server() -> str | None:
    """Name the application server this process was started by, as far as its command tells."""
    with contextlib.suppress(ImportError):
        importlib.import_module("uwsgi")  # importable within uWSGI alone
        return "uwsgi"
    command = Path(sys.argv[0] if sys.argv else "")
    name = command.parent.name if command.name == "__main__.py" else command.name.removesuffix(".exe")
    name = name.removesuffix("-serve")  # waitress-serve
    return name if name in _ADAPTED | _DROPPING else None


def what_is_missing(server: str | None, *, chained: bool) -> str:
    """Say what a server does on SIGTERM where no adapter drives it, and what to do.

    Args:
        server: its name; ``None`` if it is not known.
        chained: whether we stand before its handler.
    """
    if server in _DROPPING:
        text = (
            f"SIGTERM on {server} drops requests, and nothing inside the process changes that: run `zdd drain --wait` "
            "first (in a preStop hook, or in the script that stops it); then nothing is lost, once its router has moved"
        )
        threads = "; it needs --enable-threads to notice a drain, and --die-on-term to end at SIGTERM"
        return text + threads if server == "uwsgi" else text
    server = server or "uvicorn"
    if not chained:
        return (
            f"{server} was not started by zdd-sdk: on SIGTERM it stops at once, and kept-alive connections, those "
            f"queued or those that come late are cut; `zdd serve {server} …` instead of `{server} …` drains first"
        )
    status = "" if server == "gunicorn" else ", and its exit status is not 0"  # gunicorn's parent hears of no signal
    return (
        "the server was not started by zdd-sdk: on SIGTERM it serves on for drain_lag with `Connection: close`, but "
        "its listener is closed without accepting what is queued (with several workers: late connections are "
        f"reset){status}; `zdd serve {server} …` instead of `{server} …` mends that"
    )


def at_terminal() -> bool:
    """Whether a person sits at this process: then SIGTERM means now."""
    with contextlib.suppress(AttributeError, ValueError, OSError):
        return sys.stdin is not None and sys.stdin.isatty()
    return False


def chain_sigterm(lifecycle: Lifecycle) -> bool:
    """Drain on SIGTERM, then let the server's own handler do what it would have done, and say what is missing.

    For the start, where no adapter is at work.

    The first SIGTERM begins the drain and the server serves on for what is left of ``drain_lag``; then,
    or at a second signal, or at once at a terminal, the server's handler gets the signal.

    Args:
        lifecycle: whose drain begins.

    Returns:
        whether it is installed: not where an adapter drives the drain, outside the main thread, where
        SIGTERM is ignored, where we already stand, or where the server would not notice.
    """
    if lifecycle.adapter is not None:
        return False
    server = running_server()
    chained = server not in _DEAF and _chain(lifecycle)
    if chained or server is not None:
        _log.warning(what_is_missing(server, chained=chained))
    return chained


def _chain(lifecycle: Lifecycle) -> bool:
    if threading.current_thread() is not threading.main_thread():
        return False
    server_handler = signal.getsignal(signal.SIGTERM)
    if server_handler in (signal.SIG_IGN, None) or isinstance(getattr(server_handler, "__self__", None), _Chained):
        return False
    signal.signal(signal.SIGTERM, _Chained(lifecycle, server_handler).handle)
    return True


class _Chained:
    """Our handler and the one behind it."""

    def __init__(self, lifecycle: Lifecycle, behind: _Handler) -> None:
        self._lifecycle = lifecycle
        self._behind = behind
        self._waiting = False
        self._timer: threading.Timer | None = None

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Wait out the lag once; everything after that passes through."""
        if self._waiting or at_terminal():
            self._pass_on(number, frame)
            return
        self._waiting = True
        try:
            if self._lifecycle.begin_drain(""):
                _log.warning("draining (SIGTERM): serving on for %.1f s", self._lifecycle.lag_left())
            self._signal_again_in(self._lifecycle.lag_left())
        except Exception:  # noqa: BLE001
            # Whatever goes wrong in here, a process that was told to end must end.
            self._pass_on(number, frame)

    def _signal_again_in(self, seconds: float) -> None:
        self._timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGTERM))
        self._timer.daemon = True
        self._timer.start()

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        # Put it back first: what the server's handler does with the handler it finds is its business.
        signal.signal(signal.SIGTERM, self._behind)
        if callable(self._behind):
            self._behind(number, frame)
        else:
            os.kill(os.getpid(), number)
