"""What the shop sells, and what paying for it takes."""

from __future__ import annotations

import time
from collections.abc import Mapping

from zdd_sdk.idempotency import current

__all__ = ["CATALOGUE", "pay"]

CATALOGUE = {"tea": 450, "mug": 1200, "kettle": 3900, "honey": 790, "tray": 2400}
"""Price in cents by product."""

_PAYMENT_SECONDS = 0.002


def pay(items: Mapping[str, int]) -> int:
    """Let the payment provider take the money for so many of each product and return how many cents that was.

    It gets a child key, so that a run after a crash does not take the money again; without the SDK there is none.
    """
    context = current()
    _charge(context.child_key("charge") if context else None)
    return sum(CATALOGUE[sku] * quantity for sku, quantity in items.items() if sku in CATALOGUE)


def _charge(_idempotency_key: str | None) -> None:
    """Stand for the provider, who does once what comes twice with one key."""
    time.sleep(_PAYMENT_SECONDS)
