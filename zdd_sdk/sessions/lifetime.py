"""`Lifetime`: how long one session lives where that is not as configured. Pure."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from zdd_sdk.errors import SessionValueError

__all__ = ["AS_CONFIGURED", "LONGEST", "OVER", "Lifetime", "choose_lifetime"]

LONGEST = 36_500 * 86_400
"""Seconds: a century; what lies beyond would leave the numbers Redis' Lua keeps exact."""


@dataclass(frozen=True, slots=True)
class Lifetime:
    """One session's own lifetime; what is ``None`` is as configured.

    Attributes:
        idle: idle timeout, ms.
        life: its absolute end, ms from the server's now.
        ends: its absolute end, ms since 1970.
        flags: what was chosen, and is kept by a login: ``m`` idle timeout, ``x`` absolute end, ``b`` a cookie that
            ends with the browser.
    """

    idle: int | None = None
    life: int | None = None
    ends: int | None = None
    flags: str = ""

    @property
    def browser(self) -> bool:
        """Whether the cookie has no Max-Age."""
        return "b" in self.flags

    def terms(self, idle: int, absolute: int, created: int | None) -> tuple[int, int | None, int | None]:
        """Return idle timeout (ms) and absolute end: ms from the server's now, else ms since 1970.

        Args:
            idle: the configured idle timeout, ms.
            absolute: the configured absolute timeout, ms; an own idle timeout that is longer counts for both.
            created: when the session began, ms since 1970; ``None`` for now.
        """
        own = idle if self.idle is None else self.idle
        if self.life is not None or self.ends is not None:
            return own, self.life, self.ends
        if self.idle is not None and self.idle > absolute:
            return own, self.idle, None
        return (own, absolute, None) if created is None else (own, None, created + absolute)


AS_CONFIGURED = Lifetime()

OVER = Lifetime(life=0)
"""Of a session that ends when it is saved."""


def choose_lifetime(
    idle: float | dt.timedelta | None, absolute: float | dt.timedelta | dt.datetime | None, *, browser: bool
) -> Lifetime:
    """Read what an application wants.

    Args:
        idle: seconds; zero or less ends the session.
        absolute: seconds from now, or an aware moment; zero, less or the past ends the session.
        browser: the cookie ends with the browser.

    Raises:
        SessionValueError: not a number, longer than a century, or a moment without a time zone.
    """
    flags = ("m" if idle is not None else "") + ("x" if absolute is not None else "") + ("b" if browser else "")
    own = None if idle is None else _milliseconds("idle", idle)
    if own is not None and own <= 0:
        return Lifetime(life=0, flags=flags)
    if isinstance(absolute, dt.datetime):
        return Lifetime(own, ends=_moment(absolute), flags=flags)
    return Lifetime(own, None if absolute is None else _milliseconds("absolute", absolute), flags=flags)


def _moment(moment: dt.datetime) -> int:
    if moment.utcoffset() is None:
        message = "a session's absolute end needs a time zone: datetime.now(UTC) + …"
        raise SessionValueError(message)
    seconds = moment.timestamp()
    if seconds > 2 * LONGEST:
        message = f"a session cannot live until {moment.year}"
        raise SessionValueError(message)
    return max(0, round(seconds * 1000))


def _milliseconds(option: str, length: object) -> int:
    seconds = length.total_seconds() if isinstance(length, dt.timedelta) else length
    if isinstance(seconds, int | float) and not isinstance(seconds, bool) and seconds <= LONGEST:
        return round(seconds * 1000) if seconds > 0 else 0
    message = f"a session's {option} lifetime cannot be {length!r}: seconds, at most a century"
    raise SessionValueError(message)
