"""The floors of the house hold, and import-linter sees it when they do not."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

BREACHES = {
    "zdd_sdk/errors/base.py": ("zdd_sdk.store", "A floor imports only what lies below it"),
    "zdd_sdk/web/asgi.py": ("zdd_fastapi", "A floor imports only what lies below it"),
    "zdd_sdk/sessions/model.py": ("zdd_sdk.fleet", "Parts never import one another"),
    "zdd_sdk/http/cookies.py": ("redis", "Only the store imports redis"),
    "zdd_sdk/app.py": ("fastapi", "No framework below the integrations"),
}
"""Per file: what is imported into it against the rules, and whose rule that breaks."""


def lint(house: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter over a house, without what an editable install would put on the path before it."""
    command = [sys.executable, "-c", "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())"]
    environ = {**os.environ, "PYTHONPATH": f"{house}{os.pathsep}{house / 'integrations'}"}
    done = subprocess.run(command, cwd=house, env=environ, capture_output=True, text=True, timeout=100, check=False)
    done.stdout = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)  # older ones colour whatever they write to
    return done


def test_floors_hold():
    result = lint(Path.cwd())
    assert result.returncode == 0, result.stdout


def test_control_breaches_are_found(tmp_path):
    for folder in ("zdd_sdk", "integrations"):
        shutil.copytree(folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy("pyproject.toml", tmp_path)
    for path, (module, _) in BREACHES.items():
        with (tmp_path / path).open("a", encoding="utf-8") as file:
            file.write(f"\nimport {module}\n")
    result = lint(tmp_path)
    assert result.returncode == 1
    for path, (module, contract) in BREACHES.items():
        importer = path.removesuffix(".py").replace("/", ".")
        assert f"{contract} BROKEN" in result.stdout
        assert f"{importer} -> {module}" in result.stdout
