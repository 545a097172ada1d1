"""How one field of a session is written as bytes, and what lies between those and Redis."""

from __future__ import annotations

from typing import Any, Protocol

from zdd_sdk.sessions import codec
from zdd_sdk.sessions.merge import ABSENT, Rule

__all__ = ["PLAIN", "Form", "Plain", "Wrapping"]


class Form(Protocol):
    """How one field is written as bytes, and merged."""

    @property
    def rule(self) -> Rule | None:
        """How its changes are merged; ``None``: the last write wins."""
        ...

    def encode(self, value: Any) -> bytes:
        """Encode a value; raises `SessionValueError`."""
        ...

    def decode(self, data: bytes) -> Any:
        """Decode a value; raises `RecordError`."""
        ...

    def default(self) -> Any:
        """Return what an absent field reads as, or `ABSENT`."""
        ...


class Wrapping(Protocol):
    """What lies between encoded values and Redis: nothing, or encryption."""

    def wrap(self, name: str, data: bytes) -> bytes:
        """Return the bytes to be stored."""
        ...

    def unwrap(self, name: str, data: bytes) -> bytes:
        """Return the encoded value of stored bytes; raises `RecordError`."""
        ...


class Plain:
    """Any value that the codec knows, last write wins, stored as encoded."""

    rule: Rule | None = None
    encode = staticmethod(codec.encode)
    decode = staticmethod(codec.decode)

    def default(self) -> Any:
        """Return `ABSENT`."""
        return ABSENT

    def wrap(self, name: str, data: bytes) -> bytes:  # noqa: ARG002
        """Return the same bytes."""
        return data

    def unwrap(self, name: str, data: bytes) -> bytes:  # noqa: ARG002
        """Return the same bytes."""
        return data


PLAIN = Plain()
