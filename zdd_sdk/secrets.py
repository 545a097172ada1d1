"""Keys derived from ``ZDD_SECRET``: HKDF-SHA256 (RFC 5869), one label per use."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

from zdd_sdk.errors import SecretNotConfigured

__all__ = ["MIN_SECRET_BYTES", "Secrets"]

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
