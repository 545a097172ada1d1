"""Typed sessions: a `msgspec.Struct` says which attributes there are, of which types, and how each is merged.

Every attribute stays a field of its own in Redis, with an identity of its type's shape in the record's header. What
another release wrote in another shape either fits all the same or raises `RecordUndecodable` for that attribute alone,
and is kept. What a struct of this release does not know inside a value is kept, too, as long as the value is changed
in place.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin, get_type_hints

import msgspec

from zdd_sdk.errors import RecordUndecodable, SessionValueError
from zdd_sdk.sessions import codec
from zdd_sdk.sessions.merge import ABSENT, Add, Append, CompareAndSet, Rule, Union

if TYPE_CHECKING:
    from zdd_sdk.sessions.attributes import Attributes

__all__ = ["TypedForm", "TypedSession", "describe"]

_IDENTITY = 4
_TYPES: dict[type, tuple[type, ...]] = {Add: (int, float, Decimal), Union: (set, frozenset), Append: (list,)}


@dataclass(frozen=True, slots=True)
class _Shape:
    """One attribute of a struct.

    Attributes:
        name: in the session.
        label: in messages.
        type: what values are converted to.
        identity: first bytes of the SHA-256 of the type's JSON Schema.
        structs: whether values may hold structs or enums.
        rule: how changes are merged.
        field: its default.
    """

    name: str
    label: str
    type: Any
    identity: bytes
    structs: bool
    rule: Rule | None
    field: msgspec.structs.FieldInfo


@dataclass(frozen=True, slots=True)
class TypedForm:
    """How one attribute is written and read by its type.

    Attributes:
        shape: the attribute.
        unknown: what structs that were read hold beside their own fields, by the id of the struct.
    """

    shape: _Shape
    unknown: dict[int, tuple[Any, Mapping[Any, Any]]] = field(default_factory=dict, compare=False)

    @property
    def rule(self) -> Rule | None:
        """How its changes are merged."""
        return self.shape.rule

    def encode(self, value: Any) -> bytes:
        """Encode a value of the type.

        Raises:
            SessionValueError: it is of another type, or cannot be stored.
        """
        try:
            plain = self._plain(value, 0) if self.shape.structs else value
            msgspec.convert(plain, self.shape.type)
        except (msgspec.ValidationError, TypeError) as error:
            message = f"it is not what {self.shape.label} is declared to be: {error}"
            raise SessionValueError(message) from None
        return codec.encode(plain, self.shape.identity)

    def decode(self, data: bytes) -> Any:
        """Decode a value.

        Raises:
            RecordTooNew: see `codec.decode`.
            RecordUndecodable: see `codec.decode`, or it does not fit the type.
        """
        raw = codec.decode(data)
        try:
            value = msgspec.convert(raw, self.shape.type)
        except (msgspec.ValidationError, TypeError) as error:
            theirs = codec.schema_of(data)
            shapes = f"written in shape {theirs.hex() or 'unknown'}, {self.shape.label} has {self.shape.identity.hex()}"
            message = f"{shapes}: {error}"
            raise RecordUndecodable(message) from None
        if self.shape.structs:
            self._keep_unknown(raw, value)
        return value

    def default(self) -> Any:
        """Return a new default, or `ABSENT`."""
        info = self.shape.field
        if info.default_factory is not msgspec.NODEFAULT:
            return info.default_factory()
        return ABSENT if info.default is msgspec.NODEFAULT else copy.deepcopy(info.default)

    def _keep_unknown(self, raw: Any, value: Any) -> None:
        if isinstance(value, msgspec.Struct) and isinstance(raw, dict):
            names = {info.encode_name: info.name for info in msgspec.structs.fields(value)}
            unknown = {key: item for key, item in raw.items() if key not in names and key != _tag_of(value)[0]}
            if unknown:
                self.unknown[id(value)] = (value, unknown)
            for key, name in names.items():
                self._keep_unknown(raw.get(key), getattr(value, name))
        elif isinstance(value, dict) and isinstance(raw, dict):
            for key, item in value.items():
                self._keep_unknown(raw.get(key), item)
        elif isinstance(value, list | tuple) and isinstance(raw, list | tuple):
            for one, other in zip(raw, value, strict=False):
                self._keep_unknown(one, other)

    def _plain(self, value: Any, depth: int) -> Any:
        if depth > codec.MAX_DEPTH:
            return value  # the codec says so
        if isinstance(value, msgspec.Struct):
            return self._plain_struct(value, depth + 1)
        if isinstance(value, Enum):
            return value.value
        if isinstance(value, dict):
            return {self._plain(key, depth + 1): self._plain(item, depth + 1) for key, item in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            kind: Any = next(kind for kind in (list, tuple, set, frozenset) if isinstance(value, kind))
            return kind(self._plain(item, depth + 1) for item in value)
        return value

    def _plain_struct(self, value: msgspec.Struct, depth: int) -> Any:
        infos = msgspec.structs.fields(value)
        tag, mark = _tag_of(value)
        items = {info.encode_name: self._plain(getattr(value, info.name), depth) for info in infos}
        present = {key: item for key, item in items.items() if item is not msgspec.UNSET}
        if value.__struct_config__.array_like:
            return [*([mark] if tag else []), *items.values()]
        _, unknown = self.unknown.get(id(value), (None, {}))
        return {**({tag: mark} if tag else {}), **present, **unknown}


class TypedSession:
    """A session seen through a struct: reading an attribute decodes it, assigning one changes the session.

    Args:
        attributes: the session.
        model: the struct.
    """

    __slots__ = ("_attributes", "_forms", "_model")

    def __init__(self, attributes: Attributes, model: type) -> None:
        shapes = describe(model)
        forms = {attribute: TypedForm(shape) for attribute, shape in shapes.items()}
        for part, value in (("_attributes", attributes), ("_model", model), ("_forms", forms)):
            object.__setattr__(self, part, value)

    def __repr__(self) -> str:
        return f"<{self._model.__name__} of {self._attributes!r}>"

    def __dir__(self) -> Iterator[str]:
        return iter(dir(self._model))

    def __getattr__(self, attribute: str) -> Any:
        form: TypedForm | None = self._forms.get(attribute)
        if form is None:
            return self._member(attribute)
        value = self._attributes.read_as(form.shape.name, form)
        if value is ABSENT:
            message = f"{form.shape.label} is not in the session, and has no default"
            raise AttributeError(message)
        return value

    def __setattr__(self, attribute: str, value: Any) -> None:
        form = self._form(attribute)
        self._attributes.write_as(form.shape.name, form, value)

    def __delattr__(self, attribute: str) -> None:
        try:
            del self._attributes[self._form(attribute).shape.name]
        except KeyError as error:
            raise AttributeError(attribute) from error

    def _member(self, name: str) -> Any:
        """Return what the struct's class defines beside its attributes: a method, a property."""
        if name.startswith("__"):
            raise AttributeError(name)
        member = inspect.getattr_static(self._model, name)
        return member.__get__(self, self._model) if hasattr(member, "__get__") else member

    def _form(self, attribute: str) -> TypedForm:
        form: TypedForm | None = self._forms.get(attribute)
        if form is None:
            message = f"{self._model.__name__} declares no {attribute!r}"
            raise AttributeError(message)
        return form


@functools.cache
def describe(model: Any) -> Mapping[str, _Shape]:
    """Read a struct: its attributes by their names in Python.

    Raises:
        TypeError: it is no struct, a type cannot be described, or a rule does not fit one.
    """
    if not (isinstance(model, type) and issubclass(model, msgspec.Struct)):
        message = f"a typed session is described by a msgspec.Struct, and {model!r} is none"
        raise TypeError(message)
    hints = get_type_hints(model, include_extras=True)
    return {info.name: _shape(model, info, hints[info.name]) for info in msgspec.structs.fields(model)}


def _shape(model: type, info: msgspec.structs.FieldInfo, hint: Any) -> _Shape:
    label = f"{model.__name__}.{info.name}"
    try:
        schemas, components = msgspec.json.schema_components([hint])
    except TypeError as error:
        message = f"{label} cannot be described: {error}"
        raise TypeError(message) from None
    described = msgspec.json.encode([list(schemas), components], order="deterministic")
    identity = hashlib.sha256(described).digest()[:_IDENTITY]
    return _Shape(info.encode_name, label, hint, identity, bool(components), _rule(label, hint), info)


def _rule(label: str, hint: Any) -> Rule | None:
    if get_origin(hint) is not Annotated:
        return None
    inner, *annotations = get_args(hint)
    rule = next((item for item in annotations if isinstance(item, Add | Append | CompareAndSet | Union)), None)
    wanted = _TYPES.get(type(rule))
    if wanted is not None and (get_origin(inner) or inner) not in wanted:
        message = f"{label}: {type(rule).__name__} needs {' or '.join(kind.__name__ for kind in wanted)}, not {inner}"
        raise TypeError(message)
    return rule


def _tag_of(value: msgspec.Struct) -> tuple[str | None, Any]:
    config = value.__struct_config__
    return config.tag_field, config.tag
