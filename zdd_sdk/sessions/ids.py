"""Session ids: ``<tag>.<secret>``; only their SHA-256 is ever sent to Redis.

The tag (16 characters) picks the slot: random before login, derived from the user afterwards, so that
everything one user has lies together. The secret is 256 random bits. A cookie that does not have exactly
this form is nobody's, and an id that Redis does not know is never adopted.

A periodic rotation derives the next id from the last one, under a key of its own. So both names are known before
anything is asked, and no id has to be kept anywhere: whoever has the old one can be led to the new one.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import re
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Callable, Sequence

import msgspec

from zdd_sdk.secrets import Secrets
from zdd_sdk.store.keys import Keys

__all__ = ["ROTATION_LABEL", "TAG_LABEL", "Place", "Places", "SessionId", "mint_id", "parse_id", "random_tag"]

TAG_LABEL = "session-user-tag"
"""HKDF label of the key that derives tags from users."""

ROTATION_LABEL = "session-rotation"
"""HKDF label of the key that derives the next id from the last one."""

REMEMBERED = 2048
"""Places a process keeps at hand, 1 KiB each: three hashes less for every further request of the same visitor."""

_TAG_BYTES = 12
_SECRET_BYTES = 32
_FORM = re.compile(r"([A-Za-z0-9_-]{16})\.[A-Za-z0-9_-]{43}", re.ASCII)


class SessionId(msgspec.Struct, frozen=True):
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

    @property
    def digest(self) -> str:
        """SHA-256 of the id, in hexadecimal: all of it that Redis is ever told."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def key(self, keys: Keys) -> str:
        """Name of this session's hash in Redis: ``zdd:…:session:{<tag>}:s:<sha256 of the id>``."""
        return keys.name("session", self.tag, "s", self.digest)


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


class Place(msgspec.Struct, frozen=True):
    """Where a session lies in Redis; all of it in one slot.

    Attributes:
        identity: whose place.
        keys: every key a script may touch for it: its hash, the index of its user, and its hash after a rotation.
        heirs: what a rotation makes of its id, by root secret.
    """

    identity: SessionId
    keys: tuple[str, ...]
    heirs: tuple[SessionId, ...] = ()

    @property
    def key(self) -> str:
        """Its hash."""
        return self.keys[0]

    @property
    def index(self) -> str:
        """The index of its user, if it has one."""
        return self.keys[1]

    @property
    def successors(self) -> tuple[tuple[SessionId, str], ...]:
        """What a rotation makes of it: id and key."""
        return tuple(zip(self.heirs, self.keys[2:], strict=True))

    @property
    def hash(self) -> str:
        """SHA-256 of the id, as its key and the index have it."""
        return self.key[-64:]

    def after(self, moved: int) -> SessionId:
        """Return the id under which it was found: its own (0), or that of a successor (from 1)."""
        return self.heirs[moved - 1] if moved else self.identity

    def became(self, digest: str) -> Place:
        """Return the place of what another request has made of it, by the SHA-256 of its id."""
        return Place(self.identity, (self.key[: -len(digest)] + digest, self.index))


class Places:
    """Says where sessions and indexes lie.

    Args:
        homes: name keys in Redis, by `SessionId.home`.
        secrets: returns the root secrets.
    """

    def __init__(self, homes: Sequence[Keys], secrets: Callable[[], Secrets]) -> None:
        self._homes = tuple(homes)
        self._secrets = secrets
        self.place = functools.lru_cache(maxsize=REMEMBERED)(self._find)

    def _find(self, identity: SessionId) -> Place:
        """Return where a session lies, or a rotation has taken it; known for those seen last."""
        of_tag = self._homes[identity.home].name("session", identity.tag)
        heirs = tuple([_derived(root, identity) for root in self._roots])
        hashes = [f"{of_tag}:s:{each.digest}" for each in (identity, *heirs)]
        return Place(identity, (hashes[0], f"{of_tag}:u", *hashes[1:]), heirs)

    def key(self, identity: SessionId) -> str:
        """Name the hash of a session."""
        return identity.key(self._homes[identity.home])

    def index(self, tag: str, home: int = 0) -> str:
        """Name the index of the user of a tag: ``zdd:…:session:{<tag>}:u``."""
        return self._homes[home].name("session", tag, "u")

    def hashed(self, tag: str, home: int, digest: str) -> str:
        """Name the hash of a session by the SHA-256 of its id."""
        return self._homes[home].name("session", tag, "s", digest)

    def of_user(self, user: str) -> tuple[tuple[str, int], ...]:
        """Return every tag and home in which a user may have sessions."""
        return tuple((tag, home) for tag in self.tags(user) for home in range(len(self._homes)))

    def tags(self, user: str) -> tuple[str, ...]:
        """Return the tags a user's sessions may have, one per root secret, the one for new ones first.

        An HMAC of the user, cut to 96 bits: it does not tell who it is.
        """
        digests = (hmac.digest(key, user.encode(), "sha256") for key in self._secrets().derive(TAG_LABEL))
        return tuple(urlsafe_b64encode(digest[:_TAG_BYTES]).decode() for digest in digests)

    @functools.cached_property
    def _roots(self) -> tuple[hmac.HMAC, ...]:
        # Kept with their keys scheduled, and copied for each id: OpenSSL looks the algorithm up anew each time else.
        return tuple(hmac.new(key, digestmod="sha256") for key in self._secrets().derive(ROTATION_LABEL))


def _derived(root: hmac.HMAC, identity: SessionId) -> SessionId:
    mac = root.copy()
    mac.update(identity.text.encode())
    text = f"{identity.tag}.{urlsafe_b64encode(mac.digest()).rstrip(b'=').decode()}"
    return SessionId(identity.tag, text, identity.home)
