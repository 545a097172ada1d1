"""Types of arguments: durations and sizes, with the message that says how they are written."""

from __future__ import annotations

import argparse

from zdd_sdk.settings.units import parse_duration, parse_size

__all__ = ["seconds", "size"]


def seconds(text: str) -> float:
    """Read a duration, such as ``90``, ``2m`` or ``14d``."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def size(text: str) -> int:
    """Read a size, such as ``512``, ``64KiB`` or ``1MB``; bytes."""
    try:
        return parse_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
