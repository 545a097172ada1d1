"""Derived keys: one per use, never the root."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from zdd_sdk.errors import SecretNotConfigured
from zdd_sdk.secrets import Secrets

ROOT, OTHER = "r" * 32, "o" * 40


def test_derivation_is_hkdf_sha256() -> None:
    extracted = hmac.digest(b"zdd-sdk", ROOT.encode(), hashlib.sha256)
    expanded = hmac.digest(extracted, b"use\x01", hashlib.sha256)

    assert (expanded,) == Secrets([ROOT]).derive("use")


def test_uses_and_roots_have_keys_of_their_own() -> None:
    both = Secrets([ROOT, OTHER])

    assert 4 == len({*both.derive("a"), *both.derive("b")})
    assert both.derive("a")[0] == Secrets([ROOT]).derive("a")[0]
    assert both.mac("a", b"m") == Secrets([ROOT]).mac("a", b"m")
    assert both.mac("a", b"m") != both.mac("b", b"m")


@pytest.mark.parametrize("roots", [[], [""], ["short"], [ROOT, "short"]])
def test_missing_or_short_roots_are_refused_without_being_shown(roots: list[str]) -> None:
    with pytest.raises(SecretNotConfigured) as caught:
        Secrets(roots)

    assert "short" not in str(caught.value)
    assert ROOT not in repr(Secrets([ROOT]))
