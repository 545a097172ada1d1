"""`Legacy`: a framework's own session as adoption needs it, and `Adopted`: both sessions of one request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from zdd_sdk.sessions.adopt import LINK, Link, Verdict, fingerprint, pack
from zdd_sdk.sessions.lifetime import Lifetime
from zdd_sdk.sessions.turn import Turn

__all__ = ["Adopted", "Legacy", "LegacyRefused", "link_of"]


class LegacyRefused(Exception):
    """The framework's session cannot hold these values: their type, or 4 KB of cookie."""


class Legacy(Protocol):
    """One request's session as the framework keeps it, reached through the framework's own code.

    Attributes:
        in_browser: the whole session lies in its cookie.
        lifetime: seconds it lives after a write, where the framework writes it in each request to prolong it.
    """

    in_browser: bool
    lifetime: float | None

    async def read(self) -> dict[str, Any]:
        """Return its fields; empty if there is none. Raises whatever the framework raises if it is out of reach."""
        ...

    def as_read(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return what `read` would return after `write`.

        Raises:
            LegacyRefused: it cannot hold these values.
        """
        ...

    def terms(self) -> Lifetime:
        """Return how long ours is to live, which is as long as the framework's would."""
        ...

    async def write(self, values: Mapping[str, Any] | None) -> None:
        """Store and set the cookie as the framework does; ``None``: what the application left, by its own rules."""
        ...

    async def end(self) -> None:
        """Delete it and its cookie; the cookie also where the store is out of reach, which is raised."""
        ...


@dataclass(slots=True)
class Adopted:
    """What one request knows about its two sessions.

    Attributes:
        legacy: the framework's.
        turn: ours.
        verdict: what they were to each other.
        seen: the framework's fields as read.
        values: what the application is shown.
        packed: the same, encoded, to see what it changes.
        browser: the link that came with the request.
        alone: ours takes no part in this request.
        unwritten: the framework's store is away, or refuses.
    """

    legacy: Legacy
    turn: Turn
    verdict: Verdict = Verdict.NOBODY
    seen: dict[str, Any] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    packed: dict[str, bytes] = field(default_factory=dict)
    browser: Link | None = None
    alone: bool = False
    unwritten: bool = False

    @property
    def seen_print(self) -> str:
        """Fingerprint of what was read."""
        return fingerprint(pack(self.seen))


def link_of(turn: Turn) -> Link | None:
    """Return the link kept with one of our sessions."""
    stored = turn.stored
    return Link.parse(stored.others.get(LINK, b"").decode("ascii", "replace")) if stored is not None else None
