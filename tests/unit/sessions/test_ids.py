"""Ids: their form, what they hide, and where they lie."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from zdd_sdk.secrets import Secrets
from zdd_sdk.sessions.ids import Places, mint_id, parse_id, random_tag
from zdd_sdk.store import Keys

ROOT = Secrets(["r" * 32])


def at(root):
    return Places([Keys("shop", "prod")], lambda: root)


PLACES = at(ROOT)


def test_a_minted_id_is_read_back():
    identity = mint_id(random_tag())
    assert parse_id(identity.text) == identity
    assert len(identity.text) == 16 + 1 + 43


def test_ids_differ():
    tag = random_tag()
    assert len({mint_id(tag).text for _ in range(1000)}) == 1000


@given(st.text(max_size=80))
def test_only_the_exact_form_is_an_id(text):
    identity = parse_id(text)
    assert identity is None or (identity.text == text and text.isascii() and len(text) == 60)


def test_nearly_is_not():
    text = mint_id(random_tag()).text
    assert [parse_id(near) for near in (text + "A", text[:-1], text.replace(".", ":"), text + "\n")] == [None] * 4


def test_the_key_hides_the_id_and_keeps_the_slot():
    identity = mint_id("A" * 16)
    digest = hashlib.sha256(identity.text.encode()).hexdigest()
    assert identity.key(Keys("shop", "prod")) == f"zdd:shop:prod:session:{{{'A' * 16}}}:s:{digest}"


def test_the_repr_hides_the_secret():
    identity = mint_id(random_tag())
    assert identity.text.partition(".")[2] not in repr(identity)


def test_a_users_tag_is_stable_and_tells_nothing():
    tag, *_ = PLACES.tags("ada@example.org")
    assert (tag,) == PLACES.tags("ada@example.org")
    assert len({tag, *PLACES.tags("bob@example.org"), *at(Secrets(["s" * 32])).tags("ada@example.org")}) == 3
    assert parse_id(mint_id(tag).text) is not None


def test_every_root_has_a_tag_and_a_successor():
    two = Secrets(["s" * 32, "r" * 32])
    assert at(two).tags("ada")[1:] == PLACES.tags("ada")
    identity = mint_id(random_tag())
    assert at(two).place(identity).successors[1:] == PLACES.place(identity).successors


def test_a_successor_is_an_id_of_the_same_slot_that_needs_the_secret():
    identity = mint_id(random_tag())
    ((after, key),) = PLACES.place(identity).successors
    assert parse_id(after.text) == after
    assert (after.tag, after.text != identity.text) == (identity.tag, True)
    assert PLACES.place(identity).successors == PLACES.place(identity).successors
    assert at(Secrets(["s" * 32])).place(identity).successors != PLACES.place(identity).successors
    assert key == PLACES.place(after).key
    assert PLACES.place(identity).after(1) == after
