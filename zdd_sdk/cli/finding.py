"""`Finding`: one thing `zdd doctor` has looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Finding", "Level"]

Level = Literal["ok", "note", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing doctor looked at.

    Attributes:
        level: ``fail`` breaks the promise, ``warn`` may, ``note`` is worth knowing, ``ok`` is as it should be.
        topic: what was looked at.
        text: what breaks, or what was found.
        mend: how to mend it; empty if nothing is to be done.
    """

    level: Level
    topic: str
    text: str
    mend: str = ""
