"""What the shop sells, and what paying for it takes."""

from __future__ import annotations

import time
from collections.abc import Mapping

__all__ = ["CATALOGUE", "pay"]

CATALOGUE = {"tea": 450, "mug": 1200, "kettle": 3900, "honey": 790, "tray": 2400}
"""Price in cents by product."""

_PAYMENT_SECONDS = 0.02


def pay(items: Mapping[str, int]) -> int:
    """Let the payment provider take the money for so many of each product and return how many cents that was."""
    time.sleep(_PAYMENT_SECONDS)
    return sum(CATALOGUE[sku] * quantity for sku, quantity in items.items() if sku in CATALOGUE)
