"""Drain under a server that knows nothing of us: stand in front of its SIGTERM handler."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from zdd_sdk.lifecycle.core import Lifecycle

__all__ = ["at_terminal", "chain_sigterm"]

_log = logging.getLogger("zdd.lifecycle")
_Handler = Callable[[int, FrameType | None], Any] | int | signal.Handlers | None

MISSING = (
    "the server was not started by zdd-sdk: on SIGTERM it serves on for drain_lag with `Connection: close`, but its "
    "listener is closed without accepting what is queued (with several workers: late connections are reset), and its "
    "exit status is not 0; `zdd serve uvicorn …` instead of `uvicorn …` mends both"
)


def at_terminal() -> bool:
    """Whether a person sits at this process: then SIGTERM means now."""
    with contextlib.suppress(AttributeError, ValueError, OSError):
        return sys.stdin is not None and sys.stdin.isatty()
    return False


def chain_sigterm(lifecycle: Lifecycle) -> bool:
    """Drain on SIGTERM, then let the server's own handler do what it would have done; for the lifespan's start.

    The first SIGTERM begins the drain and the server serves on for what is left of ``drain_lag``; then,
    or at a second signal, or at once at a terminal, the server's handler gets the signal.

    Args:
        lifecycle: whose drain begins.

    Returns:
        whether it is installed: not where an adapter drives the drain, outside the main thread, where
        SIGTERM is ignored, or where we already stand.
    """
    if lifecycle.adapter is not None or threading.current_thread() is not threading.main_thread():
        return False
    server_handler = signal.getsignal(signal.SIGTERM)
    if server_handler in (signal.SIG_IGN, None) or isinstance(getattr(server_handler, "__self__", None), _Chained):
        return False
    signal.signal(signal.SIGTERM, _Chained(lifecycle, server_handler).handle)
    _log.warning(MISSING)
    return True


class _Chained:
    """Our handler and the one behind it."""

    def __init__(self, lifecycle: Lifecycle, behind: _Handler) -> None:
        self._lifecycle = lifecycle
        self._behind = behind
        self._waiting = False

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
        timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGTERM))
        timer.daemon = True
        timer.start()

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        # Put it back first: what the server's handler does with the handler it finds is its business.
        signal.signal(signal.SIGTERM, self._behind)
        if callable(self._behind):
            self._behind(number, frame)
        else:
            os.kill(os.getpid(), number)
