"""Session ids: ``<tag>.<secret>``; only their SHA-256 is ever sent to Redis.

The tag (16 characters) picks the slot: random before login, derived from the user afterwards, so that
everything one user has lies together. The secret is 256 random bits. A cookie that does not have exactly
this form is nobody's, and an id that Redis does not know is never adopted.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from base64 import urlsafe_b64encode
from dataclasses import dataclass

from zdd_sdk.secrets import Secrets
from zdd_sdk.store.keys import Keys

__all__ = ["TAG_LABEL", "SessionId", "mint_id", "parse_id", "random_tag", "user_tag"]

TAG_LABEL = "session-user-tag"
"""HKDF label of the key that derives tags from users."""

_TAG_BYTES = 12
_SECRET_BYTES = 32
_FORM = re.compile(r"([A-Za-z0-9_-]{16})\.[A-Za-z0-9_-]{43}", re.ASCII)


@dataclass(frozen=True, slots=True)
class SessionId:
    """One session's id. Its ``repr`` shows the tag only.

    Attributes:
        tag: 16 characters of base64url.
        text: the whole id, as the cookie carries it; a secret.
        home: where its session lies: 0 at home, else one of `sessions.also_read_keys`, counted from 1.
    """

    tag: str
    text: str
    home: int = 0

    def __repr__(self) -> str:
        return f"<SessionId {self.tag}.…>"

    def key(self, keys: Keys) -> str:
        """Name of this session's hash in Redis: ``zdd:…:session:{<tag>}:s:<sha256 of the id>``."""
        return keys.name("session", self.tag, "s", hashlib.sha256(self.text.encode()).hexdigest())


def mint_id(tag: str) -> SessionId:
    """Make a new id under a tag."""
    return SessionId(tag, f"{tag}.{secrets.token_urlsafe(_SECRET_BYTES)}")


def parse_id(text: str) -> SessionId | None:
    """Read a cookie's value; ``None`` unless it has exactly the form of an id."""
    match = _FORM.fullmatch(text)
    return SessionId(match[1], text) if match else None


def random_tag() -> str:
    """Return the tag of a session nobody has logged in to."""
    return secrets.token_urlsafe(_TAG_BYTES)


def user_tag(root: Secrets, user: str) -> str:
    """Return the tag of a user's sessions: an HMAC of the user, cut to 96 bits; it does not tell who it is."""
    return urlsafe_b64encode(root.mac(TAG_LABEL, user.encode())[:_TAG_BYTES]).decode()
