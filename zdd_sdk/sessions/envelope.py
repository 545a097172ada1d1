"""`Envelope`: attributes as they lie in Redis: as the codec wrote them, or encrypted. Both are read, unless told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from zdd_sdk.errors import MissingExtra, RecordNotSealed, RecordSealed
from zdd_sdk.secrets import Seal, Secrets
from zdd_sdk.sessions.stored import name_of
from zdd_sdk.store import Keys
from zdd_sdk.store.record import is_sealed, open_frame, seal_frame, unframe

__all__ = ["SEAL_LABEL", "Encrypt", "Envelope"]

Encrypt = Literal["off", "on", "required"]

SEAL_LABEL = "session-field-seal"
"""HKDF label of the keys that encrypt attributes."""


class Envelope:
    """Encrypts and decrypts attributes under keys derived from ``ZDD_SECRET``.

    An attribute opens only under its own name, in its own service and environment. It is not bound to one session:
    logins and rotations copy attributes this release cannot read byte for byte, and who can write to Redis could
    move the session as a whole.

    Args:
        encrypt: ``off``, ``on`` (what is written is encrypted) or ``required`` (and nothing else is read).
        secrets: returns the root secrets; asked at the first attribute that is encrypted.
        homes: service and environment, first where the session lies, then where sessions may come from.
    """

    def __init__(self, *, encrypt: Encrypt, secrets: Callable[[], Secrets], homes: Sequence[Keys]) -> None:
        self._encrypt: Encrypt = encrypt
        self._secrets = secrets
        self._homes = tuple(homes)
        self._seal: Seal | None = None

    def at(self, home: int) -> Envelope:
        """Return the envelope of sessions that lie in another of the homes."""
        if home == 0:
            return self
        homes = (self._homes[home], *self._homes[:home], *self._homes[home + 1 :])
        return Envelope(encrypt=self._encrypt, secrets=self._secrets, homes=homes)

    def wrap(self, name: str, data: bytes) -> bytes:
        """Return an encoded attribute as it is to be stored."""
        return seal_frame(data, self._sealing(), _context(self._homes[0], name)) if self._encrypt != "off" else data

    def unwrap(self, name: str, data: bytes) -> bytes:
        """Return the encoded attribute of stored bytes.

        Raises:
            RecordSealed: it is encrypted and cannot be opened.
            RecordNotSealed: it is not encrypted, and has to be.
            RecordTooNew, RecordUndecodable: it has to be, and what it is cannot be told.
        """
        if is_sealed(data):
            return self._open(name, data)[1]
        if self._encrypt == "required":
            unframe(data)
            message = "it is not encrypted, and sessions.encrypt = required takes nothing else"
            raise RecordNotSealed(message)
        return data

    def moved(self, fields: Mapping[bytes, bytes]) -> Mapping[bytes, bytes]:
        """Return fields of another home as they are to be stored in this one; what cannot be opened as it is."""
        if len(self._homes) == 1:
            return fields
        return {field: self._moved(name_of(field) or "", data) for field, data in fields.items()}

    def _moved(self, name: str, data: bytes) -> bytes:
        if not is_sealed(data):
            return data
        try:
            home, opened = self._open(name, data)
        except RecordSealed:
            return data
        return data if home == 0 else seal_frame(opened, self._sealing(), _context(self._homes[0], name))

    def _open(self, name: str, data: bytes) -> tuple[int, bytes]:
        failures: list[RecordSealed] = []
        for number, home in enumerate(self._homes):
            try:
                return number, open_frame(data, self._sealing(), _context(home, name))
            except RecordSealed as error:
                failures.append(error)
        raise failures[0]

    def _sealing(self) -> Seal:
        if self._seal is None:
            try:
                self._seal = Seal(self._secrets().derive(SEAL_LABEL))
            except MissingExtra as error:
                raise RecordSealed(str(error)) from None
        return self._seal


def _context(home: Keys, name: str) -> bytes:
    return f"session-field\0{home.service}\0{home.environment}\0{name}".encode()
