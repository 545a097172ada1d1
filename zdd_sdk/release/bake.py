"""Write the release into a file at build time, because most platforms say it only then."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from pathlib import Path

import msgspec

from zdd_sdk.errors import SettingsError
from zdd_sdk.release.model import Release

__all__ = ["BAKED_FIELDS", "read_git", "write_release"]

BAKED_FIELDS = ("version", "commit", "build", "branch")
"""What belongs to an image. Deployment and environment do not: one image is deployed many times."""

_FORMAT = 1
_GIT_TIMEOUT = 5.0
_WORLD_READABLE = 0o644


def write_release(release: Release, path: Path) -> dict[str, str]:
    """Write the known fields of `BAKED_FIELDS` as JSON, atomically, and return them.

    Raises:
        SettingsError: neither version, commit nor build is known, or the file cannot be written.
    """
    if not release.identified:
        message = "nothing to bake: neither version, commit nor build is known; give --version, --commit or --git"
        raise SettingsError(message)
    known = {name: value for name, value in release.values().items() if value and name in BAKED_FIELDS}
    try:
        _replace(path, msgspec.json.format(msgspec.json.encode({"format": _FORMAT, **known})) + b"\n")
    except OSError as error:
        message = f"{path} cannot be written: {error.strerror}"
        raise SettingsError(message) from error
    return known


def _replace(path: Path, data: bytes) -> None:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, _WORLD_READABLE)  # mkstemp gives 0600; the image often runs as another user
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise


def read_git(directory: Path) -> dict[str, str]:
    """Ask git for the commit and branch checked out in ``directory``; only ever run when asked to.

    Raises:
        SettingsError: git is missing, takes longer than 5 s, or this is no checkout with a commit.
    """
    commit = _git(directory, "rev-parse", "HEAD")
    branch = _git(directory, "rev-parse", "--abbrev-ref", "HEAD")
    return {"commit": commit} | ({"branch": branch} if branch != "HEAD" else {})


def _git(directory: Path, *words: str) -> str:
    command = ("git", "-C", str(directory), *words)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_GIT_TIMEOUT, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        detail = str(getattr(error, "stderr", "") or error).strip().splitlines()
        message = f"git {words[0]} failed in {directory}: {detail[-1] if detail else 'no output'}"
        raise SettingsError(message) from error
    return done.stdout.strip()
