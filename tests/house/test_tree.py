"""No file of the tree names a place on somebody's machine or the host of a package registry."""

from __future__ import annotations

import re
from pathlib import Path

FOLDERS = (".ci", "docs", "integrations", "tests", "zdd_sdk")
PRIVATE = re.compile(
    r"(?<![\w.])/(?:root|home|Users|work)/[a-z.]|\b(?:files\.pythonhosted|pypi|registry\.npmjs)\.org\b"
)


def private_places(text: str) -> list[str]:
    """Return what should not be in a file that others get."""
    return [match[0] for match in PRIVATE.finditer(text)]


def test_no_private_place_is_named():
    files = [path for path in Path().iterdir() if path.is_file()]
    files += [path for folder in FOLDERS for path in Path(folder).rglob("*")]
    texts = [path for path in files if path.suffix in {".py", ".md", ".toml", ".lua", ".html", ".js", ".json", ""}]
    named = {str(path): private_places(path.read_text("utf-8", "replace")) for path in texts if path.is_file()}
    assert {path: places for path, places in named.items() if places} == {}


def test_control_a_private_place_is_seen():
    user, index = "root", "pypi"
    assert private_places(f"see /{user}/notes") != []
    assert private_places(f"from https://{index}.org/simple") != []
    assert private_places(f"a path such as /srv/shop or src/{user}/shop") == []
