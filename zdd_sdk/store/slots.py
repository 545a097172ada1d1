"""Redis Cluster's slots: which one a key is in, and who owns it. Pure."""

from __future__ import annotations

import binascii
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from zdd_sdk.store.url import Address

__all__ = ["SlotMap", "key_slot", "read_slots"]

SLOTS = 16384


def key_slot(key: str | bytes) -> int:
    """The slot of a key: CRC16 (XMODEM) of what is in its first non-empty braces, else of all of it."""
    data = key.encode() if isinstance(key, str) else key
    start = data.find(b"{")
    if start >= 0:
        end = data.find(b"}", start + 1)
        if end > start + 1:
            data = data[start + 1 : end]
    return binascii.crc_hqx(data, 0) % SLOTS


@dataclass(frozen=True, slots=True)
class SlotMap:
    """Who owns which slots.

    Attributes:
        starts: first slot of each range, ascending.
        ends: last slot of each range.
        owners: master of each range.
        moved: single slots learnt from ``MOVED`` since the map was read.
    """

    starts: tuple[int, ...]
    ends: tuple[int, ...]
    owners: tuple[Address, ...]
    moved: Mapping[int, Address]

    def owner(self, slot: int) -> Address | None:
        """The master of a slot; ``None`` if nobody owns it."""
        if slot in self.moved:
            return self.moved[slot]
        index = bisect_right(self.starts, slot) - 1
        return self.owners[index] if index >= 0 and slot <= self.ends[index] else None

    def masters(self) -> tuple[Address, ...]:
        """Every master, each once."""
        return tuple(dict.fromkeys((*self.owners, *self.moved.values())))

    def with_moved(self, slot: int, owner: Address) -> SlotMap:
        """The map after one ``MOVED``."""
        return replace(self, moved={**self.moved, slot: owner})


def read_slots(reply: Any, asked: Address) -> SlotMap:
    """Read a ``CLUSTER SLOTS`` reply.

    Args:
        reply: rows of ``[start, end, [host, port, …], replica…]``.
        asked: who said so; a node that does not know its own name sends an empty one.
    """
    rows = sorted((int(row[0]), int(row[1]), _node(row[2], asked)) for row in reply)
    starts, ends, owners = zip(*rows, strict=True) if rows else ((), (), ())
    return SlotMap(starts, ends, owners, {})


def _node(entry: Any, asked: Address) -> Address:
    host = (entry[0] or b"").decode()
    return Address(asked.host if host in {"", "?"} else host, int(entry[1]))
