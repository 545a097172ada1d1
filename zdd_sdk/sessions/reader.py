"""What this release can read, as the fleet is told: the layouts of sessions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zdd_sdk.sessions.model import LAYOUT
from zdd_sdk.store import Call

__all__ = ["SessionReader"]


class SessionReader:
    """Rides on the pulse and asks nothing: a later layout is written only once every live worker can read it."""

    name = "sessions"

    def capabilities(self) -> Sequence[str]:
        """Return the layouts this worker reads, such as ``("1",)``."""
        return (str(LAYOUT),)

    def calls(self) -> Sequence[Call[Any]]:
        """Return nothing to ask."""
        return ()

    def applied(self, results: Sequence[Any]) -> None:
        """Take no results."""
