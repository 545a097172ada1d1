"""Every `python` block of the README and of the docs runs, top to bottom, page by page."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

from tests.house import markdown

READER = Sybil(parsers=[PythonCodeBlockParser()])
WITH_CODE = [path for path in markdown.PAGES if any(language == "python" for language, _ in markdown.read(path).blocks)]


@pytest.fixture(autouse=True)
def outside(monkeypatch, tmp_path):
    """An empty working directory, no ZDD_* variables, and an engine that no other run has put keys into."""
    for name in [name for name in os.environ if name.startswith("ZDD_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def run(path: Path) -> int:
    """Run the blocks of one page in one namespace and return how many there were."""
    examples = list(READER.parse(path))
    for example in examples:
        example.evaluate()
    return len(examples)


@pytest.mark.parametrize("path", [path.resolve() for path in WITH_CODE], ids=[str(path) for path in WITH_CODE])
def test_page_runs(path):
    assert run(path) > 0


def test_control_a_wrong_block_fails(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```python\nassert 1 + 1 == 3\n```\n", encoding="utf-8")
    with pytest.raises(AssertionError):
        run(page)
