"""Keys derived from ``ZDD_SECRET``: HKDF-SHA256 (RFC 5869), one label per use; and AES-256-GCM under a list of them."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Sequence
from importlib.util import find_spec

from zdd_sdk.errors import MissingExtra, RecordSealed, SecretNotConfigured

__all__ = ["MIN_SECRET_BYTES", "SEAL_OVERHEAD", "Seal", "Secrets", "check_encryption"]

MIN_SECRET_BYTES = 32
"""A shorter secret refuses to start."""


class Secrets:
    """The list of root secrets: the first writes, all read.

    Args:
        roots: root secrets, each at least `MIN_SECRET_BYTES` long.

    Raises:
        SecretNotConfigured: none given, or one too short.
    """

    def __init__(self, roots: Sequence[str]) -> None:
        if not roots:
            message = "ZDD_SECRET is not set: give at least 32 random bytes, e.g. the output of `openssl rand -hex 32`"
            raise SecretNotConfigured(message)
        for index, root in enumerate(roots):
            if len(root.encode()) < MIN_SECRET_BYTES:
                message = f"entry {index + 1} of ZDD_SECRET has fewer than {MIN_SECRET_BYTES} bytes"
                raise SecretNotConfigured(message)
        self._extracted = tuple(hmac.digest(b"zdd-sdk", root.encode(), "sha256") for root in roots)

    def __repr__(self) -> str:
        return f"<Secrets: {len(self._extracted)} roots>"

    def derive(self, label: str) -> tuple[bytes, ...]:
        """Return a 32-byte key per root for one use, the writing key first.

        Args:
            label: names the use, such as ``"session-user-tag"``; two uses never share one.
        """
        return tuple(hmac.digest(root, label.encode() + b"\x01", "sha256") for root in self._extracted)

    def mac(self, label: str, message: bytes) -> bytes:
        """Return the HMAC-SHA256 of ``message`` under the writing key for ``label``."""
        return hmac.new(self.derive(label)[0], message, hashlib.sha256).digest()


_KEY_ID, _NONCE, _TAG = 4, 12, 16

SEAL_OVERHEAD = _KEY_ID + _NONCE + _TAG
"""Bytes that sealing adds: key id, nonce and tag."""


class Seal:
    """AES-256-GCM (NIST SP 800-38D) under a list of keys: the first seals, all open.

    Layout: 4 bytes key id, 12 bytes random nonce, ciphertext, 16 bytes tag. A random nonce of 96 bits may be used
    2³² times per key (SP 800-38D, 8.3): replace the first key before.

    Args:
        keys: 32 bytes each.

    Raises:
        MissingExtra: ``cryptography`` is not installed.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        check_encryption()
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._ciphers = {_key_id(key): AESGCM(key) for key in reversed(keys)}
        self._first = _key_id(keys[0])

    def close(self, payload: bytes, context: bytes) -> bytes:
        """Encrypt.

        Args:
            payload: what to encrypt.
            context: what it belongs to; it can be opened with the same only.
        """
        nonce = os.urandom(_NONCE)
        return self._first + nonce + self._ciphers[self._first].encrypt(nonce, payload, self._first + context)

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """Decrypt.

        Raises:
            RecordSealed: no key of it here, or it was changed, cut or moved from another context.
        """
        from cryptography.exceptions import InvalidTag

        key, nonce, rest = sealed[:_KEY_ID], sealed[_KEY_ID : _KEY_ID + _NONCE], sealed[_KEY_ID + _NONCE :]
        cipher = self._ciphers.get(key)
        if cipher is None:
            message = f"it is encrypted under key {key.hex()}, which none of the secrets here gives"
            raise RecordSealed(message)
        try:
            return cipher.decrypt(nonce, rest, key + context)
        except (InvalidTag, ValueError):
            message = "it is encrypted, and its bytes were changed, cut or moved"
            raise RecordSealed(message) from None


def check_encryption() -> None:
    """Raise `MissingExtra` unless ``cryptography`` is installed."""
    if find_spec("cryptography") is None:
        feature = "encryption"
        raise MissingExtra(feature, "crypto")


def _key_id(key: bytes) -> bytes:
    return hmac.digest(key, b"zdd key id", "sha256")[:_KEY_ID]
