"""Ids: their form, what they hide, and where they lie."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from zdd_sdk.secrets import Secrets
from zdd_sdk.sessions.ids import mint_id, parse_id, random_tag, user_tag
from zdd_sdk.store import Keys

ROOT = Secrets(["r" * 32])


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
    tag = user_tag(ROOT, "ada@example.org")
    assert tag == user_tag(ROOT, "ada@example.org")
    assert len({tag, user_tag(ROOT, "bob@example.org"), user_tag(Secrets(["s" * 32]), "ada@example.org")}) == 3
    assert parse_id(mint_id(tag).text) is not None
