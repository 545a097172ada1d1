"""Print a constraint for every dependency of zdd-sdk and its demo: the oldest release that pyproject.toml allows."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

_FLOOR = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?>=([0-9.]+)")


def lowest(pyproject: Path) -> list[str]:
    """Return ``name==version`` for each requirement with a lower bound, sorted; test tools are left alone."""
    table = tomllib.loads(pyproject.read_text(encoding="utf-8"))
    extras = table["project"]["optional-dependencies"].values()
    groups = [table["project"]["dependencies"], *extras, table["dependency-groups"]["demo"]]
    wanted = [item for group in groups for item in group]
    found = (_FLOOR.match(item) for item in wanted)
    return sorted({f"{match[1]}=={match[2]}" for match in found if match})


if __name__ == "__main__":
    print("\n".join(lowest(Path("pyproject.toml"))))
