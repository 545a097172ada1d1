"""The page on guarantees names tests that exist, and every test of this suite."""

from __future__ import annotations

import ast
import re
from pathlib import Path

PAGE = Path("docs/guarantees.md")
HERE = Path("tests/guarantees")
OF_THE_SUITE = (
    "test_races.py",
    "test_ids.py",
    "test_releases.py",
    "test_outages.py",
    "test_answers.py",
    "test_limits.py",
)
DETAILS = {"test_answers.py::test_a_5xx_that_begins_a_session_sets_no_cookie"}


def functions_of(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def named(text: str) -> set[tuple[str, str]]:
    return set(re.findall(r"`([\w/]+\.py)::(\w+)`", text))


def test_what_it_names_exists() -> None:
    for file, name in named(PAGE.read_text()):
        path = Path(file) if "/" in file else HERE / file
        assert name in functions_of(path), f"{file}::{name}"


def test_it_names_every_test() -> None:
    found = {f"{file}::{name}" for file, name in named(PAGE.read_text())}
    wanted = {
        f"{file}::{name}" for file in OF_THE_SUITE for name in functions_of(HERE / file) if name.startswith("test_")
    }
    assert wanted - DETAILS <= found
