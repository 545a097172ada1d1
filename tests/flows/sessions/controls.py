"""Negative controls: sessions as other libraries keep them. The tests that play an attack or a race must catch them."""

from __future__ import annotations

from typing import Any

import msgspec

from zdd_sdk.store.wire import Wire


class BlobSession:
    """The whole session in one string, read at the start and written at the end (Flask-Session, connect-redis …)."""

    def __init__(self, wire: Wire, key: str) -> None:
        self._wire, self._key = wire, key
        data = wire.ask("GET", key)
        self.values: dict[str, Any] = msgspec.msgpack.decode(data) if data else {}

    def save(self) -> None:
        self._wire.ask("SET", self._key, msgspec.msgpack.encode(self.values))


class PointerSessions:
    """Rotation that lets the old id reach the new session for a while, also at a login."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def load(self, identity: str) -> dict[str, Any]:
        target = self._wire.ask("GET", f"pointer:{identity}") or identity.encode()
        data = self._wire.ask("GET", b"session:" + target)
        return msgspec.msgpack.decode(data) if data else {}

    def save(self, identity: str, values: dict[str, Any]) -> None:
        self._wire.ask("SET", f"session:{identity}", msgspec.msgpack.encode(values))

    def login(self, old: str, new: str, user: str) -> None:
        self.save(new, {**self.load(old), "user": user})
        self._wire.ask("SET", f"pointer:{old}", new)


def save_carelessly(wire: Wire, key: str, name: str, data: bytes) -> None:
    """A delta save that does not look whether the session still exists."""
    wire.ask("HSET", key, name, data)
