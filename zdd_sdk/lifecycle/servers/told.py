"""What a parent and a worker tell each other: why the worker leaves, and that it serves."""

from __future__ import annotations

from enum import IntEnum
from multiprocessing import get_context
from typing import Any

__all__ = ["SPAWN", "Leaving", "Told"]

SPAWN = get_context("spawn")


class Leaving(IntEnum):
    """What a parent tells a worker beside its SIGTERM, through a shared number."""

    UNTOLD = 0
    """The signal came from elsewhere: wait for routers, but take the sockets for somebody's still."""
    ALONE = 1
    """This worker is replaced: no router must move."""
    INSTANCE = 2
    """All leave, and the listening sockets with them."""
    NOW = 3
    """All leave, without lag and linger."""


class Told:
    """What parent and worker tell each other, in shared memory: safe to look at in a signal handler."""

    def __init__(self) -> None:
        self._leaving: Any = SPAWN.RawValue("i", Leaving.UNTOLD)
        self._serving: Any = SPAWN.RawValue("i", 0)

    @property
    def leaving(self) -> Leaving:
        """What the parent says about the SIGTERM it sends."""
        return Leaving(self._leaving.value)

    @leaving.setter
    def leaving(self, value: Leaving) -> None:
        self._leaving.value = value

    @property
    def serving(self) -> bool:
        """Whether the worker accepts connections."""
        return bool(self._serving.value)

    @serving.setter
    def serving(self, value: bool) -> None:
        self._serving.value = value
