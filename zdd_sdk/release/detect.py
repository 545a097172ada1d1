"""Find out which release this process is; the first source that says something usable wins, field by field.

Order: explicit argument, ``ZDD_RELEASE_*`` and file (merged by the settings), ``OTEL_RESOURCE_ATTRIBUTES``,
the baked file, platform variables, package metadata (version only). No subprocess, no network.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import msgspec

from zdd_sdk.release.model import FIELDS, MAX_VALUE, SEMCONV, UNKNOWN, Field, Release
from zdd_sdk.release.platforms import PLATFORM_VARIABLES
from zdd_sdk.settings import ReleaseSettings

__all__ = ["detect_release"]

Candidate = tuple[Any, str]
Layer = Callable[[str], Iterable[Candidate]]
"""For a field's name, the raw values one source offers, each with what the source is called."""

_MAX_FILE = 64 * 1024
_MAX_OTEL = 64 * 1024
_COMMIT = re.compile(r"(?!0+\Z)[0-9a-fA-F]{7,64}\Z")
_OTEL = "OTEL_RESOURCE_ATTRIBUTES"


def detect_release(
    settings: ReleaseSettings,
    environment: str,
    *,
    environ: Mapping[str, str] | None = None,
    directory: Path | None = None,
    distribution: str | None = None,
    origins: Mapping[str, str] | None = None,
    baked: Mapping[str, Any] | None = None,
) -> Release:
    """Return the release of this process. Never raises for what the outside says: it is refused and noted.

    Args:
        settings: the explicit values; they win.
        environment: name of the environment, from settings.
        environ: environment variables; default the process's.
        directory: where ``settings.file`` lies if it is relative; default the working directory.
        distribution: installed distribution whose version this is; default ``settings.distribution``.
        origins: where each option came from (`Loaded.origins`), for exact provenance.
        baked: take these values, called ``"git"``, in place of the baked file's (``zdd release bake``).
    """
    refused: list[str] = []
    environ = os.environ if environ is None else environ
    attributes = _otel_attributes(environ, refused)
    layers = [
        _of_settings(settings, environment, origins or {}),
        _of_mapping(attributes, _OTEL, SEMCONV),
        _of_mapping(baked, "git") if baked is not None else _of_file(settings.file, directory, refused),
        _of_platform(environ),
        _of_distribution(distribution or settings.distribution),
    ]
    fields = {name: _first(name, layers, refused) for name in FIELDS}
    _note_other_environment(attributes, environment, refused)
    return Release(**fields, refused=tuple(refused))


def _first(name: str, layers: list[Layer], refused: list[str]) -> Field:
    for layer in layers:
        for raw, source in layer(name):
            value, problem = _clean(name, raw, platform=source in PLATFORM_VARIABLES.get(name, ()))
            if value is not None:
                return Field(value, source)
            if problem:
                refused.append(f"{name} from {source}: {problem}")
    return UNKNOWN


def _clean(name: str, raw: Any, *, platform: bool) -> tuple[str | None, str]:
    """Return ``(value, "")`` or ``(None, why not)``; nothing at all for an empty value."""
    if isinstance(raw, int) and not isinstance(raw, bool) and abs(raw) < 1 << 64:
        raw = str(raw)
    if raw is None or raw == "":
        return None, ""
    if not isinstance(raw, str):
        return None, "not a text"
    if len(raw) > MAX_VALUE:
        return None, f"longer than {MAX_VALUE} characters"
    text = raw.strip()
    if not text.isprintable() or not (text.isascii() or name == "branch"):
        return None, "contains control or other unprintable characters"
    if name == "commit" and platform and not _COMMIT.match(text):
        return None, "not a commit hash"
    return (text.lower() if name == "commit" and _COMMIT.match(text) else text) or None, ""


def _of_settings(settings: ReleaseSettings, environment: str, origins: Mapping[str, str]) -> Layer:
    def offer(name: str) -> Iterator[Candidate]:
        if name == "environment":
            yield environment, origins.get("environment", "argument")
        else:
            yield getattr(settings, name), origins.get(f"release.{name}", "argument")

    return offer


def _of_mapping(values: Mapping[str, Any], source: str, names: Mapping[str, str] | None = None) -> Layer:
    def offer(name: str) -> Iterator[Candidate]:
        if name != "environment":
            yield values.get(names[name] if names else name), source

    return offer


def _of_platform(environ: Mapping[str, str]) -> Layer:
    def offer(name: str) -> Iterator[Candidate]:
        for variable in PLATFORM_VARIABLES.get(name, ()):
            if value := environ.get(variable):
                yield value, variable

    return offer


def _of_distribution(distribution: str | None) -> Layer:
    def offer(name: str) -> Iterator[Candidate]:
        if name == "version" and distribution:
            yield _installed_version(distribution), f"metadata of {distribution}"

    return offer


def _installed_version(distribution: str) -> str | None:
    from importlib import metadata

    try:
        return metadata.version(distribution)
    except (metadata.PackageNotFoundError, ValueError):
        return None


def _of_file(file: str, directory: Path | None, refused: list[str]) -> Layer:
    path = (directory or Path()) / file
    try:
        values = _read_object(path) if file and path.is_file() else {}
    except (OSError, ValueError) as error:
        refused.append(f"{path.name}: {error if isinstance(error, ValueError) else error.strerror}")
        values = {}
    return _of_mapping(values, path.name)


def _read_object(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        data = file.read(_MAX_FILE + 1)
    if len(data) > _MAX_FILE:
        message = f"larger than {_MAX_FILE} bytes"
        raise ValueError(message)
    try:
        return msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.MsgspecError, ValueError, RecursionError):
        message = "not a JSON object"
        raise ValueError(message) from None


def _otel_attributes(environ: Mapping[str, str], refused: list[str]) -> dict[str, str]:
    """Read ``key=value,…``, percent-decoded as OpenTelemetry does; of a repeated key the last wins."""
    text = environ.get(_OTEL, "")
    if len(text) > _MAX_OTEL:
        refused.append(f"{_OTEL}: longer than {_MAX_OTEL} characters")
        return {}
    found: dict[str, str] = {}
    wanted = {*SEMCONV.values(), "deployment.environment"}
    for pair in text.split(","):
        key, _, value = pair.partition("=")
        if key.strip() in wanted:
            found[key.strip()] = _decode(key.strip(), value.strip(), refused)
    return found


def _decode(key: str, value: str, refused: list[str]) -> str:
    try:
        return unquote(value, errors="strict")
    except UnicodeDecodeError:
        refused.append(f"{key} from {_OTEL}: not UTF-8 after percent-decoding")
        return ""


def _note_other_environment(attributes: Mapping[str, str], environment: str, refused: list[str]) -> None:
    said = attributes.get(SEMCONV["environment"]) or attributes.get("deployment.environment")
    if said and said != environment:
        refused.append(f"environment from {_OTEL}: differs from the settings, which name the keys in Redis")
