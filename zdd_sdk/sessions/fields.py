"""`Fields`: the attributes of one session in one request: decoded when read, compared by bytes when it ends. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from zdd_sdk.errors import RecordError, SessionTooLarge, SessionValueError
from zdd_sdk.sessions import codec
from zdd_sdk.sessions.model import check_name

__all__ = ["Fields"]


class Fields:
    """Attributes as stored, as decoded and as changed.

    A value that was read is encoded at once and again when changes are asked for: equal bytes mean that
    nothing inside it was changed. It is compared with our own encoding and not with the stored bytes, because
    another release may have encoded the same value in another way.

    Args:
        stored: encoded attributes by name.
        max_field: largest encoded value, bytes.
    """

    __slots__ = ("_baseline", "_max_field", "_stored", "_values", "_written")

    def __init__(self, stored: Mapping[str, bytes], max_field: int) -> None:
        self._max_field = max_field
        self._stored = dict(stored)
        self._values: dict[str, Any] = {}
        self._baseline: dict[str, bytes] = {}
        self._written: dict[str, bytes | None] = {}

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):
            return False
        return self._written.get(name, b"") is not None and (name in self._written or name in self._stored)

    def __iter__(self) -> Iterator[str]:
        yield from [name for name in self._stored if self._written.get(name, b"") is not None]
        yield from [name for name, data in self._written.items() if data is not None and name not in self._stored]

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def read(self, name: str) -> Any:
        """Return a value; the same object each time.

        Raises:
            KeyError: there is no such attribute.
            RecordError: its bytes cannot be read by this release; they stay as they are.
        """
        if name not in self:
            raise KeyError(name)
        if name in self._values:
            return self._values[name]
        value = _decode(name, self._stored[name])
        self._values[name] = value
        if not codec.is_settled(value):
            self._baseline[name] = codec.encode(value)
        return value

    def write(self, name: str, value: Any) -> None:
        """Set a value.

        Raises:
            SessionValueError: the name or the value cannot be stored.
            SessionTooLarge: the value is larger than the limit.
        """
        self._written[check_name(name)] = self._encode(name, value)
        self._values[name] = value
        self._baseline.pop(name, None)

    def delete(self, name: str) -> None:
        """Delete an attribute, readable or not.

        Raises:
            KeyError: there is no such attribute.
        """
        if name not in self:
            raise KeyError(name)
        self._forget(name)
        if name in self._stored:
            self._written[name] = None

    def clear(self) -> None:
        """Delete every attribute, readable or not."""
        for name in list(self):
            self.delete(name)

    def changes(self) -> tuple[dict[str, bytes], set[str]]:
        """Return what has to be set, encoded, and what has to be deleted.

        Raises:
            SessionValueError: something that cannot be stored was put inside a value.
            SessionTooLarge: a value has grown beyond the limit.
        """
        sets: dict[str, bytes] = {}
        for name, data in self._written.items():
            if data is not None:
                now = data if codec.is_settled(self._values[name]) else self._encode(name, self._values[name])
                if now != self._stored.get(name):
                    sets[name] = now
        for name, data in self._baseline.items():
            now = self._encode(name, self._values[name])
            if now != data:
                sets[name] = now
        return sets, {name for name, data in self._written.items() if data is None}

    def merged(self, sets: Mapping[str, bytes], deletes: set[str]) -> dict[str, bytes]:
        """Return every attribute as it would be stored with these changes; the rest byte for byte as it was."""
        return {name: data for name, data in {**self._stored, **sets}.items() if name not in deletes}

    def saved(self, sets: Mapping[str, bytes], deletes: set[str]) -> None:
        """Note that Redis has these changes; values already read stay the same objects."""
        self._stored = self.merged(sets, deletes)
        self._written.clear()
        self._values = {name: value for name, value in self._values.items() if name in self._stored}
        self._baseline = {
            name: sets.get(name) or self._baseline.get(name) or self._stored[name]
            for name, value in self._values.items()
            if not codec.is_settled(value)
        }

    def _encode(self, name: str, value: Any) -> bytes:
        try:
            data = codec.encode(value)
        except SessionValueError as error:
            message = f"session[{name!r}] cannot be stored: {error}"
            raise SessionValueError(message) from None
        if len(data) > self._max_field:
            message = f"session[{name!r}] has {len(data)} bytes, more than sessions.max_field = {self._max_field}"
            raise SessionTooLarge(message)
        return data

    def _forget(self, name: str) -> None:
        self._values.pop(name, None)
        self._baseline.pop(name, None)
        self._written.pop(name, None)


def _decode(name: str, data: bytes) -> Any:
    try:
        return codec.decode(data)
    except RecordError as error:
        message = f"session[{name!r}] cannot be read by this release and was left as it is: {error}"
        raise type(error)(message) from None
