"""The floors of the house hold, and import-linter sees it when they do not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BREACHES = {
    "zdd_sdk/errors.py": ("import zdd_sdk.store", "A floor imports only what lies below it"),
    "zdd_sdk/http/cookies.py": ("import redis", "Only the store imports redis"),
    "zdd_sdk/sessions/model.py": ("import zdd_sdk.fleet", "Parts never import one another"),
    "zdd_sdk/app.py": ("import fastapi", "No framework below the integrations"),
    "zdd_sdk/web/asgi.py": ("import zdd_fastapi", "A floor imports only what lies below it"),
}


def lint(house: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter over a house, without what an editable install would put on the path before it."""
    command = [sys.executable, "-c", "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())"]
    environ = {**os.environ, "PYTHONPATH": f"{house}{os.pathsep}{house / 'integrations'}"}
    return subprocess.run(command, cwd=house, env=environ, capture_output=True, text=True, timeout=100, check=False)


def test_floors_hold():
    result = lint(Path.cwd())
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("path", BREACHES)
def test_control_a_breach_is_found(tmp_path, path):
    for folder in ("zdd_sdk", "integrations"):
        shutil.copytree(folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy("pyproject.toml", tmp_path)
    line, contract = BREACHES[path]
    breached = tmp_path / path
    breached.write_text(f"{breached.read_text(encoding='utf-8')}\n{line}\n", encoding="utf-8")
    result = lint(tmp_path)
    assert result.returncode == 1
    assert f"{contract} BROKEN" in result.stdout
