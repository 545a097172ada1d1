"""``zdd release`` as a person and a pipeline use it."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from zdd_sdk.cli import main
from zdd_sdk.release import PLATFORM_VARIABLES

SHA = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def bare_place(tmp_path, monkeypatch):
    for name in (*os.environ, *(name for names in PLATFORM_VARIABLES.values() for name in names)):
        if name.startswith(("ZDD_", "OTEL_")) or any(name in names for names in PLATFORM_VARIABLES.values()):
            monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_show_prints_each_field_with_its_source(monkeypatch, capsys):
    monkeypatch.setenv("ZDD_RELEASE_VERSION", "1.4.2")
    monkeypatch.setenv("GITHUB_SHA", SHA)
    monkeypatch.setenv("GIT_BRANCH", "evil\nbranch")
    assert main(["release", "show"]) == 0
    out = capsys.readouterr().out
    assert "1.4.2+0123456" in out
    assert "ZDD_RELEASE_VERSION" in out
    assert "GITHUB_SHA" in out
    assert "branch from GIT_BRANCH: contains control" in out
    assert "evil" not in out


def test_show_as_json(monkeypatch, capsys):
    monkeypatch.setenv("K_REVISION", "shop-7")
    assert main(["release", "show", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["fields"]["deployment"] == {"value": "shop-7", "source": "K_REVISION"}
    assert shown["fields"]["commit"] == {"value": None, "source": "unknown"}
    assert shown["label"] == "shop-7"


def test_strict_fails_where_neither_version_nor_commit_is_known(monkeypatch, capsys):
    assert main(["release", "show", "--strict"]) == 1
    assert "neither version nor commit" in capsys.readouterr().err
    monkeypatch.setenv("GIT_COMMIT", SHA)
    assert main(["release", "show", "--strict"]) == 0


def test_bake_then_show(bare_place, capsys):
    assert main(["release", "bake", "--version", "2.0", "--commit", SHA]) == 0
    assert "release.json: 2.0+0123456" in capsys.readouterr().out
    assert main(["release", "show", "--json", "--strict"]) == 0
    assert json.loads(capsys.readouterr().out)["fields"]["commit"]["source"] == "release.json"


def test_bake_does_not_believe_the_file_it_replaces(bare_place, capsys):
    bare_place.joinpath("release.json").write_text('{"commit": "' + "a" * 40 + '"}')
    assert main(["release", "bake", "--version", "2.0", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"version": "2.0"}


def test_bake_with_nothing_known_fails_and_writes_nothing(bare_place, capsys):
    assert main(["release", "bake"]) == 1
    assert "give --version, --commit or --git" in capsys.readouterr().err
    assert list(bare_place.iterdir()) == []


def test_git_is_asked_only_when_told_and_then_before_platform_variables(bare_place, monkeypatch, capsys):
    git = ("git", "-c", "user.name=t", "-c", "user.email=t@example.org")
    subprocess.run((*git, "init", "-q", "-b", "trunk"), check=True, timeout=20)
    subprocess.run((*git, "commit", "-q", "--allow-empty", "-m", "x"), check=True, timeout=20)
    monkeypatch.setenv("GITHUB_SHA", SHA)
    assert main(["release", "bake", "--output", "a.json", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["commit"] == SHA
    assert main(["release", "bake", "--git", "--output", "b.json", "--json"]) == 0
    baked = json.loads(capsys.readouterr().out)
    assert baked["commit"] != SHA
    assert baked["branch"] == "trunk"


def test_bad_input_exits_2(bare_place, capsys):
    assert main(["release", "bake", "--version", "1", "--output", "none/release.json"]) == 2
    assert "cannot be written" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["release"])
