"""How long a session lives, from Django's words into ours."""

from __future__ import annotations

import datetime as dt

from django.conf import settings

from zdd_sdk.sessions.lifetime import Lifetime, choose_lifetime

__all__ = ["lifetime_of"]


def lifetime_of(expiry: float | str | None, age: int) -> Lifetime:
    """Read what `SessionBase.set_expiry` has kept: seconds, a moment, 0 for the browser's run, or nothing."""
    own = None if age == settings.SESSION_COOKIE_AGE else age
    if isinstance(expiry, str):
        moment = dt.datetime.fromisoformat(expiry).astimezone()
        left = (moment - dt.datetime.now(dt.UTC)).total_seconds()
        return choose_lifetime(max(left, 1), moment, browser=False)
    if not expiry:
        return choose_lifetime(own, None, browser=expiry == 0)
    return choose_lifetime(expiry, None, browser=False)
