"""Fill `Settings` from arguments, the environment, a file and the defaults, and remember which said what."""

from __future__ import annotations

import hashlib
import os
import re
import tomllib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import msgspec

from zdd_sdk.errors import SettingsError
from zdd_sdk.settings.model import Part, Settings
from zdd_sdk.settings.options import Leaf, leaves

__all__ = ["Loaded", "load_settings"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
_OTHER_ENV = frozenset({"ZDD_CONFIG"})
_MAX_TEXT = 4096
"""Characters of one option: as much as Linux takes for a path, which is the longest thing an option holds."""
_MAX_SHOWN = 120
_said: dict[Any, Any] = {}
"""What `warnings` remembers of our warnings."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """Effective settings, and where each value came from.

    Attributes:
        values: the settings.
        origins: for each option's path: ``"argument"``, ``"ZDD_…"``, the file's name, or ``"default"``.
    """

    values: Settings
    origins: Mapping[str, str]

    def shown(self) -> dict[str, str]:
        """The options two workers can be compared by, as people write them; secrets only as set or unset.

        Not who they are: the instance and the release differ by design, and the fleet shows them anyway.
        """
        return {leaf.path: leaf.show(self.value(leaf)) for leaf in leaves() if not _is_identity(leaf)}

    def fingerprint(self) -> str:
        """16 hex digits that differ when any shown option differs; two workers compare configurations by it."""
        text = "\n".join(f"{path}={value}" for path, value in self.shown().items())
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def value(self, leaf: Leaf) -> Any:
        """The effective value of one option."""
        holder = getattr(self.values, leaf.part) if leaf.part else self.values
        return getattr(holder, leaf.name)


def _is_identity(leaf: Leaf) -> bool:
    return leaf.part == "release" or leaf.path == "lifecycle.instance"


def load_settings(
    arguments: Mapping[str, Any] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    directory: Path | None = None,
) -> Loaded:
    """Resolve every option: arguments, then ``ZDD_*``, then ``zdd.toml`` or ``[tool.zdd]``, then defaults.

    Args:
        arguments: options by path (``"sessions.idle_timeout"``), or one mapping or struct per part.
        environ: the environment; default the process's.
        directory: where ``zdd.toml`` or ``pyproject.toml`` lies; default the working directory.
            ``ZDD_CONFIG`` names a file instead.

    Raises:
        SettingsError: an unknown argument, or a value that cannot be. An unknown ``ZDD_*`` variable or
            file entry only warns, so that release N boots beside the file of release N+1.
    """
    environ = os.environ if environ is None else environ
    file, name = _read_file(environ, directory or Path.cwd())
    sources = [
        ("argument", _flatten(arguments or {})),
        ("environment", _from_environ(environ)),
        (name, _flatten(file)),
    ]
    _refuse_unknown(sources)
    return _resolve(sources)


def _resolve(sources: list[tuple[str, dict[str, Any]]]) -> Loaded:
    tables: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for leaf in leaves():
        origin, value = next(
            ((o, values[leaf.path]) for o, values in sources if leaf.path in values), ("default", None)
        )
        origins[leaf.path] = leaf.env if origin == "environment" else origin
        if origin == "default":
            continue
        holder = tables.setdefault(leaf.part, {}) if leaf.part else tables
        holder[leaf.name] = _checked(leaf, value, origins[leaf.path])
    values = msgspec.convert(tables, Settings)
    _check_texts(values)
    return Loaded(values, origins)


def _checked(leaf: Leaf, value: Any, origin: str) -> Any:
    try:
        _check_text(value)
        strict = origin == "argument" and not isinstance(value, str)
        converted = msgspec.convert(leaf.parse(value), leaf.type, strict=strict)
        leaf.check(converted)
    except (ValueError, TypeError, OverflowError, msgspec.MsgspecError) as error:
        shown = "its value" if leaf.option.secret else _brief(repr(value))
        detail = "" if leaf.option.secret else f": {_brief(str(error))}"
        message = f"{leaf.path} (from {origin}) cannot be {shown}{detail}"
        raise SettingsError(message) from None
    return converted


def _check_text(value: Any) -> None:
    """Refuse text that neither Redis nor a file system could take; the environment may hold any bytes."""
    if not isinstance(value, str):
        return
    if len(value) > _MAX_TEXT:
        message = f"it has {len(value)} characters, more than {_MAX_TEXT}"
        raise ValueError(message)
    if "\x00" in value or any("\ud800" <= character <= "\udfff" for character in value):
        message = "it is not Unicode text, or has a NUL in it"
        raise ValueError(message)


def _brief(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"


def _check_texts(values: Settings) -> None:
    for path, text in (("service", values.service), ("environment", values.environment)):
        if not _NAME.match(text):
            message = f"{path} cannot be {_brief(repr(text))}: it names keys in Redis, so 1 to 64 of a-z A-Z 0-9 . _ -"
            raise SettingsError(message)
    prefix = values.lifecycle.health_prefix
    if prefix and (prefix[0] != "/" or prefix[-1] == "/"):
        message = f"lifecycle.health_prefix cannot be {_brief(repr(prefix))}: it begins with a slash and ends without"
        raise SettingsError(message)


def _from_environ(environ: Mapping[str, str]) -> dict[str, Any]:
    known = {leaf.env: leaf.path for leaf in leaves()}
    return {
        known.get(name, name): value
        for name, value in environ.items()
        if name.startswith("ZDD_") and name not in _OTHER_ENV
    }


def _read_file(environ: Mapping[str, str], directory: Path) -> tuple[dict[str, Any], str]:
    if named := environ.get("ZDD_CONFIG"):
        return _parse(Path(named), " (named by ZDD_CONFIG)"), Path(named).name
    if (path := directory / "zdd.toml").is_file():
        return _parse(path), path.name
    if (path := directory / "pyproject.toml").is_file():
        return _table(_table(_parse(path), "tool"), "zdd"), "pyproject.toml [tool.zdd]"
    return {}, "zdd.toml"


def _table(parent: dict[str, Any], name: str) -> dict[str, Any]:
    found = parent.get(name, {})
    if not isinstance(found, dict):
        message = f"[{name}] in pyproject.toml is not a table"
        raise SettingsError(message)
    return found


def _parse(path: Path, hint: str = "") -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        message = f"{_brief(path.name)}{hint} cannot be read: {_brief(str(error))}"
        raise SettingsError(message) from error


def _flatten(values: Mapping[str, Any]) -> dict[str, Any]:
    parts = {leaf.part for leaf in leaves() if leaf.part}
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if name in parts and isinstance(value, Part):
            flat.update({f"{name}.{inner}": getattr(value, inner) for inner in value.__struct_fields__})
        elif name in parts and isinstance(value, Mapping):
            flat.update({f"{name}.{inner}": entry for inner, entry in value.items()})
        else:
            flat[name] = value
    return flat


def _words() -> dict[str, None]:
    """Return what may be said: each part and each option."""
    return dict.fromkeys(word for leaf in leaves() for word in (leaf.part, leaf.path) if word)


def _refuse_unknown(sources: list[tuple[str, dict[str, Any]]]) -> None:
    known = {leaf.path for leaf in leaves()}
    for origin, values in sources:
        for name in values.keys() - known:
            if origin == "environment" and not name.startswith("ZDD_"):
                continue
            near = get_close_matches(name, [*_words(), *(leaf.env for leaf in leaves())], 1)
            message = f"{_brief(name)} (from {origin}) is not an option" + (
                f"; did you mean {near[0]}?" if near else ""
            )
            if origin == "argument":
                raise SettingsError(message)
            # Once, however often settings are loaded: no line of code is to blame.
            warnings.warn_explicit(message, UserWarning, "zdd settings", 0, registry=_said)
