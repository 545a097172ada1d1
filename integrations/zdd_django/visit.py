"""`Visit`: what a session knows of the request it belongs to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from zdd_sdk.sessions.turn import Turn

__all__ = ["Visit"]


@dataclass(slots=True)
class Visit:
    """What a session knows of its request.

    Attributes:
        asgi: the request came through ASGI, so that async methods run on the server's loop.
        label: says what a login is called in the user's list of devices.
        cross_site: says whether another site made the browser send it; ``None`` where it came with our cookie.
        deliver: called when the exchange's leave has saved the session: sets or deletes the cookie.
        values: every value it carries under our cookie's name.
    """

    asgi: bool
    label: Callable[[], str]
    cross_site: Callable[[], bool] | None
    deliver: Callable[[Turn], None]
    values: frozenset[str]
