"""docs/settings.md, written from the options themselves: ``make reference``."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from zdd_sdk.settings import Leaf, Settings, leaves
from zdd_sdk.settings.load import Loaded

PAGE = Path("docs/settings.md")
_INTRODUCTION = """\
# Settings

Every option, from the code itself (`make reference` writes this page; a test keeps it current).

An option is taken from the first of: arguments of `ZeroDowntime(...)`, the `ZDD_*` environment variable, `zdd.toml` or
`[tool.zdd]` in `pyproject.toml` (in the working directory, or the file named by `ZDD_CONFIG`), the default.
`zdd explain` prints the effective values with their origin.

Durations are written `500ms`, `15s`, `10m`, `24h`, `14d` (a bare number is seconds), sizes `64KiB`, `1MB` (a bare
number is bytes), lists with commas. An unknown option is an error as an argument and a warning in the environment or a
file, so that release N can boot beside the file of release N+1. A value that cannot be is an error everywhere: nothing
is clamped.

```toml
# zdd.toml
service = "shop"
environment = "production"

[lifecycle]
drain_lag = "15s"
grace_period = "60s"

[sessions]
idle_timeout = "2h"
```
"""


def page() -> str:
    """Return the whole page."""
    defaults = Loaded(Settings(), {})
    parts = dict.fromkeys(leaf.part for leaf in leaves())
    return "\n".join([_INTRODUCTION, *(_table(part, defaults) for part in parts)])


def _table(part: str, defaults: Loaded) -> str:
    rows = [_row(leaf, defaults) for leaf in leaves() if leaf.part == part]
    head = ["| option | environment | kind | default | what it is for |", "| --- | --- | --- | --- | --- |"]
    return "\n".join([f"## {part or 'Service'}", "", *head, *rows, ""])


def _row(leaf: Leaf, defaults: Loaded) -> str:
    cells = (f"`{leaf.path}`", f"`{leaf.env}`", _kind(leaf), _default(leaf, defaults), leaf.option.doc)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _default(leaf: Leaf, defaults: Loaded) -> str:
    shown = leaf.show(defaults.value(leaf))
    return "unset" if shown == "(unset)" else f"`{shown}`"


def _kind(leaf: Leaf) -> str:
    return leaf.option.unit or _type(leaf.type)


def _type(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(kind))
    if get_origin(kind) in (Union, types.UnionType):
        return ", ".join(_type(each) for each in get_args(kind) if each is not type(None))
    if get_origin(kind) is tuple:
        return "list"
    return {"str": "text", "int": "number", "float": "number", "bool": "true, false"}[kind.__name__]
