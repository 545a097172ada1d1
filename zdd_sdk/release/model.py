"""`Release`: what is running, and where each part of that was learned from."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass

__all__ = ["FIELDS", "MAX_VALUE", "SEMCONV", "UNKNOWN", "Field", "Release"]

FIELDS = ("version", "commit", "build", "branch", "deployment", "environment")
"""The fields of a release, in the order they are shown."""

MAX_VALUE = 256
"""Characters; a longer value is refused. The longest honest one, a SHA-256 commit, has 64."""

SEMCONV = {
    "version": "service.version",
    "commit": "vcs.ref.head.revision",
    "build": "cicd.pipeline.run.id",
    "branch": "vcs.ref.head.name",
    "deployment": "deployment.id",
    "environment": "deployment.environment.name",
}
"""OpenTelemetry attribute of each field (semantic conventions 1.44)."""

_SHORT_COMMIT = 7
_ID_LENGTH = 12


@dataclass(frozen=True, slots=True)
class Field:
    """One thing known about a release, or not known.

    Attributes:
        value: the text, or ``None``.
        source: ``"argument"``, the variable's name, the file's name, ``"git"``,
            ``"metadata of <distribution>"`` or ``"unknown"``.
    """

    value: str | None
    source: str


UNKNOWN = Field(None, "unknown")
"""The field nobody knows."""


@dataclass(frozen=True)
class Release:
    """What is running.

    Attributes:
        version: version of the application.
        commit: commit hash; lower case if hexadecimal.
        build: build number.
        branch: branch or tag.
        deployment: identifier of this deployment (a Cloud Run revision is one; it is not a commit).
        environment: from explicit settings only, because it names keys in Redis.
        refused: one sentence for each value that was found and not used; never contains the value.
    """

    version: Field = UNKNOWN
    commit: Field = UNKNOWN
    build: Field = UNKNOWN
    branch: Field = UNKNOWN
    deployment: Field = UNKNOWN
    environment: Field = UNKNOWN
    refused: tuple[str, ...] = ()

    @functools.cached_property
    def id(self) -> str:
        """12 hex digits that differ when version, commit or build differ; ``"unknown"`` if nothing is known.

        Where none of the three is known the deployment stands in, so that two revisions of a
        platform that says nothing else can be told apart.
        """
        names = ("version", "commit", "build") if self.identified else ("deployment",)
        values = [self.values()[name] for name in names]
        if not any(values):
            return "unknown"
        return hashlib.sha256("\0".join(value or "" for value in values).encode()).hexdigest()[:_ID_LENGTH]

    @functools.cached_property
    def label(self) -> str:
        """What a person calls it: ``"1.4.2+abc1234"``, ``"abc1234"``, ``"build-512"`` or ``"unknown"``."""
        version, commit = self.version.value, self.commit.value
        short = commit[:_SHORT_COMMIT] if commit else None
        if version and short:
            return f"{version}{'.' if '+' in version else '+'}{short}"
        if version or short:
            return version or short or ""
        build = f"build-{self.build.value}" if self.build.value else None
        return build or self.deployment.value or "unknown"

    @property
    def identified(self) -> bool:
        """Whether version, commit or build is known."""
        return any(field.value for field in (self.version, self.commit, self.build))

    def fields(self) -> dict[str, Field]:
        """Return every field by name, in the order of `FIELDS`."""
        return {name: getattr(self, name) for name in FIELDS}

    def values(self) -> dict[str, str | None]:
        """Return every field's value by name, ``None`` where unknown."""
        return {name: field.value for name, field in self.fields().items()}

    def attributes(self) -> dict[str, str]:
        """Return the known fields under their OpenTelemetry names (`SEMCONV`)."""
        return {SEMCONV[name]: value for name, value in self.values().items() if value}
