"""``rehearsal.json`` and ``index.html``: written whole or not at all, and read back."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import msgspec

from zdd_sdk.errors import RehearsalError
from zdd_sdk.rehearsal.model import Result, Summary
from zdd_sdk.rehearsal.report.page import render_page

__all__ = ["JSON_NAME", "PAGE_NAME", "encode_summary", "read_summary", "write_report"]

JSON_NAME = "rehearsal.json"
PAGE_NAME = "index.html"
SCHEMA = 1
"""The highest ``schema`` this release can read."""


def write_report(result: Result, summary: Summary, out: Path | str) -> Path:
    """Write ``rehearsal.json`` and ``index.html`` into ``out``, which is made if missing, and return the page's path.

    A reader never sees half a file: each is written beside its place and renamed.

    Raises:
        RehearsalError: the folder cannot be written to.
    """
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _replace(folder / PAGE_NAME, render_page(result, summary).encode())
        _replace(folder / JSON_NAME, encode_summary(summary))
    except OSError as error:
        message = f"the report cannot be written to {folder}: {error}"
        raise RehearsalError(message) from error
    return folder / PAGE_NAME


def encode_summary(summary: Summary) -> bytes:
    """Return ``rehearsal.json``: UTF-8, indented, every key in the documented order."""
    return msgspec.json.format(msgspec.json.encode(summary), indent=2) + b"\n"


def read_summary(path: Path | str) -> Summary:
    """Read a ``rehearsal.json``, or the one in a folder; keys added by later releases are ignored.

    Raises:
        RehearsalError: there is none, it is no rehearsal, or its ``schema`` is newer than this release.
    """
    file = Path(path)
    file = file / JSON_NAME if file.is_dir() else file
    try:
        summary = msgspec.json.decode(file.read_bytes(), type=Summary)
    except (OSError, msgspec.DecodeError) as error:
        message = f"{file} is not a rehearsal.json: {error}"
        raise RehearsalError(message) from error
    if summary.schema > SCHEMA:
        message = f"{file} has schema {summary.schema}, this zdd-sdk reads up to {SCHEMA}: use the newer one"
        raise RehearsalError(message)
    return summary


def _replace(path: Path, content: bytes) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
