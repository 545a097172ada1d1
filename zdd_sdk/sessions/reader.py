"""What this release can read, as the fleet is told: the layouts of sessions, and where rotations have taken them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zdd_sdk.sessions.model import LAYOUT
from zdd_sdk.store import Call

__all__ = ["FOLLOWS_ROTATIONS", "SessionReader"]

FOLLOWS_ROTATIONS = "rotations"
"""A worker without it takes the id of before a periodic rotation for unknown, and its user for logged out."""


class SessionReader:
    """Rides on the pulse and asks nothing: what an earlier release could not read is written only once all can."""

    name = "sessions"

    def capabilities(self) -> Sequence[str]:
        """Return the layouts this worker reads, such as ``"1"``, and `FOLLOWS_ROTATIONS`."""
        return (str(LAYOUT), FOLLOWS_ROTATIONS)

    def calls(self) -> Sequence[Call[Any]]:
        """Return nothing to ask."""
        return ()

    def applied(self, results: Sequence[Any]) -> None:
        """Take no results."""
