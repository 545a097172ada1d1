"""Baking a record: what goes in, atomically, and with git only when asked."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from pathlib import Path

import pytest

from zdd_sdk.errors import SettingsError
from zdd_sdk.release import detect_release
from zdd_sdk.release.bake import read_git, write_release
from zdd_sdk.settings import ReleaseSettings

SHA = "0123456789abcdef0123456789abcdef01234567"


def release(**values):
    return detect_release(ReleaseSettings(**values), "production", environ={}, directory=Path("/nonexistent"))


def test_what_is_baked_is_what_is_found(tmp_path):
    path = tmp_path / "release.json"
    written = write_release(release(version="1.2", commit=SHA, deployment="d-1"), path)
    assert written == {"version": "1.2", "commit": SHA}
    assert json.loads(path.read_text()) == {"format": 1, **written}
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    found = detect_release(ReleaseSettings(), "production", environ={}, directory=tmp_path)
    assert (found.version.value, found.commit.source) == ("1.2", "release.json")


def test_nothing_known_writes_nothing(tmp_path):
    with pytest.raises(SettingsError, match="nothing to bake"):
        write_release(release(branch="main"), tmp_path / "release.json")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch):
    path = tmp_path / "release.json"
    path.write_text("old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SettingsError, match="No space left"):
        write_release(release(version="1"), path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["release.json"]
    assert path.read_text() == "old"


def test_a_missing_folder_is_said(tmp_path):
    with pytest.raises(SettingsError, match="cannot be written: No such file"):
        write_release(release(version="1"), tmp_path / "none" / "release.json")


def git(directory, *words):
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    return subprocess.run(
        ("git", "-C", str(directory), *identity, *words), check=True, capture_output=True, text=True, timeout=20
    ).stdout.strip()


def test_git_gives_commit_and_branch(tmp_path):
    git(tmp_path, "init", "-q", "-b", "trunk")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "first")
    head = git(tmp_path, "rev-parse", "HEAD")
    assert read_git(tmp_path) == {"commit": head, "branch": "trunk"}
    git(tmp_path, "checkout", "-q", "--detach")
    assert read_git(tmp_path) == {"commit": head}


def test_no_checkout_and_no_git_are_said(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(SettingsError, match=r"git rev-parse failed.*not a git repository"):
        read_git(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SettingsError, match="git rev-parse failed"):
        read_git(tmp_path)
