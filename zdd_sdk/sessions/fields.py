"""`Fields`: the attributes of one session in one request: decoded when read, compared by bytes when it ends. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from zdd_sdk.errors import RecordError, SessionConflict, SessionTooLarge, SessionValueError, ZddError
from zdd_sdk.sessions import codec
from zdd_sdk.sessions.forms import PLAIN, Form, Wrapping
from zdd_sdk.sessions.merge import ABSENT, Operation
from zdd_sdk.sessions.model import check_name, field_name, raw_fields
from zdd_sdk.sessions.stored import named, unnamed, updated

__all__ = ["Fields"]


class Fields:
    """Attributes as stored, as decoded and as changed.

    A value that was read is encoded when changes are asked for: the bytes it was read from mean that nothing inside
    it was changed. Other bytes need not mean a change, because another release may have encoded the same value in
    another way: then what was read is read again, and compared as we encode it.

    Args:
        stored: attributes by name, as stored.
        max_field: largest encoded value, bytes.
        wrapping: how encoded values are stored; default as they are.
    """

    __slots__ = ("_baseline", "_forms", "_max_field", "_merges", "_sent", "_stored", "_values", "_wrapping", "_written")

    def __init__(self, stored: Mapping[str, bytes], max_field: int, wrapping: Wrapping = PLAIN) -> None:
        self._max_field = max_field
        self._wrapping = wrapping
        self._stored = stored
        self._forms: dict[str, Form] = {}
        self._values: dict[str, Any] = {}
        self._baseline: dict[str, bytes] = {}
        self._written: dict[str, bytes | None] = {}
        self._merges: dict[str, Sequence[Operation]] = {}
        self._sent: dict[str, int] = {}

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):
            return False
        return self._written[name] is not None if name in self._written else name in self._stored

    def __iter__(self) -> Iterator[str]:
        return iter(self._names())

    def __len__(self) -> int:
        return len(self._names())

    def _names(self) -> list[str]:
        return [name for name, data in {**named(self._stored), **self._written}.items() if data is not None]

    def describe(self, name: str, form: Form) -> None:
        """Have a field read and written in a form of its own, for the rest of the request.

        Raises:
            SessionValueError: it was used in another form before, and what was got then could still be changed.
        """
        if self._forms.get(check_name(name)) == form:
            return
        if name in self._baseline or not codec.is_settled(self._values.get(name)):
            message = f"session[{name!r}] was used before it was described: describe the session first"
            raise SessionValueError(message)
        self._forms[name] = form
        if name not in self._written:
            self._values.pop(name, None)

    def read(self, name: str) -> Any:
        """Return a value; the same object each time.

        Raises:
            KeyError: there is no such attribute.
            RecordError: its bytes cannot be read by this release; they stay as they are.
        """
        if name not in self:
            raise KeyError(name)
        if name not in self._values:
            self._take(name, *self._decode(name, self._stored[name]))
        return self._values[name]

    def read_or_default(self, name: str) -> Any:
        """Return a value, or the default of its form, whose changes are noticed as well; `ABSENT` without one.

        Raises:
            RecordError: its bytes cannot be read by this release; they stay as they are.
        """
        if name in self:
            return self.read(name)
        if name not in self._values and (value := self._form(name).default()) is not ABSENT:
            self._take(name, value, self._encode(name, value))
        return self._values.get(name, ABSENT)

    def write(self, name: str, value: Any) -> None:
        """Set a value.

        Raises:
            SessionValueError: the name or the value cannot be stored.
            SessionTooLarge: the value is larger than the limit.
        """
        self._written[check_name(name)] = self._encode(name, value)
        self._values[name] = value
        self._baseline.pop(name, None)
        self._merges.pop(name, None)

    def merge(self, name: str, operation: Operation) -> None:
        """Change a value by an operation, which is applied again to what another request may have left.

        After a plain change of the same field in the same request it is a part of that.

        Raises:
            SessionValueError: the name, or what the value becomes, cannot be stored, or the operation does not fit it.
            SessionTooLarge: the value becomes larger than the limit.
            SessionConflict: the value is not what was expected.
            RecordError: its bytes cannot be read by this release; they stay as they are.
        """
        current = self.read_or_default(check_name(name))
        value = _applied(name, operation, current)
        self._settle(name)
        merges = [*self._merges.get(name, ()), operation]
        plainly = name in self._written and name not in self._merges
        self.write(name, value)
        self._values[name] = _moved(current, value)
        if not plainly:
            self._merges[name] = merges

    def wrap_as(self, wrapping: Wrapping) -> None:
        """Store values in another way from now on."""
        self._wrapping = wrapping

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
        """Return what has to be set, as it is to be stored, and what has to be deleted.

        Raises:
            SessionValueError: something that cannot be stored was put inside a value.
            SessionTooLarge: a value has grown beyond the limit.
        """
        self._settle(*self._values)
        self._sent = {name: len(merges) for name, merges in self._merges.items()}
        sets = {
            name: self._wrapping.wrap(name, data)
            for name, data in self._written.items()
            if data is not None and self._differs(name, data)
        }
        return sets, {name for name, data in self._written.items() if data is None}

    def pending(self) -> dict[str, Sequence[Operation]]:
        """Return the operations of `changes`, by field."""
        return dict(self._merges)

    def expected(self, sets: Mapping[str, bytes]) -> dict[str, bytes]:
        """Return what the fields that operations change must still be in Redis; empty for an absent one."""
        return {name: self._stored.get(name, b"") for name in sets if name in self._merges}

    def checks(self) -> bool:
        """Whether a change must not happen unless a value is what was expected."""
        return any(operation.checks for merges in self._merges.values() for operation in merges)

    def merged(self, sets: Mapping[str, bytes], deletes: AbstractSet[str]) -> dict[str, bytes]:
        """Return every attribute as it would be stored with these changes; the rest byte for byte as it was."""
        return updated(named(self._stored), sets, deletes)

    def raw(self, sets: Mapping[str, bytes], deletes: AbstractSet[str]) -> dict[bytes, bytes]:
        """Do the same by the names of their fields in the hash."""
        return updated(unnamed(self._stored), raw_fields(sets), map(field_name, deletes))

    def rebase(self, now: Mapping[str, bytes]) -> None:
        """Apply our operations to what another request has left of their fields (empty: absent).

        Raises:
            SessionConflict: one of them is not what was expected; that change is given up, the others stay.
            SessionValueError, SessionTooLarge, RecordError: one cannot be applied; as above.
        """
        self._settle(*now)
        failure: ZddError | None = None
        for name, data in now.items():
            try:
                self._rebase(name, data)
            except ZddError as error:
                failure = error
        if failure is not None:
            raise failure

    def applied(self, name: str, operations: Sequence[Operation], data: bytes | None) -> bytes:
        """Return what operations make of stored bytes, as it is to be stored.

        Raises:
            SessionConflict, SessionValueError, SessionTooLarge, RecordError: as `rebase`.
        """
        return self._wrapping.wrap(name, self._encode(name, self._apply(name, operations, data)))

    def saved(self, stored: Mapping[str, bytes], sets: Mapping[str, bytes], deletes: AbstractSet[str]) -> None:
        """Note that Redis has these changes, and so has what is stored; values already read stay the same objects."""
        self._stored = stored
        sent: dict[str, bytes | None] = {name: self._wrapping.unwrap(name, data) for name, data in sets.items()}
        for name, data in {**sent, **dict.fromkeys(deletes)}.items():
            if self._written.get(name, b"") == data:
                self._keep(name)
            elif name in self._merges:  # changed again while the save was under way
                self._merges[name] = self._merges[name][self._sent.get(name, 0) :]

    def _keep(self, name: str) -> None:
        data = self._written.pop(name)
        self._merges.pop(name, None)
        if data is not None and not codec.is_settled(self._values[name]):
            self._baseline[name] = data

    def _settle(self, *names: str) -> None:
        """Bring what is written up to date with what was done inside values, and derive operations."""
        for name in names:
            before = self._written.get(name, self._baseline.get(name))
            if before is not None and not codec.is_settled(self._values[name]) and self._changed(name, before):
                self._written[name] = self._encode(name, self._values[name])
                self._baseline.pop(name, None)
                self._merges.pop(name, None)
            self._derive(name)

    def _changed(self, name: str, before: bytes) -> bool:
        """Whether something inside a value was changed since it was these bytes."""
        form = self._form(name)
        if form is PLAIN and codec.shows_as(self._values[name], before):
            return False
        try:
            now = form.encode(self._values[name])
            return now != before and now != form.encode(form.decode(before))
        except SessionValueError:
            return True

    def _derive(self, name: str) -> None:
        rule = self._form(name).rule
        if rule is None or name in self._merges or self._written.get(name) is None:
            return
        try:
            operation = rule.derive(self._base(name, self._stored.get(name)), self._values[name])
        except RecordError:  # what was there cannot be read, and is replaced
            return
        if operation is not None:
            self._merges[name] = [operation]

    def _differs(self, name: str, data: bytes) -> bool:
        if any(operation.checks for operation in self._merges.get(name, ())):
            return True
        try:
            return name not in self._stored or self._wrapping.unwrap(name, self._stored[name]) != data
        except RecordError:
            return True

    def _rebase(self, name: str, data: bytes) -> None:
        merges, value = self._merges.get(name), self._values.get(name)
        self._stored = updated(named(self._stored), {name: data} if data else {}, () if data else (name,))
        if merges is None:
            return
        self._forget(name)
        result = self._apply(name, merges, data or None)
        self.write(name, result)
        self._values[name] = _moved(value, result)
        self._merges[name] = merges

    def _apply(self, name: str, operations: Sequence[Operation], data: bytes | None) -> Any:
        value = self._base(name, data)
        for operation in operations:
            value = _applied(name, operation, value)
        return value

    def _base(self, name: str, data: bytes | None) -> Any:
        return self._form(name).default() if data is None else self._decode(name, data)[0]

    def _form(self, name: str) -> Form:
        return self._forms.get(name, PLAIN)

    def _take(self, name: str, value: Any, data: bytes) -> None:
        self._values[name] = value
        if not codec.is_settled(value):
            self._baseline[name] = data

    def _encode(self, name: str, value: Any) -> bytes:
        try:
            data = self._form(name).encode(value)
        except SessionValueError as error:
            message = f"session[{name!r}] cannot be stored: {error}"
            raise SessionValueError(message) from None
        if len(data) > self._max_field:
            message = f"session[{name!r}] has {len(data)} bytes, more than sessions.max_field = {self._max_field}"
            raise SessionTooLarge(message)
        return data

    def _decode(self, name: str, data: bytes) -> tuple[Any, bytes]:
        """Return the value of stored bytes, and its encoding."""
        try:
            encoded = self._wrapping.unwrap(name, data)
            return self._form(name).decode(encoded), encoded
        except RecordError as error:
            message = f"session[{name!r}] cannot be read by this release and was left as it is: {error}"
            raise type(error)(message) from None

    def _forget(self, name: str) -> None:
        self._values.pop(name, None)
        self._baseline.pop(name, None)
        self._written.pop(name, None)
        self._merges.pop(name, None)


def _applied(name: str, operation: Operation, current: Any) -> Any:
    try:
        return operation.apply(current)
    except (SessionValueError, SessionConflict) as error:
        message = f"session[{name!r}]: {error}"
        raise type(error)(message) from None


def _moved(old: Any, new: Any) -> Any:
    """Put the contents of a list or set into the object the application may hold."""
    if type(old) is not type(new) or old is new:
        return new
    if isinstance(old, list):
        old[:] = new
    elif isinstance(old, set):
        old.clear()
        old.update(new)
    else:
        return new
    return old
