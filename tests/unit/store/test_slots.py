"""Slots of keys against redis-py's own, and the map of a cluster."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot as redis_key_slot

from zdd_sdk.store.slots import key_slot, read_slots
from zdd_sdk.store.url import Address

ASKED = Address("seed", 7000)


@given(st.text(st.sampled_from("ab{}:1é"), max_size=20) | st.text(max_size=20).filter(str.isprintable))
def test_a_slot_is_what_redis_says(key: str) -> None:
    assert key_slot(key) == redis_key_slot(key.encode())
    assert key_slot(key.encode()) == key_slot(key)


def test_the_published_examples() -> None:
    assert key_slot("123456789") == 0x31C3
    assert key_slot("{user1000}.following") == key_slot("{user1000}.followers")
    assert key_slot("foo{}{bar}") == redis_key_slot(b"foo{}{bar}")


def test_a_map_says_who_owns_a_slot_and_learns_what_moved() -> None:
    slots = read_slots([[8192, 16383, [b"b", 2, b"id"]], [0, 5460, [b"", 1, b"id"], [b"replica", 9]]], ASKED)
    assert slots.owner(0) == slots.owner(5460) == Address("seed", 1)
    assert slots.owner(5461) is None
    assert slots.owner(8192) == slots.owner(16383) == Address("b", 2)
    moved = slots.with_moved(5461, Address("c", 3))
    assert moved.owner(5461) == Address("c", 3)
    assert slots.owner(5461) is None
    assert moved.masters() == (Address("seed", 1), Address("b", 2), Address("c", 3))


def test_a_node_that_knows_no_slots_gives_an_empty_map() -> None:
    slots = read_slots([], ASKED)
    assert slots.owner(0) is None
    assert slots.masters() == ()
