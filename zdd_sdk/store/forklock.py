"""A lock that a forked child finds free, whoever held it in the parent."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

__all__ = ["ForkLock"]


class ForkLock:
    """A re-entrant lock; a context manager.

    Args:
        on_fork: called, with the lock held, when a forked child takes it for the first time: whatever threads
            of the parent had under way does not exist here.
    """

    def __init__(self, on_fork: Callable[[], object] | None = None) -> None:
        self._on_fork = on_fork
        self._pid = os.getpid()
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        if self._pid != os.getpid():
            self._pid, self._lock = os.getpid(), threading.RLock()
            with self._lock:
                if self._on_fork:
                    self._on_fork()
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()
