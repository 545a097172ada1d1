"""The wheel holds what the tree holds, and what is missing is said in one sentence."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.xdist_group("wheel")

INTEGRATIONS = ("zdd_django", "zdd_fastapi", "zdd_flask", "zdd_sqlalchemy")
BLOCKER = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"fastapi", "starlette", "flask", "django", "sqlalchemy"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocker())
import zdd_%s
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel of this tree, built offline with the hatchling of the test environment."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", ".", "--no-deps", "--no-build-isolation", "-q", "-w", str(folder)]
    subprocess.run(command, check=True, timeout=110, capture_output=True)
    return next(folder.glob("zdd_sdk-*.whl"))


def python(code: str, *, path: str = "") -> subprocess.CompletedProcess[str]:
    """Run code in a new interpreter, with ``path`` before everything installed."""
    environ = {**os.environ, "PYTHONPATH": path}
    command = [sys.executable, "-P", "-c", code]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)


def test_wheel_holds_the_packages_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0] for name in names if ".dist-info" not in name} == {"zdd_sdk", *INTEGRATIONS}
    assert [name for name in names if "__pycache__" in name or "test_" in name] == []


def test_wheel_holds_every_file_of_the_tree(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    tree = {
        str(file.relative_to(root))
        for root, package in ((Path(), "zdd_sdk"), *((Path("integrations"), name) for name in INTEGRATIONS))
        for file in (root / package).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert tree - names == set()
    assert {f"{package}/py.typed" for package in ("zdd_sdk", *INTEGRATIONS)} <= names
    assert any(name.endswith(".lua") for name in names)


def test_wheel_carries_its_licence(wheel):
    assert [name for name in zipfile.ZipFile(wheel).namelist() if name.endswith("licenses/LICENSE")]


def test_wheel_imports(wheel):
    result = python("import zdd_sdk, zdd_fastapi; print(zdd_sdk.__file__, zdd_fastapi.__file__)", path=str(wheel))
    assert result.returncode == 0, result.stderr
    assert all(file.startswith(str(wheel)) for file in result.stdout.split())


@pytest.mark.parametrize("framework", ["fastapi", "flask", "sqlalchemy"])
def test_without_the_framework_one_sentence_names_the_extra(framework):
    result = python(BLOCKER % framework)
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("zdd_sdk.errors.MissingExtra: ")
    assert f"pip install 'zdd-sdk[{framework}]'" in last


def test_sqlalchemy_without_greenlet_names_the_extra_too() -> None:
    result = python(BLOCKER.replace('"sqlalchemy"}', '"greenlet"}') % "sqlalchemy")
    assert "pip install 'zdd-sdk[sqlalchemy]'" in result.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize("framework", ["fastapi", "flask", "sqlalchemy"])
def test_control_with_the_framework_it_imports(framework):
    assert python(f"import zdd_{framework}").returncode == 0
