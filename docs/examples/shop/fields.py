"""The session fields of the shop, and how release 2 changes them.

A change of the session's shape is where deployments hurt: for a while each release reads what the
other wrote, and after a rollback the old one reads it again. Release 2 makes all three changes there are:

- it adds ``currency``: release 1 does not know the field and leaves it alone;
- it turns ``visits`` from a number into a record: release 1 has been taught to read both, before;
- it drops ``greeting``: it neither reads nor deletes it, so that release 1 finds it after a rollback.
"""

from __future__ import annotations

import os
from typing import Any, Protocol

__all__ = ["RELEASE", "Fields", "Keeps", "count_visit", "read_visits", "remember_preference", "show"]

RELEASE = os.environ.get("ZDD_RELEASE_VERSION", "1")
"""In a real shop these are two commits; here one file plays both."""

Fields = dict[str, Any]


class Keeps(Protocol):
    """A session, whichever framework's it is."""

    def get(self, key: str, default: Any, /) -> Any:
        """The field, or the default."""

    def __setitem__(self, key: str, value: Any, /) -> None:
        """Keep a field."""


def remember_preference(session: Keeps, greeting: str, currency: str) -> None:
    """Keep what the login form of this release asks for."""
    if RELEASE == "1":
        session["greeting"] = greeting
    else:
        session["currency"] = currency


def read_visits(stored: int | Fields) -> int:
    """Read the counter in either shape."""
    return int(stored["count"]) if isinstance(stored, dict) else stored


def count_visit(session: Keeps) -> None:
    """Add a visit, in the shape of this release."""
    count = read_visits(session.get("visits", 0)) + 1
    session["visits"] = count if RELEASE == "1" else {"count": count, "release": RELEASE}


def show(session: Keeps, user: str | None) -> Fields:
    """Return the visitor as this release knows them; ``user`` is who is logged in."""
    preference = "greeting" if RELEASE == "1" else "currency"
    return {
        "user": user,
        "release": RELEASE,
        "visits": read_visits(session.get("visits", 0)),
        preference: session.get(preference, None),
    }
