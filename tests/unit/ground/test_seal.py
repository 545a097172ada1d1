"""AES-256-GCM under a list of keys: what was sealed opens in its own place, with its own key, unchanged; else never."""

from __future__ import annotations

import importlib.util

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zdd_sdk.errors import MissingExtra, RecordSealed
from zdd_sdk.secrets import SEAL_OVERHEAD, Seal

NEW, OLD, ALIEN = b"n" * 32, b"o" * 32, b"a" * 32
payloads, contexts = st.binary(max_size=200), st.binary(max_size=40)


@given(payloads, contexts)
def test_what_was_sealed_opens(payload, context):
    sealed = Seal([NEW]).close(payload, context)
    assert Seal([NEW]).open(sealed, context) == payload
    assert len(sealed) == len(payload) + SEAL_OVERHEAD
    assert len(payload) < 8 or payload not in sealed


@given(payloads, contexts, st.data())
def test_a_changed_bit_never_opens(payload, context, data):
    sealed = bytearray(Seal([NEW]).close(payload, context))
    sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(RecordSealed):
        Seal([NEW]).open(bytes(sealed), context)


@given(payloads, contexts, st.data())
def test_a_cut_one_never_opens(payload, context, data):
    sealed = Seal([NEW]).close(payload, context)
    with pytest.raises(RecordSealed):
        Seal([NEW]).open(sealed[: data.draw(st.integers(0, len(sealed) - 1))], context)


@given(payloads, contexts, contexts)
def test_elsewhere_it_never_opens(payload, here, there):
    sealed = Seal([NEW]).close(payload, here)
    if here != there:
        with pytest.raises(RecordSealed, match="changed, cut or moved"):
            Seal([NEW]).open(sealed, there)


@given(st.binary(max_size=80), contexts)
def test_noise_never_opens(noise, context):
    with pytest.raises(RecordSealed):
        Seal([NEW, OLD]).open(noise, context)


def test_the_first_key_seals_and_all_open():
    by_old, by_both = Seal([OLD]).close(b"x", b""), Seal([NEW, OLD]).close(b"x", b"")
    assert Seal([NEW, OLD]).open(by_old, b"") == Seal([NEW, OLD]).open(by_both, b"") == b"x"
    assert Seal([NEW]).open(by_both, b"") == b"x"
    with pytest.raises(RecordSealed, match="none of the secrets here"):
        Seal([OLD]).open(by_both, b"")
    with pytest.raises(RecordSealed, match="none of the secrets here"):
        Seal([ALIEN]).open(by_old, b"")


def test_the_same_twice_looks_different():
    seal = Seal([NEW])
    assert seal.close(b"same", b"") != seal.close(b"same", b"")


def test_without_the_package_it_names_the_extra(monkeypatch):
    monkeypatch.setattr("zdd_sdk.secrets.find_spec", lambda _: None)
    with pytest.raises(MissingExtra, match=r"pip install 'zdd-sdk\[crypto\]'"):
        Seal([NEW])
    assert importlib.util.find_spec("cryptography") is not None


def test_control_without_authentication_a_changed_byte_passes():
    """AES-CTR with the same key: what GCM's tag is for."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    cipher = Cipher(algorithms.AES(NEW), modes.CTR(b"c" * 16))
    sealed = bytearray(cipher.encryptor().update(b"admin=0"))
    sealed[-1] ^= 1
    assert cipher.decryptor().update(bytes(sealed)) == b"admin=1"
