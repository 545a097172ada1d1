"""Durations and sizes as people write them: ``"15s"``, ``"500ms"``, ``"14d"``, ``"64KiB"``."""

from __future__ import annotations

import re

__all__ = ["format_duration", "format_size", "parse_duration", "parse_size"]

_DURATIONS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZES = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3, "kB": 1000, "KB": 1000, "MB": 1000**2, "GB": 1000**3}
_LONGEST = 36_500 * 86400.0
"""Seconds: a century. In milliseconds since 1970 what lies beyond would leave the numbers Redis' Lua keeps exact."""
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]+)")


def parse_duration(text: str | float) -> float:
    """Read a duration and return seconds.

    Args:
        text: ``"1h30m"``, ``"500ms"``, or a bare number of seconds.

    Raises:
        ValueError: not a duration, negative, NaN, or longer than a century.
    """
    seconds = _total(text, _DURATIONS, "a duration such as '15s', '500ms', '10m', '24h' or '14d'")
    if seconds > _LONGEST:
        message = f"{text!r} is longer than {format_duration(_LONGEST)}"
        raise ValueError(message)
    return seconds


def parse_size(text: str | float) -> int:
    """Read a size and return bytes: ``"64KiB"``, ``"1MB"``, or a bare number of bytes.

    Raises:
        ValueError: not a size, negative, or not whole bytes.
    """
    total = _total(text, _SIZES, "a size such as '64KiB' or '1MB'")
    if total != int(total):
        message = f"{text!r} is not a whole number of bytes"
        raise ValueError(message)
    return int(total)


def format_duration(seconds: float) -> str:
    """Write seconds with the largest unit that keeps them whole: ``900`` is ``"15m"``."""
    for unit, factor in reversed(_DURATIONS.items()):
        if seconds >= factor and (seconds / factor).is_integer():
            return f"{seconds / factor:.0f}{unit}"
    return f"{seconds:.6f}".rstrip("0").rstrip(".") + "s"


def format_size(size: int) -> str:
    """Write bytes with the largest binary unit that keeps them whole: ``65536`` is ``"64KiB"``."""
    for unit in ("GiB", "MiB", "KiB"):
        if size >= _SIZES[unit] and size % _SIZES[unit] == 0:
            return f"{size // _SIZES[unit]}{unit}"
    return f"{size}B"


def _total(text: str | float, units: dict[str, float] | dict[str, int], wanted: str) -> float:
    if isinstance(text, bool):
        text = str(text)
    number = _number(text)
    if number is None:
        parts = _PART.findall(str(text))
        spelled = _PART.sub("", str(text)).strip()
        if not parts or spelled or any(unit not in units for _, unit in parts):
            message = f"{text!r} is not {wanted}"
            raise ValueError(message)
        number = sum(float(amount) * units[unit] for amount, unit in parts)
    if not 0 <= number < float("inf"):
        message = f"{text!r} must be finite and not negative"
        raise ValueError(message)
    return number


def _number(text: str | float) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
