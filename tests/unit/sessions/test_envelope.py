"""Encrypted attributes without Redis: what was written then opens today, and places keep apart."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given

from tests.unit.sessions.values import same, values
from zdd_sdk.errors import RecordSealed
from zdd_sdk.secrets import Secrets
from zdd_sdk.sessions import codec
from zdd_sdk.sessions.envelope import Envelope
from zdd_sdk.store import Keys
from zdd_sdk.store.record import is_sealed

GOLDEN = json.loads(Path("tests/golden/sessions/sealed_v1.json").read_text(encoding="utf-8"))
HERE, THERE = Keys("shop", "production"), Keys("store", "production")


def envelope(*homes, encrypt="on", root=GOLDEN["secret"]):
    return Envelope(encrypt=encrypt, secrets=lambda: Secrets([root]), homes=homes or (HERE,))


@given(values)
def test_any_value_comes_back(value):
    writer = envelope()
    sealed = writer.wrap("a", codec.encode(value))
    assert is_sealed(sealed)
    assert same(codec.decode(writer.unwrap("a", sealed)), value)


@pytest.mark.parametrize("name", GOLDEN["fields"])
def test_a_field_of_then_is_read_today(name):
    meant = eval(GOLDEN["values"][name], {"__builtins__": {}})
    for reader in (envelope(), envelope(encrypt="off"), envelope(THERE, HERE)):
        assert codec.decode(reader.unwrap(name, bytes.fromhex(GOLDEN["fields"][name]))) == meant


def test_a_field_of_then_opens_nowhere_else():
    data = bytes.fromhex(GOLDEN["fields"]["cart"])
    for reader, name in ((envelope(), "seen"), (envelope(THERE), "cart"), (envelope(root="x" * 32), "cart")):
        with pytest.raises(RecordSealed):
            reader.unwrap(name, data)


def test_plain_fields_stay_as_they_are():
    data = codec.encode(1)
    assert envelope().unwrap("a", data) == envelope(encrypt="off").wrap("a", data) == data
    for homes in ((HERE,), (HERE, THERE)):
        assert envelope(*homes).moved({b"a:a": data, b"z:later": b"kept"}) == {b"a:a": data, b"z:later": b"kept"}


def test_what_comes_from_elsewhere_is_sealed_for_here():
    both = envelope(HERE, THERE)
    theirs = both.at(1).wrap("a", codec.encode(1))
    with pytest.raises(RecordSealed):
        envelope().unwrap("a", theirs)
    assert codec.decode(envelope().unwrap("a", both.moved({b"a:a": theirs})[b"a:a"])) == 1


def test_what_cannot_be_opened_is_moved_as_it_is():
    alien = envelope(root="x" * 32).wrap("a", codec.encode(1))
    assert envelope(HERE, THERE).moved({b"a:a": alien, b"a:\xff": alien}) == {b"a:a": alien, b"a:\xff": alien}


def test_the_secrets_are_asked_only_when_something_is_encrypted():
    def never():
        raise AssertionError

    lazy = Envelope(encrypt="off", secrets=never, homes=(HERE,))
    assert lazy.unwrap("a", lazy.wrap("a", b"\x01\x00x")) == b"\x01\x00x"
