"""Worker classes of somebody's own."""

from __future__ import annotations

from gunicorn.workers.base import Worker
from gunicorn.workers.gthread import ThreadWorker


class Special(ThreadWorker):  # type: ignore[misc]
    """A thread worker with something of its own."""


class Homemade(Worker):  # type: ignore[misc]
    """Everything of its own."""
